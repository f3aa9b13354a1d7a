"""The queues, what each holds, and who serves it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from soniq_dashboard.extending import dashboard_queue_panels
from soniq_dashboard.standing import Queue, queues_of
from soniq_dashboard.trend import MINUTES, trend
from soniq_dashboard.web.view import View

from . import Page
from .overview import overview_of
from .series import charts, collector, counted


async def read(view: View) -> Mapping[str, object]:
    now, name = await overview_of(view), view.text("queue")
    queues = queues_of(now)
    if name:
        queues = [each for each in queues if each.name == name]
    of_one: Mapping[str, object] = {}
    if name:
        panels = await view.extensions.panels(dashboard_queue_panels, view.user.may, name)
        of_one = {
            **await charts(view, "/queues", queue=name),
            "trend": await _trend(view, name, queues),
            "panels": panels,
        }
    return {"queues": queues, "name": name, "exact": now["exact"], **of_one}


async def _trend(view: View, name: str, queues: Sequence[Queue]) -> str:
    counts = collector(view)
    if counts is None or not queues:
        return ""
    since = datetime.now(UTC) - timedelta(minutes=MINUTES)
    samples, _ = await counted(view, ("trend", name), lambda: counts.gauges(since, queue=name))
    return trend(samples, queues[0].waiting)


PAGE = Page("/queues", "queues.html", read, "Queues", "q")
