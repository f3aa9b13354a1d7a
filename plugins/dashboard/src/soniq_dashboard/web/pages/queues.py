"""The queues, what each holds, and who serves it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from soniq import Overview, QueueBacklog
from soniq_dashboard.web.view import View

from . import Page
from .overview import overview_of
from .series import charts

NONE: QueueBacklog = {
    "waiting": 0, "scheduled": 0, "running": 0, "held": 0, "oldest_waiting": 0.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as a line shows it."""

    name: str
    backlog: QueueBacklog
    done: int
    dead: int
    cancelled: int
    paused: Mapping[str, object] | None
    """Since when, by whom and why, where it is."""
    workers: int
    """The live workers that serve it."""


async def read(view: View) -> Mapping[str, object]:
    now, name = await overview_of(view), view.text("queue")
    queues = queues_of(now)
    if name:
        queues = [each for each in queues if each.name == name]
    drawn = await charts(view, "/queues", queue=name) if name else {}
    return {"queues": queues, "name": name, "exact": now["exact"], **drawn}


def queues_of(now: Overview) -> Sequence[Queue]:
    """All queues that have jobs, are paused, or are served by name."""
    served = {queue for worker in now["workers"] for queue in worker["queues"] or ()}
    names = {*now["queues"], *now["backlog"], *now["paused"], *served}
    return [_queue(name, now) for name in sorted(names)]


def _queue(name: str, now: Overview) -> Queue:
    jobs = now["queues"].get(name, {})
    serve = [each for each in now["workers"] if each["queues"] is None or name in each["queues"]]
    return Queue(
        name,
        now["backlog"].get(name, NONE),
        jobs.get("done", 0),
        jobs.get("dead", 0),
        jobs.get("cancelled", 0),
        now["paused"].get(name),
        len(serve),
    )


PAGE = Page("/queues", "queues.html", read, "Queues", "q")
