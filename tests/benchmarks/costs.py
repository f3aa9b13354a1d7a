"""What a user pays: `make bench-costs`.

Each table has a plain case and what is compared with it, in turns, each in a process of its own on
an empty database. CPU time is that of the worker's process and of all of PostgreSQL, from the start
of a worker that has done some jobs before until nothing is due. `--write` puts the tables into
docs/explanation/performance.md.
"""

import asyncio
import base64
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import psutil  # type: ignore[import-untyped]

from soniq import JobContext, Retry, Soniq
from tests.benchmarks.apart import execute, workers
from tests.benchmarks.program import Table, megabytes, number, parser, ratio, run
from tests.benchmarks.usage import Figures, measured, memory, metered
from tests.docs.pages import DOCS

PAGE = DOCS / "explanation" / "performance.md"
CHUNK, CHUNK_BYTES = 50_000, 50_000_000
"""The most jobs of one call, and about the most bytes of their arguments."""

WARM_UP = 200
SLEEP = 0.01
SETTLED = 10.0
"""Seconds after which a worker is idle, and PostgreSQL has counted what it did before."""


# --- handlers ------------------------------------------------------------------------------------


async def returns(number: int) -> int:
    return number


def returns_in_a_thread(number: int) -> int:
    return number


async def sleeps(number: int) -> int:
    await asyncio.sleep(SLEEP)
    return number


def sleeps_in_a_thread(number: int) -> int:
    time.sleep(SLEEP)
    return number


async def measures(text: str) -> int:
    return len(text)


async def asks_for_another(ctx: JobContext, number: int) -> int:
    if number % 10 == 0 and ctx.attempt == 1:
        raise Retry(0)
    return number


async def fails_at_first(ctx: JobContext, number: int) -> int:
    if number % 10 == 0 and ctx.attempt == 1:
        raise ValueError(number)
    return number


def numbered(number: int) -> dict[str, object]:
    return {"number": number}


@dataclass(frozen=True)
class Text:
    """Arguments of about this many bytes, which do not compress."""

    size: int
    text: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        random = base64.b64encode(os.urandom(self.size)).decode()[: self.size]
        object.__setattr__(self, "text", random)

    def __call__(self, number: int) -> dict[str, object]:
        return {"text": self.text}


# --- work that is there when a worker comes ------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """Jobs that one worker processes. `every`: there are so many times fewer of them; `later`: for
    each so many more that are due in a day; `ideal`: jobs a second, if nothing but the handler took
    time; `retried`: a tenth is tried twice.
    """

    label: str
    handler: Callable[..., object] = returns
    arguments: Callable[[int], dict[str, object]] = numbered
    concurrency: int | None = None
    every: int = 1
    later: int = 0
    ideal: float = 0.0
    retried: bool = False
    schema: str = "soniq"
    options: Mapping[str, Any] = field(default_factory=dict)

    def app(self, url: str) -> Soniq:
        app = Soniq(url, schema=self.schema, discover=False)
        app.job(name="job", **self.options)(self.handler)
        return app

    async def prepare(self, url: str, size: int) -> None:
        async with self.app(url) as app:
            if self.later:
                await put(app, size * self.later, self.arguments, delay=86_400)
            await put(app, WARM_UP, self.arguments, queue="warm-up")
            await self.fill(app, max(1, size // self.every))
        await execute(url, f"vacuum analyze {self.schema}.job", "checkpoint")

    async def fill(self, app: Soniq, count: int) -> None:
        """Enqueue the jobs that are processed."""
        await put(app, count, self.arguments)

    async def measure(self, url: str, size: int) -> Figures:
        jobs, figures = max(1, size // self.every), Figures()
        async with self.app(url) as app:
            with log_to_nowhere():
                await app.run_worker(
                    queues=["warm-up"], run_once=True, concurrency=self.concurrency
                )
            async with metered(url, figures):
                with log_to_nowhere(), measured(figures):
                    attempts = await app.run_worker(run_once=True, concurrency=self.concurrency)

        expected = jobs + (-(-jobs // 10) if self.retried else 0)
        assert attempts == expected, f"{attempts} attempts instead of {expected}"
        return {
            "rate": jobs / figures["seconds"],
            "ideal": jobs / figures["seconds"] / self.ideal if self.ideal else 0.0,
            "worker": figures["worker"] / jobs * 1e6,
            "server": figures["server"] / jobs * 1e6,
            "wal": figures["wal"] / jobs,
            "growth": figures["growth"],
        }


@contextmanager
def log_to_nowhere() -> Iterator[None]:
    """Have the log of Soniq written, to where nobody sees it."""
    logger, handler = logging.getLogger("soniq"), logging.FileHandler(os.devnull)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(handler)
        handler.close()


async def put(
    app: Soniq, count: int, arguments: Callable[[int], dict[str, object]], **options: Any
) -> None:
    """Enqueue so many jobs."""
    chunk = max(1, min(CHUNK, CHUNK_BYTES // len(str(arguments(0)))))
    for start in range(0, count, chunk):
        each = [arguments(number) for number in range(start, min(start + chunk, count))]
        await app.enqueue_many("job", each, **options)


@dataclass(frozen=True)
class Remembering(Work):
    """The memory of a worker's process, while it processes many jobs."""

    async def measure(self, url: str, size: int) -> Figures:
        app, done = Soniq(url, discover=False), 0

        @app.job(name="job")
        async def job(number: int) -> int:
            nonlocal done
            done += 1
            return number

        figures = Figures()
        async with app:
            await app.run_worker(queues=["warm-up"], run_once=True)
            figures["start"] = memory("VmRSS")
            worker = asyncio.create_task(app.run_worker(run_once=True))
            for name, part in (("tenth", 0.1), ("half", 0.5)):
                while done < size * part and not worker.done():
                    await asyncio.sleep(0.05)
                figures[name] = memory("VmRSS")
            await worker
        return figures | {"end": memory("VmRSS"), "most": memory("VmHWM")}


# --- workers that have nothing to do -------------------------------------------------------------


@dataclass(frozen=True)
class Idle:
    """Worker processes without a job that is due, for some seconds; `later`: for each second so many
    jobs that are due in a day.
    """

    label: str
    count: int = 1
    poll_interval: float = 1.0
    later: int = 0
    plugins: bool = False

    def app(self, url: str) -> Soniq:
        app = Soniq(url, discover=self.plugins, poll_interval=self.poll_interval)
        app.job(name="job")(returns)
        return app

    async def prepare(self, url: str, size: int) -> None:
        async with self.app(url) as app:
            await put(app, self.later * size, numbered, delay=86_400)
        await execute(url, "vacuum analyze", "checkpoint")

    async def measure(self, url: str, size: int) -> Figures:
        return await asyncio.to_thread(self._watch, url, size)

    def _watch(self, url: str, seconds: int) -> Figures:
        with workers(self.app, url, self.count) as pids:
            return asyncio.run(self._meter(url, pids, seconds))

    async def _meter(self, url: str, pids: list[int], seconds: int) -> Figures:
        figures = Figures()
        await asyncio.sleep(SETTLED)
        connection = await asyncpg.connect(url)
        sessions = "select count(*) - 1 from pg_stat_activity where datname = current_database()"
        connections = await connection.fetchval(f"{sessions} and backend_type = 'client backend'")
        await connection.close()
        async with metered(url, figures, pids):
            await asyncio.sleep(seconds)
        minutes = figures["seconds"] / 60
        return {
            "transactions": figures["transactions"] / minutes,
            "worker": figures["worker"] / minutes * 1000,
            "server": figures["server"] / minutes * 1000,
            "connections": connections,
            "later": self.later * seconds,
            "memory": sum(psutil.Process(pid).memory_info().rss for pid in pids)
            / max(1, len(pids)),
        }


# --- the tables ----------------------------------------------------------------------------------

OF_WORK = (
    ("jobs/s", number("rate")),
    ("ratio", ratio("rate")),
    ("worker, a job", number("worker", 0, " µs")),
    ("PostgreSQL, a job", number("server", 0, " µs")),
    ("WAL, a job", number("wal", 0, " B")),
    ("memory, at most", megabytes("growth")),
)
OF_IDEAL = ("of the ideal", lambda own, first: f"{own['ideal']:.2f}" if own["ideal"] else "")
TABLES = (
    Table(
        "idle", "workers that have nothing to do", 30, "seconds each, per minute",
        (
            Idle("none", 0),
            Idle("one"),
            Idle("one, every plugin loaded", plugins=True),
            Idle("one, `poll_interval=5`", poll_interval=5.0),
            Idle("one, jobs wait for tomorrow", later=30_000),
            Idle("ten", 10),
        ),
        (
            ("statements", number("transactions")),
            ("CPU of the workers", number("worker", 0, " ms")),
            ("CPU of PostgreSQL", number("server", 0, " ms")),
            ("memory of each", megabytes("memory")),
            ("connections", number("connections")),
            ("jobs for later", number("later")),
        ),
        rounds=1,
    ),
    Table(
        "memory", "memory of a worker process", 1_000_000, "jobs",
        (Remembering("returns at once"),),
        tuple(
            (title, megabytes(name))
            for title, name in (
                ("at the start", "start"), ("after a tenth", "tenth"), ("after half", "half"),
                ("at the end", "end"), ("at most", "most"),
            )
        ),
        rounds=1,
    ),
    Table(
        "waiting", "handler", 50_000, "jobs (a tenth of them where 20 sleep)",
        (
            Work("returns at once, 20 at once"),
            Work("returns at once, 500 at once", concurrency=500),
            Work("sleeps 10 ms, 20 at once", sleeps, every=10, ideal=20 / SLEEP),
            Work("sleeps 10 ms, 500 at once", sleeps, concurrency=500, ideal=500 / SLEEP),
        ),
        (*OF_WORK, OF_IDEAL),
    ),
    Table(
        "threads", "handler", 20_000, "jobs (a fifth of them where they sleep)",
        (
            Work("`async def`"),
            Work("`def`, in threads", returns_in_a_thread),
            Work("`def` that sleeps 10 ms", sleeps_in_a_thread, every=5, ideal=20 / SLEEP),
        ),
        (*OF_WORK, OF_IDEAL),
    ),
    Table(
        "payloads", "arguments", 20_000, "jobs (a tenth of them with 200 KB)",
        (
            Work("a number"),
            Work("1 KB", measures, Text(1_024)),
            Work("16 KB", measures, Text(16_384)),
            Work("200 KB", measures, Text(204_800), every=10),
        ),
        OF_WORK,
    ),
    Table(
        "retries", "jobs", 50_000, "jobs",
        (
            Work("none fails"),
            Work("a tenth raises `Retry(0)` once", asks_for_another, retried=True),
            Work("a tenth fails once", fails_at_first, retried=True, options={"retry": 0}),
        ),
        OF_WORK,
    ),
    Table(
        "scheduled", "beside them", 100_000, "jobs",
        (
            Work("nothing"),
            Work("ten times as many that are due tomorrow", later=10),
        ),
        OF_WORK,
    ),
)  # fmt: skip

if __name__ == "__main__":
    run(TABLES, parser(__doc__, [table.name for table in TABLES]).parse_args(), PAGE)
