"""How long workflows take: the plugin of tests/core/hooks/workflow.py.

`python -m tests.benchmarks.workflows`. A chain of steps that return at once, from the moment the
first may end until the last has run; and beside it, in turns, as many jobs of which each enqueues
the next, which is what the worker's round trips take anyway. Then a step behind many others, on two
workers: from the end of the last of these until it runs.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median

import asyncpg

from soniq import JobContext, Soniq
from tests.benchmarks.server import server
from tests.core.hooks.workflow import AFTER, Step, Workflow

SCHEMA = "bench_workflows"


class Clock:
    """When what began and ended, in one process."""

    def __init__(self) -> None:
        self.may_begin = asyncio.Event()
        self.over = asyncio.Event()
        self.began = 0.0
        self.ended = 0.0
        self.starts = 0


def app_of(url: str, clock: Clock) -> Soniq:
    """An app whose jobs return at once, but for the first, which waits for its sign."""
    app = Soniq(url, schema=SCHEMA, discover=False, plugins=[Workflow()])

    @app.job(Step(), name="first")
    async def first() -> None:
        await clock.may_begin.wait()
        clock.began = time.perf_counter()

    @app.job(Step(), name="middle")
    async def middle() -> None:
        clock.began = time.perf_counter()

    @app.job(Step(), name="between")
    async def between() -> None: ...

    @app.job(Step(), name="last")
    async def last() -> None:
        clock.ended = time.perf_counter()
        clock.starts += 1
        clock.over.set()

    @app.job(name="by_hand")
    async def by_hand(more: int, ctx: JobContext) -> None:
        if more:
            await ctx.enqueue("by_hand", more - 1)
        else:
            clock.over.set()

    return app


async def chain(app: Soniq, clock: Clock, length: int) -> float:
    """Seconds from the end of the first of so many steps until the last runs."""
    clock.may_begin.clear()
    clock.over.clear()
    workflow = app.plugin(Workflow)
    step = await workflow.enqueue("first")
    for name in [*["between"] * (length - 2), "last"]:
        step = await workflow.enqueue(name, after=[step])
    await asyncio.sleep(0.1)  # the worker has written down who waits for whom
    clock.may_begin.set()
    await clock.over.wait()
    return clock.ended - clock.began


async def with_enqueues(app: Soniq, clock: Clock, length: int) -> float:
    """Seconds from before the first enqueue, one after the other, until the last step runs."""
    clock.may_begin.set()
    clock.over.clear()
    began = time.perf_counter()
    workflow = app.plugin(Workflow)
    step = await workflow.enqueue("first")
    for name in [*["between"] * (length - 2), "last"]:
        step = await workflow.enqueue(name, after=[step])
    await clock.over.wait()
    return time.perf_counter() - began


async def chain_by_hand(app: Soniq, clock: Clock, length: int) -> float:
    """Seconds for as many jobs, each of which enqueues the next."""
    clock.over.clear()
    began = time.perf_counter()
    await app.enqueue("by_hand", length - 1)
    await clock.over.wait()
    return time.perf_counter() - began


async def fan_in(app: Soniq, clock: Clock, parents: int) -> float:
    """Seconds from the start of the last of so many parents until their one child runs."""
    clock.over.clear()
    clock.starts = 0
    ids = await app.enqueue_many("middle", [{}] * parents, headers={AFTER: []})
    await app.plugin(Workflow).enqueue("last", after=ids)
    await clock.over.wait()
    await asyncio.sleep(0.2)
    assert clock.starts == 1, "more than one start"
    return clock.ended - clock.began


async def main(url: str, rounds: int, length: int, parents: int) -> None:
    """Measure all in turn, and print medians."""
    connection = await asyncpg.connect(url)
    for schema in (SCHEMA, f"{SCHEMA}_workflow"):
        await connection.execute(f"drop schema if exists {schema} cascade")
    await connection.close()

    clock = Clock()
    apps = [app_of(url, clock) for _ in range(2)]
    for app in apps:
        await app.start()
    variants: dict[str, Callable[[], Awaitable[float]]] = {
        f"{length} jobs, each enqueues the next": lambda: chain_by_hand(apps[0], clock, length),
        f"a chain of {length}": lambda: chain(apps[0], clock, length),
        "... and its enqueues": lambda: with_enqueues(apps[0], clock, length),
    }
    workers = [asyncio.create_task(apps[0].run_worker())]
    await measured(variants, rounds)
    workers.append(asyncio.create_task(apps[1].run_worker()))
    name = f"a step behind {parents}, on two workers"
    await measured({name: lambda: fan_in(apps[0], clock, parents)}, rounds)

    for app in apps:
        app.stop_workers()
    await asyncio.gather(*workers)
    for app in apps:
        await app.close()


async def measured(variants: dict[str, Callable[[], Awaitable[float]]], rounds: int) -> None:
    """Take turns, and print the median and the ends of each."""
    figures: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 2):
        for name, measure in variants.items():
            took = await measure()
            if number >= 2:
                figures[name].append(took * 1_000)
    for name, each in figures.items():
        print(f"{name:<40}{median(each):>8.1f} ms   ({min(each):.1f} to {max(each):.1f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--length", type=int, default=10, help="steps of the chain")
    parser.add_argument("--parents", type=int, default=300)
    arguments = parser.parse_args()
    with server() as url:
        asyncio.run(main(url, arguments.rounds, arguments.length, arguments.parents))
