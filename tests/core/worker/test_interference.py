"""What others hold, lock or send does not stop a worker."""

import asyncio
import time
from collections.abc import Sequence

import asyncpg
import pytest

from soniq import JobContext, Soniq, hookimpl
from soniq.plugin import Outcome, TransactionConnection
from tests.conftest import MakeApp
from tests.support.jobs import finished, working
from tests.support.waiting import in_time


async def test_a_backslash_before_u0000_in_progress_does_not_stop_the_heartbeat(
    make_app: MakeApp,
    schema: str,
    connection: "asyncpg.Connection[asyncpg.Record]",
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app(lease=1)
    began = []

    @app.job()
    async def one(ctx: JobContext) -> None:
        began.append(time.monotonic())
        for _ in range(200):
            await ctx.progress(0.5, path="C:\\u0000")
            await asyncio.sleep(0.02)

    job_id = await app.enqueue(one)
    async with working(app):
        await finished(app, job_id)
    assert [r.getMessage() for r in caplog.records if "no heartbeat" in r.getMessage()] == []
    assert len(began) == 1


async def test_progress_that_a_failed_heartbeat_took_along_is_sent_again(
    make_app: MakeApp, schema: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    app = make_app(lease=1)
    go_on = asyncio.Event()

    @app.job()
    async def one(ctx: JobContext) -> None:
        await connection.execute("select pg_sleep(0.5)")
        async with connection.transaction():
            await connection.execute(f"lock table {schema}.worker in share row exclusive mode")
            await ctx.progress(0.9)
            await asyncio.sleep(0.6)
        await in_time(go_on.wait())

    job_id = await app.enqueue(one)
    async with working(app):
        await asyncio.sleep(4)
        status = await app.get_job_status(job_id)
        go_on.set()
    assert status is not None
    assert status["progress"] == {"fraction": 0.9}


async def test_a_child_of_after_job_is_enqueued_or_refused_where_the_completion_is_written_before(
    app: Soniq, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []

    @app.job(name="child")
    async def child() -> None:
        ran.append(1)

    @app.job(name="parent")
    async def parent(connection: asyncpg.Connection) -> None: ...

    @app.after_job
    async def then(ctx: JobContext, result: object) -> None:
        if ctx.job_name == "parent":
            await ctx.enqueue("child")

    await app.enqueue(parent)
    await app.run_worker(run_once=True)
    assert ran or "after_job" in caplog.text


async def test_max_jobs_one_runs_about_one(app: Soniq) -> None:
    ran: list[int] = []

    @app.job(name="quick")
    async def quick(n: int) -> None:
        ran.append(n)

    await app.enqueue_many("quick", [{"n": n} for n in range(3000)])
    assert [await app.run_worker(max_jobs=1) for _ in range(3)] == [1, 1, 1]


async def test_a_child_unique_as_its_parent(app: Soniq) -> None:
    ran: list[int] = []

    @app.job(name="self", unique=True)
    async def again(ctx: JobContext, n: int) -> None:
        ran.append(n)
        if len(ran) < 3:
            await ctx.enqueue("self", n=n)

    await app.enqueue("self", n=1)
    await app.run_worker(run_once=True)
    assert ran == [1, 1, 1]


async def test_a_row_that_somebody_has_locked_does_not_stop_the_heartbeat(
    make_app: MakeApp, schema: str, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(lease=1)
    began = asyncio.Event()
    starts = 0

    @app.job()
    async def one(ctx: JobContext) -> None:
        nonlocal starts
        starts += 1
        began.set()
        for step in range(150):
            await ctx.progress(step / 150)
            await asyncio.sleep(0.02)

    job_id = await app.enqueue(one)
    async with working(app):
        await in_time(began.wait())
        own = await asyncpg.connect(database_url)
        async with own.transaction():
            await own.execute(f"select from {schema}.job for update")
            await asyncio.sleep(2.5)
        await own.close()
        await finished(app, job_id)
    assert [r.getMessage() for r in caplog.records if "lost its lease" in r.getMessage()] == []
    assert starts == 1


async def test_a_child_for_a_queue_that_an_open_transaction_uses_first_does_not_stop_the_worker(
    app: Soniq, schema: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    @app.job(name="child")
    async def child() -> None: ...

    @app.job(name="parent")
    async def parent(ctx: JobContext) -> None:
        await ctx.enqueue("child", queue="fresh")

    @app.job(name="other")
    async def other() -> None: ...

    await app.start()
    async with connection.transaction():
        await connection.execute(
            f"""select {schema}.enqueue('child', '{{}}', '{{"queue": "fresh"}}')"""
        )
        async with working(app):
            await app.enqueue(parent)
            await asyncio.sleep(0.5)
            await app.wait_for(await app.enqueue(other), timeout=5)


async def test_what_limits_the_wait_for_a_childs_key_does_not_limit_settle_tx(
    make_app: MakeApp,
) -> None:
    limits: list[str] = []

    class Settling:
        name = "settling"

        @hookimpl
        async def settle_tx(self, tx: TransactionConnection, outcomes: Sequence[Outcome]) -> None:
            limits.append((await tx.fetch("show lock_timeout"))[0][0])

    app = make_app(plugins=[Settling()])

    @app.job(name="child")
    async def child() -> None: ...

    @app.job(name="parent")
    async def parent(ctx: JobContext) -> None:
        await ctx.enqueue("child", dedup_key="k")

    await app.enqueue(parent)
    await app.run_worker(run_once=True)
    assert limits == ["500ms", "500ms"]
