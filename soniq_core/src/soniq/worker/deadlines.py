"""The timeouts of all attempts of a worker: a heap with one timer, because a timer for each job
costs too much.
"""

import asyncio
import heapq
from typing import Protocol

LATE = 1.0
"""Seconds after which a timer is late, because something blocked the event loop."""
LATE_GRACE = 0.1
"""Seconds that attempts have then to take what has come for them meanwhile."""


class Timed(Protocol):
    """What can be too late."""

    deadline: "Deadline | None"

    def expire(self) -> None: ...


class Deadline:
    """Until when something has time; `timed` is None once it no longer matters, so that it is not
    kept until then.
    """

    __slots__ = ("timed",)

    def __init__(self, timed: Timed) -> None:
        self.timed: Timed | None = timed


class Deadlines:
    """Calls `expire` of what is past its deadline (by the event loop's clock)."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, Deadline]] = []
        self._most = 64
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._late = False

    def add(self, timed: Timed, seconds: float) -> None:
        """Let `timed` expire in `seconds`, unless it is dropped before."""
        deadline = timed.deadline = Deadline(timed)
        self._count += 1
        if len(self._heap) >= self._most:
            self._sweep()
        heapq.heappush(self._heap, (self._loop.time() + seconds, self._count, deadline))
        if self._heap[0][2] is deadline:
            self._arm()

    def drop(self, timed: Timed) -> None:
        """It has ended, and will not expire."""
        deadline, timed.deadline = timed.deadline, None
        if deadline is not None:
            deadline.timed = None

    def close(self) -> None:
        """Forget all."""
        if self._timer is not None:
            self._timer.cancel()
        self._heap.clear()

    def __len__(self) -> int:
        return len(self._heap)

    def _sweep(self) -> None:
        """Drop what no longer matters, so that long timeouts of short attempts do not keep them
        all.
        """
        self._heap = [entry for entry in self._heap if entry[2].timed is not None]
        heapq.heapify(self._heap)
        self._most = max(64, 2 * len(self._heap))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._heap[0][0], self._fire) if self._heap else None

    def _fire(self) -> None:
        late = bool(self._heap) and self._loop.time() - self._heap[0][0] > LATE
        if late and not self._late:
            self._late, self._timer = True, self._loop.call_later(LATE_GRACE, self._fire)
            return
        self._late = False
        while self._heap and (
            self._heap[0][0] <= self._loop.time() or self._heap[0][2].timed is None
        ):
            timed = heapq.heappop(self._heap)[2].timed
            if timed is not None:
                self.drop(timed)
                timed.expire()
        self._arm()
