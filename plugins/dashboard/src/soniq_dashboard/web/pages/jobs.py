"""Jobs that are searched for."""

from collections.abc import Mapping, Sequence
from typing import Any

from soniq import FoundJob, InvalidJobId, InvalidOption, Search
from soniq import Page as Found
from soniq.plugin import presented
from soniq_dashboard.figures import number
from soniq_dashboard.operations import ACTS, PERMISSION, POSSIBLE, STATUSES, Act
from soniq_dashboard.web.query import NotUnderstood, Query, in_words, parsed
from soniq_dashboard.web.view import MOST_SEARCH, View
from soniq_dashboard.web.words import FIELDS, fields_of, filtered

from . import Page

LIMIT = 50
ROWS, ROWS_BY_ARGUMENT = 50_000, 25_000
"""The jobs that a page looks at, of those live and those finished each, until it leads on. To make
JSON of the arguments of each takes three times as long as all else that can be searched for: half
as many keep a page within 200 ms on an ordinary machine, with a margin.
"""
DONE = {"retry": "retried", "run": "made due now", "cancel": "cancelled", "delete": "deleted"}
"""What was done, by the action."""
LABELS: Mapping[Act, str] = {
    "retry": "Retry",
    "run": "Run now",
    "cancel": "Cancel",
    "delete": "Delete",
}
"""What an action is called."""
PERIODS = {"1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days"}
CHOICES: Mapping[str, Mapping[str, str]] = {
    "status": {each: each for each in STATUSES},
    "created": PERIODS,
    "finished": PERIODS,
}
"""What may be chosen in a field of the form: value, and what it is called."""
EMPTY: Mapping[str, Any] = {
    "found": Found(jobs=[], next=None, previous=None, complete=True, looked_back_to=None),
    "ways": {"first": None, "previous": None, "next": None, "back": False},
    "goto": None,
}
NOT_YOURS = "You may not search in what belongs to jobs: arguments, headers and error messages"


async def read(view: View) -> Mapping[str, object]:
    text, wrong = view.text("q", MOST_SEARCH), ""
    if view.text("fields"):
        fields = {each: view.text(each) for each in FIELDS if each in view.request.query_params}
        return {"goto": view.url("/jobs", q=filtered(text, fields))}

    page, query = EMPTY, Query()
    try:
        query = parsed(text)
        if query.secret and not view.may("see_arguments"):
            raise NotUnderstood(NOT_YOURS)
        if query.job_id is None:
            page = await _page_of(view, query.search(), "/jobs", q=text)
    except NotUnderstood as error:
        wrong = str(error)
    except (InvalidOption, InvalidJobId) as error:
        wrong = in_words(error)
    if query.job_id is not None:
        return {"goto": view.url(f"/jobs/{query.job_id}")}

    acts = _possible(query)
    return {
        **page,
        "q": text,
        "fields": fields_of(text),
        "choices": CHOICES,
        "wrong": wrong,
        "messages": await messages(view, page["found"].jobs),
        "tabs": _tabs(view, text),
        "acts": {act: LABELS[act] for act in acts if view.may(PERMISSION[act])},
        "all_that_match": all_that_match(view, text, acts) if page["found"].jobs else [],
        "in_errors": query.given.get("error_text"),
        "done": _done(view),
    }


def _possible(query: Query) -> Sequence[Act]:
    """What can be done with jobs of the statuses that are searched for."""
    statuses = query.given.get("statuses")
    return [act for act in ACTS if statuses is None or {*statuses} & {*POSSIBLE[act]}]


def all_that_match(view: View, text: str, acts: Sequence[Act]) -> list[tuple[str, str]]:
    """What this user may do with all that a search finds: label, and where it is asked for."""
    return [
        (LABELS[act], view.url(f"/operations/new/{act}", q=text))
        for act in acts
        if view.may(PERMISSION[act])
        and view.may("bulk")
        and (act != "delete" or text)  # not simply all
    ]


def _done(view: View) -> str:
    """What was done with those that were ticked."""
    did = view.choice("did", {"": "", **DONE}, "")
    jobs, left = view.count("jobs"), view.count("left")
    if not did:
        return ""
    what = f"{number(jobs)} {'job was' if jobs == 1 else 'jobs were'} {DONE[did]}"
    return f"{what}; {number(left)} could not be" if left else what


async def _page_of(view: View, search: Search, path: str, **parameters: str) -> Mapping[str, Any]:
    """The page of a search that the address says, and where those beside it are."""
    after, before = view.text("cursor", 2_000), view.text("before", 2_000)
    cursor, first = before or after or None, view.url(path, **parameters)
    rows = ROWS if search.args is None else ROWS_BY_ARGUMENT
    found = await view.app.search(search, cursor=cursor, limit=LIMIT, rows=rows)
    ways = {
        "first": cursor and first,
        "previous": found.previous and view.url(path, before=found.previous, **parameters),
        "next": found.next and view.url(path, cursor=found.next, **parameters),
        "back": bool(before),
    }
    at_first = before and found.complete and found.previous is None
    return {"found": found, "ways": ways, "goto": first if at_first else None}


async def messages(view: View, jobs: Sequence[FoundJob]) -> Mapping[str, str]:
    """What jobs' errors say, by id, as it may be shown to this user."""
    if not view.may("see_arguments"):
        return {}
    return {
        job.job_id: str(await presented(view.app, job.job_name, "error", job.error_message))
        for job in jobs
        if job.error_message
    }


def _tabs(view: View, text: str) -> list[tuple[str, str, bool]]:
    """Searches that are one click away: label, address, and whether it is the one that is shown."""
    searches = {
        "All": "",
        "Queued": "status:queued",
        "Running": "status:running order:started",
        "Held": "status:held",
        "Done": "status:done",
        "Dead": "status:dead order:finished",
        "Cancelled": "status:cancelled order:finished",
    }
    return [
        (name, view.url("/jobs", q=q), text.strip() in (q, q.partition(" ")[0]))
        for name, q in searches.items()
    ]


PAGE = Page("/jobs", "jobs.html", read, "Jobs", "j")
