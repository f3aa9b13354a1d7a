"""`ctx.fence`, and `still_claimed` in SQL: what a handler writes by itself counts only while the job
is its worker's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import pytest

from soniq import InvalidOption, JobContext, Soniq
from soniq.errors import DatabaseError, LeaseLost, NoAttempt
from tests.conftest import MakeApp
from tests.core.postgres.support import own_database
from tests.support.jobs import working
from tests.support.waiting import in_time

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

Write = Callable[["Connection", JobContext], Awaitable[object]]


@pytest.fixture
async def app(make_app: MakeApp, schema: str) -> Soniq:
    """An app with a short lease, and a table of the application's own, in which each attempt
    writes its number.
    """
    app = make_app(lease=1.0)
    await app.start()
    async with app.connection() as connection:
        await connection.execute(f"create table {schema}.step (attempt bigint)")
    return app


@pytest.fixture
def unfenced(schema: str) -> Write:
    async def write(connection: "Connection", ctx: JobContext) -> None:
        await connection.execute(f"insert into {schema}.step values ($1)", ctx.claim)

    return write


@pytest.fixture
def fenced(schema: str, unfenced: Write) -> Write:
    async def write(connection: "Connection", ctx: JobContext) -> None:
        async with connection.transaction():
            await unfenced(connection, ctx)
            await ctx.fence(connection)

    return write


@pytest.fixture
def in_sql(schema: str) -> Write:
    async def write(connection: "Connection", ctx: JobContext) -> None:
        written = await connection.execute(
            f"insert into {schema}.step select $2::bigint where {schema}.still_claimed($1, $2)",
            ctx.job_id,
            ctx.claim,
        )
        if written == "INSERT 0 0":
            raise LeaseLost("nothing was written")

    return write


async def taken_for_dead(connection: "Connection", schema: str) -> None:
    """Let the workers be gone, and one more be silent for so long that the next look at them ends
    in a rescue.
    """
    async with connection.transaction():
        await connection.execute(f"delete from {schema}.worker")
        await connection.execute(
            f"insert into {schema}.worker (id, seen_at, lease, concurrency, pid, hostname, version,"
            " names) values (gen_random_uuid(), now() - interval '1 hour', 1, 1, 1, '', '', '{}')"
        )


@pytest.mark.parametrize(
    ("way", "steps"), [("fenced", [3]), ("in_sql", [3]), ("unfenced", [3, 1])], ids=lambda way: way
)
async def test_what_an_attempt_writes_after_the_job_was_rescued_and_claimed_again_does_not_count(
    app: Soniq,
    connection: "Connection",
    schema: str,
    request: pytest.FixtureRequest,
    way: str,
    steps: list[int],
) -> None:
    write: Write = request.getfixturevalue(way)
    began, taken, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    met: list[LeaseLost] = []

    @app.job()
    async def handler(ctx: JobContext) -> None:
        async with app.connection() as own:
            if began.is_set():
                await write(own, ctx)
                taken.set()
                await in_time(ended.wait())
                return
            began.set()
            while not taken.is_set():  # it goes on although it is cancelled, as a thread does
                with suppress(asyncio.CancelledError):
                    await taken.wait()
            try:
                await write(own, ctx)
            except LeaseLost as error:
                met.append(error)
            finally:
                ended.set()

    await app.enqueue(handler)
    async with working(app, concurrency=1):
        await in_time(began.wait())
        await taken_for_dead(connection, schema)
        await in_time(ended.wait())
    rows = await connection.fetch(f"select attempt from {schema}.step")
    assert [row["attempt"] for row in rows] == steps
    assert len(met) == (way != "unfenced")


async def test_nobody_gets_the_job_until_a_fenced_transaction_has_ended(
    app: Soniq, connection: "Connection", schema: str, fenced: Write
) -> None:
    held, goes_on = asyncio.Event(), asyncio.Event()

    @app.job()
    async def handler(ctx: JobContext) -> None:
        async with app.connection() as own, own.transaction():
            await fenced(own, ctx)
            held.set()
            await in_time(goes_on.wait())

    job_id = UUID(await app.enqueue(handler))

    async def rescued() -> list[UUID]:
        rows = await connection.fetch(app._database.sql["rescue"], [job_id], None)
        return [row["id"] for row in rows]

    async with working(app, concurrency=1):
        await in_time(held.wait())
        taken_for_dead_here = connection.transaction()  # the worker must not learn of it
        await taken_for_dead_here.start()
        await connection.execute(f"delete from {schema}.worker")
        assert await rescued() == []
        await taken_for_dead_here.rollback()
        await connection.execute(  # neither progress nor a request to cancel waits for it
            f"update {schema}.job set progress = '1', cancel_requested = false"
        )
        goes_on.set()
    assert await connection.fetchval(f"select attempt from {schema}.step") == 1


@pytest.mark.parametrize(("own", "then"), [("0", "7s"), ("1min", "7s"), ("3s", "3s")])
async def test_a_fenced_transaction_has_the_time_of_a_lease_from_one_statement_to_the_next(
    make_app: MakeApp, own: str, then: str
) -> None:
    app = make_app(lease=7.0)
    setting = "show idle_in_transaction_session_timeout"
    shown: list[str] = []

    @app.job()
    async def handler(ctx: JobContext) -> None:
        async with app.connection() as connection:
            await connection.execute(f"set idle_in_transaction_session_timeout = '{own}'")
            async with connection.transaction():
                await ctx.fence(connection)
                shown.append(await connection.fetchval(setting))
            shown.append(await connection.fetchval(setting))

    await app.enqueue(handler)
    await app.run_worker(run_once=True)
    assert shown == [then, own]


async def test_a_connection_without_a_transaction_is_refused(app: Soniq) -> None:
    refused: list[InvalidOption] = []

    @app.job()
    async def handler(ctx: JobContext) -> None:
        async with app.connection() as own:
            for given in (own, "a connection"):
                try:
                    await ctx.fence(given)
                except InvalidOption as error:
                    refused.append(error)

    await app.enqueue(handler)
    await app.run_worker(run_once=True)
    assert [error.option for error in refused] == ["connection", "connection"]


async def test_a_context_of_no_worker_has_nothing_to_fence(connection: "Connection") -> None:
    with pytest.raises(NoAttempt, match="belongs to no worker"):
        await JobContext(job_id="1", job_name="one").fence(connection)


async def test_no_claim_of_a_job_that_waits_or_has_ended_still_stands(
    app: Soniq, connection: "Connection", schema: str
) -> None:
    @app.job()
    async def handler() -> None: ...

    job_id = UUID(await app.enqueue(handler))
    ask = f"select {schema}.still_claimed($1, $2)"
    answers = [await connection.fetchval(ask, job_id, claim) for claim in (0, 1)]
    await app.run_worker(run_once=True)
    answers += [await connection.fetchval(ask, job_id, claim) for claim in (0, 1)]
    assert answers == [False] * 4


async def test_a_connection_to_another_database_is_an_error_that_says_so(
    app: Soniq, database_url: str
) -> None:
    met: list[DatabaseError] = []

    @app.job()
    async def handler(ctx: JobContext) -> None:
        async with own_database(database_url) as url:
            other = await asyncpg.connect(url)
            try:
                async with other.transaction():
                    await ctx.fence(other)
            except DatabaseError as error:
                met.append(error)
            await other.close()

    await app.enqueue(handler)
    await app.run_worker(run_once=True)
    assert ["a database without Soniq's tables" in str(error) for error in met] == [True]
