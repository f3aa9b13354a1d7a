"""How things stand, and what needs a person first."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from soniq import Overview, Search
from soniq_dashboard.figures import duration, number
from soniq_dashboard.standing import queues_of, together
from soniq_dashboard.web.query import quoted
from soniq_dashboard.web.view import View

from . import Page
from .series import charts

STALE = 60.0
"""Seconds after which it is told that a job has been due for so long."""
RECENT = timedelta(hours=1)
"""How long it is told that jobs have died."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that needs a person; `url` leads to where one sees more."""

    level: Literal["bad", "warn"]
    text: str
    url: str


async def overview_of(view: View) -> Overview:
    """The state of the queues, as it was at most a second ago."""
    return await view.shared.get("overview", view.app.overview)


async def read(view: View) -> Mapping[str, object]:
    now = await overview_of(view)
    dead = await view.shared.get("dead", lambda: _recently_dead(view))
    queues = queues_of(now)
    return {
        **await charts(view, "/"),
        "alerts": [*_alerts(view, now, dead)],
        "waiting": together(each.waiting for each in queues),
        "scheduled": together(each.scheduled for each in queues),
        "running": together(each.running for each in queues),
        "held": together(each.held for each in queues),
        "oldest": max((each.oldest_waiting for each in queues), default=0.0),
        "slots": sum(each["concurrency"] for each in now["workers"]),
        "workers": len(now["workers"]),
        "queues": [each for each in queues if each.name in now["backlog"]],
        "dead": dead,
    }


async def _recently_dead(view: View) -> str:
    """How many jobs have died of late: `0`, `12`, `10,000+`."""
    since = datetime.now(UTC) - RECENT
    search = Search(statuses=["dead"], finished=(since, None), order="finished")
    found = await view.app.count(search)
    return number(found)


def _alerts(view: View, now: Overview, dead: str) -> Iterator[Alert]:
    """What needs a person, the most urgent first."""
    yield from _unserved(view, now)
    yield from _late(view, now)
    if dead != "0":
        text = f"{dead} {'job has' if dead == '1' else 'jobs have'} died within the last hour"
        yield Alert("warn", text, view.url("/failures"))
    for queue in now["paused"]:
        yield Alert("warn", f"The queue {queue} is paused", view.url("/queues", queue=queue))


def _unserved(view: View, now: Overview) -> Iterator[Alert]:
    """Jobs that nobody will run."""
    live = any(each["waiting"] or each["running"] for each in now["backlog"].values())
    if live and not now["workers"]:
        yield Alert("bad", "Jobs wait, and no worker is alive", view.url("/workers"))
    for queue, jobs in now["unserved_queues"].items():
        text = f"No live worker serves the queue {queue}: {_wait(jobs)}"
        yield Alert("bad", text, view.url("/queues", queue=queue))
    for name, jobs in now["unknown_names"].items():
        search = view.url("/jobs", q=f"status:queued name:{quoted(name)}")
        yield Alert("bad", f"No live worker knows {name}: {_wait(jobs)}", search)
    for plugin, jobs in now["missing_plugins"].items():
        text = f"No live worker has the plugin {plugin}, which {number(jobs)} jobs need"
        yield Alert("bad", text, view.url("/workers"))


def _late(view: View, now: Overview) -> Iterator[Alert]:
    """What has waited for long."""
    for queue, backlog in sorted(now["backlog"].items()):
        if backlog["oldest_waiting"] > STALE and queue not in now["paused"]:
            late = duration(backlog["oldest_waiting"])
            text = f"A job of the queue {queue} has been due for {late}"
            yield Alert("warn", text, view.url("/queues", queue=queue))
    for plugin, owed in now["owed"].items():
        if owed["waiting"] > STALE:
            events = f"{number(owed['events'])} events have waited for {duration(owed['waiting'])}"
            yield Alert("warn", f"{plugin}: {events}", view.url("/workers"))


def _wait(jobs: int) -> str:
    return "1 job waits" if jobs == 1 else f"{number(jobs)} jobs wait"


PAGE = Page("/", "overview.html", read, "Overview", "o")
