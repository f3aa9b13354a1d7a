"""What users do to all jobs that match a search: ask for an operation, and stop one."""

from datetime import datetime
from typing import NamedTuple

from starlette.exceptions import HTTPException

from soniq import Count, InvalidJobId, InvalidOption, Search
from soniq_dashboard.operations import ACTS, PERMISSION, Act, NotPossible, begin, frozen, stop

from .forms import Action, Form, number_of, text_of
from .pages.operations import ASKED_FOR, operation_id
from .pages.series import collector
from .query import NotUnderstood, parsed
from .view import MOST_SEARCH, BadRequest, View

LONGEST_NAME = 1_000
"""Bytes of a user's name that is kept with what they do."""


class Asked(NamedTuple):
    """What a form asks for."""

    action: Act
    text: str
    """The search, as it was typed."""
    at: datetime
    shown: int
    """How many jobs the form said that there are."""
    typed: int | None
    """How many its user says that there are."""
    reason: str


async def _start(view: View, form: Form) -> str:
    """Make an operation, where all is as its form has shown it; else the form is shown again."""
    asked = _asked(form)
    if not view.may(PERMISSION[asked.action]):
        raise HTTPException(403)
    if collector(view) is None:
        raise BadRequest("this app has no plugin Dashboard, which operations are of")
    if len(view.user.name.encode()) > LONGEST_NAME:
        raise BadRequest("your name is too long to be kept")
    try:
        query = parsed(asked.text, asked.at)
        if query.secret and not view.may("see_arguments"):
            raise HTTPException(403)
        if query.job_id is not None:
            return view.url(f"/jobs/{query.job_id}")
        search = frozen(asked.action, query.search(), asked.at)
        found = await view.app.count(search)
    except (NotUnderstood, NotPossible, InvalidOption, InvalidJobId):
        return _again(view, asked)  # where the form says what is wrong
    return await _begin(view, asked, search, found, query.secret)


async def _begin(view: View, asked: Asked, search: Search, found: Count, secret: bool) -> str:
    if max(asked.shown, found.value) > ASKED_FOR and asked.typed != asked.shown:
        return _again(view, asked, "typed")
    made = await begin(
        view.app,
        asked.action,
        search,
        asked.at,
        secret=secret,
        by=view.user.name,
        reason=asked.reason or None,
        found=found.value,
        exact=found.exact,
    )
    return _again(view, asked, "later") if made is None else view.url(f"/operations/{made}")


def _asked(form: Form) -> Asked:
    """What a form says. Raises `BadRequest`."""
    action = next((each for each in ACTS if each == text_of(form, "action")), None)
    shown = number_of(form, "shown")
    try:
        at = datetime.fromisoformat(text_of(form, "at"))
    except ValueError:
        at = None
    if action is None or shown is None or at is None or at.tzinfo is None:
        raise BadRequest("this is no form of the dashboard")
    return Asked(
        action,
        text_of(form, "q", MOST_SEARCH),
        at,
        shown,
        number_of(form, "typed"),
        text_of(form, "reason"),
    )


def _again(view: View, asked: Asked, refused: str = "") -> str:
    """The form once more, with why it was not done."""
    return view.url(f"/operations/new/{asked.action}", q=asked.text, refused=refused)


async def _stop(view: View, form: Form) -> str:
    if collector(view) is None:
        raise HTTPException(404)
    number = operation_id(view)
    await stop(view.app, number, view.user.name)
    return view.url(f"/operations/{number}")


OPERATING = (
    Action("/operations/start", "bulk", _start),
    Action("/operations/{id}/stop", "bulk", _stop),
)
