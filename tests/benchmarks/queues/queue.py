"""What a queue must do to be measured."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

CONCURRENCY = 50
"""Handlers at once in one worker, where a queue runs them as tasks of asyncio."""

Arrived = Callable[[], Awaitable[float]]
"""Waits until a stamp was handled; the time.perf_counter() of its handler."""


class Queue(Protocol):
    """A queue in an empty database or broker of its own, in a process of its own."""

    async def open(self, connections: int) -> None:
        """Make the tables, and connect; `connections` are those for enqueues at once."""

    async def close(self) -> None: ...

    async def enqueue(self, number: int) -> None:
        """Put in one job that does nothing, and wait until it is there."""

    async def enqueue_many(self, count: int) -> None:
        """Put in many of them, in the way that is meant for many."""

    async def process(self, count: int) -> float:
        """How many seconds one worker takes for the `count` jobs that are there."""

    async def enqueue_stamp(self) -> None:
        """Put in one job whose handler tells when it ran."""

    def worker(self) -> AbstractAsyncContextManager[Arrived]:
        """A worker that waits for stamps."""
