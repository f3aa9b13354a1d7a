"""Who may come in where `soniq dashboard` serves: those of this machine, those with the password,
or those whom a proxy in front knows.
"""

import asyncio
import base64
import binascii
import hmac
from collections.abc import Collection
from hashlib import sha256
from ipaddress import ip_address

from starlette.exceptions import HTTPException
from starlette.requests import Request

from soniq_dashboard.permissions import Permission

from .gate import Authorize, User

SHORTEST = 12
"""Characters of a password."""
FREE_TRIES = 5
"""Wrong passwords one after the other that are answered at once."""
PAUSE = 1.0
"""Seconds that later ones take, one at a time."""
CHALLENGE = {"WWW-Authenticate": 'Basic realm="Soniq", charset="UTF-8"'}


def is_loopback(host: str) -> bool:
    """Whether a host, by name or address, is this machine only."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def local(may: Collection[Permission]) -> Authorize:
    """Lets in who asks for this machine by a name of its own: a page of another site that has its
    own name lead here is refused.
    """
    user = User("local", frozenset(may))

    def authorize(request: Request) -> User | None:
        return user if is_loopback(_without_port(request.headers.get("host", ""))) else None

    return authorize


def with_password(password: str, may: Collection[Permission]) -> Authorize:
    """Lets in who knows the password; the name is what they say it is."""
    expected, lock, wrong = _digest(password), asyncio.Lock(), 0

    async def authorize(request: Request) -> User | None:
        nonlocal wrong
        name, given = _credentials(request.headers.get("authorization", ""))
        if given is None:
            raise HTTPException(401, headers=CHALLENGE)
        if hmac.compare_digest(_digest(given), expected):
            wrong = 0
            return User(name or "somebody", frozenset(may))

        wrong += 1
        if wrong > FREE_TRIES:
            async with lock:
                await asyncio.sleep(PAUSE)
        raise HTTPException(401, headers=CHALLENGE)

    return authorize


def behind_proxy(header: str, proxies: Collection[str], may: Collection[Permission]) -> Authorize:
    """Lets in whom a proxy at one of these addresses names in a header."""

    def authorize(request: Request) -> User | None:
        name = request.headers.get(header, "")
        trusted = request.client is not None and request.client.host in proxies
        return User(name, frozenset(may)) if trusted and name else None

    return authorize


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


def _credentials(header: str) -> tuple[str, str | None]:
    """The name and the password of a header; no password where it has none."""
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic":
        return "", None
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", None
    return name[:100], password if colon else None


def _without_port(host: str) -> str:
    """The host of a Host header."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
