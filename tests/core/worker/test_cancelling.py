"""Cancelling jobs that wait, and jobs that run."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from soniq import Cancel, JobCancelled, Soniq, hookimpl
from soniq.job import JobContext
from soniq.plugin import Outcome
from tests.conftest import MakeApp
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import in_time


class Told:
    """A plugin that notes what `settled` is told."""

    name = "told"

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    @hookimpl
    def settled(self, outcomes: list[Outcome]) -> None:
        self.outcomes += outcomes


async def test_a_job_that_waits_is_cancelled_at_once(make_app: MakeApp) -> None:
    told = Told()
    app = make_app(plugins=[told])

    @app.job()
    async def one() -> None: ...

    job_id = await app.enqueue(one)
    assert await app.cancel(job_id, "no longer wanted")
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"]) == ("cancelled", 0)
    assert status["finished_at"] is not None
    assert await app.run_worker(run_once=True) == 0
    with pytest.raises(JobCancelled, match="no longer wanted"):
        await app.wait_for(job_id)
    assert [(each.status, each.reason) for each in told.outcomes] == [
        ("cancelled", "no longer wanted")
    ]
    assert not await app.cancel(job_id)


@pytest.mark.parametrize(
    "settings",
    [{"poll_interval": 30, "lease": 30}, {"pgbouncer": True, "lease": 1}],
    ids=["by-notification", "by-heartbeat"],
)
async def test_a_job_that_runs_is_ended(make_app: MakeApp, settings: dict[str, Any]) -> None:
    told = Told()
    app = make_app(plugins=[told], **settings)
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))
    began = asyncio.Event()
    ended: list[str] = []

    @app.job()
    async def one() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("here")
            raise

    job_id = await app.enqueue(one)
    async with working(app):
        await in_time(began.wait())
        await asyncio.sleep(0.3)  # it listens by now
        assert await app.cancel(job_id)
        status = await finished(app, job_id, 10)
    assert (status["status"], status["attempt"], ended) == ("cancelled", 1, ["here"])
    assert errors == []
    assert [(each.status, each.kind) for each in told.outcomes] == [("cancelled", "cancel")]


async def swallows(ctx: JobContext) -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "finished what it was at"
    return "never"


async def fails(ctx: JobContext) -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise LookupError("in the clean-up") from None
    return "never"


@pytest.mark.parametrize(("handler", "expected"), [(swallows, "done"), (fails, "cancelled")])
async def test_what_a_handler_makes_of_its_cancellation(
    make_app: MakeApp, handler: Callable[[JobContext], Awaitable[str]], expected: str
) -> None:
    app = make_app()
    began = asyncio.Event()

    @app.before_job
    def has_begun(ctx: JobContext) -> None:
        began.set()

    job_id = await app.enqueue(app.job(retry=0.0)(handler))
    async with working(app):
        await in_time(began.wait())
        await asyncio.sleep(0.3)
        assert await app.cancel(job_id)
        status = await finished(app, job_id, 10)
    assert (status["status"], status["attempt"]) == (expected, 1)


@pytest.mark.parametrize(("ends", "expected"), [("returns", "done"), ("raises", "cancelled")])
async def test_a_thread_that_is_cancelled_ends_when_it_ends(
    app: Soniq, ends: str, expected: str
) -> None:
    began, release = threading.Event(), threading.Event()

    @app.job(retry=0.0)
    def stuck() -> str:
        began.set()
        assert release.wait(20)
        if ends == "raises":
            raise LookupError("at its end")
        return "what it did is done"

    job_id = await app.enqueue(stuck)
    async with working(app):
        await asyncio.to_thread(began.wait, 20)
        assert await app.cancel(job_id)
        await asyncio.sleep(0.3)
        assert (await status_of(app, job_id))["status"] == "running"
        release.set()
        status = await finished(app, job_id, 10)
    assert (status["status"], status["attempt"]) == (expected, 1)


async def test_a_job_that_was_to_be_cancelled_and_came_back_does_not_run(
    app: Soniq, schema: str
) -> None:
    @app.job()
    async def one() -> None: ...

    job_id = await app.enqueue(one)
    async with app._database.acquire() as connection:
        await connection.execute(
            f"update {schema}.job set cancel_requested = true where id = $1", UUID(job_id)
        )
    assert await app.run_worker(run_once=True) == 0
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"]) == ("cancelled", 0)


async def test_a_neighbour_of_a_cancelled_job_runs_on(make_app: MakeApp) -> None:
    app = make_app(concurrency=2)
    began: asyncio.Queue[str] = asyncio.Queue()
    release = asyncio.Event()

    @app.job()
    async def one(ctx: JobContext) -> str:
        began.put_nowait(ctx.job_id)
        await release.wait()
        return "ran"

    ids = await app.enqueue_many(one, [{}, {}])
    async with working(app):
        for _ in ids:
            await in_time(began.get())
        await asyncio.sleep(0.3)
        assert await app.cancel(ids[0])
        assert (await finished(app, ids[0], 10))["status"] == "cancelled"
        release.set()
        assert await app.wait_for(ids[1], 10) == "ran"


@pytest.mark.parametrize(
    "says", [None, "stopped crunching"], ids=["nothing", "a reason of its own"]
)
@pytest.mark.parametrize("given", [None, "withdrawn"], ids=["no reason", "a reason"])
async def test_the_reason_for_ending_a_job_that_runs_is_kept(
    app: Soniq, given: str | None, says: str | None
) -> None:
    begun = asyncio.Event()

    @app.job()
    async def crunch() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if says is not None:
                raise Cancel(says) from None
            raise

    job_id = await app.enqueue(crunch)
    async with working(app):
        await in_time(begun.wait())
        assert await app.cancel(job_id, given)
        with pytest.raises(JobCancelled, match=given or says or "cancelled while it ran"):
            await app.wait_for(job_id, timeout=20)
