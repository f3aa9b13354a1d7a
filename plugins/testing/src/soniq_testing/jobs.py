"""What a test does with jobs: work off all that is due, and let time pass."""

import asyncio
from typing import Protocol

from soniq import InvalidOption, JobError, JobFailed, JobStatus, Soniq

LONGEST = 100 * 365 * 86_400.0
"""The most seconds that may pass: a hundred years, as for a delay."""

TRAVEL = """
with moved as (
    update "{schema}".job set
        scheduled_at = scheduled_at - make_interval(secs => $1),
        expires_at = expires_at - make_interval(secs => $1),
        deferred_since = deferred_since - make_interval(secs => $1)
    where status in ('queued', 'held')
    returning id, held_by, marks
)
insert into "{schema}".owed (plugin, job_id, kind)
select held_by[1], id, 'first' from moved where held_by[1] = any(marks)
"""
"""As if $1 seconds had passed, for the jobs that are not finished; plugins look again at those that
they hold.
"""

NO_ERROR: JobError = {"type": "unknown", "message": "", "traceback": None}


class Drain(Protocol):
    """The type of the fixture `drain`: `drain` of `soniq_app`."""

    async def __call__(self, *, timeout: float = 30.0, check: bool = False) -> int: ...


class Travel(Protocol):
    """The type of the fixture `travel`: `travel` of `soniq_app`."""

    async def __call__(self, seconds: float) -> None: ...


async def drain(app: Soniq, *, timeout: float = 30.0, check: bool = False) -> int:
    """Run a worker until nothing is due; how many attempts ran. What is due later is left: see
    `travel`.

    `timeout` in seconds; a job that runs longer is ended, and `TimeoutError` names it. With
    `check`, a job that died meanwhile raises `JobFailed`; its traceback, and the others that died,
    are notes of that error.
    """
    await app.start()
    async with app.connection() as connection:
        began = await connection.fetchval("select clock_timestamp()")
    worker = asyncio.create_task(app.run_worker(run_once=True), name="soniq drain")
    try:
        await asyncio.wait([worker], timeout=timeout)
        if not worker.done():
            running = sorted({job["job_name"] for job in await app.jobs(status="running")})
            raise TimeoutError(
                f"not all was done after {timeout:g} s; running: {', '.join(running) or 'no job'}"
            )
    finally:
        while not worker.done():  # also where it has only begun to start
            app.stop_workers(now=True)
            await asyncio.wait([worker], timeout=0.1)
    if check:
        dead = await app.jobs(status="dead", limit=1000)
        died = [
            job for job in dead if job["finished_at"] is not None and job["finished_at"] >= began
        ]
        if died:
            raise _failed(died)
    return worker.result()


async def travel(app: Soniq, seconds: float) -> None:
    """Let the jobs that are not finished stand as if `seconds` had passed: delays, retries,
    snoozes, expiry.

    Nothing runs by that; `drain` then runs what has become due. What is finished is not forgotten
    the sooner.
    """
    if not 0 <= seconds <= LONGEST:
        raise InvalidOption(
            f"time passes by 0 to {LONGEST:g} seconds; got {seconds!r}", option="seconds"
        )
    await app.start()
    async with app.connection() as connection:
        await connection.execute(TRAVEL.format(schema=app.settings.schema), float(seconds))


def _failed(died: list[JobStatus]) -> JobFailed:
    """The error of the job that was enqueued first, with what else there is to know as notes."""
    first, *others = sorted(died, key=lambda job: job["job_id"])
    error = first["error"] or NO_ERROR
    failed = JobFailed(first["job_id"], error["type"], error["message"], error["traceback"])
    failed.add_note(f"the job is {first['job_name']}; its last attempt:\n{error['traceback']}")
    for job in others:
        error = job["error"] or NO_ERROR
        failed.add_note(
            f"{job['job_name']} ({job['job_id']}) died as well: {error['type']}: {error['message']}"
        )
    return failed
