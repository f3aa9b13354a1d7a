"""Minutes at a steady backlog, with an old transaction that keeps PostgreSQL from cleaning up:
`make bench-steady`.

Worker processes run against a backlog that a feeder keeps at its size. Printed are the jobs settled
in each ten seconds, and the CPU time that PostgreSQL takes for one, with its enqueue; what counts is
the last minute against the first.
"""

import argparse
import asyncio
import sys
import time
from asyncio.subprocess import Process

import asyncpg
import psutil  # type: ignore[import-untyped]

from soniq import Soniq
from tests.benchmarks.server import server
from tests.benchmarks.usage import server_cpu, settled

SCHEMA = "bench_steady"
STEP = 10.0

HOLD = {
    "snapshot": ("begin isolation level repeatable read", "select 1 from pg_class limit 1"),
    "writing": ("begin", "select txid_current()"),
    "none": (),
}
"""What an old transaction has done: read, in an isolation in which it keeps its snapshot; or written,
so that it has a number. Either keeps PostgreSQL from cleaning up.
"""


def make_app(url: str) -> Soniq:
    app = Soniq(database_url=url, schema=SCHEMA, discover=False)

    @app.job(name="noop")
    async def noop(number: int) -> int:
        return number

    return app


async def work(url: str) -> None:
    """One worker process, until it is told to stop."""
    async with make_app(url) as app:
        await app.run_worker()


async def feed(app: Soniq, connection: "asyncpg.Connection[asyncpg.Record]", backlog: int) -> None:
    """Keep the backlog at its size."""
    job, enqueued = app.registry["noop"], 0
    while True:
        missing = backlog - (enqueued - await settled(connection, SCHEMA))
        for start in range(0, missing, 5_000):
            await app.enqueue_many(
                job, [{"number": n} for n in range(start, min(start + 5_000, missing))]
            )
        enqueued += max(0, missing)
        await asyncio.sleep(0.05)


async def main(url: str, workers: int, seconds: int, backlog: int, hold: str) -> int:
    connection, feeding, holding = [await asyncpg.connect(url) for _ in range(3)]
    await connection.execute(f"drop schema if exists {SCHEMA} cascade")
    session = psutil.Process(await connection.fetchval("select pg_backend_pid()"))
    app = make_app(url)
    await app.start()
    for statement in HOLD[hold]:
        await holding.execute(statement)
    feeder = asyncio.create_task(feed(app, feeding, backlog))
    await asyncio.sleep(3)

    processes: list[Process] = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.benchmarks.steady", "--worker", url
        )
        for _ in range(workers)
    ]
    print(
        f"{workers} workers, backlog {backlog:,}, horizon held: {hold}; jobs/s for each ten seconds,"
        " and PostgreSQL's CPU for a job"
    )
    try:
        await asyncio.sleep(5)
        rates, costs = await watch(connection, session.parent(), seconds)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            await process.wait()
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)
        await holding.close()
        await app.close()
        await connection.execute(f"drop schema if exists {SCHEMA} cascade")
        await connection.close()
        await feeding.close()

    print(
        f"the last minute is at {of_first(rates):.2f} of the first, CPU for a job at"
        f" {of_first(costs):.2f}"
    )
    return 0


async def watch(
    connection: "asyncpg.Connection[asyncpg.Record]", server: psutil.Process, seconds: int
) -> tuple[list[float], list[float]]:
    """Jobs a second, and microseconds of PostgreSQL's CPU for one, in each step."""
    rates: list[float] = []
    costs: list[float] = []
    before, used, began = await settled(connection, SCHEMA), server_cpu(server), time.monotonic()
    while len(rates) * STEP < seconds:
        await asyncio.sleep(STEP)
        count, cpu, now = await settled(connection, SCHEMA), server_cpu(server), time.monotonic()
        jobs = max(1, count - before)
        rates.append(jobs / (now - began))
        costs.append((cpu - used) / jobs * 1e6)
        before, used, began = count, cpu, now
        print(f"{len(rates) * STEP:5.0f} s  {rates[-1]:>9,.0f}/s  {costs[-1]:5.1f} us", flush=True)
    return rates, costs


def of_first(figures: list[float]) -> float:
    """The last minute as a part of the first."""
    first, last = figures[:6], figures[-6:]
    return (sum(last) / len(last)) / (sum(first) / len(first))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--backlog", type=int, default=50_000)
    parser.add_argument(
        "--hold", choices=HOLD, default="snapshot", help="what the old transaction has done"
    )
    parser.add_argument("--worker", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        asyncio.run(work(arguments.worker))
    else:
        with server() as url:
            sys.exit(
                asyncio.run(
                    main(
                        url,
                        arguments.workers,
                        arguments.seconds,
                        arguments.backlog,
                        arguments.hold,
                    )
                )
            )
