"""A handler that asks for an `AsyncSession`: its effects and the job's completion are one commit,
on both drivers.
"""

import asyncio
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from soniq import JobContext, Soniq, hookimpl
from soniq.plugin import Outcome, TransactionConnection
from soniq_sqlalchemy import SQLAlchemyPlugin
from tests.conftest import MakeApp
from tests.plugins.sqlalchemy.support import Kept, Order, url_for
from tests.support.jobs import status_of
from tests.support.orders import PlainConnection
from tests.support.waiting import eventually, in_time


class Settling:
    """Writes what was settled into the application's table, through the transaction that it is
    given.
    """

    def __init__(self, orders: str) -> None:
        self._orders = orders
        self.refuses = False
        self.transactions: list[TransactionConnection] = []

    @hookimpl
    async def settle_tx(self, tx: TransactionConnection, outcomes: Sequence[Outcome]) -> None:
        self.transactions.append(tx)
        for outcome in outcomes:
            rows = await tx.fetch(
                f"insert into {self._orders}.orders (what) select name from unnest($1::text[]) as n"
                " (name) returning id as place, what",
                [f"settled {outcome.status}"],
            )
            assert rows[0]["what"] == rows[0][1] == f"settled {outcome.status}"
            assert (len(rows), len(rows[0]), rows[0]["place"]) == (1, 2, rows[0][0])
        if self.refuses:
            raise LookupError("refused")


@pytest.fixture
def settling(orders: str) -> Settling:
    return Settling(orders)


@pytest.fixture
def app(make_app: MakeApp, engine: AsyncEngine) -> Soniq:
    """An app whose handlers have sessions on the engine of this test."""
    return make_app(plugins=[SQLAlchemyPlugin(engine)])


async def test_the_effects_and_the_completion_are_committed_together(
    app: Soniq, connection: PlainConnection, orders: str, schema: str
) -> None:
    @app.job()
    async def ship(what: str, session: AsyncSession) -> int:
        order = Order(what=what)
        session.add(order)
        await session.flush()
        return order.id

    job_id = await app.enqueue(ship, "tea")
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["status"] == "done"
    order = await connection.fetchrow(f"select id, xmin::text as writer from {orders}.orders")
    assert order is not None
    assert await app.get_result(job_id) == order["id"]
    assert order["writer"] == await connection.fetchval(f"select xmin::text from {schema}.history")


async def test_what_is_pending_at_the_end_is_flushed(app: Soniq, kept: Kept) -> None:
    @app.job()
    async def ship(session: AsyncSession) -> None:
        session.add(Order(what="tea"))

    job_id = await app.enqueue(ship)
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["status"] == "done"
    assert await kept() == ["tea"]


async def test_a_handler_that_raises_has_no_effect(app: Soniq, kept: Kept) -> None:
    @app.job(max_attempts=2, retry=0.0)
    async def ship(session: AsyncSession, ctx: JobContext) -> None:
        session.add(Order(what="tea"))
        await session.flush()
        if ctx.attempt == 1:
            raise LookupError

    job_id = await app.enqueue(ship)
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["attempt"] == 2
    assert await kept() == ["tea"]


async def test_an_error_of_the_last_flush_fails_the_attempt(app: Soniq, kept: Kept) -> None:
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))

    @app.job(max_attempts=2, retry=0.0)
    async def ship(session: AsyncSession, ctx: JobContext) -> None:
        session.add_all(Order(what="tea") for _ in range(3 - ctx.attempt))

    job_id = await app.enqueue(ship)
    await app.run_worker(run_once=True)
    assert [type(error) for error in errors] == [IntegrityError]
    assert (await status_of(app, job_id))["status"] == "done"
    assert await kept() == ["tea"]


async def test_a_commit_in_the_handler_is_not_final(app: Soniq, kept: Kept) -> None:
    @app.job(max_attempts=2, retry=0.0)
    async def ship(session: AsyncSession, ctx: JobContext) -> None:
        order = Order(what=f"attempt {ctx.attempt}")
        session.add(order)
        await session.commit()
        assert order.what == f"attempt {ctx.attempt}"
        session.add(Order(what="undone"))
        await session.rollback()
        if ctx.attempt == 1:
            raise LookupError

    job_id = await app.enqueue(ship)
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["status"] == "done"
    assert await kept() == ["attempt 2"]


async def test_a_handler_may_roll_back_and_go_on(app: Soniq, kept: Kept) -> None:
    @app.job()
    async def ship(session: AsyncSession) -> None:
        session.add_all([Order(what="twice"), Order(what="twice")])
        with pytest.raises(IntegrityError):
            await session.flush()
        await session.rollback()
        async with session.begin_nested():
            session.add(Order(what="once"))

    job_id = await app.enqueue(ship)
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["status"] == "done"
    assert await kept() == ["once"]


async def test_an_error_that_the_handler_hides_fails_the_attempt(app: Soniq, kept: Kept) -> None:
    @app.job(max_attempts=1)
    async def ship(session: AsyncSession) -> None:
        session.add(Order(what="tea"))
        await session.flush()
        with pytest.raises(Exception, match="division"):
            await session.execute(text("select 1 / 0"))

    job_id = await app.enqueue(ship)
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["status"] == "dead"
    assert await kept() == []


@pytest.mark.parametrize("ends", ["rollback", "commit", "rollback and chain"])
async def test_a_handler_that_ends_the_transaction_in_sql_has_not_completed_its_job(
    app: Soniq, ends: str
) -> None:
    @app.job(max_attempts=1)
    async def ship(session: AsyncSession) -> None:
        session.add(Order(what="tea"))
        await session.flush()
        await session.execute(text(ends))

    job_id = await app.enqueue(ship)
    await in_time(app.run_worker(run_once=True))
    assert (await status_of(app, job_id))["status"] == "dead"


@pytest.mark.parametrize("uses", [True, False], ids=["used", "not used"])
async def test_a_job_that_was_taken_meanwhile_has_no_effect_here(
    app: Soniq, kept: Kept, connection: PlainConnection, schema: str, uses: bool
) -> None:
    @app.job()
    async def ship(session: AsyncSession, ctx: JobContext) -> None:
        if uses:
            session.add(Order(what="never"))
            await session.commit()
        taken = (
            f"update {schema}.job set claim = claim + 1, worker_id = gen_random_uuid() where id"
            " = $1"
        )
        await connection.execute(taken, UUID(ctx.job_id))

    job_id = await app.enqueue(ship)
    await in_time(app.run_worker(run_once=True))
    assert (await status_of(app, job_id))["status"] == "running"
    assert await kept() == []


async def test_a_timeout_rolls_the_effects_back(
    app: Soniq, kept: Kept, engine: AsyncEngine
) -> None:
    @app.job(timeout=0.5, max_attempts=1)
    async def ship(session: AsyncSession) -> None:
        session.add(Order(what="never"))
        await session.flush()
        await session.execute(text("select pg_sleep(60)"))

    job_id = await app.enqueue(ship)
    await in_time(app.run_worker(run_once=True))
    assert (await status_of(app, job_id))["status"] == "dead"
    assert await kept() == []


async def test_a_job_enqueued_with_the_session_is_there_if_its_parent_is_done(app: Soniq) -> None:
    @app.job(name="child")
    async def child(number: int) -> None: ...

    @app.job(max_attempts=2, retry=0.0)
    async def parent(session: AsyncSession, ctx: JobContext) -> None:
        await app.enqueue(child, ctx.attempt, connection=session)
        await ctx.enqueue("child", -ctx.attempt)
        await ctx.enqueue("child", -ctx.attempt, keep=7)  # an integer beside what is none
        if ctx.attempt == 1:
            raise LookupError

    await app.enqueue(parent)
    assert await in_time(app.run_worker(run_once=True)) == 5
    children = await app.jobs(name="child")
    assert sorted([(await app.get_args(job["job_id"]))["number"] for job in children]) == [
        -2,
        -2,
        2,
    ]


async def test_two_sessions_cannot_complete_one_job(app: Soniq, kept: Kept) -> None:
    @app.job(max_attempts=1)
    async def ship(one: AsyncSession, two: AsyncSession) -> None:
        one.add(Order(what="one"))
        two.add(Order(what="two"))

    job_id = await app.enqueue(ship)
    await in_time(app.run_worker(run_once=True))
    status = await status_of(app, job_id)
    assert status["status"] == "dead"
    assert status["error"] is not None
    assert "two of its parameters are provided with a transaction" in status["error"]["message"]
    assert await kept() == []


async def test_settle_tx_writes_in_the_transaction_of_the_session(
    make_app: MakeApp, engine: AsyncEngine, settling: Settling, kept: Kept
) -> None:
    app = make_app(plugins=[SQLAlchemyPlugin(engine), settling])

    @app.job(max_attempts=1)
    async def ship(session: AsyncSession) -> None:
        session.add(Order(what="tea"))

    job_id = await app.enqueue(ship)
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["status"] == "done"
    assert sorted(await kept()) == ["settled done", "tea"]
    assert isinstance(settling.transactions[0], TransactionConnection)


async def test_a_settle_tx_that_refuses_rolls_the_session_back(
    make_app: MakeApp, engine: AsyncEngine, settling: Settling, kept: Kept
) -> None:
    app = make_app(plugins=[SQLAlchemyPlugin(engine), settling])
    settling.refuses = True

    @app.job(max_attempts=1)
    async def ship(session: AsyncSession) -> None:
        session.add(Order(what="tea"))

    job_id = await app.enqueue(ship)
    await in_time(app.run_worker(run_once=True))
    assert (await status_of(app, job_id))["status"] == "dead"
    assert await kept() == []


async def test_results_and_bytes_and_errors_are_written_as_ever(app: Soniq) -> None:
    @app.job()
    async def make(session: AsyncSession) -> dict[str, str]:
        return {"text": 'it\'s a "result" \\ {x} $1 %s ü'}

    job_id = await app.enqueue(make)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == {"text": 'it\'s a "result" \\ {x} $1 %s ü'}


async def test_many_attempts_each_have_a_session(
    app: Soniq, kept: Kept, engine: AsyncEngine
) -> None:
    @app.job()
    async def ship(number: int, session: AsyncSession) -> None:
        session.add(Order(what=str(number)))
        await asyncio.sleep(0)

    await app.enqueue_many(ship, [{"number": number} for number in range(40)])
    assert await app.run_worker(run_once=True, concurrency=10) == 40
    assert sorted(map(int, await kept())) == list(range(40))


async def test_the_transaction_is_read_committed_whatever_the_engine_begins(
    make_app: MakeApp, database_url: str, driver: str
) -> None:
    engine = create_async_engine(url_for(database_url, driver), isolation_level="SERIALIZABLE")
    app = make_app(plugins=[SQLAlchemyPlugin(engine)])

    @app.job()
    async def look(session: AsyncSession) -> str:
        return str(await session.scalar(text("show transaction_isolation")))

    job_id = await app.enqueue(look)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == "read committed"
    async with engine.connect() as connection:  # the handler's own is back in the pool
        assert await connection.scalar(text("show transaction_isolation")) == "serializable"
    await engine.dispose()


class OwnSession(AsyncSession):
    """A session type of the application's own."""

    async def orders(self) -> list[str]:
        return list(await self.scalars(select(Order.what)))


async def test_a_type_of_ones_own_is_provided_too(app: Soniq) -> None:
    @app.job()
    async def look(session: Annotated[OwnSession | None, "note"] = None) -> list[str]:
        assert session is not None
        session.add(Order(what="tea"))
        return await session.orders()

    job_id = await app.enqueue(look)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == ["tea"]


async def test_without_an_engine_the_sessions_are_on_the_apps_database(
    make_app: MakeApp, connection: PlainConnection, orders: str
) -> None:
    app = make_app(plugins=[SQLAlchemyPlugin()])

    @app.job()
    async def ship(session: AsyncSession) -> int:
        await session.execute(text(f"insert into {orders}.orders (what) values ('tea')"))
        return int(await session.scalar(text("select pg_backend_pid()")) or 0)

    pids = []
    for _ in range(2):  # an app may be used again after its close
        job_id = await app.enqueue(ship)
        await app.run_worker(run_once=True)
        pids.append(await app.get_result(job_id))
        await app.close()
        await connection.execute(f"truncate {orders}.orders")

        async def gone() -> bool:
            alive = "select count(*) from pg_stat_activity where pid = any($1::int[])"
            return bool(await connection.fetchval(alive, pids) == 0)

        await eventually(gone)
    assert None not in pids


async def test_each_concurrent_attempt_has_a_connection_of_its_own(make_app: MakeApp) -> None:
    app = make_app(plugins=[SQLAlchemyPlugin()])
    together = asyncio.Barrier(25)

    @app.job()
    async def meet(session: AsyncSession) -> int:
        pid = int(await session.scalar(text("select pg_backend_pid()")) or 0)
        await together.wait()
        return pid

    ids = await app.enqueue_many(meet, [{} for _ in range(25)])
    await in_time(app.run_worker(run_once=True, concurrency=25))
    assert len({await app.get_result(job_id) for job_id in ids}) == 25
