"""adapt_connection: what `connection=` takes is what a plugin, or the core's own, makes a
connection of.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest

from soniq import InvalidOption, Soniq
from soniq.errors import PluginError
from soniq.plugin import EnqueueBatch, TransactionConnection
from tests.core.hooks.support import MakeApp, MakePlugin

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


class Unit:
    """An application's own unit of work, around a connection."""

    def __init__(self, inner: "Connection") -> None:
        self.inner = inner


class Thin:
    """No more than what is promised, and what was asked of it."""

    def __init__(self, inner: "Connection") -> None:
        self._inner = inner
        self.asked: list[str] = []

    async def fetch(self, query: str, /, *args: Any) -> Sequence[Any]:
        self.asked.append(query)
        return [tuple(row) for row in await self._inner.fetch(query, *args)]

    async def execute(self, query: str, /, *args: Any) -> None:
        self.asked.append(query)
        await self._inner.execute(query, *args)


def defined(app: Soniq) -> Soniq:
    """The app, with a job and one that is unique."""

    @app.job(name="job")
    async def job(n: int) -> None: ...

    @app.job(name="unique", unique=True)
    async def unique(n: int) -> None: ...

    return app


@pytest.fixture
def adapting(make_plugin: MakePlugin) -> Any:
    """A plugin that adapts a `Unit`."""

    def adapt_connection(obj: object) -> TransactionConnection | None:
        return Thin(obj.inner) if isinstance(obj, Unit) else None

    return make_plugin("units", adapt_connection=adapt_connection)


async def test_what_a_plugin_adapts_decides_about_the_jobs(
    make_app: MakeApp, adapting: Any, connection: "Connection"
) -> None:
    app = defined(make_app(plugins=[adapting]))
    for ends in ("rollback", "commit"):
        transaction = connection.transaction()
        await transaction.start()
        ids = [await app.enqueue("job", 1, connection=Unit(connection))]
        ids += [await app.enqueue("unique", 2, connection=Unit(connection))]
        ids += await app.enqueue_many(
            "job", [{"n": n} for n in range(100)], connection=Unit(connection)
        )
        again = await app.enqueue("unique", 2, connection=Unit(connection))
        assert (again, again.inserted) == (ids[1], False)
        assert await app.get_job_status(ids[0]) is None
        await getattr(transaction, ends)()
        there = [job_id for job_id in ids if await app.get_job_status(job_id)]
        assert there == (ids if ends == "commit" else [])


async def test_async_def_will_do_and_hooks_are_given_the_adapted_one(
    make_app: MakeApp, make_plugin: MakePlugin, connection: "Connection"
) -> None:
    thin = Thin(connection)
    seen: list[object] = []

    async def adapt_connection(obj: object) -> Thin | None:
        await asyncio.sleep(0)
        return thin if isinstance(obj, Unit) else None

    async def around_enqueue(batch: EnqueueBatch) -> Any:
        seen.append(batch.connection)
        yield

    plugin = make_plugin("units", adapt_connection=adapt_connection, around_enqueue=around_enqueue)
    app = defined(make_app(plugins=[plugin]))
    await app.enqueue("job", 1, connection=Unit(connection))
    await app.enqueue("job", 1, connection=connection)
    await app.enqueue("job", 1)
    assert seen == [thin, connection, None]
    assert thin.asked


async def test_it_is_asked_once_a_call_and_not_without_a_connection(
    make_app: MakeApp, make_plugin: MakePlugin, connection: "Connection"
) -> None:
    asked: list[object] = []

    def adapt_connection(obj: object) -> None:
        asked.append(obj)

    app = defined(make_app(plugins=[make_plugin("none", adapt_connection=adapt_connection)]))
    await app.enqueue("job", 1)
    await app.enqueue("job", 1, connection=connection)
    await app.enqueue_many("job", [{"n": 1}, {"n": 2}], connection=connection)
    assert asked == [connection, connection]


async def test_none_asks_the_next_and_the_first_result_wins(
    make_app: MakeApp, make_plugin: MakePlugin, connection: "Connection"
) -> None:
    thin = Thin(connection)
    plugins = [
        make_plugin("first", adapt_connection=lambda obj: None),
        make_plugin("second", adapt_connection=lambda obj: thin),
        make_plugin("third", adapt_connection=lambda obj: 1 / 0),
    ]
    app = defined(make_app(plugins=plugins))
    await app.enqueue("job", 1, connection=connection)
    assert thin.asked


async def test_an_error_goes_to_the_caller_and_nothing_is_enqueued(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    app = defined(make_app(plugins=[make_plugin("broken", adapt_connection=lambda obj: 1 / 0)]))
    with pytest.raises(ZeroDivisionError):
        await app.enqueue("job", 1, connection="anything")
    assert await app.jobs() == []


async def test_an_answer_that_is_no_connection_is_an_error(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    app = defined(make_app(plugins=[make_plugin("wrong", adapt_connection=lambda obj: "a string")]))
    with pytest.raises(PluginError, match="adapt_connection returned 'a string'"):
        await app.enqueue("job", 1, connection="anything")
    assert await app.jobs() == []


async def test_what_nobody_adapts_is_an_error_that_names_its_type(
    make_app: MakeApp, database_url: str
) -> None:
    app = defined(make_app())
    with pytest.raises(InvalidOption, match=r"not builtins\.str; .*adapt_connection") as caught:
        await app.enqueue("job", 1, connection="anything")
    assert caught.value.option == "connection"
    async with await psycopg.AsyncConnection.connect(database_url) as other:
        with pytest.raises(
            InvalidOption, match=r"psycopg\.AsyncConnection; the plugin soniq-psycopg"
        ):
            await app.enqueue_many("job", [{"n": 1}], connection=other)
    assert await app.jobs() == []


async def test_asyncpgs_own_connections_are_adapted_by_the_core(
    make_app: MakeApp, connection: "Connection"
) -> None:
    app = defined(make_app())
    await app.start()
    async with app.connection() as of_the_pool, of_the_pool.transaction():
        for each in (connection, of_the_pool):
            assert isinstance(each, TransactionConnection)
            await app.enqueue("job", 1, connection=each)
    assert len(await app.jobs()) == 2
