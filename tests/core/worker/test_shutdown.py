"""Stopping: no more claims, what has not started goes back, the rest ends in time or runs again."""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest

from soniq import Soniq, hookimpl
from soniq.errors import WorkerStopped
from soniq.job import JobContext
from tests.conftest import MakeApp
from tests.core.worker.conftest import StartWorker
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import eventually, in_time

JOBS = """
@app.on_error
async def failed(ctx, error):
    say("error", ctx.job_name, type(error).__name__)

@app.job(name="quick")
async def quick() -> None: ...

@app.job(name="ends")
async def ends() -> str:
    say("ends began")
    await asyncio.sleep(0.5)
    return "in time"

@app.job(name="does_not")
async def does_not() -> None:
    say("does_not began")
    await asyncio.sleep(60)
"""


def define(app: Soniq) -> None:
    """The same jobs, for a producer."""

    async def elsewhere() -> Any: ...

    for name in ("quick", "ends", "does_not"):
        app.job(name=name)(elsewhere)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_the_running_end_and_gives_the_others_back(
    make_app: MakeApp, start_worker: StartWorker, schema: str, number: signal.Signals
) -> None:
    app = make_app()
    define(app)
    quick = await app.enqueue_many("quick", [{} for _ in range(50)])
    process = start_worker(JOBS, options={"concurrency": 2}, grace=2)
    for each in quick:  # it learns that its jobs are short, and claims ahead
        await app.wait_for(each, 20)
    ends, does_not = await app.enqueue("ends"), await app.enqueue("does_not")
    await process.says("ends began")
    await process.says("does_not began")
    waiting = await app.enqueue_many("quick", [{} for _ in range(20)])

    async def claimed_ahead() -> bool:
        async with app._database.acquire() as connection:
            found: int = await connection.fetchval(
                f"select count(*) from {schema}.job where status = 'running'"
            )
        return found > 2

    await eventually(claimed_ahead)
    process.send(number)
    assert await process.ended() == 0
    assert (await status_of(app, ends))["result"] == "in time"
    for each in [*waiting, does_not]:
        status = await status_of(app, each)
        assert (status["status"], status["attempt"], status["worker_id"]) == ("queued", 0, None)
    assert "error does_not WorkerStopped" in process.said()
    assert process.said().count("error") == 1
    assert (await app.overview())["workers"] == []


async def test_a_second_signal_ends_the_grace_time(
    make_app: MakeApp, start_worker: StartWorker
) -> None:
    app = make_app()
    define(app)
    process = start_worker(JOBS, grace=60)
    job_id = await app.enqueue("does_not")
    await process.says("does_not began")
    process.send(signal.SIGTERM)
    await asyncio.sleep(0.3)
    assert process.fork.poll() is None
    process.send(signal.SIGTERM)
    assert await process.ended(20) == 0
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"]) == ("queued", 0)


async def test_a_worker_that_stops_claims_nothing_more(app: Soniq) -> None:
    began, release = asyncio.Event(), asyncio.Event()

    @app.job()
    async def one() -> None:
        began.set()
        await release.wait()

    job_id = await app.enqueue(one)
    async with working(app) as worker:
        await in_time(began.wait())
        app.stop_workers()
        late = await app.enqueue(one)
        await asyncio.sleep(0.3)
        release.set()
        assert await in_time(worker) == 1
    assert (await status_of(app, job_id))["status"] == "done"
    assert (await status_of(app, late))["status"] == "queued"


async def test_closing_the_app_stops_its_worker_and_waits_for_it(make_app: MakeApp) -> None:
    app, other = make_app(), make_app()
    began = asyncio.Event()

    @app.job(name="one")
    async def one() -> str:
        began.set()
        await asyncio.sleep(0.3)
        return "ended"

    @other.job(name="one")
    async def same() -> str: ...  # type: ignore[empty-body] # it runs in the other app

    job_id = await app.enqueue(one)
    worker = asyncio.create_task(app.run_worker())
    await in_time(began.wait())
    await in_time(app.close())
    assert await in_time(worker) == 1
    assert await other.get_result(job_id) == "ended"
    assert (await other.overview())["workers"] == []


async def test_an_attempt_that_does_not_end_in_time_runs_again_uncharged(make_app: MakeApp) -> None:
    app = make_app(grace=0.2)
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))
    began = asyncio.Event()
    attempts: list[int] = []

    @app.job(max_attempts=1)
    async def one(ctx: JobContext) -> str:
        attempts.append(ctx.attempt)
        if len(attempts) == 1:
            began.set()
            await asyncio.sleep(60)
        return "at last"

    job_id = await app.enqueue(one)
    async with working(app):
        await in_time(began.wait())
    assert [type(error) for error in errors] == [WorkerStopped]
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"]) == ("queued", 0)
    await app.run_worker(run_once=True)
    assert attempts == [1, 1]
    assert await app.get_result(job_id) == "at last"


async def test_a_handler_whose_clean_up_fails_at_the_stop_is_not_charged(make_app: MakeApp) -> None:
    app = make_app(grace=0.1)
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))
    began = asyncio.Event()

    @app.job(max_attempts=1)
    async def one() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            raise LookupError("in the clean-up")

    job_id = await app.enqueue(one)
    async with working(app):
        await in_time(began.wait())
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"]) == ("queued", 0)
    assert [type(error) for error in errors] == [WorkerStopped]


async def test_a_handler_that_ignores_its_cancellation_is_left_behind_and_runs_again(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.worker.worker.LAST_CHANCE", 0.3)
    app = make_app(grace=0.1)
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))
    began, release = asyncio.Event(), asyncio.Event()
    returned: list[str] = []

    @app.job()
    async def deaf() -> None:
        began.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        returned.append("after all")

    job_id = await app.enqueue(deaf)
    async with working(app):
        await in_time(began.wait())
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"]) == ("queued", 0)
    assert [type(error) for error in errors] == [WorkerStopped]
    release.set()
    while not returned:
        await asyncio.sleep(0.01)
    assert (await status_of(app, job_id))["status"] == "queued"


async def test_a_thread_that_does_not_end_holds_nobody_up_and_its_job_runs_again(
    make_app: MakeApp,
) -> None:
    app = make_app(grace=0.1)
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))
    began, release = threading.Event(), threading.Event()

    @app.job()
    def stuck() -> None:
        began.set()
        release.wait(30)

    job_id = await app.enqueue(stuck)
    async with working(app):
        await asyncio.to_thread(began.wait, 20)
        since = time.monotonic()
    assert time.monotonic() - since < 15
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"]) == ("queued", 0)
    assert [type(error) for error in errors] == [WorkerStopped]
    release.set()


async def test_handlers_that_keep_all_threads_of_the_loop_busy_hold_up_no_worker_that_stops(
    make_app: MakeApp,
) -> None:
    app = make_app(grace=0.1)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    began, release = asyncio.Event(), threading.Event()

    @app.job(name="blocking")
    async def blocking() -> None:
        began.set()
        await asyncio.to_thread(release.wait, 60)

    await app.enqueue(blocking)
    try:
        async with asyncio.timeout(30), working(app):
            await began.wait()
    finally:
        release.set()
    assert (await app.overview())["workers"] == []


async def test_a_handler_that_ends_the_threads_of_the_loop_keeps_no_worker_from_its_goodbye(
    app: Soniq,
) -> None:
    @app.job(name="ending")
    async def ending() -> None:
        await asyncio.get_running_loop().shutdown_default_executor()

    await app.enqueue(ending)
    assert await app.run_worker(run_once=True) == 1
    assert (await app.overview())["workers"] == []


async def test_a_worker_says_when_it_starts_and_stops(
    app: Soniq, caplog: pytest.LogCaptureFixture
) -> None:
    @app.job()
    async def one() -> None: ...

    await app.enqueue(one)
    with caplog.at_level(logging.INFO, "soniq.worker"):
        await app.run_worker(run_once=True, concurrency=7, queues=["default", "mail"])
    first, last = caplog.messages[0], caplog.messages[-1]
    for words in ("started", "default, mail", "7 at once", "1 job known", "plugins: none"):
        assert words in first
    assert "stopped after 1 attempt" in last


class Slow:
    """A plugin whose lifespan begins once it is let."""

    def __init__(self) -> None:
        self.begun, self.may_end, self.lives = asyncio.Event(), asyncio.Event(), False

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        self.begun.set()
        await self.may_end.wait()
        self.lives = True
        yield
        self.lives = False


async def being_started(make_app: MakeApp) -> "tuple[Slow, Soniq, asyncio.Task[int]]":
    """An app whose start is under way, for the worker that is the third."""
    slow = Slow()
    app = make_app(plugins=[slow])
    worker = asyncio.create_task(app.run_worker(signals=False))
    await in_time(slow.begun.wait())
    return slow, app, worker


async def test_a_worker_that_is_told_to_stop_while_the_app_is_being_started_ends(
    make_app: MakeApp,
) -> None:
    slow, app, worker = await being_started(make_app)
    app.stop_workers()
    slow.may_end.set()

    assert await in_time(worker) == 0


async def test_closing_an_app_that_is_being_started_closes_it_and_ends_its_worker(
    make_app: MakeApp,
) -> None:
    slow, app, worker = await being_started(make_app)
    closing = asyncio.create_task(app.close())
    await asyncio.sleep(0)
    slow.may_end.set()
    await in_time(closing)

    assert await in_time(worker) == 0
    assert (slow.lives, app.closed) == (False, True)


async def waits_for(table: str, connection: Any, *, other_than: int = 0) -> int:
    """The process of the server that waits for a lock of a table, as soon as there is one."""

    async def waiting() -> int:
        found = await connection.fetchval(
            "select min(pid) from pg_locks"
            " where not granted and relation = $1::regclass and pid <> $2",
            table,
            other_than,
        )
        return found or 0

    return await eventually(waiting)


async def test_a_worker_that_is_told_to_stop_while_it_registers_leaves_no_row(app: Soniq) -> None:
    table = f"{app.settings.schema}.worker"
    await app.start()
    async with app.connection() as connection:
        async with connection.transaction():
            await connection.execute(f"lock table {table} in exclusive mode")
            worker = asyncio.create_task(app.run_worker(signals=False))
            await waits_for(table, connection)
            app.stop_workers()
        assert await in_time(worker) == 0
        assert await connection.fetchval(f"select count(*) from {table}") == 0


@pytest.mark.parametrize("run_once", [False, True])
async def test_a_worker_that_is_told_to_stop_and_has_no_answer_while_it_registers_ends(
    app: Soniq, run_once: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("soniq.worker.answers.LAST_ANSWER", 0.1)
    table = f"{app.settings.schema}.worker"
    await app.start()
    async with app.connection() as connection:
        async with connection.transaction():
            await connection.execute(f"lock table {table} in exclusive mode")
            worker = asyncio.create_task(app.run_worker(signals=False, run_once=run_once))
            registers = await waits_for(table, connection)
            app.stop_workers()
            await waits_for(table, connection, other_than=registers)  # to say goodbye
        assert await in_time(worker) == 0
        assert await connection.fetchval(f"select count(*) from {table}") == 0
    assert "tries again" not in caplog.text


async def test_a_worker_that_is_cancelled_as_it_says_goodbye_before_any_work_is_cancelled(
    app: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.worker.answers.LAST_ANSWER", 0.1)
    table = f"{app.settings.schema}.worker"
    await app.start()
    async with app.connection() as connection:
        async with connection.transaction():
            await connection.execute(f"lock table {table} in exclusive mode")
            worker = asyncio.create_task(app.run_worker(signals=False))
            registers = await waits_for(table, connection)
            app.stop_workers()
            await waits_for(table, connection, other_than=registers)
            worker.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await in_time(worker)
        assert await connection.fetchval(f"select count(*) from {table}") == 0


async def test_a_worker_that_is_cancelled_when_it_has_just_registered_leaves_no_row(
    app: Soniq,
) -> None:
    workers, jobs = f"{app.settings.schema}.worker", f"{app.settings.schema}.job"
    await app.start()
    async with app.connection() as connection:
        async with connection.transaction():
            await connection.execute(f"lock table {jobs} in access exclusive mode")
            worker = asyncio.create_task(app.run_worker(signals=False))
            await waits_for(jobs, connection)  # to see which lanes there are
            assert await connection.fetchval(f"select count(*) from {workers}") == 1
            worker.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await in_time(worker)
        assert await connection.fetchval(f"select count(*) from {workers}") == 0


async def test_a_worker_that_cannot_write_an_outcome_leaves_its_row_for_the_rescue(
    make_app: MakeApp, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    app = make_app(lease=2, grace=1)
    begun, goes_on = asyncio.Event(), asyncio.Event()

    @app.job(name="job")
    async def job() -> str:
        begun.set()
        await goes_on.wait()
        return "fine"

    job_id = await app.enqueue(job)
    async with connection.transaction():
        async with working(app):
            await in_time(begun.wait())
            await connection.execute(f"select from {schema}.job for update")
            goes_on.set()
        assert await connection.fetchval(f"select count(*) from {schema}.worker") == 1

    async with working(app):  # the lease is over long before a look at all that runs
        status = await finished(app, job_id, 30)
    assert (status["status"], status["attempt"]) == ("done", 1)
