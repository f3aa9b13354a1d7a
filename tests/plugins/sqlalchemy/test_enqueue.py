"""A job enqueued with an `AsyncSession` or an `AsyncConnection` is part of its transaction, on both
drivers.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, insert, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from soniq import DatabaseError, InvalidOption, Soniq, hookimpl
from soniq.plugin import Dedup, NewJob
from soniq_sqlalchemy import SQLAlchemyPlugin
from tests.conftest import MakeApp
from tests.core.postgres.support import own_database
from tests.plugins.sqlalchemy.support import Order, url_for
from tests.support.orders import Committed, PlainConnection, wakes_a_sleeping_worker


async def test_a_job_is_there_once_its_session_has_committed(
    app: Soniq, session: AsyncSession, committed: Committed
) -> None:
    session.add(Order(what="tea"))
    await app.enqueue("ship", "tea", connection=session)
    assert await committed() == ([], [])
    await session.commit()
    assert await committed() == (["tea"], ["tea"])


async def test_rolled_back_means_not_enqueued(
    app: Soniq, session: AsyncSession, committed: Committed
) -> None:
    session.add(Order(what="tea"))
    job_id = await app.enqueue("ship", "tea", connection=session)
    await session.rollback()
    assert await committed() == ([], [])
    assert await app.get_job_status(job_id) is None


async def test_a_session_that_is_closed_has_enqueued_nothing(
    app: Soniq, engine: AsyncEngine, committed: Committed
) -> None:
    async with AsyncSession(engine) as session:
        await app.enqueue("ship", "tea", connection=session)
    assert await committed() == ([], [])


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_a_session_that_had_not_begun_decides_about_its_first_job(
    app: Soniq, session: AsyncSession, committed: Committed, end: str
) -> None:
    assert not session.in_transaction()
    await app.enqueue("ship", "tea", connection=session)
    assert session.in_transaction()
    await getattr(session, end)()
    assert (await committed())[1] == (["tea"] if end == "commit" else [])


async def test_a_session_decides_about_each_of_its_transactions(
    app: Soniq, session: AsyncSession, committed: Committed
) -> None:
    for what, end in (("a", session.commit), ("b", session.rollback), ("c", session.commit)):
        await app.enqueue("ship", what, connection=session)
        await end()
    assert (await committed())[1] == ["a", "c"]


async def test_a_transaction_that_was_begun_by_hand(
    app: Soniq, engine: AsyncEngine, committed: Committed
) -> None:
    async with AsyncSession(engine) as session, session.begin():
        await app.enqueue("ship", "tea", connection=session)
    with suppress(LookupError):
        async with AsyncSession(engine) as session, session.begin():
            await app.enqueue("ship", "coffee", connection=session)
            raise LookupError
    assert (await committed())[1] == ["tea"]


async def test_a_savepoint_that_is_rolled_back_takes_its_job_along(
    app: Soniq, session: AsyncSession, committed: Committed
) -> None:
    await app.enqueue("ship", "outside", connection=session)
    with suppress(LookupError):
        async with session.begin_nested():
            session.add(Order(what="lost"))
            await app.enqueue("ship", "lost", connection=session)
            raise LookupError
    async with session.begin_nested():
        session.add(Order(what="kept"))
        await app.enqueue("ship", "kept", connection=session)
    await session.commit()
    assert await committed() == (["kept"], ["outside", "kept"])


async def test_a_savepoint_may_be_the_first_that_a_session_does(
    app: Soniq, session: AsyncSession, committed: Committed
) -> None:
    async with session.begin_nested() as savepoint:
        await app.enqueue("ship", "lost", connection=session)
        await savepoint.rollback()
    await app.enqueue("ship", "kept", connection=session)
    await session.commit()
    assert (await committed())[1] == ["kept"]


async def test_what_is_pending_is_flushed_first(app: Soniq, session: AsyncSession) -> None:
    order = Order(what="tea")
    session.add(order)
    await app.enqueue("ship", "tea", connection=session)
    assert inspect(order).persistent


async def test_what_is_pending_stays_so_where_the_session_does_not_flush_by_itself(
    app: Soniq, session: AsyncSession, committed: Committed
) -> None:
    order = Order(what="tea")
    session.add(order)
    with session.no_autoflush:
        await app.enqueue("ship", "tea", connection=session)
    assert inspect(order).pending
    await session.commit()
    assert await committed() == (["tea"], ["tea"])


async def test_a_flush_that_fails_enqueues_nothing(
    app: Soniq, session: AsyncSession, committed: Committed
) -> None:
    session.add_all([Order(what="twice"), Order(what="twice")])
    with pytest.raises(IntegrityError):
        await app.enqueue("ship", "tea", connection=session)
    await session.rollback()
    await session.commit()
    assert await committed() == ([], [])


async def test_a_connection_decides_too(
    app: Soniq, engine: AsyncEngine, committed: Committed
) -> None:
    async with engine.connect() as connection:
        for what, end in (
            ("a", connection.commit),
            ("b", connection.rollback),
            ("c", connection.commit),
        ):
            await app.enqueue("ship", what, connection=connection)
            await end()
    async with engine.begin() as connection:
        await app.enqueue("ship", "d", connection=connection)
        await connection.execute(insert(Order).values(what="d"))
    async with engine.connect() as connection:
        await app.enqueue("ship", "never", connection=connection)
    assert await committed() == (["d"], ["a", "c", "d"])


async def test_a_session_on_a_connection_enqueues_in_its_transaction(
    app: Soniq, engine: AsyncEngine, committed: Committed
) -> None:
    async with engine.connect() as connection, connection.begin() as outer:
        async with AsyncSession(connection, join_transaction_mode="create_savepoint") as session:
            await app.enqueue("ship", "tea", connection=session)
            await session.commit()
        await outer.rollback()
    assert await committed() == ([], [])


async def test_every_column_is_as_without_a_session(
    app: Soniq, session: AsyncSession, connection: PlainConnection, schema: str
) -> None:
    later = datetime.now(UTC) + timedelta(days=3)
    options: list[dict[str, Any]] = [
        {},
        {"delay": 60},
        {"delay": 0.5, "dedup_key": 'it\'s a "key" {with, braces} \\ and $1 %s'},
        {
            "scheduled_at": later,
            "tags": ['a "tag"', "b,c", "{}", "NULL", "ü"],
            "priority": -3,
            "queue": "q'ueue",
        },
        {
            "headers": {"trace": {"a": [1, None, "x\\y"]}},
            "timeout": 5,
            "expires": 1000,
            "max_attempts": 3,
        },
        {
            "expires": later,
            "keep": 7,
            "dedup_key": "other",
            "headers": {"h": "%(x)s"},
            "tags": ["t"],
        },
    ]
    for each in options:
        await app.enqueue("ship", args={"order": "payload \\ ' ü"}, **{**each, **_other_key(each)})
        await app.enqueue("ship", args={"order": "payload \\ ' ü"}, connection=session, **each)
    await session.commit()
    rows = await connection.fetch(f"""
        select name, queue, priority, max_attempts, serializer, args, headers, timeout, keep, tags, status,
            replace(dedup_key, '~', '') as dedup_key, replace(dedup_label, '~', '') as dedup_label, dedup_scope,
            round(extract(epoch from scheduled_at - created_at)) as delay,
            round(extract(epoch from expires_at - created_at)) as expires
        from {schema}.job order by id
        """)
    assert len(rows) == 2 * len(options)
    for plain, through_session in zip(rows[::2], rows[1::2], strict=True):
        differing = {key for key, value in plain.items() if value != through_session[key]}
        close = {
            key
            for key in differing & {"delay", "expires"}
            if abs(plain[key] - through_session[key]) < 30
        }
        assert differing == close


def _other_key(options: dict[str, Any]) -> dict[str, str]:
    """The same key, and another."""
    return {"dedup_key": f"~{options['dedup_key']}"} if "dedup_key" in options else {}


async def test_a_duplicate_is_known_at_once(
    app: Soniq, session: AsyncSession, committed: Committed
) -> None:
    first = await app.enqueue("report", "tea")
    again = await app.enqueue("report", "tea", connection=session)
    assert again == first
    assert not again.inserted
    new = await app.enqueue("report", "coffee", connection=session)
    assert new.inserted
    assert await app.enqueue("report", "coffee", connection=session) == new
    await session.commit()
    assert (await committed())[1] == ["tea", "coffee"]


@pytest.mark.parametrize("name", ["ship", "report"])
async def test_many_jobs_are_enqueued_together(
    app: Soniq, session: AsyncSession, committed: Committed, name: str
) -> None:
    calls = [{"order": f"order {number}"} for number in range(200)]
    await app.enqueue_many(name, calls, connection=session)
    await session.rollback()
    assert (await committed())[1] == []
    ids = await app.enqueue_many(name, calls, connection=session, tags=["bulk"])
    more = await app.enqueue_many(name, calls[:100] if name == "report" else [], connection=session)
    await session.commit()
    assert (await committed())[1] == [call["order"] for call in calls]
    assert more == (ids[:100] if name == "report" else [])
    assert await app.run_worker(run_once=True) == 200


async def test_unique_jobs_and_others_go_together(
    make_app: MakeApp, session: AsyncSession, connection: PlainConnection, schema: str
) -> None:
    class EverySecond:
        @hookimpl
        def dedup_key(self, job: NewJob) -> Dedup | None:
            number = job.args["number"]
            assert isinstance(number, int)
            return Dedup(str(number), scope="queued", on_conflict="replace") if number % 2 else None

    app = make_app(plugins=[SQLAlchemyPlugin(), EverySecond()])

    @app.job(name="count")
    async def count(number: int) -> None: ...

    first = await app.enqueue("count", 1)
    ids = await app.enqueue_many(
        "count", [{"number": number} for number in range(5)], connection=session
    )
    await session.commit()
    assert ids[1] == first
    assert ids[1].replaced
    assert [each.inserted for each in ids] == [True, False, True, True, True]
    assert await connection.fetchval(f"select count(*) from {schema}.job") == 5


async def test_a_worker_that_sleeps_is_woken_by_the_commit(
    make_app: MakeApp, session: AsyncSession
) -> None:
    app = make_app(plugins=[SQLAlchemyPlugin()], poll_interval=60)
    await wakes_a_sleeping_worker(app, session, session.commit)


async def test_an_error_of_the_database_is_the_drivers_and_the_session_goes_on(
    app: Soniq, session: AsyncSession, committed: Committed, driver: str
) -> None:
    with pytest.raises(Exception, match="division by zero"):
        await session.execute(text("select 1 / 0"))
    error = {
        "asyncpg": asyncpg.InFailedSQLTransactionError,
        "psycopg": psycopg.errors.InFailedSqlTransaction,
    }[driver]
    with pytest.raises(error):
        await app.enqueue("ship", "never", connection=session)
    await session.rollback()
    await app.enqueue("ship", "tea", connection=session)
    await session.commit()
    assert (await committed())[1] == ["tea"]


async def test_a_registry_is_refused_and_the_session_in_it_is_taken(
    app: Soniq, engine: AsyncEngine, committed: Committed
) -> None:
    registry = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
    for refused in (registry, scoped_session(sessionmaker())):
        with pytest.raises(InvalidOption, match=r"connection=session\(\)"):
            await app.enqueue("ship", "never", connection=refused)
    await app.enqueue("ship", "tea", connection=registry())
    await registry.commit()
    await registry.remove()
    assert (await committed())[1] == ["tea"]


async def test_the_session_below_an_asynchronous_one_is_refused(
    app: Soniq, session: AsyncSession
) -> None:
    with pytest.raises(InvalidOption, match="belongs to an AsyncSession"):
        await app.enqueue("ship", "never", connection=session.sync_session)


async def test_a_session_on_another_database_is_refused(app: Soniq) -> None:
    engine = create_engine("sqlite://")
    with (
        Session(engine) as session,
        pytest.raises(InvalidOption, match=r"postgresql\+psycopg; this one is on sqlite"),
    ):
        await app.enqueue("ship", "never", connection=session)
    engine.dispose()


async def test_a_session_on_another_apps_database_is_refused(
    app: Soniq, database_url: str, driver: str, schema: str
) -> None:
    async with (
        own_database(database_url) as url,
        Soniq(url, discover=False, schema=schema) as other,
    ):
        engine = create_async_engine(url_for(url, driver))
        with pytest.raises(DatabaseError, match="leads to another database"):
            async with AsyncSession(engine) as session, session.begin():
                await app.enqueue("ship", "never", connection=session)
        await engine.dispose()
        assert await other.jobs() == []


async def test_without_the_plugin_the_error_names_it(
    make_app: MakeApp, session: AsyncSession
) -> None:
    app = make_app(unknown_jobs="allow")
    with pytest.raises(
        InvalidOption, match=r"sqlalchemy\.ext\.asyncio\.session\.AsyncSession.*soniq-sqlalchemy"
    ):
        await app.enqueue("ship", args={}, connection=session)
    assert not session.in_transaction()
