"""The dashboard in other applications, below a path of theirs."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import django
import httpx
import pytest
from django.conf import settings
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from soniq import Soniq
from soniq_dashboard.web import anyone, dashboard
from tests.plugins.dashboard.web.conftest import HOST, OURS


@asynccontextmanager
async def asked(application: ASGIApp, root_path: str = "") -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application, root_path=root_path)
    async with httpx.AsyncClient(transport=transport, base_url=HOST) as client:
        yield client


def in_fastapi(app: Soniq) -> ASGIApp:
    fastapi = FastAPI()
    fastapi.mount("/ops/jobs", dashboard(app, authorize=anyone("pause")))
    return fastapi


def in_starlette(app: Soniq) -> ASGIApp:
    return Starlette(routes=[Mount("/ops/jobs", dashboard(app, authorize=anyone("pause")))])


def beside_django(app: Soniq) -> ASGIApp:
    if not settings.configured:
        settings.configure(ROOT_URLCONF=[], ALLOWED_HOSTS=["*"])
        django.setup()
    from django.core.asgi import get_asgi_application

    pages = dashboard(app, authorize=anyone("pause"))
    return Starlette(
        routes=[
            Route("/ops/jobs", lambda request: RedirectResponse("jobs/")),
            Mount("/ops/jobs", pages),
            Mount("/", get_asgi_application()),
        ]
    )


MAKERS = [in_fastapi, in_starlette, beside_django]


@pytest.mark.parametrize("mounted", MAKERS)
async def test_its_links_lead_to_its_own_pages(app: Soniq, mounted: type) -> None:
    await app.enqueue("later", args={}, queue="mail")
    async with asked(mounted(app)) as client:
        seen, to_see = set(), ["/ops/jobs/"]
        while to_see:
            path = to_see.pop()
            answer = await client.get(path)
            assert answer.status_code == 200, path
            seen.add(path)
            links = {
                each.replace("&amp;", "&") for each in re.findall(r'href="(/[^"]*)"', answer.text)
            }
            assert {each for each in links if not each.startswith("/ops/jobs/")} == set()
            if len(seen) < 40:
                to_see += [each for each in sorted(links) if each not in {*seen, *to_see}]
    assert len(seen) >= 15


@pytest.mark.parametrize("mounted", MAKERS)
async def test_without_the_last_slash_it_is_found(app: Soniq, mounted: type) -> None:
    async with asked(mounted(app)) as client:
        answer = await client.get("/ops/jobs", follow_redirects=True)
        assert (answer.status_code, answer.url.path) == (200, "/ops/jobs/")


@pytest.mark.parametrize("mounted", MAKERS)
async def test_its_forms_lead_to_it_and_back(app: Soniq, mounted: type) -> None:
    async with asked(mounted(app)) as client:
        answer = await client.post("/ops/jobs/queues/pause", data={"queue": "mail"}, headers=OURS)
        assert (answer.status_code, answer.headers["location"]) == (303, "/ops/jobs/queues")
    assert [*(await app.overview())["paused"]] == ["mail"]


@pytest.mark.parametrize("mounted", [in_fastapi, in_starlette])
async def test_behind_a_proxy_that_cuts_off_a_path_of_its_own(app: Soniq, mounted: type) -> None:
    async with asked(mounted(app), "/inner") as client:
        answer = await client.get("/inner/ops/jobs/queues")
        assert answer.status_code == 200
        links = re.findall(r'(?:href|src|action)="(/[^"]*)"', answer.text)
        assert {each for each in links if not each.startswith("/inner/ops/jobs/")} == set()


@pytest.mark.parametrize("mounted", MAKERS)
async def test_no_address_names_a_host_whatever_the_request_says(app: Soniq, mounted: type) -> None:
    headers = {"Host": "evil.test", "X-Forwarded-Host": "evil.test", "X-Forwarded-Proto": "https"}
    async with asked(mounted(app)) as client:
        for path in ("/ops/jobs/", "/ops/jobs/queues", "/ops/jobs/queues/"):
            answer = await client.get(path, headers=headers)
            assert "evil" not in answer.text
            assert "evil" not in answer.headers.get("location", "")
