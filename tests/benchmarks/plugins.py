"""What plugins cost: jobs per second with none, with twenty, and with one that writes while jobs
are settled.

`python -m tests.benchmarks.plugins`. The variants take turns in each round; the ratios of the
medians count.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from statistics import median
from typing import Any

import asyncpg

from soniq import JobContext, Soniq, hookimpl
from soniq.plugin import Outcome
from tests.benchmarks.server import server

SCHEMA = "bench_plugins"


class Observing:
    """What most plugins do: it looks on, before and after."""

    def __init__(self, number: int) -> None:
        self.name = f"observing{number:02}"

    @hookimpl
    async def before_job(self, ctx: JobContext) -> None: ...

    @hookimpl
    async def after_job(self, ctx: JobContext, result: object) -> None: ...

    @hookimpl
    async def on_error(self, ctx: JobContext, error: BaseException) -> None: ...


class Around(Observing):
    """What a tracing plugin does: it wraps each attempt as well."""

    @hookimpl
    async def around_job(self, ctx: JobContext) -> AsyncIterator[None]:
        yield


class Settling:
    """What a plugin with tables of its own does: one statement for a batch of outcomes."""

    name = "settling"

    @hookimpl
    async def settle_tx(self, tx: "asyncpg.Connection[Any]", outcomes: Sequence[Outcome]) -> None:
        await tx.execute("select 1 from unnest($1::uuid[])", [each.job_id for each in outcomes])


class Marking(Settling):
    """What one does that hears of marked jobs alone, where none is."""

    name = "marking"

    @hookimpl(marked=True)
    async def settle_tx(self, tx: "asyncpg.Connection[Any]", outcomes: Sequence[Outcome]) -> None:
        raise AssertionError("no job is marked")


VARIANTS: dict[str, list[object]] = {
    "no plugin": [],
    "1 with before_job, after_job, on_error": [Observing(0)],
    "20 with before_job, after_job, on_error": [Observing(number) for number in range(20)],
    "20 with around_job as well": [Around(number) for number in range(20)],
    "one with settle_tx": [Settling()],
    "one with settle_tx for marked jobs alone": [Marking()],
}


async def noop(number: int) -> int:
    return number


async def measure(url: str, plugins: Sequence[object], jobs: int) -> float:
    """Jobs per second of one worker that processes a backlog."""
    connection = await asyncpg.connect(url)
    await connection.execute(f"drop schema if exists {SCHEMA} cascade")
    await connection.close()
    app = Soniq(url, schema=SCHEMA, discover=False, plugins=plugins)
    job = app.job(name="noop")(noop)
    async with app:
        await app.enqueue_many(job, [{"number": number} for number in range(jobs)])
        began = time.perf_counter()
        count = await app.run_worker(run_once=True)
        assert count == jobs
        return count / (time.perf_counter() - began)


async def main(url: str, rounds: int, jobs: int, only: str) -> None:
    """Measure variants in turn, and print medians and ratios."""
    variants = {name: each for name, each in VARIANTS.items() if not each or only in name}
    figures: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, plugins in variants.items():
            figures[name].append(await measure(url, plugins, jobs))
    base = median(figures["no plugin"])
    print(
        f"{rounds} rounds of {jobs:,} jobs that return at once\n\n{'plugins':<42}{'jobs/s':>10}  "
        " ratio   us a job more"
    )
    for name, each in figures.items():
        more = (1 / median(each) - 1 / base) * 1e6
        print(f"{name:<42}{median(each):>10,.0f}   {median(each) / base:5.2f}   {more:8.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--jobs", type=int, default=50_000, help="how many are processed in each round"
    )
    parser.add_argument(
        "--only", default="", help="measure those that have this in their name, beside none"
    )
    arguments = parser.parse_args()
    with server() as url:
        asyncio.run(main(url, arguments.rounds, arguments.jobs, arguments.only))
