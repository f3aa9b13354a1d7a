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
from soniq_dashboard.writing import Writer

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
