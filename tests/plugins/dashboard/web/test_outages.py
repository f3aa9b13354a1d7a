"""A session that is lost within a statement of the plugin's own is told as other outages are."""

import asyncio
import re
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pytest

from soniq import Soniq
from soniq.errors import DatabaseUnavailable
from soniq_dashboard import Dashboard
from soniq_dashboard.operations import time_of
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.conftest import Browse, send
from tests.plugins.dashboard.web.test_pages import checked
from tests.support.jobs import lose_a_worker
from tests.support.waiting import eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

WHO_WAITS = """select count(pid) from pg_locks
where not granted and pg_backend_pid() = any(pg_blocking_pids(pid))"""
END_WHO_WAITS = WHO_WAITS.replace("count(pid)", "count(pg_terminate_backend(pid))")


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    return make_app(plugins=[Dashboard()], unknown_jobs="allow")


async def cut_off(connection: "Connection", asking: "asyncio.Task[httpx.Response]") -> None:
    """End the session that waits for what a connection has locked, once it does."""

    async def ended() -> bool:
        assert not asking.done(), asking.result().text
        return bool(await connection.fetchval(END_WHO_WAITS))

    await eventually(ended)


def told(answer: httpx.Response, log: str) -> None:
    page = checked(answer, 503)
    (number,) = re.findall(r"The database cannot be asked \(([0-9a-f]{8}) in the log\)", page.text)
    assert f"could not be asked ({number})" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("path", "table"),
    [
        ("/operations", "operation"),
        ("/operations/1", "operation"),
        ("/audit", "audit"),
        ("/names", "series"),
        ("/queues?queue=mail", "gauge"),
        ("/", "series"),
    ],
)
async def test_a_page_whose_session_is_lost_says_that_the_database_cannot_be_asked(
    app: Soniq,
    browse: Browse,
    path: str,
    table: str,
    schema: str,
    connection: "Connection",
    caplog: pytest.LogCaptureFixture,
) -> None:
    await app.start()
    client = browse(app)
    async with connection.transaction():
        await connection.execute(f"lock table {schema}_dashboard.{table}")
        asking = asyncio.create_task(client.get(path))
        await cut_off(connection, asking)
        told(await asking, caplog.text)
    assert (await client.get(path)).status_code in (200, 404)


@pytest.mark.parametrize(
    ("path", "table", "shown"),
    [
        ("/", "series", "none is due"),
        ("/", "silent", "none is due"),
        ("/names", "series", "Names"),
        ("/queues", "series", "Queues"),
        ("/queues?queue=mail", "gauge", "Queues / mail"),
        ("/workers", "process", "Workers"),
    ],
)
async def test_a_page_shows_the_rest_where_what_was_counted_cannot_be_read_in_time(
    app: Soniq,
    browse: Browse,
    path: str,
    table: str,
    shown: str,
    schema: str,
    connection: "Connection",
) -> None:
    async def nobody_waits() -> bool:
        return await connection.fetchval(WHO_WAITS) == 0  # type: ignore[no-any-return]

    async with app:
        client = browse(app)
        await lose_a_worker(connection, schema)
        await app.pause("mail")
        async with connection.transaction():
            await connection.execute(f"lock table {schema}_dashboard.{table}")
            page = checked(await client.get(path))
            assert shown in page.text
            told = "What was counted could not be read within 2 seconds"
            assert (told in page.text) is (table != "silent")
            await eventually(nobody_waits)  # at the server, either
        assert told not in checked(await client.get(path)).text


async def test_an_operation_that_is_begun_meanwhile_says_so_and_can_be_begun_again(
    app: Soniq,
    browse: Browse,
    schema: str,
    connection: "Connection",
    caplog: pytest.LogCaptureFixture,
) -> None:
    await app.start()
    await app.enqueue("later", delay=60)
    client = browse(app)
    form: dict[str, Any] = {
        "action": "cancel",
        "q": "name:later",
        "shown": "1",
        "at": (await time_of(app)).isoformat(),
    }
    async with connection.transaction():
        await connection.execute(f"lock table {schema}_dashboard.operation")
        asking = asyncio.create_task(send(client, "/operations/start", **form))
        await cut_off(connection, asking)
        told(await asking, caplog.text)
    answer = await send(client, "/operations/start", **form)
    assert (answer.status_code, answer.headers["location"][:12]) == (303, "/operations/")


async def test_who_reads_what_was_counted_is_told_by_our_own_error(
    app: Soniq, schema: str, connection: "Connection"
) -> None:
    await app.start()
    dashboard = app.plugin(Dashboard)
    now = await time_of(app)
    async with connection.transaction():
        await connection.execute(f"lock table {schema}_dashboard.series")
        reading = asyncio.create_task(dashboard.series(now))
        await cut_off(connection, reading)  # type: ignore[arg-type]
        with pytest.raises(DatabaseUnavailable):
            await reading
