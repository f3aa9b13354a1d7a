"""Jobs by name: how many ran, how many failed, how long they took."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from soniq_dashboard.collector import Collector
from soniq_dashboard.reading import Point
from soniq_dashboard.web.view import View

from . import Page
from .series import FRESH, WINDOWS, charts, chosen, collector, together


@dataclass(frozen=True, slots=True)
class Name:
    """What the jobs of a name did in a window."""

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


async def read(view: View) -> Mapping[str, object]:
    counts, window = collector(view), chosen(view)
    names: Sequence[Name] = ()
    if counts is not None:
        names = await view.shared.get(("names", window), lambda: _names(counts, window), FRESH)
    return {
        "names": names,
        "counted": counts is not None,
        "window": window,
        "windows": [(each, view.url("/names", window=each)) for each in WINDOWS],
    }


async def read_one(view: View) -> Mapping[str, object]:
    """One name, with its charts."""
    name = view.text("name")
    return {"name": name, **await charts(view, "/names/one", name=name)}


async def _names(counts: Collector, window: str) -> Sequence[Name]:
    until = datetime.now(UTC)
    points = await counts.series(until - WINDOWS[window].length, until, by=["name"])
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


PAGE = Page("/names", "names.html", read, "Names", "n")
ONE = Page("/names/one", "name.html", read_one, "Name")
