"""What all schedules have in common: which missed ticks are caught up, what happens while a job of
the tick before is not finished, and for how long there are ticks.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import msgspec

from soniq import InvalidOption

CatchUp = Literal["latest", "all", "skip"]
Overlap = Literal["allow", "skip", "replace"]

DAY, LONGEST = 86_400.0, 100 * 366 * 86_400.0
WINDOWS: Mapping[CatchUp, float] = {"latest": DAY, "all": DAY, "skip": 60.0}
"""Seconds that a tick may be late, where a schedule does not say."""

MOMENT = timedelta(microseconds=1)
EARLIEST, LATEST = datetime(1, 1, 4), datetime(9999, 12, 28)  # noqa: DTZ001 (in any zone)
"""Between these a time can be written in every time zone."""


class When(msgspec.Struct, frozen=True, kw_only=True):
    """When a job runs; `Cron` and `Every` are one each. Raises `InvalidOption` for what cannot be.

    A tick is a time at which a job is due. One is missed while no worker runs, or none that knows
    the job.
    """

    catch_up: CatchUp = "latest"
    """Which missed ticks make a job: the `latest` one, `all`, or none (`skip`)."""
    window: float | timedelta | None = None
    """Seconds that a tick may be late and still make a job. A day, and a minute with `skip`."""
    cap: int = 100
    """With `catch_up="all"`: the most ticks that are caught up at once, the latest ones."""
    overlap: Overlap = "allow"
    """While the job of the tick before is not finished: another beside it, none (`skip`), or
    another in its place, which is cancelled (`replace`).
    """
    jitter: float = 0.0
    """Each job is due up to this share of the time until the next tick later, at random."""
    start: datetime | None = None
    """There are no ticks before; with a time zone."""
    end: datetime | None = None
    """There are no ticks after; with a time zone."""
    args: Mapping[str, object] | None = None
    """The arguments of the job, by name."""

    def next_after(self, moment: datetime, anchor: datetime | None = None) -> datetime | None:
        """The first tick after a moment, in UTC; None where there is none any more.

        `anchor`: from when intervals are counted, where there is no `start`. Raises
        `InvalidOption` for a moment without a time zone.
        """
        check_time("moment", moment)
        moment = moment.astimezone(UTC)
        anchor = anchor or moment
        if self.start is not None:
            moment = max(moment, self.start.astimezone(UTC) - MOMENT)
        found = self._following(moment, anchor)
        ends = found is not None and self.end is not None and found > self.end.astimezone(UTC)
        return None if ends else found

    def upcoming(
        self, count: int, after: datetime | None = None, *, anchor: datetime | None = None
    ) -> list[datetime]:
        """The next ticks after a moment, by default after now; fewer where they end.

        Intervals without a `start` are counted from `anchor`, by default from `after`.
        """
        check_time("after", after)
        moment = after or datetime.now(UTC)
        anchor = anchor or moment
        ticks: list[datetime] = []
        while len(ticks) < count and (tick := self.next_after(moment, anchor)) is not None:
            ticks.append(self._shown(tick))
            moment = tick
        return ticks

    @property
    def window_seconds(self) -> float:
        """Seconds that a tick may be late."""
        if self.window is None:
            return WINDOWS[self.catch_up]
        return seconds_of(self.window)

    def describe(self) -> str:
        """When that is, in few words."""
        raise NotImplementedError

    def about(self) -> dict[str, Any]:
        """When that is, for a job's headers."""
        raise NotImplementedError

    def _following(self, moment: datetime, anchor: datetime) -> datetime | None:
        """The first tick after a moment, whatever `start` and `end` say."""
        raise NotImplementedError

    def _shown(self, tick: datetime) -> datetime:
        """A tick as a person expects it."""
        return tick

    def __post_init__(self) -> None:
        kind = type(self).__name__
        for option, values in (("catch_up", CatchUp), ("overlap", Overlap)):
            if getattr(self, option) not in get_args(values):
                raise invalid(kind, option, f"is one of {get_args(values)}", getattr(self, option))
        if self.window is not None and not 0 < seconds_of(self.window) <= LONGEST:
            raise invalid(kind, "window", "is a number of seconds above 0", self.window)
        if not _is_number(self.cap, int) or not 1 <= self.cap <= 10_000:
            raise invalid(kind, "cap", "is an integer from 1 to 10,000", self.cap)
        if not _is_number(self.jitter, int, float) or not 0 <= self.jitter <= 1:
            raise invalid(kind, "jitter", "is a share from 0 to 1", self.jitter)
        self._check_together(kind)

    def _check_together(self, kind: str) -> None:
        if self.args is not None and not _is_by_name(self.args):
            raise invalid(kind, "args", "are the arguments by name, as a mapping", self.args)
        if self.catch_up == "all" and self.overlap != "allow":
            raise InvalidOption(
                f"{kind}: catch_up='all' makes several jobs at once, which"
                f" overlap={self.overlap!r} does not allow; choose one of them",
                option="overlap",
            )

        ends = []
        for option in ("start", "end"):
            time: datetime | None = getattr(self, option)
            check_time(f"{kind}: {option}", time)
            if time is not None and not EARLIEST <= time.replace(tzinfo=None) <= LATEST:
                between = f"is between {EARLIEST.date()} and {LATEST.date()}"
                raise invalid(kind, option, between, time)
            ends += [time.astimezone(UTC)] if time else []
        if ends != sorted(ends):
            raise invalid(kind, "end", "is not before start", self.end)


def check_time(option: str, given: object) -> None:
    """Raise `InvalidOption` unless it is None or a time with a zone."""
    if given is not None and not (isinstance(given, datetime) and given.utcoffset() is not None):
        raise InvalidOption(
            f"{option}= is a datetime with a time zone; got {shown(given)}",
            option=option.rpartition(" ")[2],
        )


def seconds_of(given: object) -> float:
    """Seconds; NaN for what is none."""
    if isinstance(given, timedelta):
        return given.total_seconds()
    try:
        return float(given) if isinstance(given, int | float) else math.nan
    except OverflowError:
        return math.inf


def shown(given: object) -> str:
    """What was given, for a message, also where it is a number of too many digits."""
    try:
        return f"{given!r:.100}"
    except Exception:
        return f"a value of type {type(given).__name__} that cannot be shown"


def invalid(kind: str, option: str, says: str, got: object) -> InvalidOption:
    """The error about an option of a schedule."""
    return InvalidOption(f"{kind}: {option}= {says}; got {shown(got)}", option=option)


def _is_number(given: object, *kinds: type) -> bool:
    return isinstance(given, kinds) and not isinstance(given, bool)


def _is_by_name(given: object) -> bool:
    return isinstance(given, Mapping) and all(isinstance(name, str) for name in given)
