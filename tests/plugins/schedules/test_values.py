"""Cron, Every and Several: what they mean, and what is refused."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from soniq import InvalidOption
from soniq_schedules import Cron, Every, Several, When
from soniq_schedules.plan import plan

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
WEST = timezone(timedelta(hours=-12))


def shown(when: When, count: int = 3) -> list[str]:
    return [f"{tick:%m-%d %H:%M:%S}" for tick in when.upcoming(count, after=BEGIN)]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (Cron("30 2 * * *"), ["01-01 02:30:00", "01-02 02:30:00", "01-03 02:30:00"]),
        (Cron("*/20 30 2 * * *"), ["01-01 02:30:00", "01-01 02:30:20", "01-01 02:30:40"]),
        (Cron("@hourly"), ["01-01 01:00:00", "01-01 02:00:00", "01-01 03:00:00"]),
        (Cron("0 0 L * *"), ["01-31 00:00:00", "02-28 00:00:00", "03-31 00:00:00"]),
        (Cron("0 8 * * mon#1"), ["01-05 08:00:00", "02-02 08:00:00", "03-02 08:00:00"]),
        (Cron("0 0 13 * fri"), ["01-02 00:00:00", "01-09 00:00:00", "01-13 00:00:00"]),
        (Every(minutes=90), ["01-01 01:30:00", "01-01 03:00:00", "01-01 04:30:00"]),
        (Every(days=1, start=BEGIN + timedelta(hours=8)), ["01-01 08:00:00", "01-02 08:00:00", "01-03 08:00:00"]),
        (Cron("@daily", start=datetime(2026, 6, 1, tzinfo=UTC), end=datetime(2026, 6, 2, tzinfo=UTC)), ["06-01 00:00:00", "06-02 00:00:00"]),
    ],
)  # fmt: skip
def test_the_next_ticks(when: When, expected: list[str]) -> None:
    assert shown(when) == expected


def test_the_ticks_of_an_expression_are_in_its_own_zone() -> None:
    (tick,) = Cron("30 2 * * *", tz="Europe/Berlin").upcoming(1, after=BEGIN)
    assert tick.tzinfo == ZoneInfo("Europe/Berlin")
    assert (tick.hour, tick.minute) == (2, 30)


def test_an_interval_is_counted_from_its_anchor_and_not_from_now() -> None:
    every = Every(hours=36)
    now = BEGIN + timedelta(days=400, hours=5)
    tick = every.next_after(now, BEGIN)
    assert tick is not None
    assert (tick - BEGIN) % timedelta(hours=36) == timedelta(0)
    assert timedelta(0) < tick - now <= timedelta(hours=36)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Cron("61 * * * *"), r"the minute '61' cannot be; it takes 0 to 59"),
        (lambda: Cron("0 0 25 * * *"), r"the hour '25' cannot be; it takes 0 to 23"),
        (lambda: Cron("* * * *"), r"it has 5 or 6 fields; these are 4"),
        (lambda: Cron("@never"), r"there are @yearly"),
        (lambda: Cron("@every 5m"), r"an interval is Every\(minutes=5\)"),
        (lambda: Cron("* * * * 1L/2"), r"it cannot be read|day-of-week '1L/2' cannot be"),
        (lambda: Cron("0 0 30 2 *"), r"the day-of-month '30' cannot be|never comes"),
        (lambda: Cron("0 0 31 2,4,6 *"), r"cannot be|never comes"),
        (lambda: Cron("* * */20 * 1L"), r"never comes"),
        (lambda: Cron("@yearly", start=BEGIN + timedelta(days=1), end=BEGIN + timedelta(days=2)), r"never comes between"),
        (lambda: Cron("@daily", tz="Europe/Berln"), r"no time zone; did you mean 'Europe/Berlin'"),
        (lambda: Cron("@daily", tz="+02:00"), r"no time zone"),
        (lambda: Cron("@daily", tz=ZoneInfo("Europe/Berlin")), r"did you mean 'Europe/Berlin'\?"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", tz="utc"), r"did you mean 'UTC'\?"),
        (lambda: Cron("@daily", tz="localtime"), r"tz= 'localtime' is no time zone"),
        (lambda: Cron(5), r"expression= is text"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", catch_up="some"), r"catch_up= is one of"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", window=0), r"window= is a number of seconds above 0"),
        (lambda: Cron("@daily", window="1d"), r"window= is a number"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", cap=0), r"cap= is an integer"),
        (lambda: Cron("@daily", jitter=2), r"jitter= is a share from 0 to 1"),
        (lambda: Cron("@daily", start=datetime(2026, 1, 1)), r"start= is a datetime with a time zone"),
        (lambda: Cron("@daily", end="2026"), r"end= is a datetime"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", start=BEGIN, end=BEGIN - timedelta(1)), r"end= is not before start"),
        (lambda: Cron("@daily", args=[1]), r"args= are the arguments by name"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", catch_up="all", overlap="skip"), r"catch_up='all' makes several"),
        (lambda: Every(), r"makes a second at least"),
        (lambda: Every(minutes=-5), r"minutes= makes a second at least; got {'minutes': -5}"),
        (lambda: Every(seconds=0.5), r"a second at least"),
        (lambda: Every(hours="1"), r"hours= makes"),  # type: ignore[arg-type]
        (lambda: Every(days=1e12), r"days= makes"),
        (lambda: Several(), r"there is no schedule in it"),
        (lambda: Several(one="@daily"), r"one= is a Cron or an Every"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", tz=["UTC"]), r"tz= \['UTC'\] is no time zone"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", window=10**400), r"window= is a number of seconds above 0; got 1000"),
        (lambda: Cron("@daily", cap=10**5000), r"cap= is an integer .*; got a value of type int that cannot be shown"),
        (lambda: Cron("@daily", jitter=10**5000), r"jitter= is a share from 0 to 1; got a value of type int"),
        (lambda: Cron("@daily", catch_up=10**5000), r"catch_up= is one of .*; got a value of type int"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", start=datetime.min.replace(tzinfo=UTC)), r"start= is between 0001-01-04 and 9999-12-28"),
        (lambda: Every(days=1, start=datetime.min.replace(tzinfo=UTC)), r"start= is between"),
        (lambda: Every(days=1, end=datetime.max.replace(tzinfo=WEST)), r"end= is between"),
        (lambda: Every(seconds=10**5000), r"seconds= makes a second at least; got a value of type dict"),
        (lambda: Cron("@daily").upcoming(1, after=datetime(2026, 1, 1)), r"after= is a datetime with"),
        (lambda: Cron("@daily").next_after(datetime(2026, 1, 1)), r"moment= is a datetime with"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_where_it_is_written(
    make: Callable[[], object], said: str
) -> None:
    with pytest.raises(InvalidOption, match=said):
        make()


def test_one_whose_end_is_past_may_stand_in_the_code() -> None:
    past = Cron(
        "@daily", start=datetime(2020, 1, 1, tzinfo=UTC), end=datetime(2020, 2, 1, tzinfo=UTC)
    )
    assert past.upcoming(1, after=BEGIN) == []


def test_a_year_of_missed_seconds_is_not_counted_through() -> None:
    when = Cron("* * * * * *")
    now = BEGIN + timedelta(days=365)
    planned = plan(when, BEGIN, now, BEGIN)
    assert planned.ticks == [now]
    assert planned.following == now + timedelta(seconds=1)
    assert planned.left_out
