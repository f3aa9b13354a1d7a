"""Who may see the dashboard and what they may do, and what each answer tells the browser."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soniq import InvalidOption
from soniq_dashboard.permissions import PERMISSIONS, Permission

USER = "soniq_dashboard.user"
"""Where a request has its user, in its scope."""


@dataclass(frozen=True, slots=True)
class User:
    """Who looks at the dashboard; `name` is written down with what they do. Raises
    `InvalidOption` for a permission that there is not.
    """

    name: str
    may: frozenset[Permission] = frozenset()

    def __post_init__(self) -> None:
        if unknown := set(self.may) - PERMISSIONS:
            there_are = ", ".join(sorted(PERMISSIONS))
            raise InvalidOption(
                f"there is no permission {min(unknown)!r}; there are {there_are}", option="may"
            )


Authorize = Callable[[Request], User | Awaitable[User | None] | None]
"""Who makes a request; None for somebody who may not see the dashboard. It may raise Starlette's
`HTTPException` instead, to ask for credentials or to lead elsewhere.
"""


def anyone(*may: Permission, name: str = "anyone") -> Authorize:
    """Lets everybody in who reaches the dashboard, with these permissions."""
    user = User(name, frozenset(may))
    return lambda request: user


POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Referrer-Policy": "same-origin",  # with no-referrer browsers send `Origin: null` with a form
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""What each answer says."""

MOST_BYTES = 100_000
"""Of a form."""

FORM = "application/x-www-form-urlencoded"


class Headed:
    """Says with each answer what browsers may do with it; nothing is kept unless it says so."""

    def __init__(self, inside: ASGIApp) -> None:
        self._inside = inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers.update(HEADERS)
            await send(message)

        await self._inside(scope, receive, headed)


class Gate:
    """The one way to the pages: lets nobody pass whom `authorize` does not know, and no form that
    another site has sent.
    """

    def __init__(self, inside: ASGIApp, authorize: Authorize) -> None:
        self._inside = inside
        self._authorize = authorize

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        inside: ASGIApp = await self._refusal(Request(scope, receive)) or self._inside
        await inside(scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        """The answer to who may not come in; None for who may."""
        if request.method not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("method not allowed", 405)
        try:
            user = self._authorize(request)
            if inspect.isawaitable(user):
                user = await user
        except HTTPException as error:
            return PlainTextResponse(error.detail, error.status_code, error.headers)
        if not isinstance(user, User):
            return PlainTextResponse("you may not see this", 403)

        request.scope[USER] = user
        return _unwelcome(request) if request.method == "POST" else None


def _host(origin: str) -> str:
    """The host of an Origin header, with its port; empty where it has none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _unwelcome(request: Request) -> Response | None:
    """The answer to a form that another site has sent, or that is none; None for one of ours."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        ours = site == "same-origin"
    else:  # browsers leave it away where the connection is not encrypted
        origin = _host(request.headers.get("origin", ""))
        ours = bool(origin) and origin == request.headers.get("host")
    if not ours:
        return PlainTextResponse("this form was not sent by the dashboard", 403)

    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        return PlainTextResponse("this is not a form", 415)
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MOST_BYTES:
        return PlainTextResponse("this form is too long", 413)
    return None
