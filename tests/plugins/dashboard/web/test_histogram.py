"""Histograms of durations: columns that are right, named in words."""

import re

from soniq_dashboard import Durations
from soniq_dashboard.durations import BOUNDS
from soniq_dashboard.web.charts import HEIGHT, WIDTH
from soniq_dashboard.web.histogram import histogram


def _buckets(**counts: int) -> Durations:
    found = [0] * (len(BOUNDS) + 1)
    for place, count in counts.items():
        found[int(place[1:])] = count
    return Durations(1.0, found)


def test_each_bucket_is_a_column_as_high_as_its_share_of_the_most() -> None:
    made = histogram(_buckets(_10=50, _12=100, _19=1))
    assert made is not None
    assert [each.count for each in made.columns] == [50, 0, 100, 0, 0, 0, 0, 0, 0, 1]
    assert [made.columns[n].text for n in (0, 2)] == ["192 ms to 288 ms", "432 ms to 649 ms"]
    assert made.columns[2].share == 100 / 151
    wide = WIDTH / 10
    found = re.findall(rf"M([\d.]+) {HEIGHT}V([\d.]+)h([\d.]+)V{HEIGHT}z", made.path)
    assert [(float(x), float(y)) for x, y, _ in found] == [
        (1, HEIGHT / 2), (2 * wide + 1, 0), (9 * wide + 1, HEIGHT - 1.5),
    ]  # fmt: skip
    assert made.told == (
        "Run times of 151 attempts: p50 ≈ 530 ms, p95 ≈ 530 ms, p99 ≈ 530 ms;"
        " most of one column 100"
    )
    places = [place for place, _ in made.ticks]
    assert places == sorted(places)
    assert made.ticks[0] == (0.1, "288 ms")


def test_the_first_and_the_last_bucket_have_one_end_and_few_are_not_wide() -> None:
    for place, count in ((0, 3), (len(BOUNDS), 2)):
        made = histogram(_buckets(**{f"_{place}": count}))
        assert made is not None
        assert len(made.columns) == 8
        assert sum(each.count for each in made.columns) == count
    assert made is not None
    assert made.columns[-1].text == "over 53 m 55 s"
    first = histogram(Durations(0.1, [3]))
    assert first is not None
    assert (first.columns[0].text, first.columns[0].count) == ("up to 5.0 ms", 3)


def test_of_nothing_there_is_none() -> None:
    assert histogram(Durations()) is None
