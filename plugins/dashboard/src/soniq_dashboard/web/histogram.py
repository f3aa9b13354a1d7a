"""How durations are spread: a column for each bucket, each 1.5 times as long as the one before."""

from collections.abc import Sequence
from dataclasses import dataclass

from soniq_dashboard.durations import BOUNDS, Durations
from soniq_dashboard.figures import about, duration, number

from .charts import HEIGHT, MARGIN, MOST_TICKS, WIDTH

LEAST = 8
"""Columns, so that a few are not as wide as the drawing."""
LOW = 1.5
"""How high a column is at least that is not empty, so that it can be seen."""
GAP = 2
"""Between two columns."""
SHARES = {"p50 ≈": 0.5, "p95 ≈": 0.95, "p99 ≈": 0.99}


@dataclass(frozen=True, slots=True)
class Column:
    """How many were in a bucket."""

    text: str
    """The bucket, in words."""
    count: int
    share: float
    """Of all, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram as it is drawn."""

    columns: Sequence[Column]
    path: str
    """All columns, as SVG has them."""
    most: int
    """What the upper edge stands for."""
    ticks: Sequence[tuple[float, str]]
    """Times below it, and where they are, from 0 at the left to 1."""
    quantiles: Sequence[tuple[str, str]]
    told: str
    """What it shows, in words."""


def histogram(durations: Durations) -> Histogram | None:
    """A histogram of the buckets that are not empty; None where all are."""
    if not durations.count:
        return None

    shown = _shown(durations.buckets)
    counts = [durations.buckets[n] if n < len(durations.buckets) else 0 for n in shown]
    most, all_of_them = max(counts), durations.count
    quantiles = [(text, about(durations.quantile(share))) for text, share in SHARES.items()]
    told = ", ".join(f"{text} {value}" for text, value in quantiles)

    return Histogram(
        [Column(_text(n), each, each / all_of_them) for n, each in zip(shown, counts, strict=True)],
        _path(counts, most),
        most,
        _ticks(shown),
        quantiles,
        f"Run times of {number(all_of_them)} attempts: {told}; most of one column {number(most)}",
    )


def _shown(buckets: Sequence[int]) -> range:
    """The buckets from the first to the last that are not empty, and some around them."""
    filled = [place for place, count in enumerate(buckets) if count]
    first, last, end = filled[0], filled[-1] + 1, len(BOUNDS) + 1
    missing = max(LEAST - (last - first), 0)
    first = max(min(first - missing // 2, end - LEAST), 0)
    return range(first, min(max(last, first + LEAST), end))


def _text(place: int) -> str:
    if place == 0:
        return f"up to {duration(BOUNDS[0])}"
    if place == len(BOUNDS):
        return f"over {duration(BOUNDS[-1])}"
    return f"{duration(BOUNDS[place - 1])} to {duration(BOUNDS[place])}"


def _path(counts: Sequence[int], most: int) -> str:
    wide = WIDTH / len(counts)
    return "".join(
        f"M{n * wide + GAP / 2:.1f} {HEIGHT}V{HEIGHT - max(each / most * HEIGHT, LOW):.1f}"
        f"h{wide - GAP:.1f}V{HEIGHT}z"
        for n, each in enumerate(counts)
        if each
    )


def _ticks(shown: range) -> Sequence[tuple[float, str]]:
    """The ends of some of the buckets."""
    step = -(-len(shown) // MOST_TICKS)
    ends = [(n + 1 - shown.start, n) for n in shown if n < len(BOUNDS) and n % step == 0]
    places = [(end / len(shown), duration(BOUNDS[n])) for end, n in ends]
    return [each for each in places if MARGIN <= each[0] <= 1 - MARGIN]
