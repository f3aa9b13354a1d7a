"""Jobs that have run, and a worker beside the test."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from soniq import Job, JobStatus, Soniq
from tests.support.waiting import LIMIT, eventually


async def status_of(app: Soniq, job_id: str) -> JobStatus:
    """The status of a job that exists."""
    status = await app.get_job_status(job_id)
    assert status is not None
    return status


async def run_job(
    app: Soniq, job: Job[..., Any] | str, *arguments: Any, **keywords: Any
) -> JobStatus:
    """Enqueue a job, work off all that is due, and say how the job stands then."""
    job_id = await app.enqueue(job, *arguments, **keywords)
    await app.run_worker(run_once=True)
    return await status_of(app, job_id)


async def finished(app: Soniq, job_id: str, limit: float = LIMIT) -> JobStatus:
    """The status of a job once it is done, dead or cancelled."""

    async def ask() -> JobStatus | None:
        status = await status_of(app, job_id)
        return status if status["status"] in ("done", "dead", "cancelled") else None

    found = await eventually(ask, limit)
    assert found is not None
    return found


@asynccontextmanager
async def working(app: Soniq, **options: Any) -> "AsyncIterator[asyncio.Task[int]]":
    """A worker of `app` beside the test; afterwards it is stopped, and has to end without an
    error.
    """
    await app.start()
    task = asyncio.create_task(app.run_worker(**options))
    try:
        yield task
    finally:
        while not task.done():  # also where it has not begun yet
            app.stop_workers()
            await asyncio.wait([task], timeout=0.1)
    task.result()


async def lose_a_worker(
    connection: "asyncpg.Connection[asyncpg.Record]", schema: str, host: str = "gone", **runs: str
) -> str:
    """Leave the row of a worker that died a minute ago, and ran these jobs, by id and name; its
    id.
    """
    running = [[job_id, name, 7.5] for job_id, name in runs.items()]
    found: str = await connection.fetchval(
        f"insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, queues, names,"
        " plugins, started_at, seen_at, running, running_jobs) values (gen_random_uuid(), 1, 8, 4711,"
        " $1, '0.9', array['mail'], array['send', 'fetch'], array['limits'], now() - interval '1 hour',"
        " now() - interval '1 minute', $2, $3::text::jsonb) returning id::text",
        host,
        len(running),
        json.dumps(running),
    )
    return found


async def falls_asleep(app: Soniq) -> None:
    """Wait until the worker listens, and says in its row that it has nothing to do, and stays so: it
    may still say so from before its last job.
    """

    async def waits() -> bool:
        async with app.connection() as connection:
            listening = await connection.fetchval(
                "select count(*) from pg_stat_activity where query = $1",
                f'LISTEN "{app.settings.schema}"',
            )
            waiting = await connection.fetchval(
                f"select bool_or(waiting) from {app.settings.schema}.worker"
            )
        return bool(waiting and (listening or app.settings.pgbouncer))

    await eventually(waits)
    await asyncio.sleep(0.2)
    await eventually(waits)
