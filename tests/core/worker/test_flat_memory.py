"""The memory of a worker's process does not grow with the jobs that it has run, nor with the sessions
that it has lost.
"""

from typing import Any

import asyncpg

from soniq.memory import resident_memory
from tests.conftest import MakeApp
from tests.support.jobs import working
from tests.support.waiting import eventually

WARM, JOBS, LOST = 4_000, 12_000, 12
MOST = 3_000_000
"""Bytes by which it may grow meanwhile: 250 bytes that each job left would be as much."""

INSERT = """
insert into {schema}.job (id, name, queue, priority, max_attempts, serializer, keep, args, scheduled_at)
select gen_random_uuid(), 'count', 'default', 0, 5, 'json', 60, '{{"number": 1}}', now()
from generate_series(1, $1::int) n
"""
END = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
"""


async def test_memory_is_flat_over_many_jobs_and_lost_sessions(
    make_app: MakeApp, connection: "asyncpg.Connection[Any]", schema: str
) -> None:
    app = make_app()
    ran = 0

    @app.job(name="count")
    async def count(number: int) -> int:
        nonlocal ran
        ran += 1
        return number

    async def reached(wanted: int) -> None:
        async def ask() -> bool:
            return ran >= wanted

        await eventually(ask, 60)

    async def memory_after(jobs: int) -> int:
        """Bytes in use once so many jobs more have run, amid losses of all sessions."""
        for _ in range(LOST):
            wanted = ran + jobs // LOST
            await connection.execute(INSERT.format(schema=schema), jobs // LOST)
            await reached(wanted - jobs // LOST // 2)
            await connection.fetchval(END)
            await reached(wanted)
        return resident_memory()

    async with working(app, concurrency=50):
        before = await memory_after(WARM)
        after = await memory_after(JOBS)

    assert after - before < MOST
