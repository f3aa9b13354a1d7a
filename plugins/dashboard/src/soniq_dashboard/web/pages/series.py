"""What jobs did over time, as the collector has counted it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, TypeVar

from soniq.errors import PluginNotLoaded
from soniq_dashboard.collector import Collector
from soniq_dashboard.database import CannotRead
from soniq_dashboard.figures import about, number
from soniq_dashboard.names import Name, name_of, names_of
from soniq_dashboard.reading import (
    Gauge,
    Point,
    Step,
    begin_of,
    read_gauges,
    read_overview,
)
from soniq_dashboard.web.charts import Chart, Line, chart
from soniq_dashboard.web.view import View

T = TypeVar("T")

FRESH = 15.0
"""Seconds for which they are shown again."""
LONGEST = 2.0
"""Seconds that one reading of them may take: the page shows the rest then."""


@dataclass(frozen=True, slots=True)
class Window:
    """A time up to now, of which a page shows what jobs did."""

    length: timedelta
    step: Step
    """The minutes of a point."""
    slow: Step
    """The minutes of a point that says how long jobs took: to read that costs more."""
    coarse: int
    """The minutes of the rows that are added up for the whole window."""


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
    "1h": Window(timedelta(hours=1), 1, 1, 10),
    "6h": Window(timedelta(hours=6), 1, 10, 10),
    "24h": Window(timedelta(hours=24), 10, 10, 60),
    "7d": Window(timedelta(days=7), 60, 60, 60),
    "90d": Window(timedelta(days=90), 720, 720, 60),
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


def windows(view: View, path: str, **parameters: object) -> Sequence[tuple[str, str]]:
    """The windows that a page can show: the name of each, and its address."""
    return [(each, view.url(path, window=each, **parameters)) for each in WINDOWS]


async def counted(
    view: View, what: object, read: Callable[[], Awaitable[T]], otherwise: T, fresh: float = FRESH
) -> tuple[T, str]:
    """What was counted, shared by all who look, and an empty text; where it cannot be read, or not
    in time, `otherwise`, and why.

    `what` tells readings apart. It is shown again for `fresh` seconds.
    """

    async def in_time() -> T:
        async with asyncio.timeout(LONGEST):
            return await read()

    try:
        return await view.shared.get(what, in_time, fresh), ""
    except TimeoutError:
        return otherwise, f"What was counted could not be read within {LONGEST:g} seconds"
    except CannotRead as error:
        return otherwise, str(error)


async def charts(
    view: View, path: str, queue: str | None = None, name: str | None = None
) -> Mapping[str, Any]:
    """The charts of a page, what they show of a name together, and the links to their other
    windows.
    """
    counts, window = collector(view), chosen(view)
    shown, missing = Drawn(()), ""
    if counts is not None:
        key = ("charts", window, queue, name)
        shown, missing = await counted(
            view, key, lambda: _drawn(view, counts, WINDOWS[window], queue, name), shown
        )

    return {
        "charts": shown.charts,
        "of_name": shown.of_name,
        "since": shown.since,
        "names": shown.names,
        "missing": missing,
        "window": window,
        "windows": windows(view, path, queue=queue, name=name),
    }


async def _drawn(
    view: View, counts: Collector, window: Window, queue: str | None, name: str | None
) -> Drawn:
    """The charts of a window, of a queue, of a name, or of all jobs. Raises `CannotRead`."""
    until = datetime.now(UTC)
    since, step, slow = until - window.length, window.step, window.slow
    names: Sequence[Point] = ()
    if queue is None and name is None:
        read = await read_overview(view.app, since, until, step, slow, window.coarse)
        points, of_slow, names, gauges = read.points, read.slow, read.names, read.gauges
    else:
        of_slow = await counts.series(since, until, queue=queue, name=name, step=slow)
        points = of_slow
        if step < slow:
            points = await counts.series(
                since, until, queue=queue, name=name, step=step, durations=False
            )  # fmt: skip
        gauges = await read_gauges(view.app, since, until, queue, step, empty=True)

    def plot(points: Sequence[Point], step: int) -> Plot:
        complete = until - timedelta(minutes=step, seconds=counts.interval)
        times = times_of(since, until, step)
        return Plot(times, complete, step, {each.at: each for each in points})

    drawn = _charts(plot(points, step), plot(of_slow, slow), gauges, of_name=bool(name))
    if name:
        return Drawn(drawn, name_of(name, of_slow))
    return Drawn(drawn, since=names[0].at if names else None, names=names_of(names))


@dataclass(frozen=True, slots=True)
class Plot:
    """Points up to now, of which those that begin up to `complete` are written."""

    times: Sequence[datetime]
    complete: datetime
    step: int
    """The minutes of each."""
    at: Mapping[datetime, Point]


def _charts(fine: Plot, slow: Plot, gauges: Sequence[Gauge], of_name: bool) -> Sequence[Chart]:
    """The charts of counts, and of how long jobs took."""
    seen = {} if of_name else {each.at: each for each in gauges}
    came = {each.at: each.deploy for each in gauges if each.deploy}
    unit = {1: "a minute", 60: "an hour", 720: "in half a day"}.get(
        fine.step, f"in {fine.step} minutes"
    )
    jobs = [*_counts(fine.times, fine.at, fine.complete), *_arrivals(fine.times, fine.at, seen)]
    waits = [*_quantiles(slow.times, slow.at, "waited"), *_oldest(slow, seen)]

    def drawn(
        title: str, plot: Plot, lines: Sequence[Line], written: Callable[[float], str]
    ) -> Chart:
        to_come = sum(each > plot.complete for each in plot.times)
        return chart(title, plot.times, lines, written, came, to_come)

    made = [
        drawn(f"Jobs {unit}", fine, jobs, number_of),
        drawn("Run time", slow, _quantiles(slow.times, slow.at, "took"), about),
        drawn("Wait", slow, waits, about),
    ]
    if not of_name:
        made.append(drawn("Backlog", fine, _backlog(fine.times, seen), number_of))
    return made


def number_of(value: float) -> str:
    return number(int(value) if value == int(value) else value)


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
    none = None, None
    both = [getattr(at[time], what).quantiles(0.5, 0.95) if time in at else none for time in times]
    return [
        Line("p50 ≈", "calm", [each for each, _ in both]),
        Line("p95 ≈", "busy", [each for _, each in both]),
    ]


def _oldest(plot: Plot, seen: Mapping[datetime, Gauge]) -> Sequence[Line]:
    """The wait of what has not started yet: histograms of waits are silent where all stands."""
    if not seen:
        return []
    oldest = dict[datetime, float]()
    for at, each in seen.items():
        point = begin_of(at, plot.step)
        oldest[point] = max(each.oldest, oldest.get(point, 0.0))
    return [Line("oldest", "warn", [oldest.get(time) for time in plot.times])]


def _backlog(times: Sequence[datetime], seen: Mapping[datetime, Gauge]) -> Sequence[Line]:
    return [
        Line("waiting", "busy", [seen[time].waiting if time in seen else None for time in times]),
        Line("running", "good", [seen[time].running if time in seen else None for time in times]),
    ]
