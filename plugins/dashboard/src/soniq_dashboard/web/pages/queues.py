"""The queues, what each holds, and who serves it."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from soniq_dashboard.collector import Collector
from soniq_dashboard.extending import dashboard_queue_panels
from soniq_dashboard.reading import Gauge, Step, read_gauges
from soniq_dashboard.standing import Queue, queues_of
from soniq_dashboard.trend import MINUTES, trend
from soniq_dashboard.web.sparks import Spark, spark
from soniq_dashboard.web.view import View

from . import Page
from .overview import overview_of
from .series import WINDOWS, charts, chosen, collector, counted, times_of, windows

BARS: Mapping[str, tuple[Step, int, str]] = {
    "1h": (1, 1, "a minute"),
    "6h": (10, 1, "10 minutes"),
    "24h": (60, 1, "an hour"),
    "7d": (60, 4, "4 hours"),
    "90d": (720, 4, "2 days"),
}
"""By window: the minutes of a point, how many points are a bar, and how long that is."""


async def read(view: View) -> Mapping[str, object]:
    if name := view.text("queue"):
        return await _one(view, name)
    now, finished = await asyncio.gather(overview_of(view), _finished(view))
    return {"queues": queues_of(now), "name": "", "exact": now["exact"], **finished}


async def _one(view: View, name: str) -> Mapping[str, object]:
    now, drawn, panels = await asyncio.gather(
        overview_of(view),
        charts(view, "/queues", queue=name),
        view.extensions.panels(dashboard_queue_panels, view.user.may, name),
    )
    queues = [each for each in queues_of(now) if each.name == name]
    return {
        "queues": queues,
        "name": name,
        "exact": now["exact"],
        **drawn,
        "trend": await _trend(view, name, queues),
        "panels": panels,
    }


async def _finished(view: View) -> Mapping[str, object]:
    """How many jobs of each queue finished over time, and the links to the other windows."""
    counts, window = collector(view), chosen(view)
    sparks: Sequence[tuple[str, Spark]] = ()
    missing = ""
    if counts is not None:
        key = ("finished", window)
        sparks, missing = await counted(view, key, lambda: _sparks(counts, window), sparks)
    return {
        "sparks": dict(sparks),
        "missing": missing,
        "counted": counts is not None and not missing,
        "window": window,
        "windows": windows(view, "/queues"),
    }


async def _sparks(counts: Collector, window: str) -> Sequence[tuple[str, Spark]]:
    step, points, long = BARS[window]
    until = datetime.now(UTC)
    since = until - WINDOWS[window].length
    found: dict[str, dict[datetime, tuple[int, int]]] = defaultdict(dict)
    for each in await counts.series(since, until, by=["queue"], step=step, durations=False):
        found[each.queue or ""][each.at] = each.done + each.dead + each.cancelled, each.dead

    times = times_of(since, until, step)
    firsts = range(len(times) % points, len(times), points)  # of bars that are whole
    made = []
    for queue, at in found.items():
        bars = [[at.get(time, (0, 0)) for time in times[n : n + points]] for n in firsts]
        finished, dead = ([sum(each[k] for each in bar) for bar in bars] for k in (0, 1))
        made.append((queue, spark(finished, "jobs finished", long, dead)))
    return made


async def _trend(view: View, name: str, queues: Sequence[Queue]) -> str:
    if collector(view) is None or not queues:
        return ""
    since = datetime.now(UTC) - timedelta(minutes=MINUTES)
    none: Sequence[Gauge] = ()
    samples, _ = await counted(
        view, ("trend", name), lambda: read_gauges(view.app, since, None, name, 1, empty=True), none
    )
    return trend(samples, queues[0].waiting)


PAGE = Page("/queues", "queues.html", read, "Queues", "q")
