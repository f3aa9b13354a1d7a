"""What runs: for how long against what is usual, how far it is, and where."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from soniq import FoundJob, Search
from soniq.plugin import presented
from soniq_dashboard import now
from soniq_dashboard.figures import number
from soniq_dashboard.now import Running, Usual
from soniq_dashboard.web.forms import Form, text_of
from soniq_dashboard.web.view import View

from . import Page
from .series import collector, counted

LIMIT = 50
LONGEST_DETAILS = 80
"""Characters of what a job says beside how far it is."""
MOST_CURSOR = 2_000
SOON = 1.0
"""Seconds for which it is shown again how far jobs are."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is."""

    share: float | None
    """From 0 to 1."""
    details: str


async def read(view: View) -> Mapping[str, object]:
    cursor = view.text("cursor", MOST_CURSOR)
    search = Search(statuses=["running"], order="started")
    found = await view.app.search(search, cursor=cursor or None, limit=LIMIT)
    more, missing = await _more(view, found.jobs)
    of_names, untold = await usual(view, {job.job_name for job in found.jobs})
    return {
        "found": found,
        "cursor": cursor,
        **_ways(view, cursor, found.next),
        "more": more,
        "progress": await _progress(view, found.jobs, more),
        "usual": of_names,
        "is_long": {
            job.job_id for job in found.jobs if is_long(job.job_name, job.started_at, of_names)
        },
        "missing": missing or untold,
        "done": _done(view),
    }


def _ways(view: View, cursor: str, following: str | None) -> Mapping[str, object]:
    """Where the pages beside this one are."""
    older = following and view.url("/running", cursor=following)
    first = view.url("/running") if cursor else None
    return {
        "older": older,
        "ways": {"first": first, "previous": None, "next": older, "back": False},
    }


async def usual(view: View, names: set[str]) -> tuple[Mapping[str, Usual], str]:
    """How long attempts of jobs usually take, shared by all who look; where that cannot be read it
    is empty, and why.
    """
    if not names or collector(view) is None:
        return {}, ""

    key = ("usual", frozenset(names))
    return await counted(view, key, lambda: now.usual(view.app, names), {})


def lasts(started_at: datetime | None) -> float:
    """Seconds for which something has run."""
    return (datetime.now(UTC) - started_at).total_seconds() if started_at else 0.0


def is_long(name: str, started_at: datetime | None, of_names: Mapping[str, Usual]) -> bool:
    """Whether a job of this name has run for longer than its attempts usually take."""
    known = of_names.get(name)
    return known is not None and known.is_passed(lasts(started_at))


async def _more(view: View, jobs: Sequence[FoundJob]) -> tuple[Mapping[str, Running], str]:
    """What only the plugin's own statement tells of them; where it cannot be asked, why."""
    if not jobs or collector(view) is None:
        return {}, ""
    ids = [job.job_id for job in jobs]
    key = ("running", *ids)
    return await counted(view, key, lambda: now.running(view.app, ids), {}, SOON)


async def _progress(
    view: View, jobs: Sequence[FoundJob], more: Mapping[str, Running]
) -> Mapping[str, Progress]:
    """How far jobs are, by id, as it may be shown to this user."""
    if not view.may("see_arguments"):
        return {}
    said = [(job, more[job.job_id].progress) for job in jobs if job.job_id in more]
    return {
        job.job_id: _told(await presented(view.app, job.job_name, "progress", json.loads(progress)))
        for job, progress in said
        if progress is not None
    }


def _told(progress: Any) -> Progress:
    """What a job says, its fraction apart."""
    if not isinstance(progress, Mapping):
        return Progress(None, _short(progress))
    share = progress.get("fraction")
    if isinstance(share, bool) or not isinstance(share, int | float):
        share = None
    details = [f"{name}: {_short(each)}" for name, each in progress.items() if name != "fraction"]
    return Progress(share, ", ".join(details)[:LONGEST_DETAILS])


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text[:LONGEST_DETAILS]


# --- cancelling ----------------------------------------------------------------------------------


async def cancel(view: View, form: Form) -> str:
    """Cancel the job of a row, or those that are ticked."""
    ids = form.get("one") or form.get("id", [])
    reason = text_of(form, "reason") or None
    done = await view.app.cancel_many(ids, reason, by=view.user.name)
    return view.url(
        "/running",
        cursor=text_of(form, "cursor", MOST_CURSOR),
        asked=done["asked"] + done["cancelled"],
        left=len(done["left"]),
    )


def _done(view: View) -> str:
    """What became of those that were to be cancelled."""
    asked, left = view.count("asked"), view.count("left")
    if not asked and not left:
        return ""
    what = f"{number(asked)} {'job is' if asked == 1 else 'jobs are'} asked to end"
    return f"{what}; {number(left)} could not be, as they have ended" if left else what


PAGE = Page("/running", "running.html", read, "Running", "r")
