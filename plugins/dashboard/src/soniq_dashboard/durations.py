"""How long things took: their number, their sum, and in which buckets they fell."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

import msgspec

FACTOR = 1.5
MIDDLE: float = FACTOR**0.5
BOUNDS: Sequence[float] = tuple(0.005 * FACTOR**step for step in range(34))
"""Where the buckets end, in seconds: 5 ms, each 1.5 times the one before, up to 54 minutes. What
took longer is in one more.
"""
TOLD: Sequence[float] = (*(bound / MIDDLE for bound in BOUNDS), BOUNDS[-1])
"""What is said of each bucket: its geometric middle, and the last bound of the one beyond."""


class Durations(msgspec.Struct, frozen=True):
    """Many durations, of which the sum is kept and how many fell into each bucket."""

    seconds: float = 0.0
    """Their sum."""
    buckets: Sequence[int] = ()
    """How many were at most as long as each of `BOUNDS`, and longer than the one before; one
    more for those beyond.
    """

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.buckets)

    @property
    def mean(self) -> float | None:
        """Seconds, on average; None where there are none."""
        return self.seconds / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """Seconds that this share of them, 0 to 1, took at most: the geometric middle of the bucket
        in which that is, which is off by 22 % at most; None where there are none. Above the last
        bound it is that bound.
        """
        return self.quantiles(share)[0]

    def quantiles(self, *shares: float) -> Sequence[float | None]:
        """The same of several shares at once."""
        passed = list(accumulate(self.buckets))
        if not passed or not passed[-1]:
            return [None for _ in shares]
        # none is in the empty buckets before the first
        return [TOLD[bisect_left(passed, max(share * passed[-1], 1))] for share in shares]
