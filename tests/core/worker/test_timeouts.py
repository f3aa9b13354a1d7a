"""Attempts that take too long, and the heap of deadlines."""

import asyncio
import threading
import time
from typing import Any

import pytest

from soniq import Snooze, Soniq
from soniq.errors import AttemptTimeout
from soniq.job import JobContext
from soniq.worker.deadlines import Deadline, Deadlines
from tests.conftest import MakeApp
from tests.support.jobs import status_of, working
from tests.support.waiting import eventually, in_time


async def test_an_attempt_that_takes_too_long_is_ended_and_has_failed(app: Soniq) -> None:
    errors: list[BaseException] = []
    ended: list[str] = []
    app.on_error(lambda ctx, error: errors.append(error))

    @app.job(timeout=0.1, max_attempts=1)
    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("here")
            raise

    job_id = await app.enqueue(slow)
    await in_time(app.run_worker(run_once=True))
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"], ended) == ("dead", 1, ["here"])
    [error] = errors
    assert isinstance(error, AttemptTimeout)
    assert isinstance(error, TimeoutError)
    assert error.timeout == 0.1
    assert status["error"] is not None
    assert "timeout of 0.1 s" in status["error"]["message"]


async def test_the_traceback_of_a_timeout_shows_where_the_handler_was(app: Soniq) -> None:
    @app.job(timeout=0.1, max_attempts=1)
    async def slow() -> None:
        await asyncio.sleep(60)

    job_id = await app.enqueue(slow)
    await in_time(app.run_worker(run_once=True))
    error = (await status_of(app, job_id))["error"]
    assert error is not None
    assert error["traceback"] is not None
    assert "await asyncio.sleep(60)" in error["traceback"]
    assert next(line for line in error["traceback"].splitlines() if "File" in line).endswith(
        "in slow"
    )


async def test_a_timed_out_attempt_is_retried(app: Soniq) -> None:
    @app.job(timeout=0.1, retry=0.0)
    async def slow_at_first(ctx: JobContext) -> int:
        if ctx.attempt == 1:
            await asyncio.sleep(60)
        return ctx.attempt

    job_id = await app.enqueue(slow_at_first)
    await in_time(app.run_worker(run_once=True))
    assert await app.get_result(job_id) == 2


async def test_an_enqueue_may_have_a_timeout_of_its_own(app: Soniq) -> None:
    @app.job(timeout=60, max_attempts=1)
    async def slow() -> str:
        await asyncio.sleep(0.5)
        return "slept"

    hurried = await app.enqueue(slow, timeout=0.05)
    patient = await app.enqueue(slow)
    await in_time(app.run_worker(run_once=True))
    assert (await status_of(app, hurried))["status"] == "dead"
    assert await app.get_result(patient) == "slept"


async def swallow_and_return() -> Any:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "swallowed"


async def swallow_and_snooze() -> Any:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise Snooze(0) from None


async def fail_in_the_clean_up() -> Any:
    try:
        await asyncio.sleep(60)
    finally:
        raise LookupError("in the clean-up")


@pytest.mark.parametrize("handler", [swallow_and_return, swallow_and_snooze, fail_in_the_clean_up])
async def test_a_handler_that_makes_something_else_of_its_timeout_has_timed_out(
    app: Soniq, handler: Any
) -> None:
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))
    job_id = await app.enqueue(app.job(timeout=0.1, max_attempts=1)(handler))
    await in_time(app.run_worker(run_once=True))
    assert (await status_of(app, job_id))["status"] == "dead"
    assert [type(error) for error in errors] == [AttemptTimeout]


async def test_a_handlers_own_timeout_is_its_own_error(app: Soniq) -> None:
    @app.job(timeout=60, max_attempts=1)
    async def limits_itself() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    job_id = await app.enqueue(limits_itself)
    await in_time(app.run_worker(run_once=True))
    error = (await status_of(app, job_id))["error"]
    assert error is not None
    assert error["type"] == "TimeoutError"


async def test_the_time_that_hooks_take_counts_too(app: Soniq) -> None:
    @app.before_job
    async def slow_hook(ctx: JobContext) -> None:
        await asyncio.sleep(60)

    @app.job(timeout=0.1, max_attempts=1)
    async def quick() -> None: ...

    job_id = await app.enqueue(quick)
    await in_time(app.run_worker(run_once=True))
    error = (await status_of(app, job_id))["error"]
    assert error is not None
    assert error["type"].endswith("AttemptTimeout")


@pytest.mark.parametrize("ends", ["returns", "raises"])
async def test_a_thread_keeps_its_slot_until_it_returns_and_has_then_timed_out(
    make_app: MakeApp, ends: str
) -> None:
    app = make_app()
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))
    release = threading.Event()
    began = threading.Event()
    after: list[bool] = []

    @app.job(timeout=0.05, max_attempts=1)
    def stuck() -> str:
        began.set()
        assert release.wait(20)
        if ends == "raises":
            raise LookupError("too late anyway")
        return "too late"

    @app.job()
    async def neighbour() -> None:
        after.append(release.is_set())

    job_id = await app.enqueue(stuck)
    async with working(app, concurrency=1):
        await asyncio.to_thread(began.wait, 20)
        other = await app.enqueue(neighbour)
        await asyncio.sleep(0.3)
        assert (await status_of(app, job_id))["status"] == "running"
        assert (await status_of(app, other))["status"] == "queued"
        release.set()
        await app.wait_for(other, 20)
        status = await status_of(app, job_id)
    assert status["status"] == "dead"
    assert [type(error) for error in errors] == [AttemptTimeout]
    assert after == [True]


async def test_a_thread_past_its_timeout_keeps_its_lease(make_app: MakeApp) -> None:
    app, other = make_app(lease=1), make_app(lease=1)
    runs: list[float] = []

    def stuck() -> None:
        runs.append(time.monotonic())
        time.sleep(2)

    for each in (app, other):
        each.job(name="stuck", timeout=0.05, max_attempts=1)(stuck)
    job_id = await app.enqueue("stuck")
    async with working(app), working(other):

        async def dead() -> bool:
            return (await status_of(app, job_id))["status"] == "dead"

        await eventually(dead)
    assert len(runs) == 1


class Timed:
    """Something that can be too late."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.deadline: Deadline | None = None
        self.name = name
        self.log = log

    def expire(self) -> None:
        self.log.append(self.name)


async def test_deadlines_expire_in_their_order() -> None:
    log: list[str] = []
    deadlines = Deadlines()
    timed = [Timed(name, log) for name in ("third", "first", "second")]
    for each, seconds in zip(timed, (0.15, 0.05, 0.1), strict=True):
        deadlines.add(each, seconds)
    await asyncio.sleep(0.01)
    assert log == []
    while len(log) < 3:
        await asyncio.sleep(0.01)
    assert log == ["first", "second", "third"]
    assert [each.deadline for each in timed] == [None, None, None]


async def test_a_deadline_that_no_longer_matters_does_not_expire() -> None:
    log: list[str] = []
    deadlines = Deadlines()
    over, last = Timed("over", log), Timed("last", log)
    deadlines.add(over, 0.02)
    deadlines.add(last, 0.06)
    deadlines.drop(over)
    while not log:
        await asyncio.sleep(0.01)
    assert log == ["last"]


async def test_an_earlier_deadline_added_later_is_on_time() -> None:
    log: list[str] = []
    deadlines = Deadlines()
    deadlines.add(Timed("an hour", log), 3600)
    deadlines.add(Timed("soon", log), 0.02)
    async with asyncio.timeout(20):
        while not log:
            await asyncio.sleep(0.01)
    assert log == ["soon"]
    deadlines.close()


async def test_nothing_expires_after_the_close() -> None:
    log: list[str] = []
    deadlines = Deadlines()
    deadlines.add(Timed("soon", log), 0.02)
    deadlines.close()
    await asyncio.sleep(0.1)
    assert log == []


async def test_short_attempts_with_long_timeouts_are_not_kept() -> None:
    deadlines = Deadlines()
    alive = [Timed(f"alive {n}", []) for n in range(10)]
    for each in alive:
        deadlines.add(each, 3600)
    for n in range(10_000):
        over = Timed(f"over {n}", [])
        deadlines.add(over, 3600)
        deadlines.drop(over)
    assert len(deadlines) < 200
    deadlines.close()


async def test_deadlines_hold_however_many_there_are() -> None:
    log: list[str] = []
    deadlines = Deadlines()
    timed = [Timed(f"{n}", log) for n in range(1_000)]
    for n, each in enumerate(timed):
        deadlines.add(each, 0.05 + n % 7 / 1_000)
    for each in timed[::2]:
        deadlines.drop(each)
    async with asyncio.timeout(20):
        while len(log) < 500:
            await asyncio.sleep(0.01)
    assert sorted(map(int, log)) == list(range(1, 1_000, 2))
    assert len(deadlines) == 0
