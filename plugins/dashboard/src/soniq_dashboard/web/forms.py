"""A form that does something: who may send it, and what it says."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException

from soniq_dashboard.permissions import Permission

from .gate import MOST_BYTES
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


def text_of(form: Form, name: str, most: int = MOST_TEXT) -> str:
    """A text of a form; empty where it is not there. Raises `BadRequest`."""
    return checked(name, form.get(name, [""])[0], most)


def number_of(form: Form, name: str) -> int | None:
    """A number of a form, however its thousands are written; None where it is none. Raises
    `BadRequest`.
    """
    digits = "".join(each for each in text_of(form, name) if each not in ", .'\u00a0")
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else None
