"""Sessions that handlers are given, where the network loses their connections, or a primary was
demoted.
"""

import asyncio
import socket
import time
from typing import Any

import asyncpg
import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from soniq import DatabaseUnavailable, Soniq
from soniq_sqlalchemy import SQLAlchemyPlugin
from tests.conftest import MakeApp
from tests.plugins.sqlalchemy.support import url_for
from tests.support.jobs import finished, working
from tests.support.proxy import Proxy
from tests.support.sessions import end_sessions_that_run
from tests.support.waiting import in_time

COMMAND = 1.0
"""Seconds that a statement may take."""
SPARE = 5.0
"""Seconds that a busy machine may take beyond the limits: of a statement, of a close and of a new
connection.
"""


@pytest.fixture
def far_app(make_app: MakeApp, proxy: Proxy, database_url: str) -> Soniq:
    """An app that reaches its database through the proxy, and so do the sessions of its
    handlers.
    """
    return make_app(
        database_url=proxy.url(database_url),
        command_timeout=COMMAND,
        connect_timeout=COMMAND,
        lease=3,
        grace=1,
        plugins=[SQLAlchemyPlugin()],
    )


@pytest.mark.parametrize("fault", ["lose", "cut"])
async def test_a_session_whose_connection_is_lost_ends_in_time_and_the_next_attempt_has_another(
    fault: str, far_app: Soniq, app: Soniq, proxy: Proxy
) -> None:
    took: list[float] = []

    @far_app.job(name="effect", max_attempts=5, retry=0)
    async def effect(session: AsyncSession) -> None:
        began = time.monotonic()
        if not took:
            getattr(proxy, fault)()
        try:
            await session.execute(text("select 1"))
        finally:
            took.append(time.monotonic() - began)

    began = time.monotonic()
    async with working(far_app):
        job_id = await _enqueued(far_app, effect.name)
        assert (await finished(app, job_id))["status"] == "done"
    assert len(took) >= 2
    assert max(took) < COMMAND + SPARE
    assert time.monotonic() - began < 4 * COMMAND + 2 * SPARE


async def test_a_connection_that_was_lost_while_it_waited_in_the_pool_costs_one_try(
    far_app: Soniq, app: Soniq, proxy: Proxy
) -> None:
    @far_app.job(name="effect", max_attempts=5, retry=0)
    async def effect(session: AsyncSession) -> None:
        await session.execute(text("select 1"))

    async with working(far_app):
        await finished(app, await far_app.enqueue(effect))
        proxy.lose()
        status = await finished(app, await _enqueued(far_app, effect.name))
    assert status["status"] == "done"


async def test_a_session_in_the_dark_keeps_no_worker_from_its_end(
    far_app: Soniq, proxy: Proxy, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    begun = asyncio.Event()

    @far_app.job(name="endless")
    async def endless(session: AsyncSession) -> None:
        begun.set()
        await session.execute(text("select pg_sleep(600)"))

    await far_app.start()
    worker = asyncio.create_task(far_app.run_worker())
    await far_app.enqueue(endless)
    await in_time(begun.wait())
    proxy.darken()
    began = time.monotonic()
    far_app.stop_workers()
    await worker
    await far_app.close()
    assert time.monotonic() - began < 1 + 20
    await end_sessions_that_run(connection, "select pg_sleep(600)")


READ_ONLY: dict[str, dict[str, Any]] = {
    "asyncpg": {"server_settings": {"default_transaction_read_only": "on"}},
    "psycopg": {"options": "-c default_transaction_read_only=on"},
}


@pytest.mark.parametrize("case", ["asyncpg", "psycopg", "def"])
async def test_a_session_that_could_read_only_is_on_another_connection_the_next_time(
    case: str, make_app: MakeApp, database_url: str, orders: str
) -> None:
    driver = "psycopg" if case == "def" else case
    url = url_for(database_url, driver)
    awaiting = create_async_engine(url, pool_size=1)
    engine = create_engine(url, pool_size=1) if case == "def" else awaiting.sync_engine
    made = 0

    @event.listens_for(engine, "do_connect")
    def first_is_read_only(
        _dialect: object, _record: object, _given: object, options: dict[str, Any]
    ) -> None:
        nonlocal made
        made += 1
        if made == 1:  # as one is that was made while the server was a standby
            options |= READ_ONLY[driver]

    app = make_app(plugins=[SQLAlchemyPlugin(engine if case == "def" else awaiting)])
    insert = text(f"insert into {orders}.orders (what) values ('tea')")

    @app.job(max_attempts=5, retry=0)
    async def effect(session: AsyncSession) -> None:
        await session.execute(insert)

    @app.job(max_attempts=5, retry=0)
    def blocking(session: Session) -> None:
        session.execute(insert)

    job_id = await app.enqueue(blocking if case == "def" else effect)
    async with working(app):
        status = await finished(app, job_id)
    await awaiting.dispose()
    engine.dispose()
    assert (status["status"], made) == ("done", 2)


async def test_a_connection_of_psycopgs_gives_up_a_network_that_acknowledges_nothing(
    far_app: Soniq, app: Soniq
) -> None:
    options: list[int] = []

    @far_app.job(name="look")
    def look(session: Session) -> None:
        fd = session.connection().connection.driver_connection.fileno()  # type: ignore[union-attr]
        with socket.socket(fileno=socket.dup(fd)) as own:
            options.append(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
            options.append(own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            options.append(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))

    async with working(far_app):
        assert (await finished(app, await far_app.enqueue(look)))["status"] == "done"
    assert options == [1000 * COMMAND, 1, 1]


async def _enqueued(app: Soniq, name: str) -> str:
    async with asyncio.timeout(20):
        while True:
            try:
                return await app.enqueue(name)
            except DatabaseUnavailable:
                await asyncio.sleep(0.05)
