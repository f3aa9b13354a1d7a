"""What pages read, at most once a second in a process, whoever looks."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

FRESH = 1.0
"""Seconds for which what was read is shown again."""


class Shared:
    """Readings of the database, each shared by all who ask for it at about the same time."""

    def __init__(self) -> None:
        self._readings: dict[object, tuple[float, asyncio.Task[Any]]] = {}
        """Until when each is shown again."""

    async def get(
        self, what: object, read: Callable[[], Awaitable[T]], fresh: float | None = None
    ) -> T:
        """What `read` finds, or has found within the last `fresh` seconds; `what` tells readings
        apart.
        """
        now = time.monotonic()
        self._readings = {
            key: (until, task)
            for key, (until, task) in self._readings.items()
            if not task.done() or (now <= until and not _failed(task))
        }
        if what not in self._readings:
            until = now + (FRESH if fresh is None else fresh)
            self._readings[what] = until, asyncio.ensure_future(_read(read))
        return await asyncio.shield(self._readings[what][1])  # who goes away takes it from nobody

    def forget(self) -> None:
        """Let all be read again, as somebody has changed it."""
        self._readings = {}


async def _read(read: Callable[[], Awaitable[T]]) -> T:
    return await read()


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.cancelled() or task.exception() is not None
