"""A worker's row says what it runs, as of its last heartbeat."""

import asyncio
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg

from soniq import Job, Soniq
from tests.conftest import MakeApp
from tests.core.worker.conftest import StartWorker
from tests.support.jobs import working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from soniq.status import WorkerStatus

    Connection = asyncpg.Connection[asyncpg.Record]


async def seen(app: Soniq, matches: Callable[["WorkerStatus"], bool]) -> "WorkerStatus":
    """The one live worker, once it is so."""

    async def ask() -> "WorkerStatus | None":
        found = (await app.overview())["workers"]
        return next((each for each in found if matches(each)), None)

    found = await eventually(ask)
    assert found is not None
    return found


def waits_for(app: Soniq, over: asyncio.Event) -> Job[..., Any]:
    @app.job(name="wait")
    async def wait(number: int) -> None:
        await over.wait()

    return wait


async def test_the_row_of_a_worker_says_what_it_runs_and_knows(
    make_app: MakeApp, connection: "Connection"
) -> None:
    app, over = make_app(lease=1), asyncio.Event()
    wait = waits_for(app, over)
    ids = await app.enqueue_many(wait, [{"number": n} for n in range(2)])
    before = await connection.fetchval("select clock_timestamp()")
    async with working(app, concurrency=5):
        worker = await seen(app, lambda each: each["running"] > 0)
        assert (worker["running"], worker["concurrency"]) == (2, 5)
        assert (worker["names"], worker["plugins"]) == (["wait"], [])
        jobs = worker["running_jobs"]
        assert [(each["job_id"], each["job_name"]) for each in jobs] == [(i, "wait") for i in ids]
        for each in jobs:
            assert before - timedelta(seconds=0.5) <= each["started_at"] <= worker["seen_at"]

        over.set()
        worker = await seen(app, lambda each: each["running"] == 0)
        assert worker["running_jobs"] == []


async def test_of_many_attempts_those_that_began_first_are_named(make_app: MakeApp) -> None:
    app, over = make_app(lease=1), asyncio.Event()
    wait = waits_for(app, over)
    async with working(app, concurrency=60):
        first = await app.enqueue(wait, number=0)
        await seen(app, lambda each: each["running"] == 1)
        await app.enqueue_many(wait, [{"number": n} for n in range(1, 60)])
        worker = await seen(app, lambda each: each["running"] == 60)
        assert len(worker["running_jobs"]) == 50
        assert worker["running_jobs"][0]["job_id"] == first
        over.set()


async def test_a_worker_that_was_killed_is_shown_with_what_it_ran(
    make_app: MakeApp, start_worker: StartWorker
) -> None:
    process = start_worker(
        """
        @app.job(name="waits")
        async def waits() -> None:
            say("began")
            await asyncio.sleep(600)
        """,
        lease=3,
    )
    app = make_app(lease=3, unknown_jobs="allow")
    job_id = await app.enqueue("waits")
    await process.says("began")
    await seen(app, lambda each: each["running"] == 1)
    process.send(signal.SIGKILL)
    await process.ended()
    (worker,) = (await app.overview())["workers"]
    assert [each["job_id"] for each in worker["running_jobs"]] == [job_id]


async def test_a_worker_of_the_release_before_still_says_that_it_lives(
    app: Soniq, schema: str, connection: "Connection"
) -> None:
    await app.start()
    worker = await connection.fetchval(
        f"insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, names)"
        " values (gen_random_uuid(), 60, 1, 1, 'host', '0', '{}') returning id"
    )
    beat = f"select to_cancel from {schema}.heartbeat_1($1, '{{}}', '{{}}', '{{}}')"
    assert await connection.fetchval(beat, worker) == []
    (found,) = (await app.overview())["workers"]
    assert (found["running"], found["running_jobs"]) == (0, [])
