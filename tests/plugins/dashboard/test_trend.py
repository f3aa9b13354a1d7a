"""Whether a queue is being worked off, and until when."""

from datetime import UTC, datetime, timedelta

import pytest

from soniq import Count
from soniq_dashboard.reading import Gauge
from soniq_dashboard.trend import trend


def samples(*waiting: int) -> list[Gauge]:
    """One each two minutes."""
    began = datetime(2030, 1, 31, 12, tzinfo=UTC)
    return [
        Gauge(
            at=began + timedelta(minutes=2 * n), waiting=each, oldest=0.0, scheduled=0, running=0,
            held=0, workers=1, slots=1, busy=0,
        )
        for n, each in enumerate(waiting)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("waiting", "now", "says"),
    [
        ((900, 700, 500), 400, "empty in about 4 m 0 s, at the pace of now"),
        ((100, 400, 4_100), 5_000, "1,000 more wait each minute"),
        ((500, 400, 501), 500, ""),  # about as many
        ((900, 500), 400, ""),  # too short a time
        ((900, 700, 500), 0, ""),
        ((), 400, ""),
    ],
)
def test_a_trend_is_told_where_there_is_one(waiting: tuple[int, ...], now: int, says: str) -> None:
    assert trend(samples(*waiting), Count(value=now, exact=True)) == says


def test_where_not_all_that_waits_is_counted_no_end_is_told() -> None:
    found = trend(samples(90_000, 70_000, 50_000), Count(value=50_000, exact=False))
    assert found == ""
