"""How old a job may get: what `expires=` means for jobs at hand, for retries, and for those that a
person asks for.
"""

import asyncio

import asyncpg

from soniq import Soniq
from tests.support.jobs import run_job


async def test_a_job_that_a_worker_has_at_hand_does_not_start_once_it_has_expired(
    app: Soniq,
) -> None:
    @app.job()
    async def one(seconds: float) -> None:
        if seconds:
            await asyncio.sleep(seconds)

    await app.enqueue_many(one, [{"seconds": 0}] * 100)
    await app.enqueue(one, 1.0)
    late = await app.enqueue(one, 0, expires=0.7)
    await app.enqueue_many(one, [{"seconds": 0}] * 10)
    await app.run_worker(run_once=True, concurrency=1)
    status = await app.get_job_status(late)
    assert status is not None
    assert status["status"] == "cancelled"
    assert status["error"] is not None
    assert status["error"]["message"] == "expired before it started"


async def test_a_retry_that_would_start_too_late_is_cancelled(
    app: Soniq, schema: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    ran: list[int] = []

    @app.job(max_attempts=3, retry=0, expires=600)
    async def fail(n: int) -> None:
        ran.append(n)
        await connection.execute(f"update {schema}.job set expires_at = now()")
        raise OSError("the disk is full")

    status = await run_job(app, fail, 1)
    assert (status["status"], status["attempt"]) == ("cancelled", 1)
    assert status["error"] is not None
    assert status["error"]["message"] == "expired before it started"
    assert ran == [1]


async def test_a_dead_job_that_a_person_queues_again_expires_no_more(app: Soniq) -> None:
    fails = [True]

    @app.job(max_attempts=1, expires=0.5)
    async def fail_once() -> str:
        if fails:
            fails.pop()
            raise OSError("the disk is full")
        return "done"

    job_id = await app.enqueue(fail_once)
    await app.run_worker(run_once=True)
    async with app.connection() as other:
        await other.execute("select pg_sleep(0.6)")
    await app.retry(job_id)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == "done"
