"""background_tasks: they run beside a worker, are started again when they fail, and some run in one
worker only.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from soniq import Soniq
from soniq.errors import InvalidOption, PluginError
from soniq.plugin import Task
from tests.core.hooks.support import MakeApp, MakePlugin, Work

LIMIT = 20.0
"""Seconds after which a test here gives up waiting."""


@pytest.fixture
def app_with(make_app: MakeApp, make_plugin: MakePlugin) -> Callable[..., Soniq]:
    """An app with a plugin named `busy` that has these tasks."""

    def app_with(*tasks: Task, **settings: Any) -> Soniq:
        def background_tasks(app: Soniq) -> list[Task]:
            assert isinstance(app, Soniq)
            return list(tasks)

        return make_app(
            plugins=[make_plugin("busy", background_tasks=background_tasks)], **settings
        )

    return app_with


async def until(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), LIMIT)


class Running:
    """What a task does here: it says that it runs, and that it was cancelled."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


async def test_they_start_with_the_worker_and_are_cancelled_when_it_stops(
    app_with: Callable[..., Soniq], work: Work
) -> None:
    one, two = Running(), Running()
    app = app_with(Task(name="one", run=one), Task(name="two", run=two))
    await app.start()
    assert not one.started.is_set()
    async with work(app):
        await until(one.started)
        await until(two.started)
        assert not one.ended.is_set()
    assert one.ended.is_set()
    assert two.ended.is_set()


async def test_they_run_beside_a_worker_that_works_off_all_that_is_due(
    app_with: Callable[..., Soniq],
) -> None:
    running = Running()
    app = app_with(Task(name="one", run=running))

    @app.job()
    async def handler() -> None:
        await until(running.started)

    await app.enqueue(handler)
    assert await app.run_worker(run_once=True) == 1
    assert running.ended.is_set()


@pytest.mark.parametrize("error", [ValueError("boom"), asyncio.CancelledError("own")])
async def test_one_that_fails_is_logged_with_its_plugin_and_started_again_after_a_pause(
    app_with: Callable[..., Soniq],
    work: Work,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    starts: list[float] = []
    again = asyncio.Event()

    async def fails_once() -> None:
        starts.append(asyncio.get_running_loop().time())
        if len(starts) == 1:
            raise error
        again.set()
        await asyncio.Event().wait()

    async with work(app_with(Task(name="shaky", run=fails_once))):
        await until(again)
    assert starts[1] - starts[0] > 0.5
    [record] = [each for each in caplog.records if "shaky" in each.getMessage()]
    assert record.getMessage().startswith("the task shaky of busy failed, again in 1 s")
    assert record.exc_info is not None


async def test_one_that_ends_is_not_started_again(
    app_with: Callable[..., Soniq], work: Work
) -> None:
    starts: list[str] = []
    looked = asyncio.Event()

    def ends(name: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            starts.append(name)

        return run

    async def looks() -> None:
        while len(starts) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.8)  # two renewals of a lease of a second
        looked.set()

    tasks = [
        Task(name="a", run=ends("a")),
        Task(name="b", run=ends("b"), elected=True),
        Task(name="looks", run=looks),
    ]
    async with work(app_with(*tasks, lease=1.0)):
        await until(looked)
    assert sorted(starts) == ["a", "b"]


async def test_one_that_does_not_fail_with_another_goes_on(
    app_with: Callable[..., Soniq], work: Work
) -> None:
    running, failed = Running(), asyncio.Event()

    async def fails() -> None:
        await until(running.started)
        asyncio.get_running_loop().call_later(0.05, failed.set)
        raise ValueError

    async with work(app_with(Task(name="fails", run=fails), Task(name="goes on", run=running))):
        await until(failed)
        assert not running.ended.is_set()


@pytest.mark.parametrize("lease", [0, 0.1, -1.0, float("nan"), float("inf"), "10", True])
def test_a_lease_that_no_election_could_keep_is_refused(lease: float) -> None:
    with pytest.raises(InvalidOption, match="lease= is from"):
        Task(name="single", run=Running(), elected=True, lease=lease)


OTHER = """
insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, names)
values (gen_random_uuid(), 3600, 1, 1, 'elsewhere', '0', '{{}}') returning id
"""
"""Another worker, whose row is there."""


class TestElected:
    """A task that runs in one worker at a time."""

    async def test_it_runs_in_one_of_two_workers_and_moves_over_when_that_one_stops(
        self, app_with: Callable[..., Soniq], work: Work
    ) -> None:
        first, second = Running(), Running()
        one = app_with(Task(name="single", run=first, elected=True), lease=1.0)
        two = app_with(Task(name="single", run=second, elected=True), lease=1.0)
        stopping = asyncio.Event()

        async def work_for_a_while() -> None:
            async with work(one):
                await until(stopping)

        worker = asyncio.create_task(work_for_a_while())
        await until(first.started)
        async with work(two):
            await asyncio.sleep(0.8)  # two renewals of a lease of a second
            assert not second.started.is_set()
            assert not first.ended.is_set()
            stopping.set()
            await until(second.started)
            assert first.ended.is_set()
            await worker

    async def test_a_worker_that_stops_gives_up_its_lease(
        self,
        app_with: Callable[..., Soniq],
        work: Work,
        connection: "asyncpg.Connection[asyncpg.Record]",
        schema: str,
    ) -> None:
        running = Running()
        app = app_with(Task(name="single", run=running, elected=True), lease=3600.0)
        names = f"select array_agg(name order by name) from {schema}.election"
        async with work(app):
            await until(running.started)
            assert "busy.single" in await connection.fetchval(names)
        # What stood for the first time just then may have won: nobody's row keeps nobody waiting
        assert "busy.single" not in (await connection.fetchval(names) or [])

    async def test_it_is_taken_over_from_a_worker_that_died_when_its_lease_is_over(
        self,
        app_with: Callable[..., Soniq],
        work: Work,
        connection: "asyncpg.Connection[asyncpg.Record]",
        schema: str,
    ) -> None:
        running = Running()
        app = app_with(Task(name="single", run=running, elected=True), lease=1.0)
        await app.start()
        other = await connection.fetchval(OTHER.format(schema=schema))
        await connection.execute(
            f"insert into {schema}.election values ('busy.single', $1, now() + interval '1 hour')",
            other,
        )
        async with work(app):
            await asyncio.sleep(0.5)  # a renewal
            assert not running.started.is_set()
            await connection.execute(f"update {schema}.election set until = now()")
            await until(running.started)

    async def test_it_is_cancelled_where_the_lease_was_lost_and_starts_again_when_it_is_had_again(
        self,
        app_with: Callable[..., Soniq],
        work: Work,
        connection: "asyncpg.Connection[asyncpg.Record]",
        schema: str,
    ) -> None:
        running = Running()
        app = app_with(Task(name="single", run=running, elected=True), lease=1.0)
        async with work(app):
            await until(running.started)
            running.started.clear()
            other = await connection.fetchval(OTHER.format(schema=schema))
            await connection.execute(
                f"update {schema}.election set worker_id = $1, until = now() + interval '1 hour'"
                " where name = 'busy.single'",
                other,
            )
            await until(running.ended)
            assert not running.started.is_set()
            await connection.execute(f"update {schema}.election set until = now()")
            await until(running.started)

    async def test_one_that_fails_is_started_again_too(
        self, app_with: Callable[..., Soniq], work: Work
    ) -> None:
        starts: list[int] = []
        again = asyncio.Event()

        async def fails_once() -> None:
            starts.append(1)
            if len(starts) == 1:
                raise ValueError
            again.set()
            await asyncio.Event().wait()

        async with work(app_with(Task(name="single", run=fails_once, elected=True))):
            await until(again)


async def test_an_error_in_the_hook_itself_is_one_that_names_the_plugin(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    def background_tasks() -> list[Task]:
        raise KeyError("boom")

    with pytest.raises(PluginError, match="background_tasks of breaks failed: KeyError: 'boom'"):
        await make_app(
            plugins=[make_plugin("breaks", background_tasks=background_tasks)]
        ).run_worker(run_once=True)


async def test_that_a_task_lost_its_session_is_said_as_an_outage_is_and_once(
    app_with: Callable[..., Soniq], work: Work, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    taken: asyncio.Queue[int] = asyncio.Queue()

    async def wait() -> None:
        async with app.connection() as connection, connection.transaction():
            taken.put_nowait(await connection.fetchval("select pg_backend_pid()"))
            await connection.execute("select pg_sleep(60)")

    app = app_with(Task(name="wait", run=wait))
    async with work(app):
        connection = await asyncpg.connect(database_url)
        for _ in range(2):
            pid = await asyncio.wait_for(taken.get(), LIMIT)
            caplog.set_level(logging.INFO, "soniq")
            await connection.execute("select pg_terminate_backend($1)", pid)
        await asyncio.wait_for(taken.get(), LIMIT)  # it was started again
        await connection.close()
    told = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(told) == 2, told
    assert told[0].endswith(
        ": terminating connection due to administrator command;"
        " a session of the application's or a plugin's ends"
    )
    assert "is available again after" in told[1]
