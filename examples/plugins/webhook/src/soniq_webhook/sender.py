"""Where webhooks go: one URL, a secret, a time limit."""

import asyncio
import re
import time
from http.client import HTTPException
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from soniq import ConfigurationError, SoniqError

from .signature import HEADER, sign

URL = re.compile(r"https?://[!-~]+")
"""Printable ASCII, without spaces."""
SHORTEST_SECRET = 16


class WebhookError(SoniqError):
    """A webhook was not taken; `status` is the answer's, None where there was none."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Sender:
    """Posts signed JSON to one URL. Shows of it where it leads, and never the secret. Raises `ConfigurationError`."""

    def __init__(self, url: str, secret: str, timeout: float) -> None:
        self.place = _place(url)
        if len(secret) < SHORTEST_SECRET:
            raise ConfigurationError(f"the secret of webhooks needs {SHORTEST_SECRET} characters or more")
        self._url = url
        self._secret = secret
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<Sender to {self.place}>"

    async def send(self, body: bytes) -> None:
        """Post a body. Raises `WebhookError` unless the answer is a success; a redirect is none."""
        try:
            async with asyncio.timeout(self._timeout):
                status = await asyncio.to_thread(self._post, body)
        except TimeoutError:
            raise WebhookError(f"{self.place} did not answer within {self._timeout:g} s") from None
        except (OSError, HTTPException) as error:
            raise WebhookError(f"{self.place} cannot be reached: {type(error).__name__}: {error}") from None
        if not 200 <= status < 300:
            raise WebhookError(f"{self.place} answered with status {status}", status=status)

    def _post(self, body: bytes) -> int:
        signature = sign(self._secret, body, int(time.time()))
        request = Request(self._url, body, {"Content-Type": "application/json", HEADER: signature}, method="POST")
        try:
            with build_opener(_NoRedirect).open(request, timeout=self._timeout) as response:
                return int(response.status)
        except HTTPError as error:
            with error:
                return error.code


class _NoRedirect(HTTPRedirectHandler):
    """Another place than the configured one gets nothing."""

    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def _place(url: str) -> str:
    """Scheme, host and port of a URL. The error for one that cannot be used does not repeat it."""
    try:
        parts = urlsplit(url)
        if URL.fullmatch(url) and parts.hostname and "@" not in parts.netloc and parts.port != 0:
            return f"{parts.scheme}://{parts.netloc}"
    except ValueError:
        pass
    raise ConfigurationError(
        "the URL of webhooks begins with https:// or http://, names a host, and holds no user, password or space"
    )
