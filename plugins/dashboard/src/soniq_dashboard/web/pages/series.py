"""What jobs did over time, as the collector has counted it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from soniq.errors import PluginNotLoaded
from soniq_dashboard.collector import Collector
from soniq_dashboard.database import CannotRead
from soniq_dashboard.figures import about, number
from soniq_dashboard.reading import Gauge, Point
from soniq_dashboard.web.charts import Chart, Line, chart
from soniq_dashboard.web.view import View

T = TypeVar("T")

FRESH = 15.0
"""Seconds for which they are shown again."""


@dataclass(frozen=True, slots=True)
class Window:
    """A time up to now, and the minutes of one of its points."""

    length: timedelta
    step: int


WINDOWS = {
    "1h": Window(timedelta(hours=1), 1),
    "6h": Window(timedelta(hours=6), 1),
    "24h": Window(timedelta(hours=24), 10),
    "7d": Window(timedelta(days=7), 60),
    "90d": Window(timedelta(days=90), 60),
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
) -> Mapping[str, object]:
    """The charts of a page, and the links to their other windows."""
    counts, window = collector(view), chosen(view)
    drawn: Sequence[Chart] = ()
    missing = ""
    if counts is not None:
        key = ("charts", window, queue, name)
        drawn, missing = await counted(view, key, lambda: _charts(counts, window, queue, name))
    links = [(each, view.url(path, window=each, queue=queue, name=name)) for each in WINDOWS]
    return {"charts": drawn, "missing": missing, "window": window, "windows": links}


async def _charts(
    counts: Collector, window: str, queue: str | None, name: str | None
) -> Sequence[Chart]:
    chosen, until = WINDOWS[window], datetime.now(UTC)
    since = until - chosen.length
    points = await counts.series(since, until, queue=queue, name=name, step=chosen.step)  # type: ignore[arg-type]
    gauges = [] if name else await counts.gauges(since, until, queue=queue)

    times = _times(since, until, chosen.step)
    at = {each.at: each for each in points}
    seen = _by_step(gauges, chosen.step)
    per = chosen.step
    unit = "a minute" if per == 1 else f"in {per} minutes" if per < 60 else "an hour"
    drawn = [
        chart(f"Jobs {unit}", times, _counts(times, at), number_of),
        chart("Run time", times, _quantiles(times, at, "took"), about),
        chart("Wait", times, [*_quantiles(times, at, "waited"), *_oldest(times, seen)], about),
    ]
    return drawn if name else [*drawn, chart("Backlog", times, _backlog(times, seen), number_of)]


def number_of(value: float) -> str:
    return number(int(value)) if value == int(value) else number(value)


def _times(since: datetime, until: datetime, step: int) -> list[datetime]:
    """When each point of a window begins, but for the last, which is not complete."""
    seconds = step * 60
    first, last = (int(each.timestamp() // seconds) * seconds for each in (since, until))
    return [datetime.fromtimestamp(at, UTC) for at in range(first, last, seconds)]


def _counts(times: Sequence[datetime], at: Mapping[datetime, Point]) -> Sequence[Line]:
    return [
        Line("done", "good", [at[time].done if time in at else 0 for time in times]),
        Line("failed", "bad", [at[time].failed if time in at else 0 for time in times]),
    ]


def _quantiles(
    times: Sequence[datetime], at: Mapping[datetime, Point], what: str
) -> Sequence[Line]:
    def values(share: float) -> list[float | None]:
        return [getattr(at[time], what).quantile(share) if time in at else None for time in times]

    return [Line("p50 ≈", "calm", values(0.5)), Line("p95 ≈", "busy", values(0.95))]


def _by_step(gauges: Sequence[Gauge], step: int) -> Mapping[datetime, Gauge]:
    """The highest samples of each step: those with the most waiting."""
    found: dict[datetime, Gauge] = {}
    for each in gauges:
        seconds = step * 60
        time = datetime.fromtimestamp(each.at.timestamp() // seconds * seconds, UTC)
        if time not in found or each.waiting > found[time].waiting:
            found[time] = each
    return found


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
