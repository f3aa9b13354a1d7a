"""What is done to all jobs that match a search: the form that asks for it, and how far it is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from starlette.exceptions import HTTPException

from soniq import Count, FoundJob, InvalidJobId, InvalidOption, Search
from soniq.plugin import presented
from soniq_dashboard.database import NAME
from soniq_dashboard.operations import (
    ACTS,
    MOST_OPEN,
    PERMISSION,
    Act,
    NotPossible,
    Operation,
    Range,
    frozen,
    operations,
    time_of,
)
from soniq_dashboard.web.query import NotUnderstood, in_words, parsed
from soniq_dashboard.web.view import MOST_SEARCH, View
from soniq_dashboard.web.words import words_of

from . import Page
from .jobs import NOT_YOURS, messages
from .overview import overview_of
from .series import collector

LIMIT = 50
EXAMPLES = 5
"""Jobs that a form shows."""
ASKED_FOR = 100
"""Jobs above which their number is to be typed."""

REFUSED = {
    "": "",
    "typed": "Nothing was done: type the number of jobs as it is shown here",
    "later": f"Nothing was done: {MOST_OPEN} operations are not finished yet, or this page was more"
    " than an hour old. Look at it once more",
}
"""Why nothing was done."""
NO_PLUGIN = "This app has no plugin Dashboard, which carries out operations, and keeps who did what"
BELONGINGS = "what belongs to jobs: arguments, headers or errors"
NOBODY = "No live worker has soniq-dashboard: operations wait until one has."


async def read(view: View) -> Mapping[str, object]:
    before = view.count("before") or None
    found: Sequence[Operation] = ()
    if collector(view) is not None:
        found = await view.shared.get(
            ("operations", before), lambda: operations(view.app, before=before, most=LIMIT + 1)
        )

    shown = found[:LIMIT]
    return {
        "operations": shown,
        "texts": {each.id: await _text(view, each) for each in shown},
        "older": len(found) > LIMIT and view.url("/operations", before=shown[-1].id),
        "first": before is None,
        "note": await _note(view, shown),
    }


async def read_one(view: View) -> Mapping[str, object]:
    number = operation_id(view)
    if collector(view) is None:
        raise HTTPException(404)
    found = await view.shared.get(
        ("operation", number), lambda: operations(view.app, only=number, most=1)
    )
    if not found:
        raise HTTPException(404)

    (operation,) = found
    text = await _text(view, operation)
    return {
        "operation": operation,
        "text": text,
        "jobs": None if operation.secret else view.url("/jobs", q=text),
        "note": await _note(view, found),
    }


def operation_id(view: View) -> int:
    """The operation of the address; 404 where it can be none."""
    given: str = view.request.path_params["id"]
    if not (given.isascii() and given.isdecimal() and len(given) < 19):
        raise HTTPException(404)
    return int(given)


async def _text(view: View, operation: Operation) -> str:
    """The search of an operation, as this user may see it."""
    search = _without_bound(operation)
    if not operation.secret:
        return words_of(search)
    if not view.may("see_arguments"):
        return BELONGINGS
    return words_of(
        search,
        args=search.args and await presented(view.app, "", "args", search.args),
        headers=search.headers and await presented(view.app, "", "headers", search.headers),
    )


def _without_bound(operation: Operation) -> Search:
    """The search without the time that the operation is frozen at."""

    def without(times: Range | None) -> Range:
        since, before = (None if at == operation.frozen_at else at for at in times or (None, None))
        return since, before

    search = operation.search
    return replace(
        search,
        created=without(search.created),
        scheduled=without(search.scheduled),
        finished=without(search.finished),
    )


async def _note(view: View, shown: Sequence[Operation]) -> str:
    """Why what is open is not carried out."""
    if collector(view) is None:
        return NO_PLUGIN
    if not any(each.state == "open" for each in shown):
        return ""
    now = await overview_of(view)
    return "" if any(NAME in each["plugins"] for each in now["workers"]) else NOBODY


async def read_new(view: View) -> Mapping[str, object]:
    """The form for an operation: what would be changed, counted up to a bound, and some of it."""
    action, text = view.request.path_params["action"], view.text("q", MOST_SEARCH)
    if action not in ACTS:
        raise HTTPException(404)
    if not (view.may("bulk") and view.may(PERMISSION[cast("Act", action)])):
        raise HTTPException(403)

    at, wrong = await time_of(view.app), "" if collector(view) else NO_PLUGIN
    found: Sequence[FoundJob] = ()
    count = Count(value=0, exact=True)
    try:
        query = parsed(text, at)
        if query.secret and not view.may("see_arguments"):
            raise NotUnderstood(NOT_YOURS)
        if query.job_id is None:
            search = frozen(cast("Act", action), query.search(), at)
            found, count = await _some(view, search)
    except (NotUnderstood, NotPossible) as error:
        return _form(action, text, at, wrong or str(error))
    except (InvalidOption, InvalidJobId) as error:
        return _form(action, text, at, wrong or in_words(error))

    return {
        **_form(action, text, at, wrong),
        "goto": None if query.job_id is None else view.url(f"/jobs/{query.job_id}"),
        "refused": REFUSED[view.choice("refused", REFUSED, "")],
        "found": found,
        "count": count,
        "messages": await messages(view, found),
    }


async def _some(view: View, search: Search) -> tuple[Sequence[FoundJob], Count]:
    """Some of what a search finds, and how many these are."""
    found = await view.app.search(search, limit=ASKED_FOR)
    if found.next is None:
        return found.jobs[:EXAMPLES], Count(value=len(found.jobs), exact=True)
    return found.jobs[:EXAMPLES], await view.app.count(search)


def _form(action: str, text: str, at: object, wrong: str) -> dict[str, object]:
    return {
        "action": action,
        "q": text,
        "at": at,
        "wrong": wrong,
        "refused": "",
        "found": (),
        "count": Count(value=0, exact=True),
        "messages": {},
        "asked_for": ASKED_FOR,
    }


PAGE = Page("/operations", "operations.html", read, "Operations", "p")
ONE = Page("/operations/{id}", "operation.html", read_one, "Operation")
NEW = Page("/operations/new/{action}", "operation_new.html", read_new, "Operation")
