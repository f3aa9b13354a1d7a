"""The pages, and `soniq top`, with a role that may only read the core's tables, or all."""

import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from soniq import Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.top.snapshot import snapshot
from soniq_dashboard.web import anyone
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.conftest import Browse, send
from tests.support import urls
from tests.support.jobs import run_job
from tests.support.proxy import Proxy

GRANT = "grant it usage on schema"
NOWHERE = "01a22b36-af8b-70ef-abb4-2accb21d721e"
REFUSED = "The database refused: the dashboard&#39;s role may not do this"


@pytest.fixture
async def app(make_app: MakeApp) -> Soniq:
    """The app of the owner, with its tables."""
    app = make_app(plugins=[Dashboard], unknown_jobs="allow")
    await app.start()
    return app


@pytest.fixture
async def dead(app: Soniq) -> str:
    @app.job(name="fail", max_attempts=1)
    async def fail() -> None:
        raise ValueError

    return str((await run_job(app, fail))["job_id"])


@asynccontextmanager
async def reader(
    make_app: MakeApp, database_url: str, owner: "asyncpg.Connection", *schemas: str
) -> AsyncIterator[Soniq]:
    """An app as a role that may read these schemas."""
    role = f"test_{uuid.uuid4().hex[:12]}"
    await owner.execute(f"create role {role} login password 'test'")
    try:
        for each in schemas:
            await owner.execute(f"grant usage on schema {each} to {role}")
            await owner.execute(f"grant select on all tables in schema {each} to {role}")
        app = make_app(
            database_url=urls.as_role(database_url, role, "test"),
            setup=False,
            plugins=[Dashboard],
            unknown_jobs="allow",
        )
        yield app
        await app.close()
    finally:
        await owner.execute(f"drop owned by {role}; drop role {role}")


@pytest.fixture
async def core_only(
    app: Soniq,
    make_app: MakeApp,
    database_url: str,
    connection: asyncpg.Connection,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Soniq]:
    async with reader(make_app, database_url, connection, schema) as made:
        # Else a count says "1+" where a busy machine leaves it no time
        monkeypatch.setattr(made, "count", partial(made.count, seconds=30))
        yield made


@pytest.fixture
async def all_of_it(
    app: Soniq, make_app: MakeApp, database_url: str, connection: asyncpg.Connection, schema: str
) -> AsyncIterator[Soniq]:
    schemas = schema, app.plugin_schema("dashboard")
    async with reader(make_app, database_url, connection, *schemas) as made:
        yield made


@pytest.mark.parametrize(
    "path", ["/", "/names", "/names/one?name=fail", "/queues", "/queues?queue=default"]
)
async def test_a_page_shows_the_rest_and_names_the_right(
    core_only: Soniq, browse: Browse, dead: str, path: str
) -> None:
    page = await browse(core_only).get(path)
    assert page.status_code == 200
    assert GRANT in page.text
    if path == "/":
        assert "1 job has died within the last hour" in page.text


@pytest.mark.parametrize("path", ["/operations", "/operations/1", "/audit"])
async def test_a_page_of_the_plugins_own_tables_names_it_too(
    core_only: Soniq, browse: Browse, path: str
) -> None:
    page = await browse(core_only).get(path)
    assert page.status_code == 403
    assert GRANT in page.text


@pytest.mark.parametrize("path", ["/", "/names", "/operations", "/audit"])
async def test_with_the_rights_it_says_nothing_of_them(
    all_of_it: Soniq, browse: Browse, path: str
) -> None:
    page = await browse(all_of_it).get(path)
    assert page.status_code == 200
    assert GRANT not in page.text


async def test_where_its_tables_are_not_there_setup_is_named(
    app: Soniq, browse: Browse, connection: asyncpg.Connection
) -> None:
    await connection.execute(f"drop schema {app.plugin_schema('dashboard')} cascade")
    client = browse(app)
    answers = [await client.get(each) for each in ("/", "/names", "/operations", "/audit")]
    assert [each.status_code for each in answers] == [200, 200, 503, 503]
    assert all("soniq setup makes them" in each.text for each in answers)


async def test_top_shows_the_rest_and_names_the_right(core_only: Soniq, dead: str) -> None:
    await core_only.start()
    text = await snapshot(core_only)
    assert "1 job has died within the last hour" in text
    assert GRANT in text


async def test_what_the_role_may_not_do_is_said_and_the_log_has_the_cause(
    all_of_it: Soniq, browse: Browse, dead: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = browse(all_of_it, anyone("retry", "cancel", "delete", "pause", "bulk", name="eva"))
    form = (await client.get("/operations/new/retry", params={"q": "status:dead"})).text
    at = form.partition('name="at" value="')[2].partition('"')[0]
    acts: list[tuple[str, dict[str, Any]]] = [
        ("/queues/pause", {"queue": "mail"}),
        (f"/jobs/{dead}/retry", {}),
        ("/jobs/retry", {"id": dead}),
        ("/operations/start", {"action": "retry", "q": "status:dead", "at": at, "shown": "1"}),
        ("/operations/1/stop", {}),
    ]
    for path, fields in acts:
        caplog.clear()
        answer = await send(client, path, **fields)
        assert (answer.status_code, REFUSED in answer.text) == (403, True), path
        (line,) = [each for each in caplog.records if each.name == "soniq.dashboard"]
        assert line.levelno == logging.WARNING
        assert "permission denied" in line.getMessage()


async def test_what_the_database_did_not_answer_is_no_fault_of_the_form(
    make_app: MakeApp, database_url: str, browse: Browse, caplog: pytest.LogCaptureFixture
) -> None:
    with Proxy.to(database_url) as proxy:
        app = make_app(database_url=proxy.url(database_url), connect_timeout=1)
        client = browse(app)
        assert (await client.get("/queues")).status_code == 200
        proxy.refuse()
        answers: list[httpx.Response] = [
            await send(client, "/queues/pause", queue="mail"),
            await send(client, f"/jobs/{NOWHERE}/retry"),
        ]
    assert [each.status_code for each in answers] == [503, 503]
    said = [each.getMessage() for each in caplog.records if each.name == "soniq.dashboard"]
    assert len(said) == 2
    password = urlsplit(database_url).password
    assert not password or not any(f":{password}@" in each for each in said)
    assert all("could not be asked" in each and "PostgreSQL" in each for each in said)
