"""What a worker asks again and again reads what is due, however much else there is."""

import asyncpg
import pytest

from soniq import Soniq
from soniq_limits.database import statement
from tests.plugins.limits.conftest import Connection


@pytest.mark.new_schema
async def test_a_look_at_what_is_due_reads_nothing_that_is_due_later(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    own = f"{schema}_limits"
    await app.start()
    await connection.execute(
        f"insert into {own}.key select 'rate k[' || n || ']', 'rate k', now() + interval '1 hour'"
        f" from generate_series(1, 5000) as n; insert into {own}.waiting (job_id, keys, due, queue)"
        " select gen_random_uuid(), array['rate k[' || n || ']'], now() + interval '1 hour', 'q'"
        " from generate_series(1, 5000) as n"
    )
    async with connection.transaction():
        await connection.fetch(statement(own, "due"), 500)
        await connection.fetch(statement(own, "wait"))
        read = await connection.fetchval(
            "select sum(seq_tup_read + idx_tup_fetch) from pg_stat_xact_user_tables"
            " where schemaname = $1 and relname in ('key', 'waiting')",
            own,
        )
    assert read < 50
