"""What users do: each is a form, checked here for what its user may do."""

import logging
from collections.abc import Awaitable, Sequence
from typing import Any

from soniq import InvalidJobId, InvalidOption, JobNotRetryable, SoniqError
from soniq.errors import DatabaseError
from soniq_dashboard.operations import STATUSES, delete_as_seen

from .forms import MOST_JOBS, Action, Form, text_of
from .operating import OPERATING
from .pages import running
from .pages.job import REFUSALS
from .query import ID
from .view import MOST_SEARCH, BadRequest, View

log = logging.getLogger("soniq.dashboard")

# --- one job -------------------------------------------------------------------------------------


async def _retry(view: View, form: Form) -> str:
    job_id = view.request.path_params["id"]
    return await _with_job(view, job_id, view.app.retry(job_id, by=view.user.name))


async def _run(view: View, form: Form) -> str:
    job_id = view.request.path_params["id"]
    act = view.app.retry(job_id, status="queued", by=view.user.name)
    return await _with_job(view, job_id, act)


async def _cancel(view: View, form: Form) -> str:
    job_id, reason = view.request.path_params["id"], text_of(form, "reason")
    return await _with_job(view, job_id, view.app.cancel(job_id, reason or None, by=view.user.name))


async def _delete(view: View, form: Form) -> str:
    job_id, seen = view.request.path_params["id"], text_of(form, "seen")
    act = view.app.delete(job_id, status=_status(seen), by=view.user.name)
    return await _with_job(view, job_id, act, view.url("/jobs"))


def _status(text: str) -> Any:
    """The status that a form says a job had; None where it says none. Raises `BadRequest`."""
    if text and text not in STATUSES:
        raise BadRequest("there is no such status of a job")
    return text or None


async def _with_job(
    view: View, job_id: str, act: Awaitable[object], then: str | None = None
) -> str:
    """Do something with a job; where it cannot be done, its page says why. Raises `DatabaseError`
    and `InvalidJobId`.
    """
    try:
        await act
    except (DatabaseError, InvalidJobId):
        raise
    except SoniqError as error:
        why = type(error).__name__
        if isinstance(error, JobNotRetryable) and error.status == "held":
            why = "held"
        if why not in REFUSALS:
            log.warning("page %s: this could not be done: %s", view.request.url.path, error)
            why = "other"
        return view.url(f"/jobs/{job_id}", refused=why)
    return then or view.url(f"/jobs/{job_id}")


# --- those that are ticked -----------------------------------------------------------------------


async def _retry_many(view: View, form: Form) -> str:
    done = await view.app.retry_many(_ids(form), by=view.user.name)
    return _list(view, form, "retry", done["queued"], len(done["left"]))


async def _run_many(view: View, form: Form) -> str:
    done = await view.app.retry_many(_ids(form), status="queued", by=view.user.name)
    return _list(view, form, "run", done["queued"], len(done["left"]))


async def _cancel_many(view: View, form: Form) -> str:
    reason = text_of(form, "reason") or None
    done = await view.app.cancel_many(_ids(form), reason, by=view.user.name)
    return _list(view, form, "cancel", done["cancelled"] + done["asked"], len(done["left"]))


async def _delete_many(view: View, form: Form) -> str:
    deleted, left = await delete_as_seen(view.app, _ticked(form), view.user.name)
    return _list(view, form, "delete", deleted, len(left))


def _ids(form: Form) -> Sequence[str]:
    """The ids of the ticked jobs. Raises `BadRequest`."""
    return [job_id for job_id, _ in _ticked(form)]


def _ticked(form: Form) -> Sequence[tuple[str, Any]]:
    """The ticked jobs: the id of each, and the status that it was shown with; None where that is
    not said. Raises `BadRequest`.
    """
    ticked = [each.partition(" ") for each in form.get("id", [])]
    if len(ticked) > MOST_JOBS:
        raise BadRequest(f"these are more than {MOST_JOBS} jobs")
    if not all(ID.fullmatch(job_id) for job_id, _, _ in ticked):
        raise BadRequest("this is no id of a job")
    return [(job_id, _status(seen)) for job_id, _, seen in ticked]


def _list(view: View, form: Form, did: str, jobs: int, left: int) -> str:
    """The list that the jobs were ticked in, and what was done."""
    return view.url("/jobs", q=text_of(form, "q", MOST_SEARCH), did=did, jobs=jobs, left=left)


# --- queues --------------------------------------------------------------------------------------


async def _pause(view: View, form: Form) -> str:
    queue, reason = text_of(form, "queue"), text_of(form, "reason")
    return await _with_queue(view, view.app.pause(queue, reason=reason or None, by=view.user.name))


async def _resume(view: View, form: Form) -> str:
    return await _with_queue(view, view.app.resume(text_of(form, "queue"), by=view.user.name))


async def _with_queue(view: View, act: Awaitable[object]) -> str:
    try:
        await act
    except InvalidOption:
        raise BadRequest("there can be no queue of this name") from None
    return view.url("/queues")


ACTIONS = (
    Action("/jobs/{id}/retry", "retry", _retry),
    Action("/jobs/{id}/run", "retry", _run),
    Action("/jobs/{id}/cancel", "cancel", _cancel),
    Action("/jobs/{id}/delete", "delete", _delete),
    Action("/jobs/retry", "retry", _retry_many),
    Action("/jobs/run", "retry", _run_many),
    Action("/jobs/cancel", "cancel", _cancel_many),
    Action("/jobs/delete", "delete", _delete_many),
    Action("/running/cancel", "cancel", running.cancel),
    Action("/queues/pause", "pause", _pause),
    Action("/queues/resume", "pause", _resume),
    *OPERATING,
)
