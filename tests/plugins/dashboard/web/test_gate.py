"""Nobody comes in whom the application does not know, and no form of another site does anything."""

import re
from collections.abc import AsyncIterator

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from soniq import InvalidOption, Soniq
from soniq_dashboard.web import User, anyone, dashboard
from soniq_dashboard.web.actions import ACTIONS
from soniq_dashboard.web.app import PAGES, WORDS
from soniq_dashboard.web.gate import HEADERS, MOST_BYTES
from tests.plugins.dashboard.web.conftest import HOST, OURS, Browse, send

ID = "01a22b36-af8b-70ef-abb4-2accb21d721e"
PATHS = [*(each.path.replace("{id}", ID) for each in PAGES), WORDS]
FORMS = [each.path.replace("{id}", ID) for each in ACTIONS]


def nobody(request: Request) -> User | None:
    return None


async def nobody_awaited(request: Request) -> User | None:
    return None


def test_there_is_no_dashboard_without_saying_who_may_see_it(app: Soniq) -> None:
    with pytest.raises(TypeError, match="authorize"):
        dashboard(app)  # type: ignore[call-arg]


@pytest.mark.parametrize("path", [*PATHS, *FORMS, "/nowhere", "/static", "/static/../jobs", "//"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "OPTIONS"])
async def test_who_is_not_known_gets_nothing(
    app: Soniq, browse: Browse, path: str, method: str
) -> None:
    answer = await browse(app, nobody).request(method, path, headers=OURS)
    assert answer.status_code in (403, 405)
    assert "Soniq" not in answer.text


async def test_it_may_be_asked_of_a_database_who_somebody_is(app: Soniq, browse: Browse) -> None:
    assert (await browse(app, nobody_awaited).get("/")).status_code == 403


async def test_it_may_answer_by_itself(app: Soniq, browse: Browse) -> None:
    def authorize(request: Request) -> User | None:
        raise HTTPException(303, headers={"Location": "/login"})

    answer = await browse(app, authorize).get("/jobs")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


async def test_what_is_no_user_is_nobody(app: Soniq, browse: Browse) -> None:
    answer = await browse(app, lambda request: True).get("/")
    assert answer.status_code == 403


def test_permissions_are_checked_where_they_are_given() -> None:
    with pytest.raises(
        InvalidOption, match="'retyr'; there are bulk, cancel, delete, pause, retry"
    ):
        anyone("retyr")  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [*PATHS, "/nowhere", "/static/0/nothing.css"])
async def test_each_answer_tells_the_browser_to_be_careful(
    app: Soniq, browse: Browse, path: str
) -> None:
    answer = await browse(app).get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["cache-control"] == "no-store"


async def test_assets_are_kept_for_ever_under_the_hash_of_what_they_hold(
    app: Soniq, browse: Browse
) -> None:
    client = browse(app, nobody)  # they are the same for everybody
    page = (await browse(app).get("/")).text
    assets = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))
    assert {path.rpartition("/")[2] for path in assets} == {
        "dashboard.css", "dashboard.js", "icon.svg",
    }  # fmt: skip
    for path in assets:
        answer = await client.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": HOST},
        {"Origin": "http://elsewhere.test"},
        {"Origin": "http://jobs.test.elsewhere.test"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://[::1"},
    ],
)
async def test_a_form_of_another_site_does_nothing(
    app: Soniq, browse: Browse, headers: dict[str, str]
) -> None:
    answer = await send(browse(app), "/queues/pause", headers, queue="mail")
    assert answer.status_code == 403
    assert [*(await app.overview())["paused"]] == []


@pytest.mark.parametrize("headers", [OURS, {"Origin": HOST}])
async def test_a_form_of_the_dashboard_does_something(
    app: Soniq, browse: Browse, headers: dict[str, str]
) -> None:
    answer = await send(browse(app), "/queues/pause", headers, queue="mail")
    assert (answer.status_code, answer.headers["location"]) == (303, "/queues")
    assert [*(await app.overview())["paused"]] == ["mail"]


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "text/plain", ""])
async def test_what_is_no_form_does_nothing(app: Soniq, browse: Browse, kind: str) -> None:
    answer = await browse(app).post(
        "/queues/pause", content=b"queue=mail", headers={**OURS, "Content-Type": kind}
    )
    assert answer.status_code == 415
    assert [*(await app.overview())["paused"]] == []


async def test_a_form_has_a_length_and_an_end(app: Soniq, browse: Browse) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"queue=mail"

    form = {**OURS, "Content-Type": "application/x-www-form-urlencoded"}
    answers = [
        await browse(app).post("/queues/pause", content=pieces(), headers=form),
        await browse(app).post("/queues/pause", content=b"a" * (MOST_BYTES + 1), headers=form),
    ]
    assert [each.status_code for each in answers] == [413, 413]
    assert [*(await app.overview())["paused"]] == []


async def test_a_length_that_is_not_true_helps_nobody(app: Soniq) -> None:
    pages, sent = dashboard(app, authorize=anyone("pause")), []
    headers = {
        **OURS, "Content-Type": "application/x-www-form-urlencoded", "Content-Length": "5",
    }  # fmt: skip

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"queue=" + b"a" * 60_000, "more_body": True}

    async def remember(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/queues/pause", "query_string": b"",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
    }  # fmt: skip
    await pages(scope, receive, remember)  # type: ignore[arg-type]
    assert sent[0]["status"] == 400


async def test_there_is_no_web_socket(app: Soniq) -> None:
    sent = []

    async def remember(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    pages = dashboard(app, authorize=anyone())
    await pages({"type": "websocket", "path": "/", "headers": []}, receive, remember)  # type: ignore[arg-type]
    assert [each["type"] for each in sent] == ["websocket.close"]
