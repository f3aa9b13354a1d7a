"""Counters of what was settled, by minute, queue and job; added to with each batch of outcomes."""

import logging
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from soniq.plugin import Outcome

from .durations import BOUNDS

log = logging.getLogger("soniq.dashboard")

MOST_SERIES = 500
"""How many pairs of queue and job a process counts apart."""
OTHER = "(other)"
"""The queue and the job under which it counts the rest: a name may be made of what users write."""
MOST_MINUTES = 10
"""Of how many minutes counts are kept that cannot be written."""

WAYS = ("done", "dead", "cancelled", "retry", "snooze", "lost", "stopped")
"""What becomes of a job, and of one that goes back why: each outcome is counted once."""
PLACE = {way: place for place, way in enumerate(WAYS)}

Key = tuple[str, str]
"""Queue and job."""


class Counts:
    """What was settled of one job in one queue."""

    __slots__ = ("took", "took_buckets", "waited", "waited_buckets", "ways")

    def __init__(self) -> None:
        self.ways = [0] * len(WAYS)
        self.took = self.waited = 0.0
        """Sums of seconds, of the attempts that started."""
        self.took_buckets = [0] * (len(BOUNDS) + 1)
        self.waited_buckets = [0] * (len(BOUNDS) + 1)

    def add(self, other: "Counts") -> None:
        """Add what was counted elsewhere."""
        self.ways = _sums(self.ways, other.ways)
        self.took += other.took
        self.waited += other.waited
        self.took_buckets = _sums(self.took_buckets, other.took_buckets)
        self.waited_buckets = _sums(self.waited_buckets, other.waited_buckets)


def _sums(left: Sequence[int], right: Sequence[int]) -> list[int]:
    return [a + b for a, b in zip(left, right, strict=True)]


Series = dict[Key, Counts]
"""What was counted in one minute."""


class Counters:
    """Counts what is settled. It is used in one event loop."""

    def __init__(self) -> None:
        self._minutes: dict[int, Series] = {}
        # by minutes since 1970 of the database's clock, 0 where that is not known yet
        self._known: set[Key] = set()
        self._ahead: float | None = None  # the database's time, less this process's monotonic one
        self._full = False  # whether it was said that there are too many series

    def __bool__(self) -> bool:
        return bool(self._minutes)

    # --- counting --------------------------------------------------------------------------------

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count a batch."""
        number = self._minute()
        series = self._minutes.get(number)
        if series is None:
            series = self._minutes[number] = {}

        for each in outcomes:
            key = (each.queue, each.job_name)
            counts = series.get(key)
            if counts is None:
                counts = self._begin(series, key)
            status = each.status
            counts.ways[PLACE[each.kind if status == "queued" else status]] += 1

            took = each.took
            if took is not None:
                waited = each.queued_for or 0.0
                counts.took += took
                counts.waited += waited
                counts.took_buckets[bisect_left(BOUNDS, took)] += 1
                counts.waited_buckets[bisect_left(BOUNDS, waited)] += 1

    def _begin(self, series: Series, key: Key) -> Counts:
        """The counts of a series that this minute has not had yet."""
        if key not in self._known:
            if len(self._known) < MOST_SERIES:
                self._known.add(key)
            else:
                key = (OTHER, OTHER)
                if not self._full:
                    self._full = True
                    log.warning(
                        "there are more than %d pairs of queue and job: what comes now is counted"
                        " as %s, until this process ends",
                        MOST_SERIES,
                        OTHER,
                    )
        counts = series.get(key)
        if counts is None:
            counts = series[key] = Counts()
        return counts

    # --- the clock -------------------------------------------------------------------------------

    @property
    def knows_the_time(self) -> bool:
        """Whether the database was asked for its time."""
        return self._ahead is not None

    def set_clock(self, now: float) -> None:
        """Say what time it is by the database's clock, in seconds since 1970."""
        self._ahead = now - time.monotonic()

    def _minute(self) -> int:
        return 0 if self._ahead is None else int((time.monotonic() + self._ahead) // 60)

    # --- writing ---------------------------------------------------------------------------------

    def take(self) -> Mapping[int, Series]:
        """What was counted and not taken yet, by minute; those that were counted before the time
        was known are of the present one.
        """
        taken, self._minutes = self._minutes, {}
        if early := taken.pop(0, None):
            _merge(taken.setdefault(self._minute(), {}), early)
        return taken

    def put_back(self, taken: Mapping[int, Series]) -> int:
        """Keep what could not be written, but the newest minutes only; how many minutes were
        dropped.
        """
        for number, series in taken.items():
            _merge(self._minutes.setdefault(number, {}), series)
        dropped = sorted(self._minutes)[:-MOST_MINUTES]
        for number in dropped:
            del self._minutes[number]
        return len(dropped)


def _merge(into: Series, series: Series) -> None:
    for key, counts in series.items():
        into.setdefault(key, Counts()).add(counts)
