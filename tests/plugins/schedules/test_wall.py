"""Cron expressions in time zones whose clocks are changed, beside a look at each second."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soniq_schedules import Cron

CHANGES = {
    "Europe/Berlin": [date(2026, 3, 29), date(2026, 10, 25)],
    "America/New_York": [date(2026, 3, 8), date(2026, 11, 1)],
    "Australia/Lord_Howe": [date(2026, 10, 4), date(2026, 4, 5)],
    "America/Santiago": [date(2026, 9, 6), date(2026, 4, 4)],
}
"""Four zones, with the days on which the clock goes forward and back: by an hour in the small hours
in the first two, by half an hour in the third, and at midnight in the last.
"""
EDGES = [(zone, day) for zone, days in CHANGES.items() for day in days]


def day_of(zone: str, tick: datetime) -> date:
    return tick.astimezone(ZoneInfo(zone)).date()


def ticks(cron: Cron, begin: datetime, end: datetime) -> list[datetime]:
    found = []
    moment: datetime | None = begin
    while moment is not None and (moment := cron.next_after(moment)) and moment <= end:
        found.append(moment)
    return found


@pytest.mark.parametrize(("zone", "day"), EDGES)
@pytest.mark.parametrize("expression", ["30 2 * * *", "0 30 2 * * *", "0 0 * * *", "15 1 * * *"])
def test_a_daily_time_comes_once_on_each_day_that_the_clock_is_changed(
    zone: str, day: date, expression: str
) -> None:
    begin = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)) - timedelta(days=3)
    found = ticks(Cron(expression, tz=zone), begin, begin + timedelta(days=6))
    days = [day_of(zone, tick) for tick in found]
    assert days.count(day) == 1
    assert sorted(set(days)) == days
    assert all(timedelta(hours=22) < b - a < timedelta(hours=26) for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("zone", "expression", "forward", "back"),
    [
        ("Europe/Berlin", "30 2 * * *", "2026-03-29T03:00+02:00", "2026-10-25T02:30+02:00"),
        ("Europe/Berlin", "20 30 2 * * *", "2026-03-29T03:00:20+02:00", "2026-10-25T02:30:20+02:00"),
        ("America/New_York", "30 1,2 * * *", "2026-03-08T01:30-05:00", "2026-11-01T01:30-04:00"),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-04T02:30+11:00", "2026-04-05T02:15+10:30"),
        ("America/Santiago", "0 0 * * *", "2026-09-06T01:00-03:00", "2026-04-04T00:00-03:00"),
    ],
)  # fmt: skip
def test_a_time_that_is_skipped_comes_after_the_gap_and_one_that_is_there_twice_the_first_time(
    zone: str, expression: str, forward: str, back: str
) -> None:
    cron = Cron(expression, tz=zone)
    for expected in (forward, back):
        tick = datetime.fromisoformat(expected)
        midnight = tick.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, fold=0)
        assert cron.next_after(midnight - timedelta(microseconds=1)) == tick


@pytest.mark.parametrize(("zone", "day"), EDGES)
@pytest.mark.parametrize(
    "expression", ["0 * * * *", "*/30 * * * *", "7 */2 * * *", "*/10 5 * * *", "*/7 1-3 * * *"]
)
def test_what_goes_by_the_time_that_passes_comes_whenever_the_clock_shows_it(
    zone: str, day: date, expression: str
) -> None:
    place = ZoneInfo(zone)
    begin = datetime(day.year, day.month, day.day, 12, tzinfo=place).astimezone(UTC)
    begin -= timedelta(days=2)
    shown = matcher(expression)
    minutes = [begin + timedelta(minutes=minute) for minute in range(1, 4 * 24 * 60 + 1)]
    expected = [each for each in minutes if shown(each.astimezone(place))]
    assert ticks(Cron(expression, tz=zone), begin, minutes[-1]) == expected


def matcher(expression: str) -> Callable[[datetime], bool]:
    """Whether the clock shows what an expression of minute and hour says."""
    sets = []
    for field, size in zip(expression.split(), (60, 24), strict=False):
        part, _, step = field.partition("/")
        low, _, high = part.partition("-")
        numbers = range(size) if part == "*" else range(int(low), int(high or low) + 1)
        sets.append(set(numbers[:: int(step or 1)]))
    return lambda shown: shown.minute in sets[0] and shown.hour in sets[1]


@given(
    zone=st.sampled_from([*CHANGES, "Asia/Beirut", "Africa/Casablanca", "Europe/Dublin", "UTC"]),
    minute=st.sampled_from(["0", "*", "*/13", "30", "5-50/9", "59"]),
    hour=st.sampled_from(["*", "*/5", "0", "1-4", "2", "23", "3"]),
    moment=st.datetimes(datetime(2025, 1, 1), datetime(2031, 1, 1), timezones=st.just(UTC)),
)
@settings(max_examples=300, deadline=None)
def test_a_tick_is_later_than_the_one_before_and_none_is_between(
    zone: str, minute: str, hour: str, moment: datetime
) -> None:
    cron = Cron(f"{minute} {hour} * * *", tz=zone)
    first = cron.next_after(moment)
    assert first is not None
    assert first > moment
    for part in (0.1, 0.5, 0.9):
        between = moment + (first - moment) * part
        assert cron.next_after(between) == first
    assert cron.next_after(first) != first


@pytest.mark.parametrize("zone", [*CHANGES, "UTC"])
def test_leap_days_and_the_last_second_of_a_year(zone: str) -> None:
    place = ZoneInfo(zone)
    leap = Cron("0 12 29 2 *", tz=zone).upcoming(3, after=datetime(2026, 1, 1, tzinfo=UTC))
    assert [tick.date() for tick in leap] == [
        date(2028, 2, 29),
        date(2032, 2, 29),
        date(2036, 2, 29),
    ]
    last = Cron("59 59 23 31 12 *", tz=zone)
    assert last.upcoming(2, after=datetime(2026, 5, 1, tzinfo=place)) == [
        datetime(2026, 12, 31, 23, 59, 59, tzinfo=place),
        datetime(2027, 12, 31, 23, 59, 59, tzinfo=place),
    ]
    new_year = datetime(2027, 1, 1, tzinfo=place)
    assert Cron("@yearly", tz=zone).next_after(new_year - timedelta(seconds=1)) == new_year


def test_the_ticks_end_with_the_calendar() -> None:
    late = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    assert Cron("* * * * *", tz="America/New_York").upcoming(2, after=late) == []
