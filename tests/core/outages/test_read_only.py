"""A primary that was demoted: connections made meanwhile can read only, and stay so when new ones
can write.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from soniq import DatabaseUnavailable, Soniq
from soniq.postgres.outage import Outage
from tests.conftest import MakeApp
from tests.core.postgres.support import own_database
from tests.support.jobs import finished, working
from tests.support.waiting import in_time


@pytest.fixture
async def own_url(database_url: str) -> AsyncIterator[str]:
    async with own_database(database_url) as url:
        yield url


async def set_read_only(url: str, on: bool) -> None:
    """What new sessions of this database may do from now on; those that there are stay as they
    are.
    """
    connection = await asyncpg.connect(url)
    await connection.execute("set default_transaction_read_only = off")
    name = urlsplit(url).path[1:]
    await connection.execute(
        f"alter database {name} set default_transaction_read_only = {'on' if on else 'off'}"
    )
    await connection.close()


async def fill_pool_read_only(app: Soniq, url: str) -> None:
    """Have the pool hold connections that were made while the server was read-only."""
    await set_read_only(url, True)
    app._database.drop_idle()
    await asyncio.gather(*(app.jobs() for _ in range(10)))
    await set_read_only(url, False)


async def test_one_call_at_most_fails_once_new_connections_can_write(
    make_app: MakeApp, own_url: str
) -> None:
    app = make_app(database_url=own_url)
    app.job(name="nothing")(_nothing)
    await app.enqueue("nothing", n=0)
    await fill_pool_read_only(app, own_url)
    assert await app.enqueue("nothing", n=1)
    for call in (
        lambda: app.enqueue_many("nothing", [{"n": 1}, {"n": 2}]),
        lambda: app.cancel_all(),
        lambda: app.pause("media"),
    ):
        await fill_pool_read_only(app, own_url)
        with pytest.raises(DatabaseUnavailable, match="read-only"):
            await call()
        await call()


async def test_a_worker_writes_again_once_new_connections_can(
    make_app: MakeApp, own_url: str
) -> None:
    app = make_app(database_url=own_url, lease=3)
    app.job(name="nothing")(_nothing)
    async with working(app):
        await finished(app, await app.enqueue("nothing", n=0))
        await set_read_only(own_url, True)
        await _end_all_others(own_url)
        with pytest.raises(DatabaseUnavailable):
            await app.enqueue_many("nothing", [{"n": n} for n in range(3)])
        await set_read_only(own_url, False)
        job_id = await in_time(_until_taken(app))
        assert (await finished(app, job_id))["status"] == "done"


async def test_a_connection_that_is_lent_to_a_handler_is_another_after_a_refusal(
    make_app: MakeApp, own_url: str
) -> None:
    app = make_app(database_url=own_url)
    pids: list[int] = []

    @app.job(name="effect", max_attempts=5, retry=0)
    async def effect(own: asyncpg.Connection) -> None:
        pids.append(own.get_server_pid())

    await app.start()
    await set_read_only(own_url, True)
    async with app._database.lend() as connection:
        before = connection.get_server_pid()
    await set_read_only(own_url, False)
    async with working(app):
        job_id = await app.enqueue(effect)
        assert (await finished(app, job_id))["status"] == "done"
    assert before not in pids[-1:]


async def _until_taken(app: Soniq) -> str:
    while True:
        try:
            return await app.enqueue("nothing", n=2)
        except DatabaseUnavailable:
            await asyncio.sleep(0.05)


async def _end_all_others(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )
    await connection.close()


async def _nothing(n: int) -> None: ...


async def test_a_server_that_can_only_be_read_is_told_once_and_is_back_once_it_can_be_written(
    make_app: MakeApp, own_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "soniq.database")
    app = make_app(database_url=own_url, lease=10, command_timeout=1.0)
    app.job(name="nothing")(_nothing)
    async with working(app):
        await finished(app, await app.enqueue("nothing", n=0))
        caplog.clear()
        await set_read_only(own_url, True)
        await _end_all_others(own_url)
        await asyncio.sleep(0.5)  # what was ended has arrived, before anything is sent on it
        for _ in range(4):
            await app.jobs()
            with pytest.raises(DatabaseUnavailable):
                await app.enqueue("nothing", n=1)
        assert [each for each in _of_read_only(caplog) if "is available again" in each] == []
        await set_read_only(own_url, False)
        await finished(app, await in_time(_until_taken(app)))
        await asyncio.sleep(1.5)  # other sessions find out that theirs can only read
    told = _of_read_only(caplog)
    assert len(told) == 2, told
    assert "unavailable: " in told[0]
    assert "is available again after" in told[1]


def test_that_it_can_only_be_read_is_told_also_soon_after_sessions_were_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outage = Outage("here", 60)
    outage.lost("a session ended", session=True)
    outage.over(time.monotonic())
    outage.lost("it is read-only", session=True, read_only=True)
    outage.over(time.monotonic())  # it can be read
    outage.over(time.monotonic(), wrote=True)
    outage.lost("another session was read-only", session=True, read_only=True)
    assert [each.split(": ")[-1].split(" after")[0] for each in _told(caplog)] == [
        "a session ended",
        "PostgreSQL at here is available again",
        "it is read-only",
        "PostgreSQL at here is available again",
    ]


def test_that_it_can_only_be_read_is_told_also_while_it_is_away_for_another_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outage = Outage("here", 60)
    outage.lost("a session ended", session=True)
    for _ in range(2):
        outage.lost("it is read-only", session=True, read_only=True)
    outage.over(time.monotonic())  # it can be read
    outage.over(time.monotonic(), wrote=True)
    assert [each.split(" after")[0] for each in _told(caplog)] == [
        "PostgreSQL at here is unavailable: a session ended",
        "PostgreSQL at here is still unavailable: it is read-only",
        "PostgreSQL at here is available again",
    ]


def test_an_answer_to_what_was_asked_before_an_outage_does_not_end_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outage = Outage("here", 60)
    asked = time.monotonic()
    outage.lost("a session ended", session=True)
    outage.over(asked, wrote=True)  # it came before the session ended, and was read after it
    assert len(_told(caplog)) == 1
    outage.lost("another session ended", session=True)
    outage.over(time.monotonic(), wrote=True)
    assert [each.split(" after")[0] for each in _told(caplog)] == [
        "PostgreSQL at here is unavailable: a session ended",
        "PostgreSQL at here is available again",
    ]


def _of_read_only(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was told from when the server was found to be read only: that sessions end before may
    be an outage of its own, over once one can read.
    """
    told = _told(caplog)
    begins = [place for place, each in enumerate(told) if "read-only" in each]
    assert begins, told
    return told[begins[0] :]


def _told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
