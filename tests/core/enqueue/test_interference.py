"""Enqueueing in company: other transactions, codecs, threads and duplicates that come meanwhile."""

import asyncio
import json
import threading
from collections.abc import Iterator

import asyncpg
import pytest

from soniq import JobContext, Soniq, Unique, hookimpl
from soniq.plugin import JobDefinition
from soniq_testing import travel
from tests.conftest import MakeApp
from tests.support.jobs import run_job
from tests.support.waiting import in_time


@pytest.fixture
def sync_app(make_app: MakeApp) -> Iterator[Soniq]:
    """An app that is used through `app.sync`, and closed there."""
    app = make_app()
    yield app
    app.sync.close()


async def test_a_debounced_job_expires_as_its_last_trigger_says(app: Soniq) -> None:
    @app.job(name="index", unique=Unique(by=(), on_conflict="debounce"), expires=10)
    async def index(n: int) -> None: ...

    first = await app.enqueue(index, 1, delay=5)
    for n in (2, 3):
        await travel(app, 4)
        assert (await app.enqueue(index, n, delay=5)).replaced
    await travel(app, 5.1)
    await app.run_worker(run_once=True)
    status = await app.get_job_status(first)
    assert status is not None
    assert status["status"] == "done"


async def test_a_replaced_job_expires_as_the_new_enqueue_says(app: Soniq) -> None:
    @app.job(name="index", unique=Unique(by=(), on_conflict="replace"))
    async def index(n: int) -> None: ...

    first = await app.enqueue(index, 1, delay=60, expires=61)
    assert (await app.enqueue(index, 2, delay=120, expires=200)).replaced
    await travel(app, 121)
    await app.run_worker(run_once=True)
    status = await app.get_job_status(first)
    assert status is not None
    assert status["status"] == "done"


@pytest.mark.parametrize("count", [1, 64])
async def test_many_with_headers_go_on_a_connection_with_a_codec_for_jsonb(
    app: Soniq, connection: "asyncpg.Connection[asyncpg.Record]", count: int
) -> None:
    await connection.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )
    seen = []

    @app.job(name="job")
    async def job(n: int, ctx: JobContext) -> None:
        seen.append(dict(ctx.headers))

    await app.enqueue_many(
        job, [{"n": n} for n in range(count)], headers={"who": "me"}, connection=connection
    )
    await app.run_worker(run_once=True)
    assert seen == [{"who": "me"}] * count


async def test_a_child_whose_key_an_open_transaction_holds_holds_up_no_other_outcome(
    app: Soniq, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    @app.job(name="child")
    async def child() -> None: ...

    @app.job(name="parent")
    async def parent(ctx: JobContext) -> None:
        await ctx.enqueue(child, dedup_key="k")

    @app.job(name="other")
    async def other(n: int) -> None: ...

    await app.start()
    async with connection.transaction():
        await app.enqueue(child, dedup_key="k", connection=connection)
        first = await app.enqueue(parent)
        others = [await app.enqueue(other, n) for n in range(20)]
        worker = asyncio.create_task(app.run_worker(concurrency=2))
        for each in others:
            await app.wait_for(each, timeout=8)
    await app.wait_for(first, timeout=10)
    app.stop_workers()
    await worker


async def test_a_handler_that_ends_its_transaction_itself_is_not_done(app: Soniq) -> None:
    @app.job(name="job", max_attempts=1)
    async def job(db: asyncpg.Connection) -> None:
        await db.execute("create table gone ()")
        await db.execute("rollback")

    status = await run_job(app, job)
    assert status["status"] == "dead"


def test_a_job_may_be_defined_while_another_thread_enqueues(make_app: MakeApp) -> None:
    asked, go = threading.Event(), threading.Event()

    class Slow:
        name = "slow"

        @hookimpl
        def configure_job(self, job: JobDefinition) -> None:
            if job.name == "two":
                asked.set()
                go.wait(5)

    def nothing() -> None: ...

    app = make_app(plugins=[Slow()])
    try:
        app.job(name="one")(nothing)
        app.sync.start()
        app.job(name="two")(nothing)
        errors: list[Exception] = []

        def enqueue() -> None:
            try:
                app.sync.enqueue("one")
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=enqueue)
        thread.start()
        assert asked.wait(5)
        app.job(name="three")(nothing)
        go.set()
        thread.join()
        assert not errors
        app.sync.enqueue("three")
    finally:
        app.sync.close()


async def test_a_contended_dedup_key_holds_up_no_other_enqueue(
    make_app: MakeApp, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    app = make_app(pool_size=3, connect_timeout=2)

    @app.job()
    async def work(number: int) -> None: ...

    await app.start()
    async with connection.transaction():
        first = await app.enqueue(work, 0, dedup_key="k", connection=connection)
        contended = [asyncio.create_task(app.enqueue(work, n, dedup_key="k")) for n in range(1, 20)]
        await asyncio.sleep(0.5)
        await in_time(app.enqueue(work, 100))
        await in_time(app.enqueue(work, 101, dedup_key="other"))
        assert not any(task.done() for task in contended)
    assert {str(job_id) for job_id in await asyncio.gather(*contended)} == {str(first)}
