"""What limits cost, and how near they come to the ideal.

`python -m tests.benchmarks.limits`. The variants take turns in each round; the ratios of the
medians count. Admission is part of what is measured: it is done while the worker works.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median

import asyncpg

from soniq import Soniq
from soniq_limits import Limit, Limits
from tests.benchmarks.server import server

SCHEMA = "bench_limits"
WORKERS = 2
SECONDS = 0.02
"""How long a job takes whose limit is full."""


async def emptied(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(f"drop schema if exists {SCHEMA} cascade")
    await connection.execute(f"drop schema if exists {SCHEMA}_limits cascade")
    await connection.close()


def app_of(url: str, *, plugin: bool, limit: Limit | None = None) -> Soniq:
    """An app of one job, which returns at once."""
    app = Soniq(url, schema=SCHEMA, discover=False, plugins=[Limits()] if plugin else [])

    @app.job(*([limit] if limit else []), name="noop")
    async def noop(number: int) -> int:
        return number

    return app


async def throughput(app: Soniq, jobs: int, keys: int) -> float:
    """Jobs per second of one worker that processes a backlog, from its start to the last job."""
    async with app:
        await app.enqueue_many("noop", [{"number": n % keys} for n in range(jobs)])
        began = time.perf_counter()
        worker = asyncio.create_task(app.run_worker())
        while not await _ended(app):
            await asyncio.sleep(0.02)
        took = time.perf_counter() - began
        app.stop_workers()
        await worker
        return jobs / took


async def _ended(app: Soniq) -> bool:
    async with app.connection() as connection:
        return not await connection.fetchval(f"select exists (select from {SCHEMA}.job)")


def slow_app(url: str, at_once: int) -> Soniq:
    """An app of one job, of which so many run at once."""
    app = Soniq(url, schema=SCHEMA, discover=False, plugins=[Limits()])

    @app.job(Limit(at_once), name="slow")
    async def slow(n: int) -> None:
        await asyncio.sleep(SECONDS)

    return app


async def work(app: Soniq) -> None:
    """One worker process, until it is told to stop."""
    async with app:
        await app.run_worker()


async def near_ideal(url: str, jobs: int, at_once: int) -> float:
    """How many times the ideal time jobs of one key take, with two worker processes: from the
    enqueue to the last end, by the database's clock.
    """
    await emptied(url)
    async with slow_app(url, at_once) as app, AsyncExitStack() as workers:
        for _ in range(WORKERS):
            await workers.enter_async_context(_worker(url, at_once))
        while len((await app.overview())["workers"]) < WORKERS:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        await app.enqueue_many("slow", [{"n": n} for n in range(jobs)])
        while not await _ended(app):
            await asyncio.sleep(0.1)
        async with app.connection() as connection:
            [(took, claims)] = await connection.fetch(
                "select extract(epoch from max(finished_at) - min(created_at))::float8, max(claim)"
                f" from {SCHEMA}.history"
            )
    assert claims == 1, "more than one claim for a job"
    return float(took) / (jobs * SECONDS / at_once)


@asynccontextmanager
async def _worker(url: str, at_once: int) -> AsyncIterator[None]:
    """A worker in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.limits", "--worker", str(at_once), "--url", url
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def main(url: str, rounds: int, jobs: int) -> None:
    """Measure all variants in turn, and print medians and ratios."""
    variants: dict[str, Callable[[], Awaitable[float]]] = {
        "plain, without the plugin": lambda: throughput(app_of(url, plugin=False), jobs, 1_000),
        "plain, with the plugin": lambda: throughput(app_of(url, plugin=True), jobs, 1_000),
        "limited, 1,000 keys": lambda: throughput(
            app_of(url, plugin=True, limit=Limit(1_000, by="number")), jobs, 1_000
        ),
        "limited, one key": lambda: throughput(
            app_of(url, plugin=True, limit=Limit(1_000)), jobs, 1
        ),
    }
    figures: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            await emptied(url)
            figures[name].append(await measure())
    base = median(figures["plain, without the plugin"])
    print(f"{rounds} rounds of {jobs:,} jobs that return at once, one worker\n")
    for name, each in figures.items():
        print(f"{name:<28}{median(each):>10,.0f} jobs/s   {median(each) / base:5.2f}")

    print("\ntwo workers, times the ideal:")
    for count, at_once in ((400, 5), (60, 2)):
        times = [await near_ideal(url, count, at_once) for _ in range(rounds)]
        print(f"{count} jobs of 20 ms, {at_once} at once: {median(times):.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=20_000, help="how many in each round")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        asyncio.run(work(slow_app(arguments.url, arguments.worker)))
        sys.exit()
    with server() as url:
        asyncio.run(main(url, arguments.rounds, arguments.jobs))
