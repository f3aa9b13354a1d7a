"""When a worker ends so that a fresh one can take its place: after a number of jobs, or at a size
of the process.
"""

import time

import msgspec

from soniq.memory import resident_memory
from soniq.text import counted
from soniq.worker.claims import Claims

LOOK_AT_MEMORY = 1.0
"""Seconds between two looks at the memory."""


class Limits(msgspec.Struct):
    """`max_jobs` attempts, `max_memory` bytes of resident memory, of all workers of a call; None is
    no limit.

    Memory counts once something has run: a limit below what the process takes at the start must not
    keep it from work.
    """

    max_jobs: int | None = None
    max_memory: int | None = None
    looked: float = 0.0
    claims: list[Claims] = []
    """What each of the workers holds."""
    over: bool = False
    """Whether a limit was found to be reached."""

    def room(self, free: int) -> int:
        """How many of `free` jobs to claim."""
        return (
            free
            if self.max_jobs is None
            else max(0, min(free, self.max_jobs - sum(s.taken for s in self.claims)))
        )

    def reached(self) -> str | None:
        """Which limit is reached, in words; None where none is."""
        why = self._jobs_reached() or self._memory_reached()
        self.over = self.over or why is not None
        return why

    def _jobs_reached(self) -> str | None:
        if self.max_jobs is None or self.started < self.max_jobs:
            return None
        return f"it has run {counted(self.started, 'job')}"

    def _memory_reached(self) -> str | None:
        if (
            self.max_memory is None
            or not self.started
            or time.monotonic() - self.looked <= LOOK_AT_MEMORY
        ):
            return None
        self.looked = time.monotonic()
        memory = resident_memory()
        return f"it takes {memory / 1e6:,.0f} MB of memory" if memory >= self.max_memory else None

    @property
    def started(self) -> int:
        """Attempts that were started."""
        return sum(each.started for each in self.claims)
