"""One attempt: its context, its arguments, its result, and what a handler's end comes to."""

import asyncio
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from soniq import Soniq
from soniq.job import JobContext
from soniq.plugin import Outcome, StashKey
from tests.support.jobs import run_job, status_of


async def test_a_context_has_the_facts_of_its_job(app: Soniq) -> None:
    seen: list[JobContext] = []

    @app.job(name="facts", queue="mail", max_attempts=3)
    async def facts(word: str, ctx: JobContext) -> None:
        seen.append(ctx)

    before = datetime.now(UTC)
    job_id = await app.enqueue(facts, word="hello", headers={"trace": {"id": 7}})
    await app.run_worker(run_once=True)
    [ctx] = seen
    assert ctx.job_id == job_id
    assert type(ctx.job_id) is str
    assert ctx.job_name == "facts"
    assert (ctx.attempt, ctx.max_attempts) == (1, 3)
    assert ctx.queue == "mail"
    assert str(UUID(ctx.worker_id)) == ctx.worker_id
    assert ctx.headers == {"trace": {"id": 7}}
    assert ctx.args == {"word": "hello"}
    assert ctx.payload_size == len(b'{"word":"hello"}')
    for time in (ctx.scheduled_at, ctx.created_at):
        assert time.utcoffset() == timedelta(0)
        assert abs(time - before) < timedelta(minutes=1)


async def test_a_job_without_headers_has_none(app: Soniq) -> None:
    seen: list[object] = []

    @app.job()
    async def plain(ctx: JobContext) -> None:
        seen.append(dict(ctx.headers))

    await app.enqueue(plain)
    await app.run_worker(run_once=True)
    assert seen == [{}]


async def test_the_time_in_the_queue_counts_from_when_the_job_was_due(app: Soniq) -> None:
    seen: list[float] = []

    @app.job()
    async def waits(ctx: JobContext) -> None:
        seen.append(ctx.queued_for)

    await app.enqueue(waits)
    await asyncio.sleep(0.3)
    await app.run_worker(run_once=True)
    assert 0.3 <= seen[0] < 60


async def test_a_job_is_due_when_its_enqueue_said(app: Soniq) -> None:
    seen: list[JobContext] = []

    @app.job()
    async def later(ctx: JobContext) -> None:
        seen.append(ctx)

    await app.enqueue(later, delay=0.2)
    await asyncio.sleep(0.25)
    await app.run_worker(run_once=True)
    [ctx] = seen
    assert timedelta(seconds=0.2) <= ctx.scheduled_at - ctx.created_at < timedelta(seconds=1)
    assert ctx.queued_for < 10


async def test_the_arguments_are_none_until_they_are_decoded(app: Soniq) -> None:
    seen: list[object] = []

    @app.around_job
    async def around(ctx: JobContext):  # type: ignore[no-untyped-def] # as users write it
        seen.append((ctx.args, ctx.payload_size > 0, ctx.queued_for >= 0))
        yield
        seen.append(ctx.args)

    @app.before_job
    async def before(ctx: JobContext) -> None:
        seen.append(ctx.args)

    @app.job()
    async def double(number: int, ctx: JobContext, times: int = 2) -> int:
        return number * times

    await app.enqueue(double, number=4)
    await app.run_worker(run_once=True)
    decoded = {"number": 4, "times": 2}
    assert seen == [(None, True, True), decoded, decoded]


async def test_the_outcome_is_there_once_it_is_decided(app: Soniq) -> None:
    seen: list[Outcome | None] = []

    @app.around_job
    async def around(ctx: JobContext):  # type: ignore[no-untyped-def] # as users write it
        seen.append(ctx.outcome)
        yield
        seen.append(ctx.outcome)

    @app.job(queue="sums")
    async def add(a: int, b: int) -> int:
        return a + b

    job_id = await app.enqueue(add, a=1, b=2)
    await app.run_worker(run_once=True)
    before, after = seen
    assert before is None
    assert after is not None
    assert (after.job_id, after.job_name, after.queue) == (job_id, add.name, "sums")
    assert (after.status, after.kind, after.attempt, after.error) == ("done", "done", 1, None)


async def test_what_is_stashed_stays_with_its_attempt(app: Soniq) -> None:
    key: StashKey[int] = StashKey("test.key")
    seen: list[int | None] = []

    @app.before_job
    async def before(ctx: JobContext) -> None:
        seen.append(ctx.stash.get(key))
        ctx.stash[key] = ctx.attempt

    @app.after_job
    async def after(ctx: JobContext) -> None:
        seen.append(ctx.stash[key])

    @app.job()
    async def one() -> None: ...

    await app.enqueue(one)
    await app.enqueue(one)
    await app.run_worker(run_once=True, concurrency=1)
    assert seen == [None, 1, None, 1]


async def test_a_failed_attempt_leaves_type_message_and_traceback(app: Soniq) -> None:
    @app.job(max_attempts=1)
    async def broken() -> None:
        raise LookupError("no such order")

    status = await run_job(app, broken)
    assert status["status"] == "dead"
    assert status["attempt"] == 1
    error = status["error"]
    assert error is not None
    assert (error["type"], error["message"]) == ("LookupError", "no such order")
    assert error["traceback"] is not None
    assert error["traceback"].splitlines()[-1] == "LookupError: no such order"


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_traceback_starts_in_the_users_code(app: Soniq, threaded: bool) -> None:
    def inner() -> None:
        raise LookupError("no such order")

    async def asynchronous() -> None:
        inner()

    def synchronous() -> None:
        inner()

    job = app.job(name="broken", max_attempts=1)(synchronous if threaded else asynchronous)
    job_id = await app.enqueue(job)
    await app.run_worker(run_once=True)
    error = (await status_of(app, job_id))["error"]
    assert error is not None
    assert error["traceback"] is not None
    first, second = (line for line in error["traceback"].splitlines() if line.startswith("  File"))
    assert __file__ in first
    assert first.endswith("synchronous")
    assert second.endswith("in inner")


class _Odd(Exception):
    def __str__(self) -> str:
        return "NUL \0 and half a pair \ud800"


async def test_an_error_that_json_cannot_hold_is_kept_as_far_as_it_can_be(app: Soniq) -> None:
    @app.job(max_attempts=1)
    async def odd() -> None:
        raise _Odd

    status = await run_job(app, odd)
    assert status["status"] == "dead"
    assert status["error"] is not None
    assert "half a pair" in status["error"]["message"]


ENDS = (SystemExit, KeyboardInterrupt, asyncio.CancelledError, StopIteration, GeneratorExit)


@pytest.mark.parametrize("threaded", [False, True])
async def test_no_exception_of_a_handler_ends_the_worker(app: Soniq, threaded: bool) -> None:
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))

    def define(kind: type[BaseException]) -> Any:
        def synchronous() -> None:
            raise kind("from the handler")

        async def asynchronous() -> None:
            raise kind("from the handler")

        return app.job(name=kind.__name__, max_attempts=1)(
            synchronous if threaded else asynchronous
        )

    @app.job()
    async def neighbour() -> str:
        return "ran"

    ids = {kind: await app.enqueue(define(kind)) for kind in ENDS}
    last = await app.enqueue(neighbour)
    assert await asyncio.wait_for(app.run_worker(run_once=True, concurrency=1), 20) == len(ENDS) + 1
    assert await app.get_result(last) == "ran"
    assert len(errors) == len(ENDS)
    for kind, job_id in ids.items():
        status = await status_of(app, job_id)
        assert (status["status"], status["attempt"]) == ("dead", 1)
        assert status["error"] is not None
        assert kind.__name__ in (status["error"]["traceback"] or "")


async def test_sys_exit_in_a_handler_is_a_failure_like_any_other(app: Soniq) -> None:
    @app.job(retry=0.0, max_attempts=2)
    async def leaves(ctx: JobContext) -> str:
        if ctx.attempt == 1:
            sys.exit("it is over")
        return "stayed"

    job_id = await app.enqueue(leaves)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == "stayed"


async def test_a_handler_with_a_result_of_the_wrong_type_has_failed(app: Soniq) -> None:
    @app.job(max_attempts=1)
    async def liar() -> int:
        return "five"  # type: ignore[return-value] # the lie

    status = await run_job(app, liar)
    assert status["status"] == "dead"
    assert status["error"] is not None
    assert "int" in status["error"]["message"]
    assert "str" in status["error"]["message"]


async def test_corrupt_bytes_end_a_job_dead_at_once_and_its_neighbours_run(
    app: Soniq, schema: str
) -> None:
    @app.job(max_attempts=5)
    async def double(number: int) -> int:
        return number * 2

    bad = await app.enqueue(double, number=1)
    good = await app.enqueue(double, number=2)
    async with app._database.acquire() as connection:
        await connection.execute(
            f"update {schema}.job set args = '\\xff00'::bytea where id = $1", UUID(bad)
        )
    await app.run_worker(run_once=True)
    status = await status_of(app, bad)
    assert (status["status"], status["attempt"]) == ("dead", 1)
    assert status["error"] is not None
    assert "cannot be read" in status["error"]["message"]
    assert await app.get_result(good) == 4


async def test_each_attempt_has_a_context_of_its_own(app: Soniq) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="none")
    seen: list[str] = []

    @app.before_job
    async def set_tenant(ctx: JobContext) -> None:
        seen.append(tenant.get())
        tenant.set(ctx.job_name)

    async def show() -> None:
        seen.append(tenant.get())

    await app.enqueue(app.job(name="one")(show))
    await app.enqueue(app.job(name="two")(show))
    await app.run_worker(run_once=True, concurrency=1)
    assert seen == ["none", "one", "none", "two"]
    assert tenant.get() == "none"


async def test_a_failure_is_logged_in_one_readable_line(
    app: Soniq, caplog: pytest.LogCaptureFixture
) -> None:
    @app.job(name="broken", max_attempts=2, retry=0.0)
    async def broken() -> None:
        raise LookupError("no such order\nof two lines")

    job_id = await app.enqueue(broken)
    with caplog.at_level(logging.INFO, "soniq"):
        await app.run_worker(run_once=True)
    lines = [record.getMessage() for record in caplog.records if job_id in record.getMessage()]
    assert len(lines) == 2
    assert "attempt 1 of 2" in lines[0]
    assert "LookupError: no such order of two lines" in lines[0]
    assert "dead" in lines[1]


async def test_an_attempt_counts_while_it_runs(app: Soniq) -> None:
    seen: list[tuple[str, int]] = []

    @app.job()
    async def look(ctx: JobContext) -> None:
        status = await status_of(app, ctx.job_id)
        seen.append((status["status"], status["attempt"]))
        assert status["worker_id"] == ctx.worker_id
        assert status["started_at"] is not None

    job_id = await app.enqueue(look)
    await app.run_worker(run_once=True)
    assert seen == [("running", 1)]
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"]) == ("done", 1)
    assert status["started_at"] is not None
    assert status["finished_at"] is not None
    assert status["started_at"] <= status["finished_at"]


async def test_an_error_that_hides_where_it_came_from_ends_its_own_job_only(app: Soniq) -> None:
    def refuse(*_: object) -> Any:
        raise RuntimeError("this is nobody's business")

    class Hidden(Exception):
        with_traceback = refuse

    for name in ("__cause__", "__context__", "__traceback__"):
        setattr(Hidden, name, property(refuse))

    @app.job(name="hidden", max_attempts=1)
    async def hidden() -> None:
        raise Hidden("gone")

    bad = await app.enqueue(hidden)
    async with asyncio.timeout(30):
        await app.run_worker(run_once=True)
    status = await app.get_job_status(bad)
    assert status is not None
    assert status["error"] is not None
    assert (status["status"], status["error"]["message"]) == ("dead", "gone")
    assert "in hidden" in (status["error"]["traceback"] or "")


async def test_an_error_of_which_nothing_can_be_read_ends_its_own_job_only(app: Soniq) -> None:
    class Closed(Exception):
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError("nothing of this can be read")

    @app.job(name="closed", max_attempts=1)
    async def closed() -> None:
        raise Closed

    @app.job()
    async def neighbour() -> str:
        return "fine"

    bad, good = await app.enqueue(closed), await app.enqueue(neighbour)
    async with asyncio.timeout(30):
        await app.run_worker(run_once=True)
    assert (await status_of(app, bad))["status"] == "dead"
    assert await app.get_result(good) == "fine"


async def test_an_error_that_cannot_say_what_it_is_ends_its_own_job_only(app: Soniq) -> None:
    class Hostile(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

        __repr__ = __str__

    @app.job(max_attempts=1)
    async def hostile() -> None:
        raise Hostile

    @app.job()
    async def neighbour() -> str:
        return "fine"

    bad, good = await app.enqueue(hostile), await app.enqueue(neighbour)
    await app.run_worker(run_once=True)
    status = await app.get_job_status(bad)
    assert status is not None
    assert status["error"] is not None
    assert status["status"] == "dead"
    assert status["error"]["type"].endswith("Hostile")
    assert await app.get_result(good) == "fine"
