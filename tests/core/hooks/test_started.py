"""started: the app can be used, and nobody else has used it before."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from soniq import Snooze, Soniq, hookimpl
from soniq.errors import AppNotStarted, PluginError
from soniq.plugin import Migration
from tests.core.hooks.support import MakeApp, MakePlugin


class Keeper:
    """A plugin that uses the app as it starts: jobs, lookups, tables of its own."""

    name = "keeper"

    def __init__(self) -> None:
        self.seen: list[object] = []

    @hookimpl
    def migrations(self) -> list[Migration]:
        return [Migration(version=1, sql="create table {schema}.start (at timestamptz)")]

    @hookimpl
    async def started(self, app: Soniq) -> None:
        async with app.connection() as connection:
            self.seen.append(
                await connection.fetchval(
                    f"insert into {app.plugin_schema('keeper')}.start values (now()) returning 1"
                )
            )
        job_id = await app.enqueue("noted", n=1)
        found, everything = await asyncio.gather(app.get_job_status(job_id), app.jobs())
        self.seen += [found and found["status"], len(everything)]


async def test_the_app_can_be_used_in_it_once_for_each_start(make_app: MakeApp) -> None:
    keeper = Keeper()
    app = make_app(plugins=[keeper])

    @app.job(name="noted")
    async def noted(n: int) -> int:
        return n

    await app.start()
    await app.start()
    assert keeper.seen == [1, "queued", 1]
    assert await app.run_worker(run_once=True) == 1
    await app.close()
    await app.start()
    assert keeper.seen == [1, "queued", 1, 1, "queued", 2]


async def test_a_plain_def_will_do_and_it_comes_after_every_lifespan(
    make_app: MakeApp, make_plugin: MakePlugin, calls: list[str]
) -> None:
    def started(app: Soniq) -> None:
        calls.append(f"started {len(app.registry)}")

    async def lifespan() -> AsyncIterator[None]:
        calls.append("enter")
        yield
        calls.append("leave")

    app = make_app(
        plugins=[make_plugin("one", started=started), make_plugin("two", lifespan=lifespan)]
    )
    async with app:
        pass
    assert calls == ["enter", "started 0", "leave"]


async def test_others_wait_until_it_has_ended(
    make_app: MakeApp, make_plugin: MakePlugin, calls: list[str]
) -> None:
    told, go_on = asyncio.Event(), asyncio.Event()

    async def started(app: Soniq) -> None:
        told.set()
        await go_on.wait()
        calls.append("started")

    app = make_app(plugins=[make_plugin("slow", started=started)])

    async def look() -> None:
        await app.jobs()
        calls.append("looked")

    looks = [asyncio.create_task(look())]
    await told.wait()
    looks.append(asyncio.create_task(look()))
    assert not (await asyncio.wait(looks, timeout=0.05))[0]
    go_on.set()
    await asyncio.gather(*looks)
    assert calls == ["started", "looked", "looked"]


async def test_a_job_that_is_added_in_it_is_one_of_the_app(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    async def started(app: Soniq) -> None:
        @app.job(name="late")
        async def late() -> None: ...

    app = make_app(plugins=[make_plugin("adds", started=started)])
    await app.enqueue("late")
    assert await app.run_worker(run_once=True) == 1


@pytest.mark.parametrize("error", [ValueError("no room"), asyncio.CancelledError(), Snooze(1)])
async def test_an_error_in_it_ends_the_start_and_closes_what_was_begun(
    make_app: MakeApp, make_plugin: MakePlugin, calls: list[str], error: BaseException
) -> None:
    errors = [error]

    async def lifespan() -> AsyncIterator[None]:
        calls.append("enter")
        yield
        calls.append("leave")

    async def started(app: Soniq) -> None:
        await app.jobs()
        if errors:
            raise errors.pop()

    app = make_app(
        plugins=[make_plugin("one", lifespan=lifespan), make_plugin("fails", started=started)]
    )
    with pytest.raises(PluginError, match="started of fails failed") as caught:
        await app.jobs()
    assert caught.value.__cause__ is error
    assert calls == ["enter", "leave"]
    with pytest.raises(AppNotStarted):
        app._database  # noqa: B018
    assert await app.jobs() == []


async def test_a_start_that_is_cancelled_in_it_closes_what_was_begun(
    make_app: MakeApp, make_plugin: MakePlugin, calls: list[str]
) -> None:
    told = asyncio.Event()

    async def lifespan() -> AsyncIterator[None]:
        yield
        calls.append("leave")

    async def started(app: Soniq) -> None:
        told.set()
        await asyncio.Event().wait()

    app = make_app(plugins=[make_plugin("hangs", started=started, lifespan=lifespan)])
    start = asyncio.create_task(app.start())
    await told.wait()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert calls == ["leave"]


async def test_it_has_an_end(
    make_app: MakeApp, make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.startup.START_LIMIT", 0.05)

    async def started() -> None:
        await asyncio.Event().wait()

    app = make_app(plugins=[make_plugin("hangs", started=started)])
    with pytest.raises(PluginError, match=r"started of hangs failed: it waited longer than 0.05 s"):
        await app.start()


async def test_it_cannot_close_the_app(
    make_app: MakeApp, make_plugin: MakePlugin, calls: list[str]
) -> None:
    async def started(app: Soniq) -> None:
        for closing in (app.close(), asyncio.create_task(app.close())):
            with pytest.raises(AppNotStarted, match="an error ends the start"):
                await closing
        calls.append("started")

    app = make_app(plugins=[make_plugin("closes", started=started)])
    await asyncio.wait_for(app.start(), 10)
    assert calls == ["started"]


async def test_a_worker_that_it_begins_ends_where_the_start_fails(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    workers: list[asyncio.Task[Any]] = []

    async def started(app: Soniq) -> None:
        workers.append(asyncio.create_task(app.run_worker(signals=False)))
        while not app.working:
            await asyncio.sleep(0)
        raise ValueError("no room")

    app = make_app(plugins=[make_plugin("works", started=started)])
    with pytest.raises(PluginError, match="no room"):
        await app.start()
    assert await asyncio.wait_for(workers[0], 10) == 0
