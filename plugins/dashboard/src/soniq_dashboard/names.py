"""What the jobs of each name did."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .durations import together
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


def names_of(points: Iterable[Point]) -> Sequence[Name]:
    """Names by the time that their attempts took together, of points by name."""
    of_name: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        of_name[point.name or ""].append(point)
    return sorted((_name(*each) for each in of_name.items()), key=lambda each: -each.total)


def _name(name: str, points: Sequence[Point]) -> Name:
    took = together([each.took for each in points])
    failed = sum(each.dead + each.retry + each.lost for each in points)
    return Name(
        name,
        sum(each.done for each in points) + failed,
        failed,
        took.quantile(0.5),
        took.quantile(0.95),
        together([each.waited for each in points]).quantile(0.95),
        took.seconds,
    )
