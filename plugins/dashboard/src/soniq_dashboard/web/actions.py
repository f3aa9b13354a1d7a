"""What users do: each is a form, checked here for what its user may do."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException

from soniq import SoniqError

from .gate import MOST_BYTES, Permission
from .pages.job import REFUSALS
from .view import MOST_TEXT, BadRequest, View, checked

MOST_JOBS = 1_000
"""Jobs of one form."""

Form = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do; `act` says where the browser goes then."""

    path: str
    permission: Permission
    act: Callable[[View, Form], Awaitable[str]]

    async def __call__(self, view: View) -> str:
        """Do it, if the user may; 403 otherwise. Raises `BadRequest`."""
        if not view.may(self.permission):
            raise HTTPException(403)
        return await self.act(view, await _form(view))


async def _form(view: View) -> Form:
    """What a form says. Raises `BadRequest`."""
    body = b""
    async for part in view.request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise BadRequest("the form is too long")
    try:
        return parse_qs(body.decode(), max_num_fields=MOST_JOBS + 100)
    except ValueError:
        raise BadRequest("the form cannot be read") from None


def _text(form: Form, name: str) -> str:
    """A text of a form; empty where it is not there. Raises `BadRequest`."""
    return checked(name, form.get(name, [""])[0], MOST_TEXT)


# --- one job -------------------------------------------------------------------------------------


async def _retry(view: View, form: Form) -> str:
    job_id = view.request.path_params["id"]
    return await _with_job(view, job_id, view.app.retry(job_id, by=view.user.name))


async def _cancel(view: View, form: Form) -> str:
    job_id, reason = view.request.path_params["id"], _text(form, "reason")
    return await _with_job(view, job_id, view.app.cancel(job_id, reason or None, by=view.user.name))


async def _delete(view: View, form: Form) -> str:
    job_id = view.request.path_params["id"]
    return await _with_job(
        view, job_id, view.app.delete(job_id, by=view.user.name), view.url("/jobs")
    )


async def _with_job(
    view: View, job_id: str, act: Awaitable[object], then: str | None = None
) -> str:
    """Do something with a job; where it cannot be done, its page says why."""
    try:
        await act
    except SoniqError as error:
        why = type(error).__name__
        return view.url(f"/jobs/{job_id}", refused=why if why in REFUSALS else "other")
    return then or view.url(f"/jobs/{job_id}")


# --- those that are ticked -----------------------------------------------------------------------


async def _retry_many(view: View, form: Form) -> str:
    done = await view.app.retry_many(_ids(form), by=view.user.name)
    return _list(view, form, "retry", done["queued"], len(done["left"]))


async def _cancel_many(view: View, form: Form) -> str:
    done = await view.app.cancel_many(_ids(form), by=view.user.name)
    return _list(view, form, "cancel", done["cancelled"] + done["asked"], len(done["left"]))


async def _delete_many(view: View, form: Form) -> str:
    done = await view.app.delete_many(_ids(form), by=view.user.name)
    return _list(view, form, "delete", done["deleted"], len(done["left"]))


def _ids(form: Form) -> Sequence[str]:
    """The ids of the ticked jobs. Raises `BadRequest`."""
    ids = form.get("id", [])
    if len(ids) > MOST_JOBS:
        raise BadRequest(f"these are more than {MOST_JOBS} jobs")
    return ids


def _list(view: View, form: Form, did: str, jobs: int, left: int) -> str:
    """The list that the jobs were ticked in, and what was done."""
    return view.url("/jobs", q=_text(form, "q"), did=did, jobs=jobs, left=left)


# --- queues --------------------------------------------------------------------------------------


async def _pause(view: View, form: Form) -> str:
    queue, reason = _text(form, "queue"), _text(form, "reason")
    return await _with_queue(view, view.app.pause(queue, reason=reason or None, by=view.user.name))


async def _resume(view: View, form: Form) -> str:
    return await _with_queue(view, view.app.resume(_text(form, "queue"), by=view.user.name))


async def _with_queue(view: View, act: Awaitable[object]) -> str:
    try:
        await act
    except SoniqError:
        raise BadRequest("there can be no queue of this name") from None
    return view.url("/queues")


ACTIONS = (
    Action("/jobs/{id}/retry", "retry", _retry),
    Action("/jobs/{id}/cancel", "cancel", _cancel),
    Action("/jobs/{id}/delete", "delete", _delete),
    Action("/jobs/retry", "retry", _retry_many),
    Action("/jobs/cancel", "cancel", _cancel_many),
    Action("/jobs/delete", "delete", _delete_many),
    Action("/queues/pause", "pause", _pause),
    Action("/queues/resume", "pause", _resume),
)
