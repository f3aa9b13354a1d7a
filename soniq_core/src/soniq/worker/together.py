"""Several workers of one call: one for each queue that has a concurrency of its own."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from soniq.enqueue.options import check_integer, check_queue
from soniq.errors import InvalidOption
from soniq.worker.worker import Worker

Share = tuple[Sequence[str] | None, int]
"""Queues (None: all), and how many attempts run at once."""


def check_work(
    queues: Sequence[str] | Mapping[str, int] | None,
    concurrency: int | None,
    default: int,
    max_jobs: int | None,
    max_memory: int | None,
) -> list[Share]:
    """The shares of the workers of one call; `default`: the concurrency where none is given. Raises `InvalidOption`."""
    check_integer("concurrency", concurrency, 1, 10_000)
    check_integer("max_jobs", max_jobs, 1, 2**62)
    check_integer("max_memory", max_memory, 1, 2**62)
    if isinstance(queues, str):
        queues = [queues]
    if queues is not None:
        if not isinstance(queues, Collection):
            raise InvalidOption(f"queues= takes names of queues; got {queues!r}", option="queues")
        if not queues:
            raise InvalidOption("queues= names no queue", option="queues")
        for queue in queues:
            check_queue("queues", queue)
    if not isinstance(queues, Mapping):
        return [(queues, default if concurrency is None else concurrency)]
    if concurrency is not None:
        raise InvalidOption("queues= gives each queue a concurrency; leave concurrency= out", option="concurrency")
    for number in queues.values():
        check_integer("queues", number, 1, 10_000)
    return [([queue], number) for queue, number in queues.items()]


async def run_together(workers: Sequence[Worker], *, run_once: bool) -> int:
    """Run workers until all have ended; how many attempts ran.

    Where one ends, so do the others, except for those that run once: at a limit in their own time. Where one fails, all
    are stopped.
    """
    if len(workers) == 1:
        return await workers[0].run()
    tasks = [asyncio.create_task(worker.run(), name="soniq worker") for worker in workers]
    try:
        done, _ = await asyncio.wait(
            tasks, return_when=asyncio.FIRST_EXCEPTION if run_once else asyncio.FIRST_COMPLETED
        )
        if any(worker.draining for worker in workers) and not any(
            task.cancelled() or task.exception() for task in done
        ):
            for worker in workers:
                worker.drain()
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        raise
    finally:
        for worker in workers:
            worker.stop()
        await asyncio.wait(tasks)
    return sum(task.result() for task in tasks)
