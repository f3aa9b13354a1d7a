"""Which lanes hold jobs: read from the index itself, in rounds, the less often the longer a round
takes.

There is no list of lanes: a lane (queue and priority) is known by its rows, so one that was used
once and is empty costs nothing, and none can be missing.
"""

import time
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from soniq.worker.lanes import Lanes

Ask = Callable[..., Awaitable[Sequence[asyncpg.Record]]]
"""Runs a statement, by name, with its values."""

LANES_PER_ROUND = 1_000
"""The most lanes of one round; the next begins where it ended."""
ENOUGH_HOT = 1_000
"""With so many hot lanes a claim has enough to ask, and no round is needed."""
PAUSE_FACTOR = 20
"""Rounds take one part in so many of the time at most: where PostgreSQL cannot clean up, they walk
what is dead.
"""
BELOW_ALL = -32_769
"""Lower than each priority."""


class Survey:
    """Looks which lanes of some queues (None: all) hold jobs, and heats those in which one is
    due.
    """

    def __init__(self, ask: Ask, lanes: Lanes, queues: list[str] | None) -> None:
        self._ask = ask
        self._lanes = lanes
        self._queues = queues
        # Where the next round begins; None: at the start
        self._after: tuple[str, int] | None = None
        self._due_at = float("inf")  # when the earliest job will be due that was seen
        self.not_before = 0.0
        """Monotonic time of the earliest next round."""

    def next_at(self, planned: float) -> float:
        """When to look next, given when it is planned: sooner if a job is due before, or the round
        was not the last.
        """
        if self._after is not None and self._lanes.count <= ENOUGH_HOT:
            return self.not_before
        return max(self.not_before, min(planned, self._due_at))

    async def whole(self) -> set[str]:
        """Look into all; the queues that are paused."""
        self._after = None
        while True:
            paused = await self._look(LANES_PER_ROUND)
            if self._after is None:
                return paused

    async def round(self) -> set[str]:
        """Look on from where the last round ended; the queues that are paused."""
        return await self._look(0 if self._lanes.count > ENOUGH_HOT else LANES_PER_ROUND)

    async def _look(self, limit: int) -> set[str]:
        began = time.monotonic()
        if self._after is None:
            self._due_at = float("inf")
        queue, priority = self._after or ("", BELOW_ALL)
        if self._queues is None:
            rows = await self._ask("lanes", queue, priority, limit)
        else:
            left = self._queues[self._queues.index(queue) :] if queue else self._queues
            rows = await self._ask("lanes_of", left, priority, limit)

        now = time.monotonic()
        self.not_before = now + PAUSE_FACTOR * (now - began)
        found = [row for row in rows if row["priority"] is not None]
        self._lanes.see(
            (row["queue"], row["priority"], row["scheduled_at"])
            for row in found
            if row["due_in"] <= 0
        )
        self._due_at = min(
            [self._due_at, *(now + row["due_in"] for row in found if row["due_in"] > 0)]
        )

        if limit:
            self._after = (
                (found[-1]["queue"], found[-1]["priority"]) if len(found) == limit else None
            )
        self._lanes.forget(now)
        return {row["queue"] for row in rows if row["priority"] is None}
