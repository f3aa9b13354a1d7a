"""How Soniq scales: `make bench-scale`.

More worker processes, more tasks that enqueue, more queues, more that is kept, and an urgent job
behind many. Each table has a plain case and what is compared with it, in turns, each on an empty
database. `--write` puts the tables into docs/explanation/scale.md.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

import asyncpg

from soniq import Soniq
from tests.benchmarks.apart import execute, workers
from tests.benchmarks.costs import CHUNK, OF_WORK, Work, numbered, put, returns, sleeps
from tests.benchmarks.program import FEWEST, Table, number, parser, ratio, run
from tests.benchmarks.reading import FINISHED, fill
from tests.benchmarks.throughput import Bench
from tests.benchmarks.usage import Figures, metered, settled
from tests.docs.pages import DOCS

PAGE = DOCS / "explanation" / "scale.md"
LIMIT = 600
"""Seconds for a backlog to be worked off."""
DOING = """
select case when wait_event_type is null then 'cpu'
    when wait_event_type in ('IO', 'IPC') or wait_event like 'WAL%' then 'disk' else 'locks' end, count(*)
from pg_stat_activity
where state = 'active' and query like '%settle_and_claim%' and pid <> pg_backend_pid()
group by 1
"""
"""What the sessions of workers do, those that carry out a statement."""
TURNS = 5
"""Of a worker with and without many finished rows."""
ASKED = 6.0
"""Seconds in which urgent jobs are enqueued."""


# --- worker processes ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Processes:
    """Worker processes that begin at once with a backlog: its queue was paused until all were
    there.
    """

    count: int

    @property
    def label(self) -> str:
        return str(self.count)

    def app(self, url: str) -> Soniq:
        return Work("").app(url)

    async def prepare(self, url: str, size: int) -> None:
        async with self.app(url) as app:
            await put(app, size, numbered)
            await app.pause("default")
        await execute(url, "vacuum analyze soniq.job", "checkpoint")

    async def measure(self, url: str, size: int) -> Figures:
        return await asyncio.to_thread(self._work, url, size)

    def _work(self, url: str, size: int) -> Figures:
        with workers(self.app, url, self.count) as pids:
            return asyncio.run(self._meter(url, pids, size))

    async def _meter(self, url: str, pids: list[int], size: int) -> Figures:
        figures = Figures()
        async with self.app(url) as app, app.connection() as connection:
            await asyncio.sleep(1)  # they have planned their first claims
            async with metered(url, figures, pids):
                await app.resume("default")
                seen = await _worked_off(connection, size)
            took = await connection.fetchval(
                "select extract(epoch from max(finished_at) - min(started_at)) from soniq.history"
            )
        return {
            "rate": size / float(took),
            "worker": figures["worker"] / size * 1e6,
            "server": figures["server"] / size * 1e6,
            "wal": figures["wal"] / size,
            **{name: count / max(1, seen.total()) for name, count in seen.items()},
        }


async def _worked_off(connection: "asyncpg.Connection[asyncpg.Record]", size: int) -> Counter[str]:
    """Wait until so many jobs are finished, without a look at the tables; what statements were seen
    to do meanwhile: `cpu`, `disk` (also where they wait for another's WAL), `locks`.
    """
    ends, seen = time.monotonic() + LIMIT, Counter({"cpu": 0, "disk": 0, "locks": 0})
    while await settled(connection, "soniq") < size:
        assert time.monotonic() < ends, "the backlog is not worked off"
        for kind, count in await connection.fetch(DOING):
            seen[kind] += count
        await asyncio.sleep(0.05)
    return seen


# --- tasks that enqueue --------------------------------------------------------------------------


@dataclass(frozen=True)
class Producers:
    """Tasks of one process that enqueue one job after the other, each."""

    tasks: int

    @property
    def label(self) -> str:
        return f"{self.tasks:,}"

    async def prepare(self, url: str, size: int) -> None:
        """The tables are made where it is measured."""

    async def measure(self, url: str, size: int) -> Figures:
        bench, figures = Bench(url, hooks=False), Figures()
        each = max(1, size // self.tasks // (10 if self.tasks == 1 else 1))
        await bench.setup()
        await bench.at_once(min(20, self.tasks), 20)  # connects, and prepares statements
        async with metered(url, figures):
            rate = await bench.at_once(self.tasks, each)
            await bench.app.close()  # then its transactions have been counted
        jobs = self.tasks * each
        return {
            "rate": rate,
            "worker": figures["worker"] / jobs * 1e6,
            "server": figures["server"] / jobs * 1e6,
            "wal": figures["wal"] / jobs,
            "transactions": jobs / figures["transactions"],
        }


# --- queues, and what is kept --------------------------------------------------------------------


@dataclass(frozen=True)
class Spread(Work):
    """Jobs in many queues and priorities, one after the other."""

    queues: int = 1
    priorities: int = 1

    async def fill(self, app: Soniq, count: int) -> None:
        job = app.registry["job"]
        for start in range(0, count, CHUNK):
            await app.enqueue_all(
                job.using(
                    queue=f"tenant {number // self.priorities % self.queues}",
                    priority=number % self.priorities,
                ).call(number)
                for number in range(start, min(start + CHUNK, count))
            )


@dataclass(frozen=True)
class Kept:
    """Work beside many finished rows, and beside none, in turns in one database."""

    finished: int

    @property
    def label(self) -> str:
        return f"{self.finished:,}"

    async def prepare(self, url: str, size: int) -> None:
        for work in (Work("", schema="few"), Work("", schema="many")):
            async with work.app(url):
                pass
        connection = await asyncpg.connect(url)
        await fill(connection, FINISHED, self.finished, "many")
        await connection.close()
        await execute(url, "vacuum analyze many.history")

    async def measure(self, url: str, size: int) -> Figures:
        found: dict[str, list[Figures]] = {"few": [], "many": []}
        for turn in range(TURNS):
            for schema in ("few", "many") if turn % 2 == 0 else ("many", "few"):
                work = Work("", schema=schema)
                await work.prepare(url, size)
                found[schema].append(await work.measure(url, size))
        return {
            f"{schema}_{name}": median(each[name] for each in of_schema)
            for schema, of_schema in found.items()
            for name in ("rate", "worker", "server")
        }


# --- an urgent job behind many -------------------------------------------------------------------


@dataclass(frozen=True)
class Urgent:
    """Urgent jobs, one by one, while a worker process has many others: from just before the enqueue
    until the handler runs. Others are put in for as long as it takes.
    """

    label: str
    handler: Callable[..., object] | None

    def app(self, url: str) -> Soniq:
        app = Work("", self.handler or returns).app(url)
        app.job(name="urgent", priority=-10)(_now)
        return app

    async def prepare(self, url: str, size: int) -> None:
        async with self.app(url) as app:
            await app.pause("default")
            await put(app, size * 3 if self.handler else 0, numbered)
        await execute(url, "vacuum analyze soniq.job", "checkpoint")

    async def measure(self, url: str, size: int) -> Figures:
        return await asyncio.to_thread(self._work, url, size)

    def _work(self, url: str, size: int) -> Figures:
        with workers(self.app, url, 1):
            return asyncio.run(self._ask(url, size))

    async def _ask(self, url: str, size: int) -> Figures:
        began: dict[str, float] = {}
        async with self.app(url) as app, app.connection() as connection:
            await app.resume("default")
            await asyncio.sleep(0.5)
            ends = time.monotonic() + ASKED
            while len(began) < FEWEST or (
                time.monotonic() < ends and await settled(connection, "soniq") < size * 2
            ):
                now = time.monotonic()
                began[await app.enqueue("urgent")] = now
                await asyncio.sleep(0.02)
            starts = {job: await app.wait_for(job, timeout=LIMIT) for job in began}
        times = [(starts[job] - began[job]) * 1000 for job in began]
        cuts = quantiles(times, n=100, method="inclusive")
        return {"p50": cuts[49], "p99": cuts[98], "most": max(times), "samples": len(times)}


async def _now() -> float:
    return time.monotonic()


# --- the tables ----------------------------------------------------------------------------------

OF_PROCESSES = (
    ("jobs/s", number("rate")),
    ("ratio", ratio("rate")),
    ("CPU of the processes, a job", number("worker", 0, " µs")),
    ("PostgreSQL, a job", number("server", 0, " µs")),
    ("WAL, a job", number("wal", 0, " B")),
)
WAITING = (
    ("statements on a CPU", number("cpu", 2)),
    ("waiting for the disk", number("disk", 2)),
    ("for locks", number("locks", 2)),
)


def tables(finished: int) -> tuple[Table, ...]:
    return (
        Table(
            "workers", "worker processes", 200_000, "jobs",
            (Processes(1), Processes(2), Processes(4)),
            (*OF_PROCESSES, *WAITING),
        ),
        Table(
            "producers", "tasks that enqueue", 50_000, "jobs (a tenth of them with one task)",
            (Producers(1), Producers(10), Producers(100), Producers(1_000)),
            (*OF_PROCESSES, ("jobs in a transaction", number("transactions", 1))),
        ),
        Table(
            "queues", "jobs in", 50_000, "jobs",
            (
                Spread("one queue"),
                Spread("100 queues with 4 priorities each", queues=100, priorities=4),
                Spread("1,000 queues", queues=1_000),
                Spread("10,000 queues", queues=10_000),
            ),
            OF_WORK,
        ),
        Table(
            "kept", "finished rows", 50_000, f"jobs, {TURNS} turns",
            (Kept(finished),),
            (
                ("beside none", number("few_rate", 0, "/s")),
                ("beside them", number("many_rate", 0, "/s")),
                ("ratio", lambda own, first: f"{own['many_rate'] / own['few_rate']:.2f}"),
                ("PostgreSQL, a job, beside none", number("few_server", 0, " µs")),
                ("beside them", number("many_server", 0, " µs")),
            ),
            rounds=1,
        ),
        Table(
            "urgent", "an urgent job behind", 100_000, "jobs that wait",
            (
                Urgent("none", None),
                Urgent("jobs that return at once", returns),
                Urgent("jobs that sleep 10 ms", sleeps),
            ),
            (
                ("p50", number("p50", 1, " ms")),
                ("p99", number("p99", 1, " ms")),
                ("the longest", number("most", 1, " ms")),
                ("samples", number("samples")),
            ),
        ),
    )  # fmt: skip


if __name__ == "__main__":
    made = parser(__doc__, [table.name for table in tables(1)])
    made.add_argument("--finished", type=int, default=1_000_000, help="rows of the table `kept`")
    given = made.parse_args()
    run(tables(given.finished), given, PAGE)
