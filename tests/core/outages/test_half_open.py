"""A network that loses the connections that there are, without a word: no end comes, and new ones
work.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from soniq import DatabaseUnavailable, JobNotFound, Soniq
from soniq.worker import listen
from tests.conftest import MakeApp
from tests.core.outages.conftest import COMMAND
from tests.support.jobs import falls_asleep, finished, working
from tests.support.proxy import Proxy
from tests.support.waiting import eventually, in_time

SPARE = 3.0
"""Seconds that a busy machine may take beyond a limit."""

Call = Callable[[Soniq], Awaitable[object]]


@pytest.mark.parametrize("times", range(3))
async def test_a_worker_goes_on_with_new_connections(
    times: int, far_app: Soniq, app: Soniq, proxy: Proxy
) -> None:
    @far_app.job(name="add")
    async def add(a: int) -> int:
        return a + 1

    async with working(far_app) as worker:
        assert await far_app.wait_for(await far_app.enqueue(add, a=1), 20) == 2
        for _ in range(times + 1):
            proxy.lose()
            job_id = await in_time(_until_taken(lambda: far_app.enqueue(add, a=2)))
            assert (await finished(app, job_id))["result"] == 3
        assert not worker.done()


async def test_a_worker_that_waits_notices_that_it_hears_nothing_and_listens_again(
    make_app: MakeApp,
    app: Soniq,
    proxy: Proxy,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listen, "ALIVE", 0.5)
    far_app = make_app(
        database_url=proxy.url(database_url),
        command_timeout=COMMAND,
        connect_timeout=COMMAND,
        poll_interval=600,
    )

    @far_app.job(name="add")
    async def add(a: int) -> int:
        return a + 1

    app.job(name="add")(add.function)
    await app.start()
    async with working(far_app):
        await falls_asleep(app)
        proxy.lose()
        assert (await finished(app, await app.enqueue("add", a=1), 60))["result"] == 2


async def test_jobs_that_run_while_it_happens_are_settled_and_run_once(
    far_app: Soniq, app: Soniq, proxy: Proxy
) -> None:
    ran: list[int] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    @far_app.job(name="wait")
    async def wait(n: int) -> int:
        ran.append(n)
        begun.set()
        await go_on.wait()
        return n

    async with working(far_app):
        ids = await far_app.enqueue_many(wait, [{"n": n} for n in range(5)])
        await in_time(begun.wait())
        proxy.lose()
        go_on.set()
        for n, job_id in enumerate(ids):
            assert (await finished(app, job_id))["result"] == n
    assert sorted(ran) == list(range(5))


CALLS: dict[str, Call] = {
    "jobs": lambda app: app.jobs(),
    "overview": lambda app: app.overview(),
    "backlog": lambda app: app.backlog(),
    "status": lambda app: app.get_job_status("0199b3d2-0000-7000-8000-000000000000"),
    "result": lambda app: app.get_result("0199b3d2-0000-7000-8000-000000000000"),
    "arguments": lambda app: app.get_args("0199b3d2-0000-7000-8000-000000000000"),
    "wait_for": lambda app: app.wait_for("0199b3d2-0000-7000-8000-000000000000"),
    "cancel": lambda app: app.cancel("0199b3d2-0000-7000-8000-000000000000"),
    "cancel_all": lambda app: app.cancel_all(),
    "retry": lambda app: app.retry("0199b3d2-0000-7000-8000-000000000000"),
    "retry_all": lambda app: app.retry_all(),
    "pause": lambda app: app.pause("media"),
    "prune": lambda app: app.prune(),
    "enqueue_many": lambda app: app.enqueue_many("nothing", [{"n": n} for n in range(100)]),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_ends_in_time_with_an_error_of_soniqs_and_the_next_one_works(
    name: str, far_app: Soniq, proxy: Proxy
) -> None:
    far_app.job(name="nothing")(_nothing)
    await far_app.enqueue("nothing", n=1)
    await asyncio.gather(
        *(far_app.jobs() for _ in range(8))
    )  # so many connections wait in the pool
    proxy.lose()
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="no answer within 1 s"):
        await CALLS[name](far_app)
    assert time.monotonic() - began < COMMAND + SPARE
    began = time.monotonic()
    with contextlib.suppress(JobNotFound):
        await CALLS[name](far_app)
    assert time.monotonic() - began < COMMAND


@pytest.mark.parametrize("options", [{}, {"unique": True}], ids=["plain", "keyed"])
async def test_an_enqueue_is_tried_again_on_a_new_connection_within_its_time(
    options: dict[str, Any],
    far_app: Soniq,
    proxy: Proxy,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
) -> None:
    far_app.job(name="nothing")(_nothing)
    await asyncio.gather(*(far_app.enqueue("nothing", n=n) for n in range(-5, 0)))
    proxy.lose()
    began = time.monotonic()
    ids = await asyncio.gather(*(far_app.enqueue("nothing", n=n, **options) for n in range(20)))
    assert time.monotonic() - began < COMMAND + SPARE
    rows = await connection.fetch(
        f"select id from {schema}.job where id = any($1::uuid[])", [str(i) for i in ids]
    )
    assert len(rows) == 20


async def test_an_enqueue_on_a_connection_of_the_callers_ends_in_time(
    far_app: Soniq, proxy: Proxy, database_url: str
) -> None:
    far_app.job(name="nothing")(_nothing)
    await far_app.enqueue("nothing", n=0)
    theirs = await asyncpg.connect(proxy.url(database_url))
    async with asyncio.timeout(COMMAND + SPARE):
        await theirs.execute("begin")
        proxy.lose()
        with pytest.raises(DatabaseUnavailable, match="no answer within 1 s"):
            await far_app.enqueue("nothing", n=1, connection=theirs)
    theirs.terminate()


async def test_a_connection_of_the_app_is_given_back_at_once_after_a_loss(
    far_app: Soniq, proxy: Proxy
) -> None:
    await far_app.start()
    began = time.monotonic()

    async def lose() -> None:
        async with far_app.connection() as connection, connection.transaction():
            await connection.execute("select 1")
            proxy.lose()
            await connection.execute("select 2", timeout=0.5)

    with pytest.raises(
        (TimeoutError, asyncpg.InterfaceError)
    ):  # asyncpg's own; the second is of its rollback
        await lose()
    async with far_app.connection() as connection:
        assert await connection.fetchval("select 3") == 3
    assert time.monotonic() - began < 2 * COMMAND + SPARE


async def test_a_job_with_an_injected_connection_is_given_another_and_completes(
    far_app: Soniq,
    app: Soniq,
    proxy: Proxy,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
) -> None:
    await far_app.start()
    await connection.execute(f"create table {schema}.effect (n integer)")

    @far_app.job(name="effect", retry=0)
    async def effect(n: int, own: asyncpg.Connection) -> None:
        await own.execute(f"insert into {schema}.effect values ($1)", n)

    async with working(far_app):
        await finished(far_app, await far_app.enqueue(effect, n=1))
        proxy.lose()
        job_id = await in_time(_until_taken(lambda: far_app.enqueue(effect, n=2)))
        assert (await finished(app, job_id))["status"] == "done"
    assert [
        row["n"] for row in await connection.fetch(f"select n from {schema}.effect order by n")
    ] == [1, 2]


async def test_a_worker_is_not_taken_for_dead(
    far_app: Soniq, app: Soniq, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    far_app.job(name="nothing")(_nothing)
    async with working(far_app):
        await finished(app, await far_app.enqueue("nothing", n=0))
        for n in range(3):
            proxy.lose()
            job_id = await in_time(_until_taken(lambda n=n: far_app.enqueue("nothing", n=n)))  # type: ignore[misc]
            await finished(app, job_id)
            await asyncio.sleep(1)  # of a lease of 3
        overview = await app.overview()
    assert len(overview["workers"]) == 1
    assert "given to others" not in caplog.text


async def test_a_worker_that_begins_meanwhile_waits_and_begins(
    far_app: Soniq, app: Soniq, proxy: Proxy
) -> None:
    far_app.job(name="nothing")(_nothing)
    await far_app.start()
    proxy.lose()
    async with working(far_app):
        job_id = await in_time(_until_taken(lambda: far_app.enqueue("nothing", n=1)))
        assert (await finished(app, job_id))["status"] == "done"


async def test_the_tasks_of_one_worker_at_a_time_go_on(
    make_app: MakeApp, proxy: Proxy, database_url: str
) -> None:
    from soniq import hookimpl
    from soniq.plugin import Task

    runs = 0

    class Counting:
        name = "counting"

        @hookimpl
        def background_tasks(self, app: Soniq) -> list[Task]:
            async def count() -> None:
                nonlocal runs
                while True:
                    async with app.connection() as connection:
                        await connection.execute("select 1")
                    runs += 1
                    await asyncio.sleep(0.1)

            return [Task(name="count", run=count, elected=True)]

    app = make_app(
        database_url=proxy.url(database_url), command_timeout=COMMAND, lease=3, plugins=[Counting()]
    )
    async with working(app):
        await eventually(_that(lambda: runs > 0))
        proxy.lose()
        before = runs
        await eventually(_that(lambda: runs > before + 3))


def _that(holds: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return holds()

    return ask


async def _until_taken(enqueue: Callable[[], Awaitable[str]]) -> str:
    """Enqueue again and again until it is taken."""
    while True:
        try:
            return await enqueue()
        except DatabaseUnavailable as error:
            logging.getLogger(__name__).info("not yet: %s", error)


async def _nothing(n: int) -> None: ...


async def test_sessions_that_are_found_broken_one_after_the_other_are_one_outage(
    far_app: Soniq, app: Soniq, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "soniq.database")
    far_app.job(name="nothing")(_nothing)
    async with working(far_app):
        await finished(app, await far_app.enqueue("nothing", n=0), 20)
        await asyncio.gather(*(far_app.jobs() for _ in range(5)))
        await asyncio.sleep(0.1)
        caplog.clear()
        proxy.lose()
        for n in range(5):
            with contextlib.suppress(DatabaseUnavailable):
                await far_app.jobs()
            await _until_taken(lambda n=n: far_app.enqueue("nothing", n=n))  # type: ignore[misc]
            await asyncio.sleep(1)  # heartbeat, listener and tasks find theirs broken meanwhile
    told = [
        record.getMessage()
        for record in caplog.records
        if record.name == "soniq.database" and record.levelno >= logging.WARNING
    ]
    assert len(told) == 2, told
    assert "is unavailable: " in told[0]
    assert "is available again after" in told[1]
