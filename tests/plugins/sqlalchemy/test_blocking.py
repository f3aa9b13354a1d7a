"""Sessions and connections whose calls block: the statements run in a thread, in their
transaction.
"""

import asyncio
import threading
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine, NullPool, create_engine, insert, inspect
from sqlalchemy.orm import Session

from soniq import Soniq
from tests.plugins.sqlalchemy.support import THREADS, Order, url_for
from tests.support.orders import Committed
from tests.support.waiting import in_time


async def test_a_job_is_part_of_the_transaction_of_a_session(
    app: Soniq, blocking_engine: Engine, committed: Committed
) -> None:
    with Session(blocking_engine) as session:
        session.add(Order(what="tea"))
        await app.enqueue("ship", "tea", connection=session)
        assert await committed() == ([], [])
        session.commit()
        assert await committed() == (["tea"], ["tea"])
        session.add(Order(what="coffee"))
        await app.enqueue("ship", "coffee", connection=session)
        session.rollback()
    assert await committed() == (["tea"], ["tea"])


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
async def test_a_session_that_had_not_begun_decides_about_its_first_job(
    app: Soniq, blocking_engine: Engine, committed: Committed, end: str
) -> None:
    with Session(blocking_engine) as session:
        await app.enqueue("ship", "tea", connection=session)
        getattr(session, end)()
    assert (await committed())[1] == (["tea"] if end == "commit" else [])


async def test_a_savepoint_that_is_rolled_back_takes_its_job_along(
    app: Soniq, blocking_engine: Engine, committed: Committed
) -> None:
    with Session(blocking_engine) as session, session.begin():
        with session.begin_nested() as savepoint:
            await app.enqueue("ship", "lost", connection=session)
            savepoint.rollback()
        with session.begin_nested():
            await app.enqueue("report", "kept", connection=session)
    assert (await committed())[1] == ["kept"]


async def test_what_is_pending_is_flushed_first_if_the_session_flushes_by_itself(
    app: Soniq, blocking_engine: Engine
) -> None:
    with Session(blocking_engine) as session:
        order = Order(what="tea")
        session.add(order)
        with session.no_autoflush:
            await app.enqueue("ship", "tea", connection=session)
        assert inspect(order).pending
        await app.enqueue("ship", "tea", connection=session)
        assert inspect(order).persistent


async def test_a_connection_decides_too(
    app: Soniq, blocking_engine: Engine, committed: Committed
) -> None:
    with blocking_engine.connect() as connection:
        for what, end in (
            ("a", connection.commit),
            ("b", connection.rollback),
            ("c", connection.commit),
        ):
            await app.enqueue("ship", what, connection=connection)
            end()
    with blocking_engine.begin() as connection:
        connection.execute(insert(Order).values(what="d"))
        await app.enqueue("ship", "d", connection=connection)
    assert await committed() == (["d"], ["a", "c", "d"])


@pytest.mark.parametrize("name", ["ship", "report"])
async def test_many_jobs_are_enqueued_together(
    app: Soniq, blocking_engine: Engine, committed: Committed, name: str
) -> None:
    calls = [{"order": f"order {number}"} for number in range(200)]
    with Session(blocking_engine) as session:
        await app.enqueue_many(name, calls, connection=session, headers={"h": 1}, delay=0.0)
        session.commit()
    assert (await committed())[1] == [call["order"] for call in calls]


async def test_the_event_loop_goes_on_while_a_statement_waits(
    app: Soniq, blocking_engine: Engine, committed: Committed
) -> None:
    with Session(blocking_engine) as holder, Session(blocking_engine) as waiter:
        first = await app.enqueue("report", "tea", connection=holder)
        waiting = asyncio.create_task(app.enqueue("report", "tea", connection=waiter))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        holder.commit()
        second = await waiting
        waiter.commit()
    assert second == first
    assert not second.inserted
    assert (await committed())[1] == ["tea"]


async def test_however_many_sessions_wait_for_a_key_the_one_that_holds_it_goes_on(
    app: Soniq, database_url: str, committed: Committed
) -> None:
    engine = create_engine(url_for(database_url, "psycopg"), poolclass=NullPool)
    with ExitStack() as stack:
        holder, *waiters = [stack.enter_context(Session(engine)) for _ in range(THREADS + 5)]
        await app.enqueue("report", "tea", connection=holder)

        async def wait(waiter: Session) -> None:
            await app.enqueue("report", "tea", connection=waiter)
            waiter.rollback()

        waiting = [asyncio.create_task(wait(waiter)) for waiter in waiters]
        await asyncio.sleep(0.5)
        assert not any(each.done() for each in waiting)
        await in_time(app.enqueue("ship", "tea", connection=holder))
        holder.commit()
        await in_time(asyncio.gather(*waiting))
    assert (await committed())[1] == ["tea", "tea"]


async def test_a_thread_that_owns_a_session_waits_for_the_loop(
    app: Soniq, blocking_engine: Engine, committed: Committed
) -> None:
    loop = asyncio.get_running_loop()

    def view() -> str:
        with Session(blocking_engine) as session:
            session.add(Order(what="tea"))
            job_id = asyncio.run_coroutine_threadsafe(
                app.enqueue("ship", "tea", connection=session), loop
            ).result(30)
            session.commit()
        assert threading.current_thread() is not threading.main_thread()
        return job_id

    job_id = await asyncio.to_thread(view)
    assert await committed() == (["tea"], ["tea"])
    assert await app.run_worker(run_once=True) == 1
    assert await app.get_result(job_id) == "tea"


async def test_code_that_is_not_asynchronous_enqueues_with_its_session(
    app: Soniq, blocking_engine: Engine
) -> None:
    def script() -> None:
        with Session(blocking_engine) as session:
            lost = app.sync.enqueue("ship", "lost", connection=session)
            session.rollback()
            session.add(Order(what="tea"))
            kept = app.sync.enqueue("ship", "tea", connection=session)
            many = app.sync.enqueue_many(
                "report", [{"order": str(n)} for n in range(100)], connection=session
            )
            assert app.sync.get_job_status(kept) is None
            session.commit()
        assert app.sync.get_job_status(lost) is None
        assert app.sync.run_worker(run_once=True) == 101
        assert app.sync.get_result(kept) == "tea"
        assert app.sync.get_result(many[-1]) == "99"
        app.sync.close()

    await asyncio.to_thread(script)
