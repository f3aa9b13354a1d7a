"""The index of history that is made while history is in use."""

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from soniq import Soniq
from soniq.postgres.database import Database
from soniq.postgres.indexes import lacking, make_indexes
from soniq.postgres.partitions import Partition, partition_sql
from soniq.postgres.sql import core_migrations
from tests.conftest import MakeApp
from tests.core.postgres.test_reading_little import FINISHED
from tests.support.jobs import working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

BEFORE = next(version for version, text in core_migrations() if "history_ended" in text) - 1
"""The last migration before the index."""


@pytest.fixture
async def older(
    make_app: MakeApp, connection: "Connection", schema: str, monkeypatch: pytest.MonkeyPatch
) -> Soniq:
    """An app whose tables were made before there was the index, and hold finished jobs."""
    with monkeypatch.context() as patch:
        patch.setattr("soniq.postgres.schema.core_migrations", lambda: core_migrations()[:BEFORE])
        await make_app().start()
    await connection.execute(FINISHED.format(schema=schema))
    return make_app()


async def all_attached(connection: "Connection", schema: str) -> bool:
    """Whether the index is complete, with that of each partition."""
    valid = await connection.fetchval(
        "select indisvalid from pg_index where indexrelid = to_regclass($1)",
        f"{schema}.history_ended",
    )
    return bool(valid) and not await lacking(connection, schema)


async def test_new_tables_have_the_index_and_so_has_each_partition_to_come(
    app: Soniq, connection: "Connection", schema: str
) -> None:
    await app.start()
    assert await all_attached(connection, schema)
    now = await connection.fetchval("select date_trunc('day', now()) + interval '1000 days'")
    later = await connection.fetchval("select $1::timestamptz + interval '1 day'", now)
    for statement in partition_sql(schema, Partition("history_20990101", now, later)):
        await connection.execute(statement)
    assert await all_attached(connection, schema)


@pytest.mark.new_schema
async def test_tables_with_finished_jobs_get_it_from_a_worker_beside_all_that_is_going_on(
    older: Soniq, connection: "Connection", schema: str
) -> None:
    await older.start()
    assert await lacking(connection, schema)

    @older.job(name="job")
    async def job() -> int:
        return 1

    # what settles meanwhile has a lock on history, and is not kept waiting by one
    async with connection.transaction():
        await connection.execute(f"lock table {schema}.history in row exclusive mode")
        async with working(older):
            assert await older.wait_for(await older.enqueue(job), timeout=10) == 1
    async with working(older):
        await eventually(lambda: all_attached(connection, schema))


@pytest.mark.new_schema
async def test_what_was_cut_off_is_taken_up_again(
    older: Soniq, connection: "Connection", database_url: str, schema: str
) -> None:
    await older.start()
    holder = await asyncpg.connect(database_url)
    open_ = holder.transaction(isolation="repeatable_read")
    await open_.start()
    await holder.fetch(f"select count(*) from {schema}.job")
    making = asyncio.create_task(make_indexes(older._database))
    await eventually(lambda: _in_work(connection, schema))
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    await eventually(lambda: _left(connection, schema))
    await open_.rollback()
    await holder.close()
    assert [each.valid for each in await lacking(connection, schema)][:1] == [False]

    assert await make_indexes(older._database)
    assert await all_attached(connection, schema)


async def _in_work(connection: "Connection", schema: str) -> bool:
    return any(each.in_work for each in await lacking(connection, schema))


async def _left(connection: "Connection", schema: str) -> bool:
    lacks = await lacking(connection, schema)
    return lacks[0].valid is False and not lacks[0].in_work


@pytest.mark.new_schema
async def test_while_one_makes_it_another_leaves_it_to_that(
    older: Soniq, connection: "Connection", database_url: str, schema: str
) -> None:
    await older.start()
    holder = await asyncpg.connect(database_url)
    open_ = holder.transaction(isolation="repeatable_read")
    await open_.start()
    await holder.fetch(f"select count(*) from {schema}.job")
    making = asyncio.create_task(make_indexes(older._database))
    await eventually(lambda: _in_work(connection, schema))
    other = Database(database_url, older.settings)
    await other.open()
    assert not await make_indexes(other)
    await other.close()
    await open_.rollback()
    await holder.close()
    assert await making
    assert await all_attached(connection, schema)


@pytest.mark.new_schema
async def test_ten_at_once_end_with_one_complete_index(
    older: Soniq, connection: "Connection", schema: str
) -> None:
    await older.start()
    results = await asyncio.gather(
        *(make_indexes(older._database) for _ in range(10)), return_exceptions=True
    )
    assert True in results or await make_indexes(older._database)
    assert await all_attached(connection, schema)
