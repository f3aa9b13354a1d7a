"""Where webhooks go: one URL, a secret, a time limit."""

import asyncio
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from soniq import ConfigurationError, SoniqError
from soniq.plugin import Secret

from .signature import HEADER, sign

if TYPE_CHECKING:
    import httpx

URL = re.compile(r"https?://[!-~]+")
"""Printable ASCII, without spaces."""
SHORTEST_SECRET = 16


class WebhookError(SoniqError):
    """A webhook was not taken; `status` is the answer's, None where there was none."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Sender:
    """Posts signed JSON to one URL. Shows of it where it leads, and never the secret. Raises
    `ConfigurationError`.
    """

    def __init__(self, url: str, secret: str, timeout: float) -> None:
        self._url, self._secret = url, secret = Secret(url), Secret(secret)
        place = _place(url)
        if place is None:
            raise ConfigurationError(
                "the URL of webhooks begins with https:// or http://, names a host, "
                "and holds no user, password or space"
            )
        if len(secret) < SHORTEST_SECRET:
            raise ConfigurationError(
                f"the secret of webhooks needs {SHORTEST_SECRET} characters or more"
            )
        self.place = place
        self._timeout = timeout
        self._transport: httpx.AsyncHTTPTransport | None = None

    def __repr__(self) -> str:
        return f"<Sender to {self.place}>"

    async def send(self, body: bytes) -> None:
        """Post a body. Raises `WebhookError` unless the answer is a success; a redirect is none."""
        import httpx  # no process needs it that does not post

        try:
            async with asyncio.timeout(self._timeout):  # for all of it: a receiver may drip
                status = await self._post(body)
        except TimeoutError:
            raise WebhookError(f"{self.place} did not answer within {self._timeout:g} s") from None
        except httpx.HTTPError as error:
            raise WebhookError(
                f"{self.place} cannot be reached: {type(error).__name__}: {error}"
            ) from None

        if not 200 <= status < 300:
            raise WebhookError(f"{self.place} answered with status {status}", status=status)

    async def close(self) -> None:
        """Let go of connections; the next use makes new ones."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def _post(self, body: bytes) -> int:
        import httpx

        if self._transport is None:
            self._transport = httpx.AsyncHTTPTransport(proxy=_proxy(self._url))
        headers = {
            "Content-Type": "application/json",
            HEADER: sign(self._secret, body, int(time.time())),
        }
        request = httpx.Request("POST", self._url, content=body, headers=headers)
        response = await self._transport.handle_async_request(
            request
        )  # a client would log the URL, and this does not
        await response.aclose()
        return response.status_code


def _proxy(url: str) -> str | None:
    """The proxy of the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY) that leads there."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _place(url: str) -> str | None:
    """Scheme, host and port of a URL; None for one that cannot be used."""
    try:
        parts = urlsplit(url)
        usable = (
            URL.fullmatch(url) and parts.hostname and "@" not in parts.netloc and parts.port != 0
        )
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}" if usable else None
