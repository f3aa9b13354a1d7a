"""The overview of queues, jobs and workers: one snapshot."""

import asyncio

import asyncpg

from soniq import Soniq
from soniq.postgres.sql import Statements
from tests.support.waiting import eventually


async def test_what_changes_while_the_overview_is_read_is_not_in_it(
    app: Soniq, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    @app.job(name="job")
    async def job() -> None: ...

    job_id = str(await app.enqueue(job))

    async with connection.transaction():
        await connection.execute(f"lock table {schema}.paused_queue in access exclusive mode")
        reading = asyncio.create_task(app.overview())
        await eventually(lambda: _waits_for(connection))
        await connection.fetch(Statements(schema)["cancel_waiting"], [job_id], None)
        await connection.execute(f"insert into {schema}.paused_queue (queue) values ('default')")

    seen = await reading
    assert (seen["queues"], seen["paused"]) == ({"default": {"queued": 1}}, {})
    seen = await app.overview()
    assert (seen["queues"], list(seen["paused"])) == ({"default": {"cancelled": 1}}, ["default"])


async def _waits_for(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Whether another session waits for what this one has locked.

    Read from `pg_locks`: a transaction sees `pg_stat_activity` as it was at its first look.
    """
    return bool(
        await connection.fetchval(
            "select exists (select from pg_locks where pg_backend_pid() = any(pg_blocking_pids(pid)))"
        )
    )
