"""One job, all about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from starlette.exceptions import HTTPException

from soniq import InvalidJobId, JobDetail
from soniq_dashboard.belongings import LARGEST, belongings
from soniq_dashboard.extending import dashboard_job_panels, dashboard_links
from soniq_dashboard.now import WhoRuns, who_runs
from soniq_dashboard.operations import ACTS, PERMISSION, POSSIBLE, Act
from soniq_dashboard.web.downloads import LARGEST as LARGEST_FILE
from soniq_dashboard.web.downloads import File
from soniq_dashboard.web.frames import parts
from soniq_dashboard.web.render import is_cut
from soniq_dashboard.web.view import View

from . import Page
from .jobs import LABELS
from .series import collector, counted

SOON = 1.0
"""Seconds for which it is shown again who could run a job."""

REFUSALS = {
    "JobNotFound": "The job is not there any more",
    "JobNotRetryable": "This job cannot be retried as it is now",
    "DuplicateJob": "Another job has its key and is not finished",
    "JobRunning": "The job runs: cancel it, and delete it when it has ended",
    "ResultNotDeleted": "Its result could not be deleted, and so it was kept",
    "JobChanged": "Nothing was done: the job is not as this page had shown it any more",
    "held": "The job is held by a plugin: it runs once it is released",
    "other": "This could not be done",
}
"""Why nothing was done, by the error that said so."""

ENDED = "the job has ended"
HELD = "a plugin holds it, and releases it"
IMPOSSIBLE: Mapping[Act, Mapping[str, str]] = {
    "retry": {
        "queued": "it has yet to run",
        "held": HELD,
        "running": "it runs, cancel it first",
        "done": "it is done",
    },
    "run": {
        "queued": "it is due already",
        "held": HELD,
        "running": "it runs already",
        "done": ENDED,
        "dead": ENDED,
        "cancelled": ENDED,
    },
    "cancel": {"done": ENDED, "dead": ENDED, "cancelled": ENDED},
    "delete": {"running": "it runs, cancel it first"},
}
"""Why an action is not possible, by the status of the job."""


@dataclass(frozen=True, slots=True)
class Offer:
    """An action that the user may do."""

    act: Act
    label: str
    why_not: str
    """Empty where it is possible for the job as it is."""


async def read(view: View) -> Mapping[str, object]:
    may_see = view.may("see_arguments")
    try:
        job_id = view.request.path_params["id"]
        job = await view.app.get_job(job_id, largest=LARGEST if may_see else 0)
    except InvalidJobId:
        raise HTTPException(404) from None
    if job is None:
        raise HTTPException(404)

    belongs = await belongings(view.app, job) if may_see else None
    seen, offers = _as_seen(job, belongs), _offers(view, job)
    return {
        "job": job,
        "files": _files(view, job, belongs or {}),
        "belongs": belongs,
        "traceback": parts((belongs or {}).get("traceback")),
        "panels": await view.extensions.panels(dashboard_job_panels, view.user.may, seen),
        "links": await view.extensions.links(dashboard_links, seen),
        "offers": offers,
        "reasons": _reasons(offers),
        "waits": await _waits(view, job),
        "history": _history(job),
        "refused": REFUSALS.get(view.text("refused"), ""),
    }


def _files(view: View, job: JobDetail, shown: Mapping[str, Any]) -> Mapping[File, str | None]:
    """The addresses of what can be had as a file; None of what the page shows whole, or of what is
    kept elsewhere.
    """
    in_row = job["result_size"] if job["result_store"] == "row" else None
    sizes: dict[File, int] = {"args": job["args_size"], "result": in_row or 0}
    return {
        what: view.url(f"/jobs/{job['job_id']}/{what}")
        if 0 < size <= LARGEST_FILE and (shown.get(what) is None or is_cut(shown[what]))
        else None
        for what, size in sizes.items()
    }


def _as_seen(job: JobDetail, belongs: Mapping[str, Any] | None) -> JobDetail:
    """The job as plugins get it: with what belongs to it as it may be shown."""
    shown: Mapping[str, Any] = belongs or {}
    messages = shown.get("messages") or [None] * len(job["attempts"])
    seen: dict[str, Any] = {
        **job,
        **{each: shown.get(each) for each in ("args", "result", "progress")},
        "headers": shown.get("headers") or {},
        "attempts": [
            {**each, "message": message, "traceback": None}
            for each, message in zip(job["attempts"], messages, strict=True)
        ],
    }
    if error := job["error"]:
        told = {each: shown.get(each) for each in ("message", "traceback")}
        seen["error"] = {**error, **told}
    return cast("JobDetail", seen)


def _offers(view: View, job: JobDetail) -> Sequence[Offer]:
    """What this user may do with jobs, and why not with this one as it is."""
    later = job["scheduled_at"] > datetime.now(UTC)

    def why_not(act: Act) -> str:
        possible = job["status"] in POSSIBLE[act] and (act != "run" or later)
        return "" if possible else IMPOSSIBLE[act][job["status"]]

    return [Offer(act, LABELS[act], why_not(act)) for act in ACTS if view.may(PERMISSION[act])]


def _reasons(offers: Sequence[Offer]) -> Mapping[str, Sequence[Offer]]:
    """Those that are not possible, by the reason, so that each is said once."""
    reasons = dict[str, list[Offer]]()
    for each in offers:
        if each.why_not:
            reasons.setdefault(each.why_not, []).append(each)
    return reasons


async def _waits(view: View, job: JobDetail) -> str:
    """Why a job that is due does not run, as far as its queue and the workers say."""
    due = job["status"] == "queued" and job["scheduled_at"] <= datetime.now(UTC)
    if not due or collector(view) is None:
        return ""
    queue, name = job["queue"], job["job_name"]

    key = ("who_runs", queue, name)
    who, _ = await counted(view, key, lambda: who_runs(view.app, queue, name), None, SOON)
    return _why(who, queue, name) if who else ""


def _why(who: WhoRuns, queue: str, name: str) -> str:
    if who.paused_at is not None:
        by = f" by {who.paused_by}" if who.paused_by else ""
        return f"It waits: the queue {queue} is paused{by}{f': {who.reason}' if who.reason else ''}"
    if not who.workers:
        return "It waits: no worker is alive"
    if not who.serve:
        return f"It waits: no live worker serves the queue {queue}"
    if not who.know:
        return f"It waits: no live worker that serves the queue {queue} knows {name}"
    return ""


def _history(job: JobDetail) -> list[tuple[str, Any, float | None]]:
    """What became of the job: what, when, and the seconds since what was before."""
    times = [
        ("Enqueued", job["created_at"]),
        ("Due", job["scheduled_at"]),
        ("Started", job["started_at"]),
        ("Finished", job["finished_at"]),
    ]
    told: list[tuple[str, Any, float | None]] = []
    before: datetime | None = None
    for what, at in times:
        if at is not None:
            told.append((what, at, None if before is None else (at - before).total_seconds()))
            before = at
    return told


PAGE = Page("/jobs/{id}", "job.html", read, "Job")
