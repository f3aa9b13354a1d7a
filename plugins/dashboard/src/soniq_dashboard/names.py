"""What the jobs of each name did."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
    waited: float | None
    """Of a hundred attempts, five waited longer."""
    total: float
    """Seconds of all attempts together."""


def names_of(totals: Iterable[Point]) -> Sequence[Name]:
    """Names by the time that their attempts took together, of one point for each."""
    return sorted(map(_name, totals), key=lambda each: -each.total)


def _name(total: Point) -> Name:
    return Name(
        total.name or "",
        total.done + total.failed,
        total.failed,
        total.took.quantile(0.5),
        total.took.quantile(0.95),
        total.waited.quantile(0.95),
        total.took.seconds,
    )
