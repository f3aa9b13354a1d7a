"""What the jobs of each name did."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from .durations import Durations
from .reading import Point


@dataclass(frozen=True, slots=True)
class Name:
    """What the jobs of a name did in a time."""

    name: str
    runs: int
    failed: int
    median: float | None
    slow: float | None
    """Of a hundred attempts, five took longer."""
    rare: float | None
    """Of a hundred attempts, one took longer."""
    waited: float | None
    """Of a hundred attempts, five waited longer."""
    total: float
    """Seconds of all attempts together."""
    took: Durations
    """How long they took."""


def names_of(totals: Iterable[Point]) -> Sequence[Name]:
    """Names by the time that their attempts took together, of one point for each."""
    return sorted(map(_name, totals), key=lambda each: -each.total)


def name_of(name: str, points: Iterable[Point]) -> Name:
    """One name, of points one after the other."""
    several = [*points]
    took, waited = (_sum([getattr(each, what) for each in several]) for what in ("took", "waited"))
    failed = sum(each.failed for each in several)
    runs = sum(each.done for each in several) + failed
    return _made(name, runs, failed, took, waited)


def _sum(several: Sequence[Durations]) -> Durations:
    buckets = zip_longest(*(each.buckets for each in several), fillvalue=0)
    return Durations(sum(each.seconds for each in several), [*map(sum, buckets)])


def _name(total: Point) -> Name:
    runs = total.done + total.failed
    return _made(total.name or "", runs, total.failed, total.took, total.waited)


def _made(name: str, runs: int, failed: int, took: Durations, waited: Durations) -> Name:
    median, slow, rare = took.quantiles(0.5, 0.95, 0.99)
    return Name(
        name=name,
        runs=runs,
        failed=failed,
        median=median,
        slow=slow,
        rare=rare,
        waited=waited.quantile(0.95),
        total=took.seconds,
        took=took,
    )
