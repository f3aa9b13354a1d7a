"""Minutes at a steady backlog, with an old transaction that keeps PostgreSQL from cleaning up:
`make bench-steady`.

Worker processes run against a backlog that a feeder keeps at its size. Printed are the jobs settled
in each ten seconds; what counts is the last minute against the first.
"""

import argparse
import asyncio
import sys
import time
from asyncio.subprocess import Process

import asyncpg

from soniq import Soniq
from tests.benchmarks.server import server

SCHEMA = "bench_steady"
STEP = 10.0


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
        missing = backlog - (enqueued - await settled(connection))
        for start in range(0, missing, 5_000):
            await app.enqueue_many(
                job, [{"number": n} for n in range(start, min(start + 5_000, missing))]
            )
        enqueued += max(0, missing)
        await asyncio.sleep(0.05)


async def settled(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """How many jobs have been settled so far."""
    await connection.execute("select pg_stat_clear_snapshot()")
    count = await connection.fetchval(
        "select n_tup_del from pg_stat_user_tables where schemaname = $1 and relname = 'job'",
        SCHEMA,
    )
    return int(count or 0)


async def main(url: str, workers: int, seconds: int, backlog: int, *, hold: bool) -> int:
    connection, feeding, holding = [await asyncpg.connect(url) for _ in range(3)]
    await connection.execute(f"drop schema if exists {SCHEMA} cascade")
    app = make_app(url)
    await app.start()
    if hold:
        await holding.execute("begin isolation level repeatable read")
        await holding.fetch("select txid_current()")
    feeder = asyncio.create_task(feed(app, feeding, backlog))
    await asyncio.sleep(3)
    processes: list[Process] = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.benchmarks.steady", "--worker", url
        )
        for _ in range(workers)
    ]
    print(
        f"{workers} workers, backlog {backlog:,}, horizon {'held' if hold else 'free'}; jobs/s for"
        " each ten seconds"
    )
    rates: list[float] = []
    try:
        await asyncio.sleep(5)
        before, began = await settled(connection), time.monotonic()
        while len(rates) * STEP < seconds:
            await asyncio.sleep(STEP)
            now, count = time.monotonic(), await settled(connection)
            rates.append((count - before) / (now - began))
            before, began = count, now
            print(f"{len(rates) * STEP:5.0f} s  {rates[-1]:>9,.0f}/s", flush=True)
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
    first, last = rates[:6], rates[-6:]
    ratio = (sum(last) / len(last)) / (sum(first) / len(first))
    print(f"the last minute is at {ratio:.2f} of the first")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--backlog", type=int, default=50_000)
    parser.add_argument("--free-horizon", action="store_true", help="without the old transaction")
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
                        hold=not arguments.free_horizon,
                    )
                )
            )
