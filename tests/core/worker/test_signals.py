"""Retry, Snooze and Cancel, raised or returned."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from soniq import Cancel, Retry, Snooze, Soniq
from soniq.job import JobContext
from tests.support.jobs import run_job, status_of

raised_or_returned = pytest.mark.parametrize("how", ["raised", "returned"])
in_a_thread_or_not = pytest.mark.parametrize("threaded", [False, True])


def give(signal: Exception, how: str) -> Exception:
    if how == "raised":
        raise signal
    return signal


@in_a_thread_or_not
@raised_or_returned
async def test_a_snoozed_job_keeps_its_attempt(app: Soniq, how: str, threaded: bool) -> None:
    attempts: list[int] = []

    def synchronous(ctx: JobContext) -> Any:
        attempts.append(ctx.attempt)
        return give(Snooze(0), how) if len(attempts) < 4 else "awake"

    async def asynchronous(ctx: JobContext) -> Any:
        return synchronous(ctx)

    job = app.job(name="sleepy", max_attempts=1)(synchronous if threaded else asynchronous)
    job_id = await app.enqueue(job)
    assert await app.run_worker(run_once=True) == 4
    assert attempts == [1, 1, 1, 1]
    status = await status_of(app, job_id)
    assert (status["status"], status["result"], status["attempt"]) == ("done", "awake", 1)


async def test_a_snoozed_job_is_due_after_its_delay_and_has_no_error(app: Soniq) -> None:
    @app.job()
    async def sleepy() -> None:
        raise Snooze(120)

    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))
    job_id = await app.enqueue(sleepy)
    assert await app.run_worker(run_once=True) == 1
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"], status["error"]) == ("queued", 0, None)
    assert (
        timedelta(seconds=100)
        < status["scheduled_at"] - status["created_at"]
        < timedelta(seconds=180)
    )
    assert errors == []


@raised_or_returned
async def test_a_retry_uses_an_attempt_and_comes_after_its_delay(app: Soniq, how: str) -> None:
    attempts: list[int] = []

    @app.job(max_attempts=3, retry=3600)
    async def again(ctx: JobContext) -> Any:
        attempts.append(ctx.attempt)
        return give(Retry(delay=0), how) if ctx.attempt < 3 else "done at last"

    job_id = await app.enqueue(again)
    await app.run_worker(run_once=True)
    assert attempts == [1, 2, 3]
    assert await app.get_result(job_id) == "done at last"


@raised_or_returned
async def test_a_retry_without_a_delay_takes_the_jobs_own(app: Soniq, how: str) -> None:
    @app.job(retry=500)
    async def again(ctx: JobContext) -> Any:
        return give(Retry(), how)

    status = await run_job(app, again)
    assert status["status"] == "queued"
    assert (
        timedelta(seconds=490)
        < status["scheduled_at"] - status["created_at"]
        < timedelta(seconds=600)
    )


async def test_a_retry_with_no_attempt_left_is_dead_and_says_so(app: Soniq) -> None:
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))

    @app.job(max_attempts=2)
    async def again() -> None:
        raise Retry(delay=0)

    status = await run_job(app, again)
    assert (status["status"], status["attempt"]) == ("dead", 2)
    assert status["error"] is not None
    assert status["error"]["type"].endswith("RetriesExhausted")
    assert [type(error).__name__ for error in errors] == ["RetriesExhausted"]
    assert isinstance(errors[0].__cause__, Retry)


@in_a_thread_or_not
@raised_or_returned
async def test_a_cancel_ends_the_job_with_its_reason(app: Soniq, how: str, threaded: bool) -> None:
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))

    def synchronous() -> Any:
        return give(Cancel("the order is gone"), how)

    async def asynchronous() -> Any:
        return synchronous()

    status = await run_job(app, app.job(name="cancels")(synchronous if threaded else asynchronous))
    assert (status["status"], status["attempt"]) == ("cancelled", 1)
    assert status["error"] is not None
    assert status["error"]["message"] == "the order is gone"
    assert errors == []


async def test_a_handler_that_catches_exceptions_need_not_know_the_signals(app: Soniq) -> None:
    @app.job(max_attempts=1)
    async def careless() -> str:
        try:
            raise Snooze(10)
        except Exception:
            return "they are ordinary exceptions"

    job_id = await app.enqueue(careless)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == "they are ordinary exceptions"


async def test_a_signal_that_a_task_of_a_group_raises_is_obeyed(app: Soniq) -> None:
    """`asyncio.TaskGroup` puts what its tasks raise into a group."""

    async def raises() -> None:
        raise Cancel("nobody wants it")

    @app.job(max_attempts=1)
    async def grouped() -> None:
        async with asyncio.TaskGroup() as outer, asyncio.TaskGroup() as inner:
            inner.create_task(raises())
            outer.create_task(asyncio.sleep(600))

    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))
    job_id = await app.enqueue(grouped)
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["status"] == "cancelled"
    assert errors == []


async def test_a_group_with_a_signal_and_an_error_is_a_failure(app: Soniq) -> None:
    @app.job(max_attempts=1)
    async def both() -> None:
        raise ExceptionGroup("two", [Cancel(), ValueError("broken")])

    job_id = await app.enqueue(both)
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["status"] == "dead"
