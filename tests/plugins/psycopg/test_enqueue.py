"""A job enqueued with a psycopg connection is part of its transaction, whether its calls block or
not.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg.rows import class_row, dict_row, scalar_row

from soniq import DatabaseError, InvalidOption, Soniq, hookimpl
from soniq.plugin import Outcome, TransactionConnection
from soniq_psycopg import PsycopgPlugin, conninfo
from tests.conftest import MakeApp
from tests.core.postgres.support import own_database
from tests.support.orders import Committed, PlainConnection, wakes_a_sleeping_worker

from .conftest import Asynchronous, Blocking


class Theirs:
    """A connection of either kind, for tests that are about both."""

    def __init__(self, connection: "Asynchronous | Blocking") -> None:
        self.connection = connection

    async def _do(self, method: Callable[..., Any], *args: object) -> Any:
        if isinstance(self.connection, psycopg.AsyncConnection):
            return await method(*args)
        return await asyncio.to_thread(method, *args)

    async def order(self, table: str, what: str) -> None:
        await self._do(self.connection.execute, f"insert into {table} (what) values ('{what}')")

    async def execute(self, query: str) -> Any:
        return await self._do(self.connection.execute, query)

    async def commit(self) -> None:
        await self._do(self.connection.commit)

    async def rollback(self) -> None:
        await self._do(self.connection.rollback)

    async def autocommit(self) -> None:
        await self._do(self.connection.set_autocommit, True)


@pytest.fixture(params=["asynchronous", "blocking"])
def theirs(
    request: pytest.FixtureRequest, asynchronous: Asynchronous, blocking: Blocking
) -> Theirs:
    return Theirs(asynchronous if request.param == "asynchronous" else blocking)


async def test_a_job_is_there_once_its_connection_has_committed(
    app: Soniq, theirs: Theirs, committed: Committed, orders: str
) -> None:
    await theirs.order(orders, "tea")
    job_id = await app.enqueue("ship", "tea", connection=theirs.connection)
    assert job_id.inserted
    assert await committed() == ([], [])
    await theirs.commit()
    assert await committed() == (["tea"], ["tea"])
    assert await app.run_worker(run_once=True) == 1


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_a_connection_that_had_not_begun_decides_about_its_first_job(
    app: Soniq, theirs: Theirs, committed: Committed, end: str
) -> None:
    await app.enqueue("ship", "tea", connection=theirs.connection)
    assert (await committed())[1] == []
    await getattr(theirs, end)()
    assert (await committed())[1] == (["tea"] if end == "commit" else [])


async def test_a_savepoint_that_is_rolled_back_takes_its_job_along(
    app: Soniq, asynchronous: Asynchronous, committed: Committed, orders: str
) -> None:
    async with asynchronous.transaction():
        await app.enqueue("ship", "outside", connection=asynchronous)
        with suppress(LookupError):
            async with asynchronous.transaction():
                await Theirs(asynchronous).order(orders, "lost")
                await app.enqueue("ship", "lost", connection=asynchronous)
                raise LookupError
    assert await committed() == ([], ["outside"])


async def test_a_duplicate_is_known_at_once_and_many_go_together(
    app: Soniq, theirs: Theirs, committed: Committed
) -> None:
    first = await app.enqueue("report", "a")
    ids = await app.enqueue_many(
        "report", [{"order": what} for what in "abc"], connection=theirs.connection, tags=["bulk"]
    )
    assert ids[0] == first
    assert [each.inserted for each in ids] == [False, True, True]
    await app.enqueue_many(
        "ship", [{"order": str(n)} for n in range(200)], connection=theirs.connection
    )
    await theirs.commit()
    assert len((await committed())[1]) == 203
    assert await app.run_worker(run_once=True) == 203


async def test_row_factories_of_the_connections_are_left_alone(
    app: Soniq, database_url: str, committed: Committed
) -> None:
    for factory in (dict_row, scalar_row, class_row(dict)):
        async with await psycopg.AsyncConnection.connect(
            database_url, row_factory=factory
        ) as theirs:
            await app.enqueue("report", str(factory), connection=theirs)
            assert theirs.row_factory is factory
        with psycopg.Connection.connect(database_url, row_factory=factory) as blocking:
            await app.enqueue("ship", str(factory), connection=blocking)
    assert len((await committed())[1]) == 6


async def test_autocommit_is_taken_within_a_transaction_only(
    app: Soniq, theirs: Theirs, committed: Committed
) -> None:
    await theirs.autocommit()
    with pytest.raises(InvalidOption, match="in autocommit mode and in no transaction") as refused:
        await app.enqueue("ship", "never", connection=theirs.connection)
    assert refused.value.option == "connection"
    await theirs.execute("begin")
    await app.enqueue("ship", "tea", connection=theirs.connection)
    await theirs.execute("commit")
    assert (await committed())[1] == ["tea"]


async def test_a_transaction_that_has_failed_is_refused_and_the_connection_goes_on_after_a_rollback(
    app: Soniq, theirs: Theirs, committed: Committed
) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await theirs.execute("select 1 / 0")
    with pytest.raises(InvalidOption, match="has failed: roll it back"):
        await app.enqueue("ship", "never", connection=theirs.connection)
    await theirs.rollback()
    await app.enqueue("ship", "tea", connection=theirs.connection)
    await theirs.commit()
    assert (await committed())[1] == ["tea"]


async def test_a_closed_connection_and_a_cursor_are_refused(app: Soniq, database_url: str) -> None:
    closed = psycopg.connect(database_url)
    with pytest.raises(InvalidOption, match=r"connection=cursor\.connection"):
        await app.enqueue("ship", "never", connection=closed.cursor())
    closed.close()
    with pytest.raises(InvalidOption, match="psycopg connection that is closed"):
        await app.enqueue("ship", "never", connection=closed)
    assert await app.jobs() == []


async def test_a_connection_to_another_database_is_refused(
    app: Soniq, database_url: str, schema: str
) -> None:
    async with own_database(database_url) as url:
        with psycopg.connect(url) as theirs:
            with pytest.raises(DatabaseError, match="a database without Soniq's tables"):
                await app.enqueue("ship", "never", connection=theirs)
            theirs.rollback()
        async with Soniq(url, discover=False, schema=schema) as other:
            async with await psycopg.AsyncConnection.connect(url) as asynchronous:
                with pytest.raises(DatabaseError, match="leads to another database"):
                    await app.enqueue("ship", "never", connection=asynchronous)
                await asynchronous.rollback()
            assert await other.jobs() == []


async def test_a_worker_that_sleeps_is_woken_by_the_commit(
    make_app: MakeApp, theirs: Theirs
) -> None:
    app = make_app(plugins=[PsycopgPlugin()], poll_interval=60)
    await wakes_a_sleeping_worker(app, theirs.connection, theirs.commit)


def test_a_program_without_an_event_loop_enqueues_in_its_transaction(
    app: Soniq, blocking: Blocking
) -> None:
    try:
        job_id = app.sync.enqueue("ship", "tea", connection=blocking)
        assert app.sync.get_job_status(job_id) is None
        blocking.commit()
        assert app.sync.get_args(job_id) == {"order": "tea"}
    finally:
        app.sync.close()


async def test_a_settle_tx_can_enqueue_with_what_it_was_given(make_app: MakeApp) -> None:
    class Follow:
        name = "follow"

        def __init__(self) -> None:
            self.app: Soniq | None = None

        @hookimpl
        async def settle_tx(self, tx: TransactionConnection, outcomes: list[Outcome]) -> None:
            assert self.app is not None
            for outcome in outcomes:
                if outcome.job_name == "first":
                    await self.app.enqueue("second", connection=tx)

    follow = Follow()
    app = follow.app = make_app(plugins=[PsycopgPlugin(), follow])
    ran = []

    @app.job(name="first", max_attempts=1)
    async def first(connection: psycopg.AsyncConnection) -> None:
        await connection.execute("select 1")

    @app.job(name="second")
    async def second() -> None:
        ran.append("second")

    await app.enqueue(first)
    await app.run_worker(run_once=True)
    assert ran == ["second"]


async def test_one_plugin_belongs_to_one_app(make_app: MakeApp) -> None:
    plugin = PsycopgPlugin()
    await make_app(plugins=[plugin]).start()
    with pytest.raises(Exception, match="one PsycopgPlugin was passed to two apps"):
        await make_app(plugins=[plugin]).start()


def test_what_libpq_does_not_know_is_a_setting_of_the_servers(
    database_url: str, connection: PlainConnection
) -> None:
    separator = "&" if "?" in database_url else "?"
    with psycopg.connect(
        conninfo(f"{database_url}{separator}search_path=a,%20b&application_name=it")
    ) as theirs:
        assert theirs.execute("show search_path").fetchone() == ("a, b",)
        assert theirs.execute("show application_name").fetchone() == ("it",)
