"""No object is forgotten, and no live one is removed: what was stored and never settled is found by
its row.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import asyncpg
import pytest

from soniq import JobContext, hookimpl
from soniq.plugin import Outcome
from soniq_results import ResultsPlugin, UploadExpired
from tests.conftest import MakeApp
from tests.core.hooks.support import Work
from tests.plugins.results.places import Folder, Place
from tests.plugins.results.support import (
    LIMIT,
    AppWith,
    Run,
    StartWorker,
    Until,
    Uploads,
    leave_orphan,
)
from tests.plugins.results.worker import MEGABYTE, define


def empty(uploads: Uploads) -> Callable[[], Any]:
    """Whether no upload is written down."""

    async def check() -> bool:
        return not await uploads.all()

    return check


async def killed(start_worker: StartWorker, store: Place, die: str) -> None:
    """Run a worker process until it kills itself."""
    worker = await start_worker(store.url, die=die)
    assert await asyncio.wait_for(worker.wait(), LIMIT) == -signal.SIGKILL


async def test_a_worker_killed_between_upload_and_settlement_leaves_an_object_that_is_removed(
    store: Place,
    app_with: AppWith,
    work: Work,
    until: Until,
    uploads: Uploads,
    start_worker: StartWorker,
) -> None:
    app = app_with(store, lease=1.0)
    define(app)
    job_id = await app.enqueue("text", length=20 * MEGABYTE)
    await killed(start_worker, store, "after_job")
    [left] = await uploads.all()
    assert (left.job_id, left.objects) == (job_id, 3)
    assert store.names() == {f"{left.key}/{number}" for number in range(3)}
    await uploads.age()
    async with work(app):
        assert await app.wait_for(job_id, LIMIT) == "x" * 20 * MEGABYTE
        await until(empty(uploads))
    assert len(store.names()) == 3
    assert not any(name.startswith(left.key) for name in store.names())
    assert await app.get_result(job_id) == "x" * 20 * MEGABYTE


async def test_a_worker_killed_in_the_middle_of_a_stream_leaves_objects_that_are_removed(
    folder: Folder,
    app_with: AppWith,
    work: Work,
    until: Until,
    uploads: Uploads,
    start_worker: StartWorker,
) -> None:
    app = app_with(folder, lease=1.0)
    define(app)
    job_id = await app.enqueue("stream", megabytes=25)
    await killed(start_worker, folder, "stream")
    [left] = await uploads.all()
    assert (left.job_id, left.objects) == (job_id, 2)
    assert folder.names() == {f"{left.key}/0", f"{left.key}/1"}
    await uploads.age()
    async with work(app):
        assert len(await app.wait_for(job_id, LIMIT)) == 25 * MEGABYTE
        await until(empty(uploads))
    assert len(folder.names()) == 4


async def test_an_attempt_that_ends_in_the_middle_of_a_stream_leaves_nothing_for_long(
    folder: Folder, app_with: AppWith, run: Run, work: Work, until: Until, uploads: Uploads
) -> None:
    app = app_with(folder)

    @app.job(max_attempts=1, timeout=0.5)
    async def stuck() -> AsyncIterator[bytes]:
        yield b"x" * 9 * MEGABYTE
        await asyncio.Event().wait()

    assert (await run(app, stuck))["status"] == "dead"
    assert len(folder.names()) == 1
    await uploads.age()
    async with work(app):
        await until(empty(uploads))
    assert folder.names() == set()


async def test_only_what_is_older_than_the_grace_time_is_removed(
    store: Place, make_app: MakeApp, work: Work, until: Until, uploads: Uploads
) -> None:
    plugin = ResultsPlugin(store.url, threshold=0)
    app = make_app(plugins=[plugin])
    await app.start()
    await leave_orphan(plugin, 20 * MEGABYTE)
    await uploads.age()
    young = await leave_orphan(plugin)

    async def only_the_young() -> bool:
        return [each.job_id for each in await uploads.all()] == [young]

    async with work(app):
        await until(only_the_young)
    assert [name.split("/")[2] for name in store.names()] == [young]


async def test_more_than_one_sweep_takes_at_once_are_removed(
    folder: Folder, make_app: MakeApp, work: Work, until: Until, uploads: Uploads
) -> None:
    plugin = ResultsPlugin(folder.url, threshold=0)
    app = make_app(plugins=[plugin])
    await app.start()
    for _ in range(130):
        await leave_orphan(plugin)
    await uploads.age()
    async with work(app):
        await until(empty(uploads))
    assert folder.names() == set()


async def test_while_the_store_is_down_an_object_stays_written_down(
    store: Place,
    make_app: MakeApp,
    work: Work,
    until: Until,
    uploads: Uploads,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plugin = ResultsPlugin(store.url, threshold=0)
    app = make_app(plugins=[plugin])
    await app.start()
    await leave_orphan(plugin)
    await uploads.age()
    store.stop()
    try:
        async with work(app):
            await until(lambda: "the task sweep of results failed" in caplog.text)
            assert len(await uploads.all()) == 1
            store.start()
            await until(empty(uploads))
    finally:
        if await uploads.all():
            store.start()
    assert store.names() == set()


async def test_a_result_that_the_sweeper_took_is_not_settled_and_the_attempt_runs_again(
    folder: Folder,
    app_with: AppWith,
    work: Work,
    until: Until,
    uploads: Uploads,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = app_with(folder, timeout=0.5, grace=1.0, hook_timeout=LIMIT)

    @app.job(name="text")
    async def text() -> str:
        return "a result"

    @app.after_job
    async def outlive_the_grace_time(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            await uploads.age()
            await until(empty(uploads))

    job_id = await app.enqueue(text)
    async with work(app):
        assert await app.wait_for(job_id, LIMIT) == "a result"
    status = await app.get_job_status(job_id)
    assert status is not None
    assert (status["status"], status["attempt"]) == ("done", 2)
    assert len(folder.names()) == 1
    assert "UploadExpired: the result of job" in caplog.text


async def test_the_same_in_the_transaction_of_an_injected_connection_rolls_it_back(
    folder: Folder,
    make_app: MakeApp,
    run: Run,
    schema: str,
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    class Sweeper:
        """Takes what is being settled, in the last moment."""

        name = "sweeper"

        @hookimpl(tryfirst=True)
        async def settle_tx(
            self, tx: "asyncpg.Connection[Any]", outcomes: Sequence[Outcome]
        ) -> None:
            if outcomes[0].attempt == 1:
                await tx.execute(f"update {schema}_results.upload set taken = true")

    app = make_app(plugins=[ResultsPlugin(folder.url, threshold=0), Sweeper()])
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))
    await app.start()
    await connection.execute(f"create table {schema}.effect (attempt integer)")

    @app.job(name="effect", retry=0)
    async def effect(ctx: JobContext, database: asyncpg.Connection) -> str:
        await database.execute(f"insert into {schema}.effect values ($1)", ctx.attempt)
        return "a result"

    status = await run(app, effect)
    assert (status["status"], status["attempt"]) == ("done", 2)
    assert [
        row["attempt"] for row in await connection.fetch(f"select attempt from {schema}.effect")
    ] == [2]
    [error] = errors
    assert isinstance(error.__cause__, UploadExpired)
    assert error.__cause__.job_id == status["job_id"]


@pytest.mark.parametrize("taken", ["update {} set taken = true", "delete from {}"])
async def test_a_stream_whose_upload_was_taken_fails_before_it_stores_more(
    folder: Folder,
    app_with: AppWith,
    run: Run,
    schema: str,
    connection: "asyncpg.Connection[asyncpg.Record]",
    taken: str,
) -> None:
    app = app_with(folder)
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))

    @app.job(name="stream", retry=0)
    async def stream(ctx: JobContext) -> AsyncIterator[bytes]:
        yield b"x" * 9 * MEGABYTE
        if ctx.attempt == 1:
            await connection.execute(taken.format(f"{schema}_results.upload"))
        yield b"y" * 8 * MEGABYTE

    status = await run(app, stream)
    assert (status["status"], status["attempt"]) == ("done", 2)
    assert await app.get_result(status["job_id"]) == b"x" * 9 * MEGABYTE + b"y" * 8 * MEGABYTE
    [error] = errors
    assert isinstance(error, UploadExpired)
    assert len(folder.names()) == 4
