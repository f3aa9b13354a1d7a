"""A dashboard, asked as a browser would ask it, in the event loop of the test."""

import re
from collections.abc import AsyncIterator, Callable
from html import unescape
from typing import Any

import httpx
import pytest

from soniq import Soniq
from soniq_dashboard.web import PERMISSIONS, Authorize, anyone, dashboard, extensions
from tests.conftest import MakeApp

HOST = "http://jobs.test"
OURS = {"Sec-Fetch-Site": "same-origin"}
"""What a browser says of a form on one of the dashboard's own pages."""

Browse = Callable[..., httpx.AsyncClient]
"""Makes a client of a dashboard of an app; by default it may do all."""


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    """An app that may enqueue what another defines."""
    return make_app(unknown_jobs="allow")


@pytest.fixture(autouse=True)
def _machines_that_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins have more time here: a test of their limit sets it."""
    monkeypatch.setattr(extensions, "LIMIT", 10.0)
    monkeypatch.setattr(extensions, "LIMIT_OF_PAGE", 8.0)


@pytest.fixture
async def browse() -> AsyncIterator[Browse]:
    made: list[httpx.AsyncClient] = []

    def make(
        app: Soniq, authorize: Authorize | None = None, root_path: str = ""
    ) -> httpx.AsyncClient:
        pages = dashboard(app, authorize=authorize or anyone(*PERMISSIONS))
        transport = httpx.ASGITransport(pages, root_path=root_path)
        made.append(httpx.AsyncClient(transport=transport, base_url=HOST + root_path))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()


async def send(
    client: httpx.AsyncClient, path: str, headers: dict[str, str] = OURS, **form: Any
) -> httpx.Response:
    """Send a form, as a page of the dashboard would."""
    return await client.post(path, data=form or {"nothing": ""}, headers=headers)


async def rows(client: httpx.AsyncClient, path: str) -> list[str]:
    """The rows of the tables of plugins on a page, each as its text."""
    html = (await client.get(path)).text
    found = re.findall(r"<tr data-row>(<td class=\"wide\">.*?)</tr>", html)
    return [" ".join(unescape(re.sub(r"<[^>]*>", " ", each)).split()) for each in found]
