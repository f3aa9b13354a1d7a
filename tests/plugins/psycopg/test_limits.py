"""A network that acknowledges what is sent, and from which no answer comes."""

import time
from typing import Any

import psycopg
import pytest

from soniq import Soniq
from soniq_psycopg import PsycopgPlugin, connect, connect_async
from tests.conftest import MakeApp
from tests.support.jobs import finished, working
from tests.support.proxy import Proxy

COMMAND = 1.0
SPARE = 4.0
"""Seconds that a busy machine may take beyond a limit."""


@pytest.fixture
def far_app(make_app: MakeApp, proxy: Proxy, database_url: str) -> Soniq:
    """An app that reaches its database through the proxy."""
    return make_app(
        database_url=proxy.url(database_url),
        command_timeout=COMMAND,
        connect_timeout=COMMAND,
        lease=3,
        plugins=[PsycopgPlugin()],
    )


@pytest.mark.parametrize("fault", ["lose", "darken"])
@pytest.mark.parametrize("name", ["coroutine", "thread"])
async def test_a_statement_of_a_handler_has_a_limit_and_its_job_runs_again(
    name: str, fault: str, far_app: Soniq, app: Soniq, proxy: Proxy
) -> None:
    took: list[float] = []

    def lose_first() -> float:
        if not took:
            getattr(proxy, fault)()
        return time.monotonic()

    @far_app.job(name="coroutine", max_attempts=3, retry=0)
    async def coroutine(connection: "psycopg.AsyncConnection[Any]") -> None:
        began = lose_first()
        try:
            await connection.execute("select 1")
        finally:
            took.append(time.monotonic() - began)
            proxy.restore()

    @far_app.job(name="thread", max_attempts=3, retry=0)
    def thread(connection: "psycopg.Connection[Any]") -> None:
        began = lose_first()
        try:
            connection.execute("select 1")
        finally:
            took.append(time.monotonic() - began)
            proxy.restore()

    async with working(far_app):
        status = await finished(app, await far_app.enqueue(name), 30)
    assert status["status"] == "done"
    assert len(took) == 2
    assert took[0] < COMMAND + SPARE


async def test_a_connection_without_an_answer_ends_and_says_why(
    far_app: Soniq, proxy: Proxy
) -> None:
    await far_app.start()
    asynchronous, blocking = await connect_async(far_app), connect(far_app)
    proxy.lose()
    why = "no answer within 1 s"
    with pytest.raises(psycopg.OperationalError, match=why):
        await asynchronous.execute("select 1")
    with pytest.raises(psycopg.OperationalError, match=why):
        blocking.execute("select 1")
    assert asynchronous.closed
    assert blocking.closed


async def test_a_statement_that_answers_in_time_is_left_alone(far_app: Soniq) -> None:
    await far_app.start()
    async with await connect_async(far_app) as connection:
        cursor = await connection.execute("select pg_sleep(0.4), 7")
        assert (await cursor.fetchall())[0][1] == 7
        await connection.rollback()
        with pytest.raises(psycopg.errors.DivisionByZero):
            await connection.execute("select 1 / 0")


async def test_one_that_listens_may_hear_nothing_for_longer(far_app: Soniq) -> None:
    await far_app.start()
    async with await connect_async(far_app) as connection:
        await connection.execute("listen news")
        await connection.commit()
        assert [note async for note in connection.notifies(timeout=COMMAND * 1.5)] == []
        assert not connection.closed


async def test_a_thread_that_listens_may_hear_nothing_for_longer(far_app: Soniq) -> None:
    await far_app.start()
    with connect(far_app) as connection:
        connection.execute("listen news")
        connection.commit()
        assert list(connection.notifies(timeout=COMMAND * 1.5)) == []
        assert not connection.closed
