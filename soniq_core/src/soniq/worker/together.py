"""Several workers of one call: one for each queue that has a concurrency of its own."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from soniq.checks import check_integer, check_queue
from soniq.errors import InvalidOption
from soniq.worker.limits import Limits
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
    """The shares of the workers of one call; `default`: the concurrency where none is given. Raises
    `InvalidOption`.
    """
    check_integer("concurrency", concurrency, 1, 10_000, optional=True)
    check_integer("max_jobs", max_jobs, 1, 2**62, optional=True)
    check_integer("max_memory", max_memory, 1, 2**62, optional=True)

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
        raise InvalidOption(
            "queues= gives each queue a concurrency; leave concurrency= out", option="concurrency"
        )
    for number in queues.values():
        check_integer("queues", number, 1, 10_000)
    return [([queue], number) for queue, number in queues.items()]


async def run_together(workers: Sequence[Worker], limits: Limits, *, run_once: bool) -> int:
    """Run workers until all have ended; how many attempts ran.

    Where one ends, so do the others, except for those that run once: at a limit in their own time.
    Where one fails, all are stopped.
    """
    try:
        if len(workers) == 1:
            return await workers[0].run()
        return await _run_all(workers, limits, run_once)
    finally:
        for worker in workers:
            worker.finished.set()


async def _run_all(workers: Sequence[Worker], limits: Limits, run_once: bool) -> int:
    tasks = [asyncio.create_task(worker.run(), name="soniq worker") for worker in workers]
    try:
        done, _ = await asyncio.wait(
            tasks, return_when=asyncio.FIRST_EXCEPTION if run_once else asyncio.FIRST_COMPLETED
        )
        failed = any(task.cancelled() or task.exception() for task in done)
        if limits.over and not failed:
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
        cancelled = await _ended(workers, tasks)

    if cancelled:
        raise asyncio.CancelledError
    return sum(task.result() for task in tasks)


async def _ended(workers: Sequence[Worker], tasks: Sequence["asyncio.Task[int]"]) -> bool:
    """Wait until workers that were told to stop have ended; whether this task was cancelled, which
    hurries them.
    """
    cancelled = False
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            cancelled = True
            for worker in workers:
                worker.stop(now=True)
    return cancelled
