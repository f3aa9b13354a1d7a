"""A network in which nothing passes, on new connections either: a limit is a limit."""

import asyncio
import logging
import time

import asyncpg
import pytest

from soniq import DatabaseUnavailable, Soniq, WaitTimeout
from tests.conftest import MakeApp
from tests.core.outages.conftest import COMMAND
from tests.support.jobs import finished, working
from tests.support.proxy import Proxy
from tests.support.sessions import end_sessions_that_run
from tests.support.waiting import eventually

SPARE = 3.0
"""Seconds that a busy machine may take beyond a limit."""
STOPPING = 20.0
"""Seconds beyond its grace time within which a worker has ended, whatever the network does."""


async def test_a_wait_for_a_result_ends_when_its_caller_said(
    make_app: MakeApp, proxy: Proxy, database_url: str
) -> None:
    app = make_app(database_url=proxy.url(database_url))  # waits 60 s for an answer
    app.job(name="nothing")(_nothing)
    job_id = await app.enqueue("nothing", n=1)
    proxy.darken()
    began = time.monotonic()
    with pytest.raises(WaitTimeout):
        await app.wait_for(job_id, timeout=1.5)
    assert time.monotonic() - began < 1.5 + SPARE
    proxy.restore()


async def test_an_enqueue_ends_with_the_time_for_a_statement(far_app: Soniq, proxy: Proxy) -> None:
    far_app.job(name="nothing")(_nothing)
    await far_app.enqueue("nothing", n=1)
    proxy.darken()
    for options in ({}, {"unique": True}):
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            await far_app.enqueue("nothing", n=2, **options)
        assert time.monotonic() - began < COMMAND + SPARE


async def test_many_jobs_that_fill_the_network_are_given_up_in_time_too(
    far_app: Soniq, proxy: Proxy
) -> None:
    """A COPY waits for room to write, and not for an answer."""

    @far_app.job(name="large")
    async def large(text: str) -> None: ...

    await far_app.enqueue(large, text="")
    proxy.darken()
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="no answer within 1 s"):
        await far_app.enqueue_many(large, [{"text": "x" * 500_000}] * 100)
    assert time.monotonic() - began < COMMAND + SPARE


async def test_what_was_sent_and_arrives_late_is_one_job(
    far_app: Soniq, proxy: Proxy, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    far_app.job(name="nothing")(_nothing)
    await far_app.enqueue("nothing", n=1)
    proxy.darken()
    enqueuing = asyncio.create_task(far_app.enqueue("nothing", n=2))
    await asyncio.sleep(COMMAND * 0.75)  # a second try is under way
    proxy.restore()
    job_id = await enqueuing
    rows = await connection.fetch(f"select id from {schema}.job")
    assert str(job_id) in {str(row["id"]) for row in rows}
    assert len(rows) == 2


@pytest.mark.parametrize("command_timeout", [1.0, 60.0])
async def test_a_worker_that_is_told_to_stop_ends_within_its_grace_and_some_seconds(
    command_timeout: float,
    make_app: MakeApp,
    proxy: Proxy,
    database_url: str,
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    app = make_app(database_url=proxy.url(database_url), command_timeout=command_timeout, grace=1)
    begun = asyncio.Event()

    @app.job(name="endless")
    async def endless(own: asyncpg.Connection) -> None:
        begun.set()
        await own.execute("select pg_sleep(600)")

    await app.start()
    working = asyncio.create_task(app.run_worker())
    await app.enqueue(endless)
    async with asyncio.timeout(20):
        await begun.wait()
    proxy.darken()
    await asyncio.sleep(1.5)  # whatever asks now and then asks
    began = time.monotonic()
    app.stop_workers()
    await working
    await app.close()
    assert time.monotonic() - began < 1 + STOPPING
    await end_sessions_that_run(connection, "select pg_sleep(600)")


async def test_a_worker_goes_on_when_the_network_is_back_and_says_twice_what_happened(
    make_app: MakeApp, app: Soniq, proxy: Proxy, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "soniq")
    far = make_app(
        database_url=proxy.url(database_url),
        command_timeout=COMMAND,
        connect_timeout=COMMAND,
        lease=20,  # longer than the outage, or its end would be told as well
    )
    far.job(name="nothing")(_nothing)
    app.job(name="nothing")(_nothing)
    async with working(far):
        await finished(app, await app.enqueue("nothing", n=0), 20)
        caplog.clear()
        proxy.refuse()
        await asyncio.sleep(4)
        job_id = await app.enqueue("nothing", n=1)
        proxy.restore()
        assert (await finished(app, job_id, 20))["status"] == "done"
        await eventually(lambda: _said(caplog, "is available again"))
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 2, told
    assert "127.0.0.1" in told[0]
    assert "is unavailable: " in told[0]
    assert "is available again after" in told[1]


@pytest.mark.parametrize("refused", [True, False], ids=["refused", "dark"])
async def test_an_app_that_only_enqueues_says_it_once_too(
    refused: bool, far_app: Soniq, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    far_app.job(name="nothing")(_nothing)
    await far_app.enqueue("nothing", n=0)
    caplog.clear()
    proxy.refuse() if refused else proxy.darken()
    for n in range(5):
        with pytest.raises(DatabaseUnavailable):
            await far_app.enqueue("nothing", n=n)
    proxy.restore()
    await far_app.enqueue("nothing", n=9)
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) <= 2, told


@pytest.mark.parametrize("delay", [0.5])
async def test_a_slow_network_is_no_outage(
    delay: float,
    make_app: MakeApp,
    proxy: Proxy,
    database_url: str,
    app: Soniq,
    caplog: pytest.LogCaptureFixture,
) -> None:
    slow = make_app(database_url=proxy.url(database_url))
    slow.job(name="nothing")(_nothing)
    await slow.start()
    app.job(name="nothing")(_nothing)
    proxy.delay(delay)
    caplog.clear()
    async with working(slow):
        ids = [await app.enqueue("nothing", n=n) for n in range(50)]
        for job_id in ids:
            assert (await finished(app, job_id, 30))["status"] == "done"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_no_job_is_lost_where_connections_are_cut_at_random(
    make_app: MakeApp, proxy: Proxy, database_url: str, app: Soniq
) -> None:
    far = make_app(database_url=proxy.url(database_url), command_timeout=5, lease=3)
    far.job(name="nothing", max_attempts=5)(_nothing)
    app.job(name="nothing", max_attempts=5)(_nothing)
    await far.start()
    proxy.cut_at_random(0.02)
    ids: list[str] = []
    async with working(far):
        while len(ids) < 300:
            try:
                ids.append(await far.enqueue("nothing", n=len(ids)))
            except DatabaseUnavailable:
                continue
        for job_id in ids:
            assert (await finished(app, job_id, 60))["status"] == "done"
        proxy.restore()


async def _said(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return any(words in record.getMessage() for record in caplog.records)


async def _nothing(n: int) -> None: ...
