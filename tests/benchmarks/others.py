"""Soniq beside PgQueuer and graphile-worker, set up for throughput as their documentation says:
`make bench-others`.

All take turns on one server, with durable commits and handlers that do nothing. Soniq has its three
usual hooks on and keeps each job with its result; PgQueuer keeps a line in its log for each job,
and graphile-worker nothing.
"""

import argparse
import asyncio
import os
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import asyncpg
from pgqueuer import AsyncpgDriver, Queries, QueueManager
from pgqueuer.models import Job
from pgqueuer.types import QueueExecutionMode

from tests.benchmarks.server import server
from tests.benchmarks.throughput import PICK_UPS, Bench

BATCH = 500
GRAPHILE = Path(__file__).with_name("graphile.mjs")

Measure = Callable[[], Awaitable[float]]


class PgQueuer:
    """PgQueuer in the public schema of the database, on a connection of its own for each
    measurement.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    async def setup(self) -> None:
        """Make the tables afresh."""
        connection = await asyncpg.connect(self._url)
        queries = Queries(AsyncpgDriver(connection))
        if await queries.schema_is_installed():
            await queries.uninstall()
        await queries.install()
        await connection.close()

    async def one_by_one(self, count: int) -> float:
        connection = await asyncpg.connect(self._url)
        queries = Queries(AsyncpgDriver(connection))
        began = time.perf_counter()
        for number in range(count):
            await queries.enqueue("noop", b"%d" % number)
        took = time.perf_counter() - began
        await connection.close()
        return count / took

    async def at_once(self, tasks: int, each: int) -> float:
        """On twenty connections; each has a lock, and PgQueuer's driver for a pool has one lock for
        all.
        """
        connections = [await asyncpg.connect(self._url) for _ in range(20)]
        queries = [Queries(AsyncpgDriver(connection)) for connection in connections]

        async def enqueue(task: int) -> None:
            for number in range(each):
                await queries[task % len(queries)].enqueue("noop", b"%d" % number)

        began = time.perf_counter()
        await asyncio.gather(*(enqueue(task) for task in range(tasks)))
        took = time.perf_counter() - began
        for connection in connections:
            await connection.close()
        return tasks * each / took

    async def bulk(self, count: int) -> float:
        connection = await asyncpg.connect(self._url)
        queries = Queries(AsyncpgDriver(connection))
        began = time.perf_counter()
        await queries.enqueue(
            ["noop"] * count, [b"%d" % number for number in range(count)], [0] * count
        )
        took = time.perf_counter() - began
        await connection.close()
        return count / took

    async def process(self) -> float:
        connection = await asyncpg.connect(self._url)
        manager = QueueManager(Queries(AsyncpgDriver(connection)))
        count = 0

        async def noop(job: Job) -> None:
            nonlocal count
            count += 1

        manager.entrypoint("noop")(noop)
        began = time.perf_counter()
        await manager.run(batch_size=BATCH, mode=QueueExecutionMode.drain)
        took = time.perf_counter() - began
        await connection.close()
        return count / took

    async def pick_up(self, count: int) -> list[float]:
        """Milliseconds from just before the enqueue until the handler runs, on an idle worker."""
        connection, producer = await asyncpg.connect(self._url), await asyncpg.connect(self._url)
        manager, queries = (
            QueueManager(Queries(AsyncpgDriver(connection))),
            Queries(AsyncpgDriver(producer)),
        )
        arrived: asyncio.Queue[float] = asyncio.Queue()

        async def stamp(job: Job) -> None:
            arrived.put_nowait(time.perf_counter())

        manager.entrypoint("stamp")(stamp)
        worker = asyncio.create_task(manager.run())
        await asyncio.sleep(0.5)
        times = []
        for _ in range(count):
            began = time.perf_counter()
            await queries.enqueue("stamp", None)
            times.append((await asyncio.wait_for(arrived.get(), 60) - began) * 1000)
            await asyncio.sleep(0.01)
        manager.shutdown.set()
        await worker
        await connection.close()
        await producer.close()
        return times


class GraphileWorker:
    """graphile-worker in a process of Node.js, with a local queue and completions in batches."""

    def __init__(self, url: str, modules: Path) -> None:
        self._environment = {**os.environ, "DATABASE_URL": url, "BATCH": str(BATCH)}
        self._modules = modules

    async def process(self, jobs: int) -> float:
        """Make the tables afresh, enqueue, and work off all; jobs per second of the last."""
        script = self._modules / GRAPHILE.name  # Node.js looks for packages beside the script
        script.write_bytes(GRAPHILE.read_bytes())
        process = await asyncio.create_subprocess_exec(
            "node", script, str(jobs), env=self._environment, stdout=subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), 600)
        if process.returncode:
            raise SystemExit(f"graphile-worker ended with {process.returncode}")
        return float(output)


async def in_turns(rounds: int, measures: dict[str, Measure]) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name in list(measures)[:: 1 if number % 2 == 0 else -1]:
            figures[name].append(await measures[name]())
    return figures


def show(what: str, figures: dict[str, list[float]]) -> None:
    soniq = median(figures["soniq"])
    for name, values in figures.items():
        spread = f"{min(values):,.0f} to {max(values):,.0f}"
        print(
            f"{what:<34}{name:<18}{median(values):>10,.0f}/s  {soniq / median(values):6.2f}  "
            f" {spread}",
            flush=True,
        )


async def main(url: str, rounds: int, jobs: int, modules: Path) -> None:
    bench, pgqueuer = Bench(url, hooks=True), PgQueuer(url)

    def fresh(which: Bench | PgQueuer, measure: Measure) -> Measure:
        async def measured() -> float:
            await which.setup()
            return await measure()

        return measured

    async def process(which: Bench | PgQueuer) -> float:
        await which.setup()
        for _ in range(0, jobs, 50_000):
            await which.bulk(min(jobs, 50_000))
        return await which.process()

    print(f"{'what':<34}{'':<18}{'':>12}  Soniq is   from to\n")
    for what, measures in {
        "enqueue, one after the other": (
            lambda: bench.one_by_one(1_000),
            lambda: pgqueuer.one_by_one(1_000),
        ),
        "enqueue, 100 tasks at once": (
            lambda: bench.at_once(100, 200),
            lambda: pgqueuer.at_once(100, 50),
        ),
        "enqueue in bulk": (lambda: bench.bulk(50_000), lambda: pgqueuer.bulk(50_000)),
    }.items():
        both: dict[str, Measure] = {
            "soniq": fresh(bench, measures[0]),
            "pgqueuer": fresh(pgqueuer, measures[1]),
        }
        show(what, await in_turns(rounds, both))
    processing: dict[str, Measure] = {
        "soniq": lambda: process(bench),
        "pgqueuer": lambda: process(pgqueuer),
    }
    if (modules / "node_modules" / "graphile-worker").exists():
        graphile = GraphileWorker(url, modules)
        processing["graphile-worker"] = lambda: graphile.process(jobs)
    else:
        print(f"graphile-worker is left out: npm has not installed it in {modules}")
    show(f"process {jobs:,}", await in_turns(rounds, processing))

    await bench.setup()
    await pgqueuer.setup()
    queues: dict[str, Bench | PgQueuer] = {"soniq": bench, "pgqueuer": pgqueuer}
    times: dict[str, list[float]] = {name: [] for name in queues}
    for number in range(rounds):
        for name in list(queues)[:: 1 if number % 2 == 0 else -1]:
            times[name] += await queues[name].pick_up(PICK_UPS)
    for share in (0.5, 0.99):
        at = {name: sorted(values)[int(len(values) * share)] for name, values in times.items()}
        for name, value in at.items():
            print(
                f"{f'pick-up, p{share * 100:.0f}':<34}{name:<18}{value:>10.2f}ms "
                f" {at['soniq'] / value:6.2f}"
            )
    await bench.app.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--jobs", type=int, default=200_000, help="how many are processed in each round"
    )
    parser.add_argument(
        "--modules", type=Path, default=Path(), help="where npm has installed graphile-worker"
    )
    arguments = parser.parse_args()
    with server() as url:
        asyncio.run(main(url, arguments.rounds, arguments.jobs, arguments.modules))
