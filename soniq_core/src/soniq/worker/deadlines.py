"""The timeouts of all attempts of a worker: a heap with one timer, because a timer for each job is too dear."""

import asyncio
import heapq
from typing import Protocol


class Timed(Protocol):
    """What can be too late: `deadline` is set to None once it no longer matters."""

    deadline: float | None

    def expire(self) -> None: ...


class Deadlines:
    """Calls `expire` of what is past its deadline (by the event loop's clock)."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, Timed]] = []
        self._most = 64
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, timed: Timed, seconds: float) -> None:
        """Let `timed` expire in `seconds`, unless its deadline is None by then."""
        timed.deadline = self._loop.time() + seconds
        self._count += 1
        if len(self._heap) >= self._most:
            self._sweep()
        heapq.heappush(self._heap, (timed.deadline, self._count, timed))
        if self._heap[0][2] is timed:
            self._arm()

    def close(self) -> None:
        """Forget all."""
        if self._timer is not None:
            self._timer.cancel()
        self._heap.clear()

    def __len__(self) -> int:
        return len(self._heap)

    def _sweep(self) -> None:
        """Drop what no longer matters, so that long timeouts of short attempts do not keep them all."""
        self._heap = [entry for entry in self._heap if entry[2].deadline is not None]
        heapq.heapify(self._heap)
        self._most = max(64, 2 * len(self._heap))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._heap[0][0], self._fire) if self._heap else None

    def _fire(self) -> None:
        while self._heap and (self._heap[0][0] <= self._loop.time() or self._heap[0][2].deadline is None):
            timed = heapq.heappop(self._heap)[2]
            if timed.deadline is not None:
                timed.deadline = None
                timed.expire()
        self._arm()
