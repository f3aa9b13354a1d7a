"""How a worker that waits learns of new jobs."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from soniq import Soniq
from soniq.job import JobContext
from soniq.worker.polling import Poller
from tests.conftest import MakeApp
from tests.support.jobs import falls_asleep, working
from tests.support.waiting import eventually, in_time

SOON = 5.0
"""Generous for a notification, and far from a poll interval of 30."""


def define(app: Soniq) -> "asyncio.Queue[JobContext]":
    """A job that says when it runs."""
    ran: asyncio.Queue[JobContext] = asyncio.Queue()

    @app.job(name="one")
    async def one(ctx: JobContext) -> None:
        ran.put_nowait(ctx)

    return ran


@asynccontextmanager
async def asleep(app: Soniq, **options: Any) -> AsyncIterator[None]:
    """A worker that has nothing to do and says so in its row."""
    async with working(app, **options):
        await falls_asleep(app)
        yield


async def test_a_new_job_wakes_a_worker_that_sleeps(make_app: MakeApp) -> None:
    app = make_app(poll_interval=30)
    ran = define(app)
    await app.enqueue("one")
    async with asleep(app):
        await in_time(ran.get(), SOON)
        for _ in range(3):
            await app.enqueue("one")
            await in_time(ran.get(), SOON)


async def test_a_worker_of_the_same_app_needs_no_notification(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.worker.polling.LONGEST_UNHEARD", 30.0)
    app = make_app(poll_interval=30, pgbouncer=True)  # so that nobody listens
    ran = define(app)
    async with asleep(app):
        await app.enqueue("one")
        await in_time(ran.get(), SOON)


async def test_a_job_that_runs_in_the_same_app_is_cancelled_without_a_notification(
    make_app: MakeApp,
) -> None:
    app = make_app(lease=60, pgbouncer=True)
    began, ended = asyncio.Event(), asyncio.Event()

    @app.job(name="long")
    async def long() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with working(app):
        job_id = await app.enqueue("long")
        await in_time(began.wait())
        assert await app.cancel(job_id)
        await in_time(ended.wait(), SOON)


async def test_a_worker_hears_once_of_what_its_own_app_does(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, other = make_app(poll_interval=30), make_app()
    ran = define(app)
    define(other)
    heard: list[list[str]] = []
    hear = Poller.hear

    def listening(poller: Poller, lines: Sequence[str]) -> None:
        heard.append([*lines])
        hear(poller, lines)

    monkeypatch.setattr(Poller, "hear", listening)
    async with asleep(app):
        for producer in (app, app, other):
            heard.clear()
            await producer.enqueue("one")
            await in_time(ran.get(), SOON)
            await asyncio.sleep(0.2)  # the notification comes after it, if it does
            assert heard == [["default\t0"]]


async def test_workers_of_other_apps_are_told_a_moment_after_those_of_the_same(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.postgres.notify.NEAR_FIRST", 1.0)
    here, there = make_app(poll_interval=30, prefetch=0), make_app(poll_interval=30)
    ran_here, ran_there = define(here), define(there)
    stays = asyncio.Event()

    @here.job(name="long", queue="here")
    async def long() -> None:
        await stays.wait()

    async def seconds_until(ran: "asyncio.Queue[JobContext]") -> float:
        began = time.monotonic()
        await here.enqueue("one")
        await in_time(ran.get(), SOON)
        return time.monotonic() - began

    async with asleep(there):
        assert await seconds_until(ran_there) < 0.9
        async with asleep(here, concurrency=1):
            assert await seconds_until(ran_here) < 0.9
            await asyncio.sleep(1.2)  # the others have been told
            await here.enqueue("long")
            await asyncio.sleep(1.2)
            assert await seconds_until(ran_there) >= 1.0
            stays.set()


async def test_another_process_wakes_it_too(make_app: MakeApp) -> None:
    app, producer = make_app(poll_interval=30), make_app()
    ran = define(app)
    define(producer)
    async with asleep(app):
        await producer.enqueue("one")
        await in_time(ran.get(), SOON)


async def test_a_queue_that_no_worker_has_seen_wakes_it(make_app: MakeApp) -> None:
    app, producer = make_app(poll_interval=30), make_app()
    ran = define(app)
    define(producer)
    async with asleep(app):
        for queue in ("new", "newer"):
            await producer.enqueue("one", queue=queue)
            assert (await in_time(ran.get(), SOON)).queue == queue


async def test_a_bulk_enqueue_wakes_it(make_app: MakeApp) -> None:
    app, producer = make_app(poll_interval=30), make_app()
    ran = define(app)
    define(producer)
    async with asleep(app):
        await producer.enqueue_many("one", [{} for _ in range(100)])
        for _ in range(100):
            await in_time(ran.get(), SOON)


async def test_an_enqueue_in_a_callers_transaction_wakes_it_at_the_commit(
    make_app: MakeApp,
) -> None:
    app = make_app(poll_interval=30)
    ran = define(app)
    await app.enqueue("one")
    async with asleep(app):
        await in_time(ran.get(), SOON)
        await asyncio.sleep(0.2)
        async with app._database.acquire() as connection, connection.transaction():
            await app.enqueue("one", connection=connection)
            await asyncio.sleep(0.3)
            assert ran.empty()
        await in_time(ran.get(), SOON)


async def test_an_enqueue_that_does_not_notify_is_found_by_a_poll(make_app: MakeApp) -> None:
    app = make_app(poll_interval=1)
    ran = define(app)
    async with asleep(app):
        for connected in (False, True):
            if connected:
                async with app._database.acquire() as connection:
                    await app.enqueue("one", connection=connection, notify=False)
            else:
                await app.enqueue("one", notify=False)
            await in_time(ran.get(), 10)


async def test_an_enqueue_that_does_not_notify_wakes_nobody(make_app: MakeApp) -> None:
    app = make_app(poll_interval=30)
    ran = define(app)
    await app.enqueue("one")
    async with asleep(app):
        await in_time(ran.get(), SOON)
        await asyncio.sleep(0.2)
        await falls_asleep(app)
        await app.enqueue("one", notify=False)
        await asyncio.sleep(0.5)
        assert ran.empty()
        await app.enqueue("one")
        for _ in range(2):
            await in_time(ran.get(), SOON)


async def test_a_delayed_job_runs_when_it_is_due_and_not_before(make_app: MakeApp) -> None:
    app = make_app(poll_interval=0.1)
    ran = define(app)
    async with asleep(app):
        began = time.monotonic()
        await app.enqueue("one", delay=0.5)
        ctx = await in_time(ran.get(), 10)
        assert time.monotonic() - began >= 0.5
        assert ctx.queued_for >= 0


async def test_a_job_that_is_retried_before_its_time_wakes_a_worker_that_sleeps(
    make_app: MakeApp,
) -> None:
    app, operator = make_app(poll_interval=30), make_app()
    ran: asyncio.Queue[int] = asyncio.Queue()

    @app.job(name="gateway", retry=3600)
    async def gateway(ctx: JobContext) -> None:
        ran.put_nowait(ctx.attempt)
        raise OSError("the gateway is away")

    job_id = await app.enqueue(gateway)
    async with asleep(app):
        for attempt in (1, 2, 3):
            assert await in_time(ran.get()) == attempt
            await eventually(lambda: app.jobs(status="queued"))
            await operator.retry(job_id)


async def test_a_job_that_is_retried_before_its_time_is_found_by_a_worker_with_a_backlog(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(poll_interval=30, prefetch=1)
    gate = asyncio.Semaphore(0)
    ran: asyncio.Queue[int] = asyncio.Queue()

    @app.job()
    async def one(number: int) -> None:
        await gate.acquire()
        ran.put_nowait(number)

    later = await app.enqueue(one, number=-1, delay=3600)
    await app.enqueue_many(one, [{"number": number} for number in range(60)])
    with caplog.at_level(logging.INFO, "soniq.worker"):
        async with working(app, concurrency=2):
            for _ in range(30):
                gate.release()
            seen = {await in_time(ran.get()) for _ in range(30)}
            await app.retry(later)
            for _ in range(31):
                gate.release()
            seen |= {await in_time(ran.get()) for _ in range(31)}
    assert seen == {-1, *range(60)}
    assert "that lay behind the cursors" not in caplog.text, (
        "it came in its turn, and not by the look behind the cursor"
    )


async def test_behind_a_pgbouncer_a_job_is_found_by_a_poll(make_app: MakeApp, schema: str) -> None:
    app, producer = make_app(poll_interval=0.2, pgbouncer=True), make_app()
    ran = define(app)
    define(producer)
    async with asleep(app):
        async with app._database.acquire() as connection:
            assert not await connection.fetchval(
                "select count(*) from pg_stat_activity where query = $1", f'LISTEN "{schema}"'
            )
        await producer.enqueue("one")
        await in_time(ran.get(), 10)
        await producer.enqueue("one", queue="another")
        await in_time(ran.get(), 10)


async def test_a_notification_for_other_queues_does_not_concern_a_worker(make_app: MakeApp) -> None:
    app = make_app(poll_interval=30)
    ran = define(app)
    async with asleep(app, queues=["mine"]):
        await app.enqueue("one", queue="theirs")
        await app.enqueue("one", queue="mine")
        assert (await in_time(ran.get(), SOON)).queue == "mine"
        await asyncio.sleep(0.2)
        assert ran.empty()


async def test_an_enqueue_in_a_transaction_wakes_a_worker_that_is_partly_busy(
    make_app: MakeApp,
) -> None:
    app = make_app(poll_interval=30)
    ran = define(app)
    release = asyncio.Event()

    @app.job()
    async def holds() -> None:
        await release.wait()

    async with asleep(app, concurrency=2):
        await app.enqueue(holds)
        await asyncio.sleep(0.5)
        for _ in range(3):
            async with app.connection() as connection, connection.transaction():
                await app.enqueue("one", connection=connection)
            await in_time(ran.get(), SOON)
        release.set()


async def test_a_worker_that_is_busy_says_no_longer_that_it_sleeps(
    make_app: MakeApp, schema: str
) -> None:
    app = make_app(poll_interval=0.2)
    release = asyncio.Event()

    @app.job()
    async def holds() -> None:
        await release.wait()

    async def busy() -> bool:
        async with app._database.acquire() as connection:
            return not await connection.fetchval(f"select waiting from {schema}.worker")

    async with asleep(app, concurrency=1):
        await app.enqueue(holds)
        await eventually(busy)
        release.set()


async def test_a_new_priority_of_a_known_queue_wakes_a_worker(make_app: MakeApp) -> None:
    app, producer = make_app(poll_interval=30), make_app()
    ran: asyncio.Queue[int] = asyncio.Queue()

    @producer.job(name="one")
    @app.job(name="one")
    async def one(number: int) -> None:
        ran.put_nowait(number)

    async with working(app):
        await app.enqueue(one, number=1)
        assert await in_time(ran.get()) == 1
        await producer.enqueue("one", number=2, priority=7)
        assert await in_time(ran.get()) == 2
        app.stop_workers()
