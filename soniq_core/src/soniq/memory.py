"""What this process takes of the machine's memory."""

import os
import resource
import sys
from pathlib import Path

STATM = Path("/proc/self/statm")


def resident_memory() -> int:
    """Bytes of memory that this process takes now; where the system does not say, the most it ever
    took.
    """
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
