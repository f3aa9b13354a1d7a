"""Reading what was counted: over time, by queue and job, in steps."""

import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from soniq import InvalidOption, Soniq
from soniq.errors import AppNotStarted
from soniq_dashboard import Dashboard
from soniq_dashboard.counters import Counters
from soniq_dashboard.database import CannotRead, migration
from soniq_dashboard.durations import BOUNDS
from soniq_dashboard.reading import parts
from soniq_dashboard.writing import Writer
from tests.conftest import MakeApp

from .conftest import LONG_AGO, outcome

HOUR = 3_600


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


@pytest.fixture
async def filled(app: Soniq) -> Soniq:
    """What two jobs did in the last four days: each hour, at its beginning."""
    await app.start()
    counters, now = Counters(), time.time() // HOUR * HOUR
    writer = Writer(app, counters, 60)
    for hour in range(96):
        counters.set_clock(now - HOUR * hour)
        counters.add([outcome("a", took=0.1), outcome("a", "mail", took=10), outcome("b", took=1)])
        await writer.write()
    return app


async def test_points_are_sums_of_all_or_of_one_queue_or_job(
    filled: Soniq, dashboard: Dashboard
) -> None:
    async def last(**options: Any) -> dict[tuple[str | None, str | None], int]:
        points = await dashboard.series(ago(HOUR / 2 + 1_800), step=60, **options)
        newest = max(each.at for each in points)
        return {(each.queue, each.name): each.done for each in points if each.at == newest}

    assert await last() == {(None, None): 3}
    assert await last(queue="default") == {(None, None): 2}
    assert await last(name="a") == {(None, None): 2}
    assert await last(name="a", queue="mail") == {(None, None): 1}
    assert await last(by=["name"]) == {(None, "a"): 2, (None, "b"): 1}
    assert await last(by=["queue"]) == {("default", None): 2, ("mail", None): 1}
    assert await last(by=["queue", "name"], name="a") == {("default", "a"): 1, ("mail", "a"): 1}


async def test_durations_are_added_up_bucket_by_bucket(filled: Soniq, dashboard: Dashboard) -> None:
    points = await dashboard.series(ago(5 * HOUR), step=60)
    for point in points:
        assert point.took.count == point.waited.count == 3
        assert point.took.seconds == pytest.approx(11.1)
        assert point.waited.mean == pytest.approx(0.2)
        for share, seconds in ((0.3, 0.1), (0.5, 1.0), (0.9, 10.0)):
            assert point.took.quantile(share) == pytest.approx(seconds, rel=0.23)


async def test_totals_are_one_point_of_the_whole_time(filled: Soniq, dashboard: Dashboard) -> None:
    since = ago(48 * HOUR + 1)
    (total,) = await dashboard.totals(since)
    points = await dashboard.series(since)
    assert total.done == sum(each.done for each in points)
    assert total.took.count == sum(each.took.count for each in points)
    assert total.took.seconds == pytest.approx(sum(each.took.seconds for each in points))

    by_name = await dashboard.totals(since, by=["name"])
    assert {each.name: each.done for each in by_name} == {
        "a": total.done * 2 // 3,
        "b": total.done // 3,
    }
    assert [each.took.quantile(0.5) for each in by_name if each.name == "b"] == [
        pytest.approx(1.0, rel=0.23)
    ]


@pytest.fixture
async def minutely(app: Soniq) -> Soniq:
    """What a job did in the last three hours: in each minute some more, until long after now."""
    await app.start()
    counters, now = Counters(), time.time() // 60 * 60
    writer = Writer(app, counters, 60)
    for minute in range(-90, 180):
        counters.set_clock(now - 60 * minute)
        counters.add([outcome("a", took=0.1 * (minute + 91))] * (minute % 7 + 1))
        await writer.write()
    return app


@pytest.mark.parametrize("step", [1, 10, 60])
async def test_totals_are_the_sums_of_the_rows_of_their_step(
    minutely: Soniq, dashboard: Dashboard, step: Any
) -> None:
    async def same(since: datetime, until: datetime) -> None:
        points = await dashboard.series(since, until, step=step)
        totals = await dashboard.totals(since, until, step=step)
        assert sum(each.done for each in totals) == sum(each.done for each in points)
        for what in ("took", "waited"):
            buckets = [getattr(each, what).buckets for each in points]
            total = [getattr(each, what).buckets for each in totals]
            assert [*map(sum, zip(*buckets, strict=True))] == [*map(sum, zip(*total, strict=True))]

    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    for since, until in itertools.product(
        (now - timedelta(minutes=171), hour - timedelta(hours=2), now - timedelta(minutes=8)),
        (now, now - timedelta(minutes=23), hour, now - timedelta(minutes=7, seconds=30)),
    ):
        await same(since, until)


async def test_totals_leave_rows_that_are_kept_for_less_time(
    minutely: Soniq, make_app: MakeApp
) -> None:
    since, until = ago(3 * HOUR), ago(HOUR / 2)
    async with minutely.connection() as connection:
        schema = minutely.plugin_schema("dashboard")
        (point,) = await minutely.plugin(Dashboard).totals(since, until, step=10)
        await connection.execute(f"delete from {schema}.series where tier = 60")
    assert await minutely.plugin(Dashboard).totals(since, until, step=10) != [point]

    async with make_app(plugins=[Dashboard(keep_1h=HOUR)]) as other:
        (kept,) = await other.plugin(Dashboard).totals(since, until, step=10)
    assert (kept.done, kept.took.buckets) == (point.done, point.took.buckets)


async def test_sums_of_buckets_are_exact_however_large(app: Soniq, dashboard: Dashboard) -> None:
    """Of each bucket as much as a row can have of it, and of rows that have fewer buckets, or none."""
    await app.start()
    most, full = 2**31 - 1, len(BOUNDS) + 1
    several = [[most] * full, [most] * full, [7], [], [0, 0, 5], [most - n for n in range(full)]]
    async with app.connection() as connection:
        await connection.executemany(
            f"insert into {app.plugin_schema('dashboard')}.series (tier, at, queue, name, done, dead,"
            " cancelled, retry, snooze, lost, stopped, took, waited, took_buckets, waited_buckets)"
            " values (60, to_timestamp(0), 'default', $1, 1, 0, 0, 0, 0, 0, 0, 1, 1, $2, $3)",
            [(f"job {n}", each, each[::-1]) for n, each in enumerate(several)],
        )
    (point,) = await dashboard.series(datetime.fromtimestamp(0, UTC), step=60)
    for found, rows in (
        (point.took.buckets, several),
        (point.waited.buckets, [each[::-1] for each in several]),
    ):
        assert found == [*map(sum, itertools.zip_longest(*rows, fillvalue=0))]
    (none,) = await dashboard.series(datetime.fromtimestamp(0, UTC), step=60, name="job 3")
    assert (none.took.buckets, none.took.quantile(0.5)) == ([0] * full, None)


async def test_rows_that_were_there_before_the_sums_were_are_summed_up(
    minutely: Soniq, dashboard: Dashboard
) -> None:
    since = ago(2 * HOUR)
    before = await dashboard.totals(since, by=["name"])
    schema = minutely.plugin_schema("dashboard")
    async with minutely.connection() as connection:
        await connection.execute(
            f"alter table {schema}.series drop column took_packed, drop column waited_packed"
        )
        with pytest.raises(CannotRead, match="soniq setup makes them"):
            await dashboard.totals(since, by=["name"])
        await connection.execute(migration("0008_packed").replace("{schema}", schema))
    assert await dashboard.totals(since, by=["name"]) == before


def test_totals_are_of_the_fewest_rows() -> None:
    at = datetime(2030, 1, 1, 10, 57, 30, tzinfo=UTC)
    keep = {1: 1.0, 10: 1.0, 60: 1.0}
    found = parts(keep, at.replace(second=0), at + timedelta(days=1), 1)
    rows = {(tier, (until - since) / timedelta(minutes=tier)) for tier, since, until in found}
    assert rows == {(1, 3.0), (60, 23.0), (10, 5.0), (1, 7.5)}
    assert [each[1] for each in found[1:]] == [each[2] for each in found[:-1]]


async def test_without_durations_there_are_the_same_counts_and_seconds(
    filled: Soniq, dashboard: Dashboard
) -> None:
    async def counts(durations: bool) -> Any:
        points = await dashboard.series(
            ago(5 * HOUR), by=["queue"], step=60, durations=durations
        )  # fmt: skip
        assert all(bool(sum(each.took.buckets)) == durations for each in points)
        return [
            (each.at, each.queue, each.done, each.took.seconds, each.waited.seconds)
            for each in points
        ]

    assert await counts(True) == await counts(False) != []


async def test_the_step_goes_by_the_length_of_time(filled: Soniq, dashboard: Dashboard) -> None:
    def steps(points: Any) -> set[timedelta]:
        return {b.at - a.at for a, b in itertools.pairwise(points)}

    assert len(await dashboard.series(ago(5.5 * HOUR))) in (5, 6)
    for since, until in ((5 * HOUR, None), (90 * HOUR, None), (90 * HOUR, 80 * HOUR)):
        points = await dashboard.series(ago(since), ago(until) if until else None)
        assert steps(points) == {timedelta(hours=1)}
    assert await dashboard.series(ago(200 * HOUR), ago(150 * HOUR)) == []
    assert len(await dashboard.series(LONG_AGO)) == 96


async def test_what_begins_within_a_point_has_that_point(app: Soniq, dashboard: Dashboard) -> None:
    await app.start()
    waiting = dashboard.settled([outcome()])
    assert waiting is not None
    await waiting
    for step in (1, 10, 60):
        (point,) = await dashboard.series(datetime.now(UTC), step=step)
        assert point.at.timestamp() % (60 * step) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"since": datetime(2030, 1, 1)}, "since= has no time zone"),
        ({"until": datetime(2030, 1, 1)}, "until= has no time zone"),
        ({"step": 5}, "step= is 1, 10, 60 or 720 minutes; got 5"),
        ({"by": "name"}, "by= is a list of"),
        ({"by": ["job"]}, "by= is a list of"),
    ],
)
async def test_what_cannot_be_asked_is_said(
    app: Soniq, dashboard: Dashboard, options: Any, words: str
) -> None:
    await app.start()
    with pytest.raises(InvalidOption, match=words):
        await dashboard.series(**{"since": LONG_AGO, **options})


async def test_it_is_read_while_the_app_is_in_use() -> None:
    with pytest.raises(AppNotStarted):
        await Dashboard().series(LONG_AGO)
