"""When a worker ends so that a fresh one can take its place: after a number of jobs, or at a size of the process."""

import os
import resource
import sys
import time
from pathlib import Path

import msgspec

from soniq.worker.slots import Slots

STATM = Path("/proc/self/statm")
LOOK = 1.0
"""Seconds between two looks at the memory."""


class Limits(msgspec.Struct):
    """`max_jobs` attempts, `max_memory` bytes of resident memory, of all workers of a call; None is no limit.

    Memory counts once something has run: a limit below what the process takes at the start must not keep it from work.
    """

    max_jobs: int | None = None
    max_memory: int | None = None
    looked: float = 0.0
    slots: list[Slots] = []

    def room(self, free: int) -> int:
        """How many of `free` jobs to claim."""
        return free if self.max_jobs is None else max(0, min(free, self.max_jobs - sum(s.taken for s in self.slots)))

    def reached(self) -> str | None:
        """Which limit is reached, in words; None where none is."""
        jobs = sum(slots.count for slots in self.slots)
        if self.max_jobs is not None and jobs >= self.max_jobs:
            return f"it has run {jobs} jobs"
        if self.max_memory is not None and jobs and time.monotonic() - self.looked > LOOK:
            self.looked = time.monotonic()
            memory = resident()
            if memory >= self.max_memory:
                return f"it takes {memory / 1e6:,.0f} MB of memory"
        return None


def resident() -> int:
    """Bytes of memory that this process takes now; where the system does not say, the most it ever took."""
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
