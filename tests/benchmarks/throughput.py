"""Jobs per second and pick-up latency, side by side with a raw asyncpg loop in the same run: `make
bench`.

Absolute figures move with the machine; the ratios count. Each figure is the median of several
rounds, in which the two take turns.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median

import asyncpg

from soniq import Job, JobContext, Soniq
from tests.benchmarks.raw import Raw
from tests.benchmarks.server import server

SCHEMA = "bench_soniq"
PICK_UPS = 300
"""In each round; the percentiles are those of all rounds."""

Measure = Callable[[], Awaitable[float]]


class Bench:
    """Soniq on a schema of its own, with the three usual hooks if asked for."""

    def __init__(self, url: str, *, hooks: bool) -> None:
        self._url = url
        self.app, self._producer = [
            Soniq(database_url=url, schema=SCHEMA, discover=False) for _ in range(2)
        ]
        self.arrived: asyncio.Queue[float] = asyncio.Queue()
        self.noop: Job[[int], object] = self.app.job(name="noop")(noop)
        self._producer.job(name="stamp")(self.app.job(name="stamp")(self._stamp))
        self.counted: Job[[int], object] = self.app.job(name="counted")(self._count)
        self._left = 0
        self._none_left = asyncio.Event()
        if hooks:
            self.app.before_job(_observe)
            self.app.after_job(_observe)
            self.app.on_error(_observe)

    async def _stamp(self) -> None:
        self.arrived.put_nowait(time.perf_counter())

    async def _count(self, number: int) -> int:
        self._left -= 1
        if not self._left:
            self._none_left.set()
        return number

    async def setup(self) -> None:
        """Make the tables afresh."""
        await self.close()
        connection = await asyncpg.connect(self._url)
        await connection.execute(f"drop schema if exists {SCHEMA} cascade")
        await connection.close()
        await self.app.start()

    async def close(self) -> None:
        await self.app.close()
        await self._producer.close()

    async def enqueue_stamp(self) -> None:
        """Through another app than the worker's, as from another process: its own is told at once."""
        await self._producer.enqueue("stamp")

    async def one_by_one(self, count: int) -> float:
        began = time.perf_counter()
        for number in range(count):
            await self.app.enqueue(self.noop, number=number)
        return count / (time.perf_counter() - began)

    async def at_once(self, tasks: int, each: int) -> float:
        async def enqueue() -> None:
            for number in range(each):
                await self.app.enqueue(self.noop, number=number)

        began = time.perf_counter()
        await asyncio.gather(*(enqueue() for _ in range(tasks)))
        return tasks * each / (time.perf_counter() - began)

    async def bulk(self, count: int) -> float:
        began = time.perf_counter()
        await self.app.enqueue_many(self.noop, [{"number": number} for number in range(count)])
        return count / (time.perf_counter() - began)

    async def process(self) -> float:
        began = time.perf_counter()
        count = await self.app.run_worker(run_once=True)
        return count / (time.perf_counter() - began)

    async def full_queue(self, count: int) -> float:
        """Jobs that are there when a worker comes; jobs per second."""
        await self._put(count)
        began = time.perf_counter()
        worker = asyncio.create_task(self.app.run_worker())
        return await self._worked_off(count, began, worker)

    async def burst(self, count: int) -> float:
        """The same number at once, after a quiet time in which the worker planned its statements;
        jobs per second.
        """
        worker = asyncio.create_task(self.app.run_worker())
        for _ in range(
            2
        ):  # the second time the plan is made anew, for a table that was found to be empty
            for _ in range(100):
                await self._put(1)
                await self._none_left.wait()
            connection = await asyncpg.connect(self._url)
            await connection.execute(f"analyze {SCHEMA}.job")
            await connection.close()
        await self._put(1)
        await self._none_left.wait()
        await self._put(count)  # in one transaction
        return await self._worked_off(count, time.perf_counter(), worker)

    async def _put(self, count: int) -> None:
        self._left = count
        self._none_left.clear()
        await self.app.enqueue_many(self.counted, [{"number": number} for number in range(count)])

    async def _worked_off(self, count: int, began: float, worker: "asyncio.Task[int]") -> float:
        await self._none_left.wait()
        took = time.perf_counter() - began
        self.app.stop_workers()
        await worker
        return count / took

    async def pick_up(self, count: int) -> list[float]:
        """Milliseconds from just before the enqueue until the handler runs, on an idle worker."""
        worker = asyncio.create_task(self.app.run_worker())
        await asyncio.sleep(0.5)
        times = []
        for _ in range(count):
            began = time.perf_counter()
            await self.enqueue_stamp()
            times.append((await asyncio.wait_for(self.arrived.get(), 30) - began) * 1000)
            await asyncio.sleep(0.01)
        self.app.stop_workers()
        await worker
        return times


async def noop(number: int) -> int:
    return number


async def _observe(ctx: JobContext) -> None: ...


async def compare(name: str, unit: str, rounds: int, raw: Measure, soniq: Measure) -> float:
    """Print the medians of both, and the ratio of Soniq to raw."""
    figures: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        order = [(0, raw), (1, soniq)] if number % 2 == 0 else [(1, soniq), (0, raw)]
        for place, measure in order:
            figures[place].append(await measure())
    ratio = median(figures[1]) / median(figures[0])
    spread = f"{min(figures[1]):,.0f} to {max(figures[1]):,.0f}"
    print(
        f"{name:<42}{median(figures[0]):>11,.0f}{unit} {median(figures[1]):>11,.0f}{unit}  "
        f" {ratio:5.2f}   {spread}"
    )
    return ratio


async def main(url: str, rounds: int, jobs: int, *, hooks: bool) -> int:
    raw, bench = Raw(url), Bench(url, hooks=hooks)

    async def fresh(measure: Measure) -> float:
        await raw.setup()
        await bench.setup()
        return await measure()

    async def raw_process() -> float:
        await raw.setup()
        await raw.bulk(jobs)
        return await raw.process()

    async def soniq_process() -> float:
        await bench.setup()
        await bench.bulk(jobs)
        return await bench.process()

    connection = await asyncpg.connect(url)
    print(await connection.fetchval("select version()"))
    await connection.close()
    print(
        f"Python {sys.version.split()[0]}, hooks {'on' if hooks else 'off'}, {rounds} rounds,"
        f" {jobs:,} jobs processed\n"
    )
    print(f"{'what':<42}{'raw loop':>13} {'Soniq':>13}   ratio   Soniq from to")
    await compare(
        "enqueue, one after the other", "/s", rounds, lambda: fresh(lambda: raw.one_by_one(1_000)),
        lambda: fresh(lambda: bench.one_by_one(1_000)),
    )  # fmt: skip
    await compare(
        "enqueue, 100 tasks at once", "/s", rounds,
        lambda: fresh(lambda: raw.at_once(100, 50)), lambda: fresh(lambda: bench.at_once(100, 200)),
    )  # fmt: skip
    await compare(
        "enqueue in bulk", "/s", rounds,
        lambda: fresh(lambda: raw.bulk(50_000)), lambda: fresh(lambda: bench.bulk(50_000)),
    )  # fmt: skip
    ratio = await compare("process, results kept", "/s", rounds, raw_process, soniq_process)
    burst = await compare(
        "a burst after quiet (left: a full queue)", "/s", rounds,
        lambda: fresh(lambda: bench.full_queue(jobs)), lambda: fresh(lambda: bench.burst(jobs)),
    )  # fmt: skip
    await raw.setup()
    await bench.setup()
    raw_times: list[float] = []
    soniq_times: list[float] = []
    for number in range(rounds):
        for each, times in ((raw, raw_times), (bench, soniq_times))[
            :: 1 if number % 2 == 0 else -1
        ]:
            times += await each.pick_up(PICK_UPS)
    raw_times.sort()
    soniq_times.sort()
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        a, b = raw_times[int(len(raw_times) * share)], soniq_times[int(len(soniq_times) * share)]
        print(
            f"{'pick-up on an idle worker, ' + name:<42}{a:>11,.2f}ms {b:>11,.2f}ms   {b / a:5.2f}"
        )
    await bench.close()
    connection = await asyncpg.connect(url)
    for schema in (SCHEMA, "bench_raw"):
        await connection.execute(f"drop schema if exists {schema} cascade")
    await connection.close()
    print(f"\nprocessing is at {ratio:.2f} of the raw loop; the bar is 0.5")
    print(f"a burst after quiet is worked off at {burst:.2f} of a full queue; the bar is 0.9")
    return 0 if ratio >= 0.5 and burst >= 0.9 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--jobs", type=int, default=100_000, help="how many are processed in each round"
    )
    parser.add_argument(
        "--no-hooks", action="store_true", help="without before_job, after_job and on_error"
    )
    arguments = parser.parse_args()
    with server() as url:
        sys.exit(
            asyncio.run(main(url, arguments.rounds, arguments.jobs, hooks=not arguments.no_hooks))
        )
