"""What jobs did over time, as the collector has counted it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

from soniq.errors import PluginNotLoaded
from soniq_dashboard.collector import Collector
from soniq_dashboard.database import CannotRead
from soniq_dashboard.figures import about, number
from soniq_dashboard.names import Name, name_of, names_of
from soniq_dashboard.reading import Gauge, Point, read_gauges, read_overview
from soniq_dashboard.web.charts import Chart, Line, chart
from soniq_dashboard.web.view import View

T = TypeVar("T")

FRESH = 15.0
"""Seconds for which they are shown again."""


@dataclass(frozen=True, slots=True)
class Window:
    """A time up to now, the minutes of one of its points, and of the rows of which the sums of all
    of it are made.
    """

    length: timedelta
    step: int
    coarse: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """The charts of a page."""

    charts: Sequence[Chart]
    of_name: Name | None = None
    """What they show of one name together."""
    since: datetime | None = None
    names: Sequence[Name] = ()
    """Where they show all jobs: each name, by the time that it took, since when."""


WINDOWS = {
    "1h": Window(timedelta(hours=1), 1, 10),
    "6h": Window(timedelta(hours=6), 1, 10),
    "24h": Window(timedelta(hours=24), 10, 60),
    "7d": Window(timedelta(days=7), 60, 60),
    "90d": Window(timedelta(days=90), 720, 60),
}


def collector(view: View) -> Collector | None:
    """The plugin that counts; None where the app does not have it."""
    try:
        return view.app.plugin(Collector)
    except PluginNotLoaded:
        return None


def chosen(view: View) -> str:
    """The name of the window that the address says. Raises `BadRequest`."""
    return view.choice("window", WINDOWS, "1h")


async def counted(
    view: View, what: object, read: Callable[[], Awaitable[Sequence[T]]]
) -> tuple[Sequence[T], str]:
    """What was counted, shared by all who look; where it cannot be read it is empty, and why."""
    try:
        return await view.shared.get(what, read, FRESH), ""
    except CannotRead as error:
        return (), str(error)


async def charts(
    view: View, path: str, queue: str | None = None, name: str | None = None
) -> Mapping[str, Any]:
    """The charts of a page, what they show of a name together, and the links to their other
    windows.
    """
    counts, window = collector(view), chosen(view)
    drawn: Sequence[Drawn] = ()
    missing = ""
    if counts is not None:
        key = ("charts", window, queue, name)
        drawn, missing = await counted(
            view, key, lambda: _drawn(view, counts, WINDOWS[window], queue, name)
        )
    shown = drawn[0] if drawn else Drawn(())
    return {
        "charts": shown.charts,
        "of_name": shown.of_name,
        "since": shown.since,
        "names": shown.names,
        "missing": missing,
        "window": window,
        "windows": [
            (each, view.url(path, window=each, queue=queue, name=name)) for each in WINDOWS
        ],
    }


async def _drawn(
    view: View, counts: Collector, window: Window, queue: str | None, name: str | None
) -> Sequence[Drawn]:
    until = datetime.now(UTC)
    since, step = until - window.length, window.step
    names: Sequence[Point] = ()
    if queue is None and name is None:
        read = await read_overview(view.app, since, until, step, window.coarse)
        points, names, gauges = read.points, read.names, read.gauges
    else:
        points = await counts.series(since, until, queue=queue, name=name, step=step)  # type: ignore[arg-type]
        gauges = await read_gauges(view.app, since, until, queue, step, empty=True)

    complete = until - timedelta(minutes=step, seconds=counts.interval)
    times = times_of(since, until, step)
    drawn = _charts(times, complete, step, points, gauges, of_name=bool(name))
    if name:
        return [Drawn(drawn, name_of(name, points))]
    return [Drawn(drawn, since=names[0].at if names else None, names=names_of(names))]


def _charts(
    times: Sequence[datetime],
    complete: datetime,
    step: int,
    points: Sequence[Point],
    gauges: Sequence[Gauge],
    of_name: bool,
) -> Sequence[Chart]:
    """The charts of points up to now, of which those that begin up to `complete` are written."""
    at = {each.at: each for each in points}
    seen = {} if of_name else {each.at: each for each in gauges}
    came = {each.at: each.deploy for each in gauges if each.deploy}
    unit = {1: "a minute", 60: "an hour", 720: "in half a day"}.get(step, f"in {step} minutes")
    jobs = [*_counts(times, at, complete), *_arrivals(times, at, seen)]
    waits = [*_quantiles(times, at, "waited"), *_oldest(times, seen)]

    drawn = partial(chart, times=times, came=came, open_points=sum(e > complete for e in times))
    made = [
        drawn(f"Jobs {unit}", lines=jobs, written=number_of),
        drawn("Run time", lines=_quantiles(times, at, "took"), written=about),
        drawn("Wait", lines=waits, written=about),
    ]
    if not of_name:
        made.append(drawn("Backlog", lines=_backlog(times, seen), written=number_of))
    return made


def number_of(value: float) -> str:
    return number(int(value)) if value == int(value) else number(value)


def times_of(since: datetime, until: datetime, step: int) -> list[datetime]:
    """When each point of a window begins, with the one that has just begun."""
    seconds = step * 60
    first, last = (int(each.timestamp() // seconds) * seconds for each in (since, until))
    return [datetime.fromtimestamp(at, UTC) for at in range(first, last + 1, seconds)]


def _counts(
    times: Sequence[datetime], at: Mapping[datetime, Point], complete: datetime
) -> Sequence[Line]:
    """What was counted; nothing is known yet of a time of which no worker has written."""

    def values(what: str) -> list[float | None]:
        return [
            getattr(at[time], what) if time in at else (0 if time <= complete else None)
            for time in times
        ]

    return [Line("done", "good", values("done")), Line("failed", "bad", values("failed"))]


def _arrivals(
    times: Sequence[datetime], at: Mapping[datetime, Point], seen: Mapping[datetime, Gauge]
) -> Sequence[Line]:
    """About how many jobs came: by how many there are more, and those that finished."""
    if not seen:
        return []
    values: list[float | None] = [None]
    for before, time in pairwise(times):
        if before not in seen or time not in seen:
            values.append(None)
            continue
        point = at.get(time)
        finished = point.done + point.dead + point.cancelled if point else 0
        values.append(max(0, _alive(seen[time]) - _alive(seen[before]) + finished))
    return [Line("enqueued ≈", "calm", values)]


def _alive(gauge: Gauge) -> int:
    return gauge.waiting + gauge.scheduled + gauge.running + gauge.held


def _quantiles(
    times: Sequence[datetime], at: Mapping[datetime, Point], what: str
) -> Sequence[Line]:
    def values(share: float) -> list[float | None]:
        return [getattr(at[time], what).quantile(share) if time in at else None for time in times]

    return [Line("p50 ≈", "calm", values(0.5)), Line("p95 ≈", "busy", values(0.95))]


def _oldest(times: Sequence[datetime], seen: Mapping[datetime, Gauge]) -> Sequence[Line]:
    """The wait of what has not started yet: histograms of waits are silent where all stands."""
    if not seen:
        return []
    return [Line("oldest", "warn", [seen[time].oldest if time in seen else None for time in times])]


def _backlog(times: Sequence[datetime], seen: Mapping[datetime, Gauge]) -> Sequence[Line]:
    return [
        Line("waiting", "busy", [seen[time].waiting if time in seen else None for time in times]),
        Line("running", "good", [seen[time].running if time in seen else None for time in times]),
    ]
