"""What is counted, and what it costs in memory: in one process, without a database."""

import logging
import subprocess
import sys
from collections.abc import Mapping

import pytest

from soniq_dashboard import BOUNDS, Durations
from soniq_dashboard.counters import Counters, Series
from soniq_dashboard.writing import rows_of

from .conftest import outcome

NOON = 1_900_000_800.0
"""A full hour, in seconds since 1970."""


def done(taken: Mapping[int, Series]) -> dict[int, int]:
    """How many jobs were done, by minute."""
    return {
        number: sum(counts.ways[0] for counts in series.values())
        for number, series in taken.items()
    }


def test_what_is_counted_belongs_to_the_minute_of_the_databases_clock() -> None:
    counters = Counters()
    for seconds in (0.0, 59.0, 60.5, 3_600.0):
        counters.set_clock(NOON + seconds)
        counters.add([outcome()])
    noon = int(NOON // 60)
    assert done(counters.take()) == {noon: 2, noon + 1: 1, noon + 60: 1}


def test_what_was_counted_before_the_time_was_known_is_of_the_minute_in_which_it_is() -> None:
    counters = Counters()
    counters.add([outcome()] * 3)
    counters.set_clock(NOON)
    counters.add([outcome()])
    assert done(counters.take()) == {int(NOON // 60): 4}


def test_what_was_taken_is_not_taken_again_and_what_is_put_back_is() -> None:
    counters = Counters()
    counters.set_clock(NOON)
    counters.add([outcome(took=0.5), outcome(took=None)])
    taken = counters.take()
    assert not counters
    counters.add([outcome(took=0.25)])
    assert counters.put_back(taken) == 0
    ((counts,),) = [series.values() for series in counters.take().values()]
    assert (counts.ways[0], counts.took, sum(counts.took_buckets)) == (3, 0.75, 2)


def test_of_what_cannot_be_written_the_newest_ten_minutes_are_kept() -> None:
    counters = Counters()
    for minute in range(14):
        counters.set_clock(NOON + 60 * minute)
        counters.add([outcome()])
    assert counters.put_back(counters.take()) == 4
    noon = int(NOON // 60)
    assert done(counters.take()) == dict.fromkeys(range(noon + 4, noon + 14), 1)


def test_ten_thousand_names_are_five_hundred_series_and_one_for_the_rest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counters = Counters()
    counters.set_clock(NOON)
    with caplog.at_level(logging.WARNING, "soniq.dashboard"):
        counters.add([outcome(f"job {number}") for number in range(10_000)])
        counters.set_clock(NOON + 60)
        counters.add([outcome("job 9"), outcome("job 9999")])
    first, second = counters.take().values()
    assert len(first) == 501
    assert sum(counts.ways[0] for counts in first.values()) == 10_000
    assert first["(other)", "(other)"].ways[0] == 9_500
    assert set(second) == {("default", "job 9"), ("(other)", "(other)")}
    assert len(caplog.records) == 1


def test_rows_are_sums_of_each_tier_in_the_order_of_their_keys() -> None:
    counters = Counters()
    for minute in (0, 9, 10, 59):
        counters.set_clock(NOON + 60 * minute)
        counters.add([outcome("b"), outcome("a"), outcome("a", "Z")])
    rows = rows_of(counters.take())
    keys = [(row["tier"], row["at"], row["queue"], row["name"]) for row in rows]
    assert keys == sorted(keys)
    found = {
        (row["tier"], (row["at"] - NOON) / 60, row["name"]): row["done"]  # type: ignore[operator]
        for row in rows
        if row["queue"] == "default"
    }
    assert found == {
        **{(1, minute, name): 1 for minute in (0, 9, 10, 59) for name in "ab"},
        **{(10, at, name): n for at, n in ((0, 2), (10, 1), (50, 1)) for name in "ab"},
        **{(60, 0, name): 4 for name in "ab"},
    }


@pytest.mark.parametrize("seconds", [0.0, 0.004, 0.02, 1.0, 77.0, 3_000.0])
def test_a_quantile_is_off_by_22_percent_at_most(seconds: float) -> None:
    counters = Counters()
    counters.add([outcome(took=seconds)] * 10)
    counters.set_clock(NOON)
    (series,) = counters.take().values()
    (counts,) = series.values()
    durations = Durations(counts.took, counts.took_buckets)
    assert durations.count == 10
    assert durations.mean == pytest.approx(seconds)
    for share in (0.0, 0.5, 1.0):
        found = durations.quantile(share)
        assert found is not None
        assert found <= BOUNDS[0] if seconds < BOUNDS[0] else abs(found / seconds - 1) < 0.23


def test_quantiles_are_of_those_that_there_are() -> None:
    assert Durations().quantile(0.5) is None
    assert Durations().mean is None
    durations = Durations(100.0, (90, 0, 9, *[0] * 31, 1))
    assert durations.quantile(0.5) == durations.quantile(0.9) == pytest.approx(0.005 / 1.5**0.5)
    assert durations.quantile(0.95) == pytest.approx(BOUNDS[2] / 1.5**0.5)
    assert durations.quantile(1.0) == BOUNDS[-1]


def test_a_worker_with_the_plugin_loads_no_web_framework() -> None:
    program = (
        "import sys, soniq_dashboard\n"
        "web = ('starlette', 'fastapi', 'flask', 'django', 'aiohttp', 'uvicorn', 'jinja2', 'http.server')\n"
        "print([each for each in web if each in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    assert found.stdout == "[]\n"
