"""Intervals."""

from datetime import UTC, datetime, timedelta
from typing import Any

from .when import LONGEST, When, invalid

ONE = timedelta(seconds=1)


class Every(When, frozen=True, kw_only=True, omit_defaults=True, tag="every"):
    """A job runs again and again, so much time apart: `Every(minutes=5, jitter=0.1)`.

    Counted from `start`, which is the first tick, else from when the schedule was first known to
    the database, and not from the start of a process. A day is 24 hours: for the same time on each
    day there is `Cron`. Raises `InvalidOption` for what cannot be.
    """

    weeks: float = 0
    days: float = 0
    hours: float = 0
    minutes: float = 0
    seconds: float = 0

    @property
    def period(self) -> timedelta:
        """The time between two ticks."""
        return timedelta(
            weeks=self.weeks,
            days=self.days,
            hours=self.hours,
            minutes=self.minutes,
            seconds=self.seconds,
        )

    def describe(self) -> str:
        return f"every {self.period}"

    def about(self) -> dict[str, Any]:
        return {"every": self.period.total_seconds()}

    def _following(self, moment: datetime, anchor: datetime) -> datetime | None:
        first = 1 if self.start is None else 0
        base = (self.start or anchor).astimezone(UTC)
        try:
            return base + max(first, (moment - base) // self.period + 1) * self.period
        except OverflowError:  # beyond the year 9999
            return None

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            if ONE <= self.period <= timedelta(seconds=LONGEST):
                return
        except (TypeError, ValueError, OverflowError):
            pass
        given = {
            name: value
            for name in ("weeks", "days", "hours", "minutes", "seconds")
            if (value := getattr(self, name)) != 0
        }
        raise invalid("Every", next(iter(given), "seconds"), "makes a second at least", given)
