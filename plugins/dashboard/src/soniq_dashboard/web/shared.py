"""What pages read, at most once a second in a process, whoever looks."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, TypeVar

T = TypeVar("T")

FRESH = 1.0
"""Seconds for which what was read is shown again."""
SHARE = 0.02
"""The most of the time that is spent with one reading, as the database has other work: what took
long to read is shown for longer.
"""
LONGEST_FRESH = 5.0
"""Seconds for which it is shown at most for that reason."""


class Shared:
    """Readings of the database, each shared by all who ask for it at about the same time."""

    def __init__(self) -> None:
        self._readings: dict[object, _Reading] = {}

    async def get(
        self, what: object, read: Callable[[], Awaitable[T]], fresh: float | None = None
    ) -> T:
        """What `read` finds, or has found within the last `fresh` seconds (`FRESH`, if none are
        given); `what` tells readings apart. Raises what `read` does.
        """
        now = monotonic()
        self._readings = {
            key: reading for key, reading in self._readings.items() if reading.counts(now)
        }
        if what not in self._readings:
            self._readings[what] = _Reading(read, FRESH if fresh is None else fresh)
        # Where one request is cancelled, the others still get it
        return await asyncio.shield(self._readings[what].task)

    def forget(self) -> None:
        """Have everything read again: somebody has made a change."""
        self._readings = {}


class _Reading:
    """Something that is read, and until when it is shown again."""

    def __init__(self, read: Callable[[], Awaitable[Any]], fresh: float) -> None:
        self._until = monotonic() + fresh
        self.task = asyncio.ensure_future(self._timed(read))

    def counts(self, now: float) -> bool:
        """Whether it is still read, or shown."""
        if not self.task.done():
            return True
        return now <= self._until and not self.task.cancelled() and self.task.exception() is None

    async def _timed(self, read: Callable[[], Awaitable[T]]) -> T:
        began = monotonic()
        found = await read()
        took = monotonic() - began
        self._until = max(self._until, began + min(took / SHARE, LONGEST_FRESH))
        return found
