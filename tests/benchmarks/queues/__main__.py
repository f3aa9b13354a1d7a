"""One measurement of one queue in this process: `python -m tests.benchmarks.queues QUEUE WHAT COUNT`.

The address of its database or broker is in BENCH_URL. Prints a JSON list: jobs per second, or the
milliseconds of each pick-up.
"""

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Awaitable

from tests.benchmarks.queues.queue import Queue

WARM_UP = 20
"""Enqueues before the clock begins: they connect, and prepare statements."""

TASKS, CONNECTIONS = 100, 20
"""Of the enqueues at once."""

CHUNK = 50_000
"""How many jobs of a backlog are put in by one call."""


async def one_by_one(queue: Queue, numbers: range) -> None:
    for number in numbers:
        await queue.enqueue(number)


async def at_once(queue: Queue, count: int) -> None:
    await asyncio.gather(*(one_by_one(queue, range(first, count, TASKS)) for first in range(TASKS)))


async def rate(count: int, enqueues: Awaitable[None]) -> list[float]:
    began = time.perf_counter()
    await enqueues
    return [count / (time.perf_counter() - began)]


async def process(queue: Queue, count: int) -> list[float]:
    for first in range(0, count, CHUNK):
        await queue.enqueue_many(min(CHUNK, count - first))
    return [count / await queue.process(count)]


async def pick_up(queue: Queue, count: int) -> list[float]:
    """Milliseconds from just before the enqueue until the handler runs, on an idle worker."""
    times = []
    async with queue.worker() as arrived:
        await asyncio.sleep(0.5)
        for _ in range(WARM_UP + count):
            began = time.perf_counter()
            await queue.enqueue_stamp()
            times.append((await asyncio.wait_for(arrived(), 60) - began) * 1000)
            await asyncio.sleep(0.01)
    return times[WARM_UP:]


async def measure(queue: Queue, what: str, count: int) -> list[float]:
    await queue.open(CONNECTIONS if what == "at-once" else 1)
    try:
        if what == "process":
            return await process(queue, count)
        if what == "pick-up":
            return await pick_up(queue, count)
        await one_by_one(queue, range(WARM_UP))
        if what == "bulk":
            return await rate(count, queue.enqueue_many(count))
        if what == "at-once":
            return await rate(count, at_once(queue, count))
        return await rate(count, one_by_one(queue, range(count)))
    finally:
        await queue.close()


if __name__ == "__main__":
    name, what, count = sys.argv[1:]
    module = importlib.import_module(f"tests.benchmarks.queues.{name}")
    run = getattr(module, "run", asyncio.run)
    print(json.dumps(run(measure(module.make(os.environ["BENCH_URL"]), what, int(count)))))
