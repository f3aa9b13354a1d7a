"""A plain `def` handler that asks for a `Session`: its effects and the job's completion are one
commit.
"""

import asyncio
import subprocess
import sys
import threading
import time
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from soniq import JobContext, Soniq
from soniq.errors import JobDefinitionError
from soniq_sqlalchemy import SQLAlchemyPlugin
from tests.conftest import MakeApp
from tests.plugins.sqlalchemy.support import THREADS, Kept, Order, url_for
from tests.support.jobs import status_of
from tests.support.orders import PlainConnection
from tests.support.waiting import in_time


@pytest.fixture
def app(make_app: MakeApp, blocking_engine: Engine) -> Soniq:
    """An app whose `def` handlers have sessions on the engine of this test."""
    return make_app(plugins=[SQLAlchemyPlugin(blocking_engine)])


async def drivers(app: Soniq) -> list[str]:
    """The drivers on which the sessions of a `def` and of an `async def` job are."""

    @app.job()
    def blocking(session: Session) -> str:
        return session.get_bind().dialect.driver

    @app.job()
    async def awaiting(session: AsyncSession) -> str:
        return session.get_bind().dialect.driver

    ids = [await app.enqueue(blocking), await app.enqueue(awaiting)]
    await in_time(app.run_worker(run_once=True))
    return [await app.get_result(job_id) for job_id in ids]


async def test_the_effects_and_the_completion_are_committed_together(
    app: Soniq, connection: PlainConnection, orders: str, schema: str
) -> None:
    @app.job()
    def ship(what: str, session: Session) -> int:
        order = Order(what=what)
        session.add(order)
        session.flush()
        return order.id

    job_id = await app.enqueue(ship, "tea")
    await in_time(app.run_worker(run_once=True))
    order = await connection.fetchrow(f"select id, xmin::text as writer from {orders}.orders")
    assert order is not None
    assert await app.get_result(job_id) == order["id"]
    assert order["writer"] == await connection.fetchval(f"select xmin::text from {schema}.history")


async def test_what_is_pending_at_the_end_is_flushed(app: Soniq, kept: Kept) -> None:
    @app.job()
    def ship(session: Session) -> None:
        session.add(Order(what="tea"))

    job_id = await app.enqueue(ship)
    await in_time(app.run_worker(run_once=True))
    assert (await status_of(app, job_id))["status"] == "done"
    assert await kept() == ["tea"]


async def test_a_handler_that_raises_has_no_effect(app: Soniq, kept: Kept) -> None:
    @app.job(max_attempts=2, retry=0.0)
    def ship(session: Session, ctx: JobContext) -> None:
        session.add(Order(what=f"attempt {ctx.attempt}"))
        session.commit()
        if ctx.attempt == 1:
            raise LookupError

    job_id = await app.enqueue(ship)
    await in_time(app.run_worker(run_once=True))
    assert (await status_of(app, job_id))["attempt"] == 2
    assert await kept() == ["attempt 2"]


async def test_an_error_of_the_last_flush_fails_the_attempt(app: Soniq, kept: Kept) -> None:
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))

    @app.job(max_attempts=2, retry=0.0)
    def ship(session: Session, ctx: JobContext) -> None:
        session.add_all(Order(what="tea") for _ in range(3 - ctx.attempt))

    job_id = await app.enqueue(ship)
    await in_time(app.run_worker(run_once=True))
    assert [type(error) for error in errors] == [IntegrityError]
    assert (await status_of(app, job_id))["status"] == "done"
    assert await kept() == ["tea"]


async def test_a_rollback_in_the_handler_goes_back_to_its_last_commit(
    app: Soniq, kept: Kept
) -> None:
    @app.job()
    def ship(session: Session) -> None:
        session.add(Order(what="kept"))
        session.commit()
        session.add_all([Order(what="kept"), Order(what="undone")])
        with pytest.raises(IntegrityError):
            session.flush()
        session.rollback()

    await app.enqueue(ship)
    await in_time(app.run_worker(run_once=True))
    assert await kept() == ["kept"]


@pytest.mark.parametrize("ends", ["rollback", "commit", "rollback and chain"])
async def test_a_handler_that_ends_the_transaction_in_sql_has_not_completed_its_job(
    app: Soniq, ends: str
) -> None:
    @app.job(max_attempts=1)
    def ship(session: Session) -> None:
        session.add(Order(what="tea"))
        session.flush()
        session.execute(text(ends))

    job_id = await app.enqueue(ship)
    await in_time(app.run_worker(run_once=True))
    assert (await status_of(app, job_id))["status"] == "dead"


@pytest.mark.parametrize("uses", [True, False], ids=["used", "not used"])
async def test_a_job_that_was_taken_meanwhile_has_no_effect_here(
    app: Soniq, kept: Kept, connection: PlainConnection, schema: str, uses: bool
) -> None:
    loop = asyncio.get_running_loop()

    @app.job()
    def ship(session: Session, ctx: JobContext) -> None:
        if uses:
            session.add(Order(what="never"))
            session.commit()
        taken = (
            f"update {schema}.job set claim = claim + 1, worker_id = gen_random_uuid() where id"
            " = $1"
        )
        asyncio.run_coroutine_threadsafe(connection.execute(taken, UUID(ctx.job_id)), loop).result(
            30
        )

    job_id = await app.enqueue(ship)
    await in_time(app.run_worker(run_once=True))
    assert (await status_of(app, job_id))["status"] == "running"
    assert await kept() == []


async def test_what_a_handler_did_beyond_its_timeout_is_rolled_back(app: Soniq, kept: Kept) -> None:
    @app.job(timeout=0.2, max_attempts=1)
    def ship(session: Session, ctx: JobContext) -> None:
        session.add(Order(what="never"))
        session.flush()
        while not ctx.cancelled:
            time.sleep(0.01)

    job_id = await app.enqueue(ship)
    await in_time(app.run_worker(run_once=True))
    assert (await status_of(app, job_id))["status"] == "dead"
    assert await kept() == []


async def test_a_stop_while_a_session_waits_for_its_connection_leaves_none_behind(
    make_app: MakeApp, database_url: str, connection: PlainConnection
) -> None:
    name = f"of-a-stop-{threading.get_native_id()}"
    engine = create_engine(
        url_for(database_url, "psycopg").update_query_dict({"application_name": name}), pool_size=1
    )
    app = make_app(plugins=[SQLAlchemyPlugin(engine)], grace=0.2)

    @app.job()
    def ship(session: Session) -> None: ...

    job_id = await app.enqueue(ship)
    with engine.connect() as holder:
        engine.pool._max_overflow = 0  # type: ignore[attr-defined]
        worker = asyncio.create_task(app.run_worker(concurrency=1))
        await asyncio.sleep(0.5)
        app.stop_workers()
        await asyncio.sleep(0.5)
        holder.close()
        await in_time(worker)
    assert (await status_of(app, job_id))["status"] == "queued"
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    engine.dispose()


async def test_a_handler_enqueues_with_its_session(app: Soniq) -> None:
    @app.job(name="child")
    async def child(number: int) -> None: ...

    @app.job(max_attempts=2, retry=0.0)
    def parent(session: Session, ctx: JobContext) -> None:
        app.sync.enqueue(child, ctx.attempt, connection=session)
        if ctx.attempt == 1:
            raise LookupError

    await app.enqueue(parent)
    assert await in_time(app.run_worker(run_once=True)) == 3
    [job] = await app.jobs(name="child")
    assert (await app.get_args(job["job_id"]))["number"] == 2
    await asyncio.to_thread(app.sync.close)


async def test_many_attempts_each_have_a_session(
    app: Soniq, kept: Kept, blocking_engine: Engine
) -> None:
    @app.job()
    def ship(number: int, session: Session) -> None:
        session.add(Order(what=str(number)))

    await app.enqueue_many(ship, [{"number": number} for number in range(40)])
    assert await in_time(app.run_worker(run_once=True, concurrency=10)) == 40
    assert sorted(map(int, await kept())) == list(range(40))
    assert blocking_engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_however_many_attempts_wait_for_a_row_the_one_that_holds_it_ends(
    app: Soniq, connection: PlainConnection, orders: str, kept: Kept, blocking_engine: Engine
) -> None:
    blocking_engine.pool._max_overflow = -1  # type: ignore[attr-defined]
    waiting = text(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname ="
        f" current_database() and query like 'UPDATE {orders}.%'"
    )
    await connection.execute(f"insert into {orders}.orders (what) values ('tea')")
    held = threading.Event()

    @app.job()
    def change(number: int, session: Session) -> None:
        if number:
            assert held.wait(30)
        session.get_one(Order, 1).what = str(number)  # written at the end
        if not number:
            session.flush()
            held.set()
            while (session.scalar(waiting) or 0) < THREADS:
                session.execute(text("select pg_stat_clear_snapshot()"))
                time.sleep(0.05)

    await app.enqueue_many(change, [{"number": number} for number in range(THREADS + 5)])
    assert await in_time(app.run_worker(run_once=True, concurrency=THREADS + 5)) == THREADS + 5
    assert await kept() != ["0"]


async def test_without_an_engine_sessions_are_on_the_apps_database(
    make_app: MakeApp, orders: str
) -> None:
    app = make_app(plugins=[SQLAlchemyPlugin()], pgbouncer=True)

    class OwnSession(Session):
        """As an application may have it."""

    @app.job()
    def look(session: OwnSession | None) -> list[str]:
        assert type(session) is OwnSession
        asked = (
            "select current_setting('transaction_isolation'), current_setting('application_name')"
        )
        return [*session.execute(text(asked)).one(), session.get_bind().dialect.driver]

    job_id = await app.enqueue(look)
    for _ in range(2):
        await in_time(app.run_worker(run_once=True))
        await app.close()
    assert await app.get_result(job_id) == ["read committed", "soniq", "psycopg"]


async def test_settings_in_the_apps_url_hold_in_its_sessions(
    make_app: MakeApp, database_url: str
) -> None:
    separator = "&" if "?" in database_url else "?"
    url = f"{database_url}{separator}search_path=%22a%20%5Cb%22,public&statement_timeout=7s"
    app = make_app(plugins=[SQLAlchemyPlugin()], database_url=url)

    @app.job()
    def blocking(session: Session) -> list[str]:
        return [
            str(session.scalar(text(f"show {name}")))
            for name in ("search_path", "statement_timeout")
        ]

    @app.job()
    async def awaiting(session: AsyncSession) -> list[str]:
        return [
            str(await session.scalar(text(f"show {name}")))
            for name in ("search_path", "statement_timeout")
        ]

    ids = [await app.enqueue(blocking), await app.enqueue(awaiting)]
    await in_time(app.run_worker(run_once=True))
    results = [await app.get_result(job_id) for job_id in ids]
    assert results == [[r'"a \b",public', "7s"]] * 2


async def test_one_url_of_psycopg_serves_both_kinds(make_app: MakeApp, database_url: str) -> None:
    url = url_for(database_url, "psycopg").render_as_string(False)
    app = make_app(plugins=[SQLAlchemyPlugin(url=url)])

    assert await drivers(app) == ["psycopg", "psycopg"]


async def test_an_engine_of_each_kind_may_be_given(
    make_app: MakeApp, blocking_engine: Engine, engine: AsyncEngine
) -> None:
    app = make_app(plugins=[SQLAlchemyPlugin(blocking_engine, engine)])

    assert await drivers(app) == ["psycopg", engine.dialect.driver]


async def test_a_session_of_the_other_kind_is_refused_at_the_start(make_app: MakeApp) -> None:
    app, other = make_app(plugins=[SQLAlchemyPlugin()]), make_app(plugins=[SQLAlchemyPlugin()])

    @app.job(name="blocks")
    def blocks(session: AsyncSession) -> None: ...

    @other.job(name="awaits")
    async def awaits(session: Session) -> None: ...

    for each, name in ((app, "blocks"), (other, "awaits")):
        with pytest.raises(
            JobDefinitionError, match=rf"{name}: an `async def` job is given an AsyncSession"
        ) as caught:
            await each.start()
        assert caught.value.job == name


def test_without_psycopg_a_session_for_a_thread_asks_for_it(database_url: str, schema: str) -> None:
    program = f"""
import asyncio, sys
sys.modules["psycopg"] = None
from sqlalchemy.orm import Session
from soniq import ConfigurationError, Soniq
from soniq_sqlalchemy import SQLAlchemyPlugin
app = Soniq(plugins=[SQLAlchemyPlugin()], database_url={database_url!r}, schema={schema!r}, discover=False)
@app.job()
def ship(session: Session) -> None: ...
try:
    asyncio.run(app.start())
except ConfigurationError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert (
        done.stdout == "a Session for a plain `def` job is on psycopg: pip install"
        " 'soniq-sqlalchemy[psycopg]'\n"
    )
