"""What happens between two steps: an attempt is ended before it begins, a job cancelled while it
waits for a slot.
"""

import asyncio
import time

import pytest

from soniq import JobCancelled, Soniq
from soniq.errors import AttemptTimeout
from soniq.job import JobContext
from soniq.plugin import Outcome
from tests.support.jobs import status_of, working
from tests.support.waiting import in_time


async def test_an_attempt_that_is_ended_before_it_begins_gives_its_slot_back(app: Soniq) -> None:
    @app.job(timeout=0.05, max_attempts=1)
    async def blocks() -> None:
        time.sleep(0.06)
        await asyncio.sleep(0)

    @app.job(timeout=0.05)
    async def quick(number: int) -> None: ...

    for _ in range(5):
        await app.enqueue_many(quick, [{"number": n} for n in range(60)])
        await app.enqueue_many(blocks, [{}] * 3)
    await in_time(app.run_worker(run_once=True, concurrency=4))
    assert await app.jobs(status="running") == []


async def test_the_timeout_does_not_run_while_around_job_is_entered(app: Soniq) -> None:
    errors: list[BaseException | None] = []

    @app.around_job
    async def slow(ctx: JobContext):  # type: ignore[no-untyped-def] # a generator function as users write it
        await asyncio.sleep(0.3)
        yield
        outcome: Outcome | None = ctx.outcome
        errors.append(outcome.error if outcome else None)

    @app.job(timeout=0.2, max_attempts=1)
    async def quick() -> str:
        return "in time"

    job_id = await app.enqueue(quick)
    await in_time(app.run_worker(run_once=True))
    assert await app.get_result(job_id) == "in time"
    assert not any(isinstance(error, AttemptTimeout) for error in errors)


async def test_a_job_that_waits_for_a_slot_is_cancelled_there(app: Soniq) -> None:
    ran: list[int] = []
    began, release = asyncio.Event(), asyncio.Event()

    @app.job()
    async def one(number: int) -> None:
        ran.append(number)
        if number == 40:
            began.set()
            await release.wait()

    ids = await app.enqueue_many(one, [{"number": n} for n in range(200)])
    async with working(app, concurrency=1):
        await in_time(began.wait())
        running = {row["job_id"] for row in await app.jobs(status="running", limit=1000)}
        # Few, before what waits for long is given back to be claimed elsewhere.
        waiting = [number for number in range(41, 200) if ids[number] in running][:3]
        assert waiting
        for number in waiting:
            assert await app.cancel(ids[number])
        for number in waiting:
            with pytest.raises(JobCancelled):
                await app.wait_for(ids[number], timeout=20)
        release.set()
        await app.wait_for(ids[40], timeout=20)
        app.stop_workers()
    assert not set(waiting) & set(ran)


async def test_a_cancelled_attempt_that_fails_ends_at_once_whatever_its_backoff(app: Soniq) -> None:
    began = asyncio.Event()

    @app.job(retry=3600)
    def thread() -> None:
        app_loop.call_soon_threadsafe(began.set)
        time.sleep(0.5)
        raise ValueError("after it was cancelled")

    app_loop = asyncio.get_running_loop()
    job_id = await app.enqueue(thread)
    async with working(app):
        await in_time(began.wait())
        assert await app.cancel(job_id)
        with pytest.raises(JobCancelled):
            await app.wait_for(job_id, timeout=20)
        app.stop_workers()
    assert (await status_of(app, job_id))["status"] == "cancelled"
