"""What a clock leaves behind that was ahead for a while."""

from datetime import timedelta
from typing import TYPE_CHECKING

from soniq.postgres.partitions import drop_partitions, missing_partitions, partition_sql
from tests.support.jobs import status_of
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from soniq import Soniq
    from soniq.postgres.connections import Connection


async def sweep_ahead(connection: "Connection", schema: str, days: int) -> None:
    """Do to history what a sweep does while the clock is so many days ahead."""
    row = await connection.fetchrow(f"select bound, now() as now from {schema}.retention")
    assert row is not None
    ahead = row["now"] + timedelta(days=days)
    rows = await connection.fetch(
        "select relname from pg_class where relnamespace = to_regnamespace($1) and relkind = 'r'"
        " and relname ~ '^history_[0-9]{8}$'",
        schema,
    )

    for partition in missing_partitions(row["bound"], ahead, 7 * 86_400.0):
        for statement in partition_sql(schema, partition):
            await connection.execute(statement)
    await drop_partitions(connection, schema, [each["relname"] for each in rows])


async def hold_the_sweep(connection: "Connection", schema: str) -> None:
    """Let another worker have the sweep of history, and not do it: no gap is filled by it."""
    await connection.execute(
        f"with other as (insert into {schema}.worker (id, seen_at, lease, concurrency, pid,"
        " hostname, version, names) values (gen_random_uuid(), now(), 3600, 1, 1, 'other', '1',"
        f" '{{}}') returning id) insert into {schema}.election"
        " select 'soniq.retention', id, now() + interval '1 hour' from other"
    )


async def is_put_off_uncharged_and_then_done(app: "Soniq", job_id: str) -> None:
    """The first attempt meets the gap, and a later one is done."""
    await app.run_worker(run_once=True)
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"]) == ("queued", 0)

    async def done() -> bool:
        await app.run_worker(run_once=True)
        return (await status_of(app, job_id))["status"] == "done"

    await eventually(done)
