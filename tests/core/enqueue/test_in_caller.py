"""An enqueue that has nobody to share an INSERT with is written in its caller's own task."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from soniq import DatabaseUnavailable, Soniq
from soniq.enqueue import batcher, outbox
from soniq.enqueue.insert import Insert
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

WRITER = "soniq outbox"


async def _nothing(n: int) -> None: ...


async def _started(app: Soniq) -> Soniq:
    app.job(name="nothing")(_nothing)
    await app.enqueue("nothing", n=0)
    return app


@asynccontextmanager
async def _held_up(
    app: Soniq, connection: "Connection"
) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """The table of jobs is locked until this is left; what waits until so many inserts wait."""
    table = f'"{app.settings.schema}".job'

    async def until(waiting: int) -> None:
        async def wait() -> bool:
            found = await connection.fetchval(
                "select count(*) from pg_locks where not granted and relation = $1::regclass", table
            )
            return bool(found == waiting)

        await eventually(wait)

    async with connection.transaction():
        await connection.execute(f"lock table {table} in exclusive mode")
        yield until


def _writers() -> int:
    return sum(task.get_name() == WRITER for task in asyncio.all_tasks())


async def test_one_alone_needs_no_other_task_and_others_meanwhile_share_an_insert(
    app: Soniq, connection: "Connection"
) -> None:
    await _started(app)
    before = _writers()
    async with _held_up(app, connection) as until:
        calls = [asyncio.create_task(app.enqueue("nothing", n=n)) for n in range(5)]
        await until(2)
        assert _writers() == before + 1
    await asyncio.gather(*calls)
    assert await app.run_worker(run_once=True) == 6


async def test_a_caller_that_is_cancelled_ends_its_own_insert_alone(
    app: Soniq, connection: "Connection"
) -> None:
    await _started(app)
    async with _held_up(app, connection) as until:
        first = asyncio.create_task(app.enqueue("nothing", n=1))
        await until(1)
        second = asyncio.create_task(app.enqueue("nothing", n=2))
        await until(2)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await until(1)
    assert (await second).inserted
    for n in range(3):
        await app.enqueue("nothing", n=n)
    assert await app.run_worker(run_once=True) == 5


async def test_one_whose_writer_pauses_is_told_that_the_app_was_closed(
    app: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _started(app)
    failed = asyncio.Event()

    async def lost(*_: object, **__: object) -> None:
        failed.set()
        raise ConnectionResetError("lost")

    monkeypatch.setattr(Insert, "one", lost)
    monkeypatch.setattr(Insert, "plain", lost)
    monkeypatch.setattr(batcher, "RETRY_PAUSE", 14.0)
    monkeypatch.setattr(batcher, "CLEANUP_TIMEOUT", 0.05)
    monkeypatch.setattr(outbox, "CLOSE_TIMEOUT", 0.05)

    alone = asyncio.create_task(app.enqueue("nothing", n=1))
    await failed.wait()
    shared = asyncio.create_task(app.enqueue("nothing", n=2))
    failed.clear()
    await failed.wait()
    await app.close()
    with pytest.raises(DatabaseUnavailable, match="closed before the job was enqueued"):
        await asyncio.wait_for(shared, 5)
    alone.cancel()
    await asyncio.wait([alone])
