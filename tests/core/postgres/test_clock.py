"""The clock of the server was ahead for a while, and was set back: nothing waits until it is there
again.
"""

import uuid
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import asyncpg
import pytest

from soniq import Soniq, hookimpl
from soniq.postgres.gaps import is_gap
from soniq.postgres.partitions import ensure_partitions, partition_times
from tests.conftest import MakeApp
from tests.support.clock import (
    hold_the_sweep,
    is_put_off_uncharged_and_then_done,
    sweep_ahead,
)
from tests.support.jobs import status_of, working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection


async def test_jobs_end_where_a_sweep_dropped_the_partitions_of_today(
    app: Soniq, schema: str, connection: "Connection"
) -> None:
    runs: list[None] = []

    @app.job(max_attempts=1)
    async def one() -> None:
        runs.append(None)

    await app.start()
    await hold_the_sweep(connection, schema)
    await sweep_ahead(connection, schema, 40)
    job_id = await app.enqueue(one)
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["status"] == "done"
    assert len(runs) == 1


async def test_a_gap_in_history_is_filled_once(
    app: Soniq, schema: str, connection: "Connection"
) -> None:
    await app.start()
    await sweep_ahead(connection, schema, 40)
    made = await ensure_partitions(connection, schema, app.settings.keep)
    assert len(made) == 1
    assert await ensure_partitions(connection, schema, app.settings.keep) == []

    times = sorted(await partition_times(connection, schema))
    for (_, end), (start, _) in pairwise(times):
        assert end == start


async def test_a_completion_that_meets_a_gap_is_put_off_and_not_charged(
    app: Soniq, schema: str, connection: "Connection"
) -> None:
    runs: list[None] = []

    @app.job(max_attempts=1)
    async def one(connection: asyncpg.Connection) -> None:
        runs.append(None)

    await app.start()
    await hold_the_sweep(connection, schema)
    await sweep_ahead(connection, schema, 40)
    job_id = await app.enqueue(one)
    await is_put_off_uncharged_and_then_done(app, job_id)
    assert len(runs) == 2


class Listens:
    """A plugin whose write joins the transaction of each outcome."""

    name = "listens"

    @hookimpl
    async def settle_tx(self, tx: asyncpg.Connection) -> None:
        await tx.execute("select 1")


@pytest.mark.parametrize("plugins", [[], [Listens()]], ids=["plain", "settle_tx"])
@pytest.mark.parametrize("how", ["cancel", "cancel_all", "delete"])
async def test_a_job_that_waits_is_cancelled_over_a_gap(
    make_app: MakeApp, schema: str, connection: "Connection", plugins: list[Listens], how: str
) -> None:
    app = make_app(plugins=plugins)

    @app.job()
    async def one() -> None: ...

    job_id = await app.enqueue(one)
    await sweep_ahead(connection, schema, 40)
    if how == "delete":
        assert await app.delete(job_id)
        assert await app.get_job_status(job_id) is None
    else:
        assert await (app.cancel(job_id) if how == "cancel" else app.cancel_all()) == 1
        assert (await status_of(app, job_id))["status"] == "cancelled"


async def test_orphans_are_rescued_where_one_that_was_cancelled_meets_a_gap(
    make_app: MakeApp, schema: str, connection: "Connection"
) -> None:
    app = make_app(lease=1)

    @app.job()
    async def one() -> None: ...

    ids = [await app.enqueue(one) for _ in range(2)]
    await connection.execute(
        f"insert into {schema}.worker (id, seen_at, lease, concurrency, pid, hostname, version,"
        " names) values (gen_random_uuid(), now() - interval '1 day', 1, 1, 1, 'gone', '1', '{}')"
    )
    await hold_the_sweep(connection, schema)
    await connection.execute(
        f"update {schema}.job set status = 'running', started = true, claim = 1,"
        " started_at = now(), worker_id = gen_random_uuid(), cancel_requested = id = $1",
        uuid.UUID(ids[0]),
    )
    await sweep_ahead(connection, schema, 40)

    async def ended() -> bool:
        return [(await status_of(app, id_))["status"] for id_ in ids] == ["cancelled", "done"]

    async with working(app):
        await eventually(ended)


async def test_a_gap_is_known_by_the_fields_of_the_error_whatever_its_language(
    app: Soniq, schema: str, connection: "Connection"
) -> None:
    @app.job()
    async def one() -> None: ...

    job_id = await app.enqueue(one)
    await sweep_ahead(connection, schema, 40)
    with pytest.raises(asyncpg.CheckViolationError) as raised:
        await connection.fetch(app._database.sql["cancel_waiting"], [str(job_id)], None)
    error = raised.value
    assert is_gap(error, schema)
    assert not is_gap(error, f"{schema}_app")

    error.args = ("keine Partition von Relation »history« für die Zeile gefunden",)
    assert is_gap(error, schema)
    translated = app._database.translated(error)
    translated.__cause__ = error
    assert is_gap(translated, schema)


async def test_a_constraint_of_history_is_no_gap(
    app: Soniq, schema: str, connection: "Connection"
) -> None:
    await app.start()
    await connection.execute(f"create table {schema}.other (note text check (note <> ''))")
    await connection.execute(f"alter table {schema}.history rename to history_of_jobs")
    await connection.execute(f"alter table {schema}.other rename to history")
    with pytest.raises(asyncpg.CheckViolationError) as raised:
        await connection.execute(f"insert into {schema}.history values ('')")
    assert raised.value.table_name == "history"
    assert not is_gap(raised.value, schema)


@pytest.mark.parametrize("how", ["detached", "half detached"])
async def test_a_partition_that_was_left_over_keeps_no_new_one_from_being_made(
    app: Soniq, schema: str, connection: "Connection", database_url: str, how: str
) -> None:
    """A sweep ended between detaching and dropping, while the clock was ahead."""
    await app.start()
    before = sorted(await partition_times(connection, schema))
    table = f"{schema}.history_{before[0][0]:%Y%m%d}"
    if how == "detached":
        await connection.execute(f"alter table {schema}.history detach partition {table}")
    else:
        await detach_by_half(connection, database_url, schema, table)
    assert len(await partition_times(connection, schema)) == len(before) - 1

    async def made() -> bool:
        return sorted(await partition_times(connection, schema)) == before

    async with working(app):
        await eventually(made)


async def detach_by_half(
    connection: "Connection", database_url: str, schema: str, table: str
) -> None:
    """Begin to detach a partition of history, and be ended while that waits for a reader."""
    reader = await asyncpg.connect(database_url)
    try:
        await reader.execute("begin isolation level repeatable read")
        await reader.fetch(f"select from {schema}.history")
        await connection.execute("set statement_timeout = '300ms'")
        with pytest.raises(asyncpg.QueryCanceledError):
            await connection.execute(
                f"alter table {schema}.history detach partition {table} concurrently"
            )
        await connection.execute("reset statement_timeout")
    finally:
        await reader.close()


async def test_a_dead_worker_that_was_seen_in_the_future_is_buried_after_its_lease(
    make_app: MakeApp, schema: str, connection: "Connection"
) -> None:
    app = make_app(lease=1)

    @app.job()
    async def one() -> None: ...

    job_id = await app.enqueue(one)
    dead = uuid.uuid4()
    await connection.execute(
        f"insert into {schema}.worker (id, seen_at, lease, concurrency, pid, hostname, version,"
        " names) values ($1, now() + interval '1 year', 1, 1, 1, 'gone', '1', '{}')",
        dead,
    )
    await connection.execute(
        f"update {schema}.job set status = 'running', claim = 1, worker_id = $1", dead
    )

    async def done() -> bool:
        return (await status_of(app, job_id))["status"] == "done"

    async with working(app):
        await eventually(done)


async def test_an_elected_task_of_a_worker_that_is_gone_is_taken_over_at_once(
    app: Soniq, schema: str, connection: "Connection"
) -> None:
    await app.start()
    await connection.execute(
        f"insert into {schema}.election values ('soniq.retention', $1, now() + interval '1 year')",
        uuid.uuid4(),
    )

    async def taken() -> bool:
        until = await connection.fetchval(f"select until - now() from {schema}.election")
        return bool(until < timedelta(days=1))

    async with working(app):
        await eventually(taken)


async def test_a_publication_of_all_tables_holds_nothing_up(
    app: Soniq, schema: str, connection: "Connection"
) -> None:
    """PostgreSQL changes no row of a table that is published and has no key."""

    @app.job()
    async def one() -> None: ...

    await app.start()
    name = f"all_of_{schema}"
    await connection.execute(f"create publication {name} for tables in schema {schema}")
    try:
        await ensure_partitions(connection, schema, 100 * 86_400.0)
        await app.pause("slow")
        await app.resume("slow")
        job_id = await app.enqueue(one)
        await app.run_worker(run_once=True)
        assert (await status_of(app, job_id))["status"] == "done"
        assert await app.delete(job_id)
    finally:
        await connection.execute(f"drop publication {name}")


@pytest.mark.parametrize("kind", ["r", "p"])
async def test_each_table_has_a_primary_key(
    app: Soniq, schema: str, connection: "Connection", kind: str
) -> None:
    await app.start()
    without = await connection.fetch(
        "select relname from pg_class c where relnamespace = to_regnamespace($1) and"
        ' relkind = $2::text::"char" and not exists (select from pg_index i where'
        " i.indrelid = c.oid and i.indisprimary)",
        schema,
        kind,
    )
    assert without == []
