"""How things stand, and what needs attention first."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from soniq import Count, Overview
from soniq_dashboard.names import Name
from soniq_dashboard.standing import Attention, attention, died_since, queues_of, summed
from soniq_dashboard.web.pages.silent import in_words, silent_of
from soniq_dashboard.web.query import quoted
from soniq_dashboard.web.view import View

from . import Page
from .series import charts

TOP = 10
"""Names in each of the lists of those that take the most time, and fail most often."""
RECENT = timedelta(hours=1)
"""How long it is told that jobs have died."""


async def overview_of(view: View) -> Overview:
    """The state of the queues, as it was at most a second ago."""
    return await view.shared.get("overview", view.app.overview)


async def read(view: View) -> Mapping[str, object]:
    now, dead, drawn, (gone, _) = await asyncio.gather(
        overview_of(view),
        view.shared.get("dead", lambda: _recently_dead(view)),
        charts(view, "/"),
        silent_of(view),
    )

    ours = [
        {"level": each.level, "text": each.text, "url": _link(view, each)}
        for each in attention(now, dead)
    ]
    if gone:
        ours.append({"level": "warn", "text": in_words(gone), "url": view.url("/workers")})
    of_plugins, troubles = await view.extensions.alerts()
    theirs = [
        {"level": each.level, "text": each.text, "url": view.address(each.to)}
        for each in of_plugins
    ]

    queues = queues_of(now)
    return {
        **drawn,
        "longest": [each for each in drawn["names"] if each.total][:TOP],
        "failing": _failing(drawn["names"]),
        "alerts": sorted([*ours, *theirs], key=lambda each: each["level"]),
        "troubles": [*view.brought[1], *troubles],
        "waiting": summed(each.waiting for each in queues),
        "scheduled": summed(each.scheduled for each in queues),
        "running": summed(each.running for each in queues),
        "held": summed(each.held for each in queues),
        "oldest": max((each.oldest_waiting for each in queues), default=0.0),
        "slots": sum(each["concurrency"] for each in now["workers"]),
        "workers": len(now["workers"]),
        "queues": [each for each in queues if each.name in now["backlog"]],
        "dead": dead,
    }


def _failing(names: Sequence[Name]) -> Sequence[Name]:
    """Those that fail most often."""
    failed = (each for each in names if each.failed)
    return sorted(failed, key=lambda each: -each.failed)[:TOP]


async def _recently_dead(view: View) -> Count:
    """How many jobs have died of late."""
    return await view.app.count(died_since(datetime.now(UTC) - RECENT))


def _link(view: View, alert: Attention) -> str:
    """Where one sees more of it."""
    match alert.about:
        case ("queue", name):
            return view.url("/queues", queue=name)
        case ("name", name):
            return view.url("/jobs", q=f"status:queued name:{quoted(name)}")
        case ("failures", _):
            return view.url("/failures")
        case _:
            return view.url("/workers")


PAGE = Page("/", "overview.html", read, "Overview", "o")
