"""around_enqueue: a context manager around each call of enqueue."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from soniq import JobContext, SerializationError, Soniq
from soniq.plugin import EnqueueBatch
from tests.core.hooks.support import MakeApp, MakePlugin, Run


def fail(error: Exception) -> None:
    """Raise it, where a `raise` would make the rest unreachable."""
    raise error


class RefusedError(Exception):
    """What an implementation here refuses an enqueue with."""


async def count(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> int:
    number: int = await connection.fetchval(f"select count(*) from {schema}.job")
    return number


@pytest.fixture
def batches(make_plugin: MakePlugin) -> list[EnqueueBatch]:
    """What an around_enqueue was called with."""
    return []


@pytest.fixture
def watched(make_app: MakeApp, make_plugin: MakePlugin, batches: list[EnqueueBatch]) -> Soniq:
    """An app with a plugin that collects the batches."""

    async def around_enqueue(batch: EnqueueBatch) -> AsyncIterator[None]:
        yield
        batches.append(batch)

    return make_app(plugins=[make_plugin("watches", around_enqueue=around_enqueue)])


async def test_headers_that_it_changes_reach_the_job(
    make_app: MakeApp, make_plugin: MakePlugin, run: Run
) -> None:
    seen: list[object] = []

    def around_enqueue(batch: EnqueueBatch) -> Iterator[None]:
        for job in batch.jobs:
            job.headers["plugin"] = {"for": job.name, "args": dict(job.args)}
        yield

    app = make_app(plugins=[make_plugin("headers", around_enqueue=around_enqueue)])

    @app.job(name="job")
    async def handler(a: int, ctx: JobContext, b: int = 2) -> None:
        seen.append(ctx.headers)

    await run(app, handler, a=1, headers={"caller": 1})
    assert seen == [{"caller": 1, "plugin": {"for": "job", "args": {"a": 1, "b": 2}}}]


async def test_the_callers_own_headers_are_not_changed(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    def around_enqueue(batch: EnqueueBatch) -> Iterator[None]:
        batch.jobs[0].headers["plugin"] = 1
        yield

    app = make_app(plugins=[make_plugin("headers", around_enqueue=around_enqueue)])

    @app.job()
    async def handler() -> None: ...

    headers = {"caller": 1}
    await app.enqueue(handler, headers=headers)
    assert headers == {"caller": 1}


async def test_the_ids_and_which_are_duplicates_are_known_afterwards(
    watched: Soniq, batches: list[EnqueueBatch]
) -> None:
    @watched.job(unique=True)
    async def handler(a: int) -> None: ...

    first = await watched.enqueue(handler, a=1)
    second = await watched.enqueue(handler, a=1)
    many = await watched.enqueue_many(handler, [{"a": 1}, {"a": 2}])
    assert [[(job.id, job.id.inserted) for job in batch.jobs] for batch in batches] == [
        [(first, True)],
        [(second, False)],
        [(first, False), (many[1], True)],
    ]
    assert first == second == many[0]


async def test_it_is_called_once_for_a_bulk_call_and_knows_that_it_is_one(
    watched: Soniq, batches: list[EnqueueBatch]
) -> None:
    @watched.job()
    async def handler(a: int) -> None: ...

    await watched.enqueue(handler, a=0)
    ids = await watched.enqueue_many(handler, [{"a": number} for number in range(100)])
    assert [(batch.bulk, len(batch.jobs)) for batch in batches] == [(False, 1), (True, 100)]
    assert [job.id for job in batches[1].jobs] == ids
    assert [dict(job.args) for job in batches[1].jobs[:2]] == [{"a": 0}, {"a": 1}]


async def test_it_knows_the_callers_connection(
    watched: Soniq, batches: list[EnqueueBatch], connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    @watched.job()
    async def handler() -> None: ...

    await watched.enqueue(handler)
    async with connection.transaction():
        await watched.enqueue(handler, connection=connection)
    assert [batch.connection for batch in batches] == [None, connection]


async def test_they_nest_and_leave_in_reverse(
    make_app: MakeApp, make_plugin: MakePlugin, calls: list[str]
) -> None:
    def around(name: str) -> Any:
        async def around_enqueue() -> AsyncIterator[None]:
            calls.append(f"enter {name}")
            yield
            calls.append(f"leave {name}")

        return make_plugin(name, around_enqueue=around_enqueue)

    app = make_app(plugins=[around("one"), around("two")])

    @app.job()
    async def handler() -> None: ...

    await app.enqueue(handler)
    assert calls == ["enter one", "enter two", "leave two", "leave one"]


class TestErrors:
    """They go to the caller; before the insert nothing is enqueued."""

    async def test_an_error_before_the_insert_goes_to_the_caller_and_nothing_is_enqueued(
        self,
        make_app: MakeApp,
        make_plugin: MakePlugin,
        calls: list[str],
        connection: "asyncpg.Connection[asyncpg.Record]",
        schema: str,
    ) -> None:
        async def outer() -> AsyncIterator[None]:
            try:
                yield
            except RefusedError:
                calls.append("left")
                raise

        async def refuses() -> AsyncIterator[None]:
            fail(RefusedError())
            yield

        app = make_app(
            plugins=[
                make_plugin("outer", around_enqueue=outer),
                make_plugin("refuses", around_enqueue=refuses),
            ]
        )

        @app.job()
        async def handler() -> None: ...

        with pytest.raises(RefusedError):
            await app.enqueue(handler)
        with pytest.raises(RefusedError):
            await app.enqueue_many(handler, [{}, {}])
        assert calls == ["left", "left"]
        assert await count(connection, schema) == 0

    async def test_one_that_sees_the_insert_fail_gets_the_error_itself(
        self, make_app: MakeApp, make_plugin: MakePlugin
    ) -> None:
        seen: list[BaseException] = []

        async def around_enqueue() -> AsyncIterator[None]:
            try:
                yield
            except Exception as error:
                seen.append(error)
                raise

        app = make_app(plugins=[make_plugin("watches", around_enqueue=around_enqueue)])

        @app.job()
        async def handler(a: Any) -> None: ...

        with pytest.raises(SerializationError) as caught:
            await app.enqueue(handler, a=object())
        assert seen == [caught.value]

    async def test_one_that_swallows_the_error_of_the_insert_does_not_make_the_caller_believe(
        self,
        make_app: MakeApp,
        make_plugin: MakePlugin,
        connection: "asyncpg.Connection[asyncpg.Record]",
        schema: str,
    ) -> None:
        async def around_enqueue() -> AsyncIterator[None]:
            try:
                yield
            except Exception:
                return

        app = make_app(plugins=[make_plugin("swallows", around_enqueue=around_enqueue)])

        @app.job()
        async def handler(a: Any) -> None: ...

        with pytest.raises(SerializationError):
            await app.enqueue(handler, a=object())
        assert await count(connection, schema) == 0

    async def test_an_error_after_the_insert_goes_to_the_caller(
        self,
        make_app: MakeApp,
        make_plugin: MakePlugin,
        connection: "asyncpg.Connection[asyncpg.Record]",
        schema: str,
    ) -> None:
        async def around_enqueue() -> AsyncIterator[None]:
            yield
            raise RefusedError

        app = make_app(plugins=[make_plugin("late", around_enqueue=around_enqueue)])

        @app.job()
        async def handler() -> None: ...

        with pytest.raises(RefusedError):
            await app.enqueue(handler)
        assert await count(connection, schema) == 1
