"""Tables that go, or that a role may not touch: an error of Soniq's own, in a line."""

import asyncio

import asyncpg
import pytest

from soniq import DatabaseError, Soniq
from soniq.errors import SchemaMissing
from tests.conftest import MakeApp
from tests.support.urls import as_role
from tests.support.waiting import LIMIT


async def test_a_worker_whose_schema_is_dropped_ends_with_an_error_that_says_so(
    app: Soniq, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    app.job(name="nothing")(_nothing)
    await app.start()
    worker = asyncio.create_task(app.run_worker())
    await app.wait_for(await app.enqueue("nothing"), LIMIT)
    await connection.execute(f"drop schema {schema} cascade")
    with pytest.raises(SchemaMissing, match=f"tables in schema '{schema}'.*are not there"):
        await asyncio.wait_for(worker, LIMIT)


async def test_a_call_without_tables_says_so(
    app: Soniq, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    await app.start()
    await connection.execute(f"drop schema {schema} cascade")
    for call in (app.jobs, app.overview, app.prune):
        with pytest.raises(SchemaMissing, match="are not there"):
            await call()


async def test_pruning_as_a_role_that_may_not_is_an_error_of_soniqs(
    make_app: MakeApp,
    app: Soniq,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    database_url: str,
) -> None:
    await app.start()
    role = f"{schema}_enqueuer"
    await connection.execute(f"create role {role} login; grant usage on schema {schema} to {role}")
    await connection.execute(f"grant select on {schema}.migration to {role}")
    try:
        lesser = make_app(database_url=as_role(database_url, role), setup=False)
        with pytest.raises(DatabaseError, match="permission denied"):
            await lesser.prune()
        await lesser.close()
    finally:
        await connection.execute(f"drop owned by {role}; drop role {role}")


async def _nothing() -> None: ...
