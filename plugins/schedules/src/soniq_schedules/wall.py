"""From what a clock on the wall shows to moments: cron expressions in a time zone, also where its
clock is changed.

cronsim says at which times of a calendar without zones an expression comes. Which moments those
are is decided here, for expressions with seconds and for zones that change by half an hour, too.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

MINUTE = timedelta(minutes=1)


def first_after(expression: str, zone: ZoneInfo, moment: datetime) -> datetime | None:
    """The first moment after `moment` at which the expression comes, in UTC; None where there is
    none for fifty years.

    As in Debian's cron: one whose minute or hour begins with `*` goes by the time that passes, so
    that it comes twice in an hour that is there twice. Any other comes once on each day: at a time
    that the clock skips, as soon as it has, and at one that it shows twice, the first time.
    """
    here = moment.astimezone(zone)
    wall = here.replace(tzinfo=None, fold=0)
    try:
        if runs_on(expression):
            found = _next_shown(expression, zone, wall, moment)
            again = _next_shown_again(expression, here)
            return min(filter(None, (found, again)), default=None)
        return next(
            (shown for each in _walls(expression, wall) if (shown := _once(each, zone)) > moment),
            None,
        )
    except OverflowError:  # beyond the year 9999
        return None


def runs_on(expression: str) -> bool:
    """Whether an expression goes by the time that passes, and not by what the clock shows."""
    minute, hour = expression.split()[-5:-3]
    return minute.startswith("*") or hour.startswith("*")


def _next_shown(
    expression: str, zone: ZoneInfo, wall: datetime, moment: datetime
) -> datetime | None:
    """The next moment at which the clock shows what the expression says and has not shown yet."""
    for each in _walls(expression, wall):
        for fold in (0, 1):
            shown = each.replace(tzinfo=zone, fold=fold).astimezone(UTC)
            if shown > moment and shown.astimezone(zone).replace(tzinfo=None, fold=0) == each:
                return shown
    return None


def _next_shown_again(expression: str, here: datetime) -> datetime | None:
    """The next moment at which a clock that is to be set back will show what it has shown before
    `here`.
    """
    zone = here.tzinfo
    before, after = here.utcoffset(), here.replace(fold=1).utcoffset()
    assert before is not None
    assert after is not None
    if here.fold or after >= before:
        return None
    wall, length = here.replace(tzinfo=None), before - after
    for each in _walls(expression, wall - length):
        if each > wall:
            break
        first, second = (each.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if first < second:
            return second
    return None


def _once(wall: datetime, zone: ZoneInfo) -> datetime:
    """The moment of a time on the wall: of one that is skipped, the minute after the gap."""
    while True:
        shown = wall.replace(tzinfo=zone).astimezone(UTC)
        if shown.astimezone(zone).replace(tzinfo=None, fold=0) == wall:
            return shown
        wall += MINUTE


def _walls(expression: str, after: datetime) -> Iterator[datetime]:
    """The times after `after`, all without a zone."""
    return iter(CronSim(expression, after))
