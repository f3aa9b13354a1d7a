"""When a failed attempt is tried again, and when no more."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from soniq import Backoff, Cancel, Retry, Snooze, Soniq, hookimpl
from soniq.job import JobContext
from soniq.job.job import Job
from soniq.plugin import Outcome
from tests.conftest import MakeApp
from tests.support.jobs import finished, run_job, status_of, working


def test_the_first_delay_is_about_a_second() -> None:
    delays = [Backoff().delay(1) for _ in range(500)]
    assert 0.75 <= min(delays) < 0.9
    assert 1.1 < max(delays) <= 1.25


def test_delays_double_up_to_the_cap() -> None:
    backoff = Backoff(first=2, factor=2, cap=30, jitter=0)
    assert [backoff.delay(attempt) for attempt in range(1, 8)] == [2, 4, 8, 16, 30, 30, 30]


def test_jitter_is_a_share_of_the_delay() -> None:
    backoff = Backoff(first=100, factor=1, jitter=0.5)
    delays = [backoff.delay(1) for _ in range(500)]
    assert 50 <= min(delays) < 70
    assert 130 < max(delays) <= 150
    assert Backoff(jitter=0).delay(1) == 1


def test_a_delay_after_ever_so_many_attempts_is_the_cap() -> None:
    assert Backoff(cap=3600, jitter=0).delay(32_767) == 3600


@pytest.mark.parametrize(
    "bad", [{"first": -1}, {"factor": 0.5}, {"cap": -1}, {"jitter": 1.5}, {"jitter": -0.1}]
)
def test_a_backoff_that_makes_no_sense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        Backoff(**bad)


async def fails() -> None:
    raise LookupError("always")


async def delays_of(app: Soniq, jobs: Iterable[Job[..., Any]]) -> dict[str, float]:
    """By name, the seconds that each job waits after its first attempt has failed."""
    for job in jobs:
        await app.enqueue(job)
    return await next_delays(app)


async def next_delays(app: Soniq) -> dict[str, float]:
    """Let all waiting jobs fail now; by name, the seconds that each waits then."""
    own = app.settings.schema
    async with app._database.acquire() as connection:
        now = await connection.fetchval("select now()")
        await connection.execute(f"update {own}.job set scheduled_at = $1", now)
        await app.run_worker(run_once=True)
        rows = await connection.fetch(
            f"select name, extract(epoch from scheduled_at - $1)::float8 as delay from {own}.job",
            now,
        )
    return {row["name"]: row["delay"] for row in rows}


async def test_by_default_a_job_is_retried_after_about_a_second_and_then_two(app: Soniq) -> None:
    first = await delays_of(app, [app.job(name="fails")(fails)])
    assert 0.75 <= first["fails"] < 2.25
    second = await next_delays(app)
    assert 1.5 <= second["fails"] < 4


async def asynchronous_policy(ctx: JobContext, error: BaseException) -> float:
    await asyncio.sleep(0)
    return 500


POLICIES: dict[str, Any] = {
    "seconds": 500,
    "backoff": Backoff(first=500, jitter=0),
    "returns seconds": lambda ctx, error: 500,
    "returns a Retry": lambda ctx, error: Retry(500),
    "looks at the context": lambda ctx, error: 100 * ctx.attempt + 400,
    "looks at the error": lambda ctx, error: 500 if isinstance(error, LookupError) else 1,
    "is async": asynchronous_policy,
}
NO_POLICIES: dict[str, Any] = {
    "returns nothing": lambda ctx, error: None,
    "returns a Retry without a delay": lambda ctx, error: Retry(),
    "returns text": lambda ctx, error: "nonsense",
    "returns a time that is past": lambda ctx, error: -5,
    "raises": lambda ctx, error: 1 / 0,
}


async def test_a_jobs_own_retry_policy_says_when(app: Soniq) -> None:
    delays = await delays_of(
        app, [app.job(name=name, retry=each)(fails) for name, each in POLICIES.items()]
    )
    assert delays.keys() == POLICIES.keys()
    for name, delay in delays.items():
        assert 500 <= delay < 530, name


async def test_where_the_policy_says_nothing_the_default_applies(app: Soniq) -> None:
    delays = await delays_of(
        app, [app.job(name=name, retry=each)(fails) for name, each in NO_POLICIES.items()]
    )
    assert delays.keys() == NO_POLICIES.keys()
    for name, delay in delays.items():
        assert 0.75 <= delay < 30, name


async def test_a_retry_policy_that_fails_is_logged_and_the_default_applies(
    app: Soniq, caplog: pytest.LogCaptureFixture
) -> None:
    def policy(ctx: JobContext, error: BaseException) -> float:
        raise ZeroDivisionError("in the policy")

    with caplog.at_level(logging.ERROR, "soniq"):
        await delays_of(app, [app.job(retry=policy)(fails)])
    assert any("in the policy" in record.getMessage() for record in caplog.records)


async def test_a_retry_policy_may_cancel_the_job(app: Soniq) -> None:
    @app.job(retry=lambda ctx, error: Cancel(f"hopeless: {error}"))
    async def fails() -> None:
        raise LookupError("gone")

    status = await run_job(app, fails)
    assert status["status"] == "cancelled"
    assert status["error"] is not None
    assert status["error"]["message"] == "hopeless: gone"


async def test_a_signals_class_stands_for_the_signal_wherever_one_is_returned(app: Soniq) -> None:
    @app.job(name="again", max_attempts=2, retry=0)
    async def again(ctx: JobContext) -> Any:
        return Retry if ctx.attempt == 1 else "at last"

    @app.job(name="dropped", retry=lambda ctx, error: Cancel)  # type: ignore[arg-type]
    async def dropped() -> None:
        raise LookupError("gone")

    def threaded() -> Any:
        return Cancel

    def without_its_delay() -> Any:
        return Snooze

    assert (await run_job(app, again))["result"] == "at last"
    assert (await run_job(app, dropped))["status"] == "cancelled"
    assert (await run_job(app, app.job(name="threaded")(threaded)))["status"] == "cancelled"
    status = await run_job(app, app.job(name="odd", max_attempts=1)(without_its_delay))
    assert status["status"] == "dead"
    assert status["error"] is not None
    assert "delay" in status["error"]["message"]


async def test_a_failed_attempt_is_tried_again_when_its_time_has_come(make_app: MakeApp) -> None:
    app = make_app(poll_interval=30)

    @app.job(retry=0.05)
    async def third_time_lucky(ctx: JobContext) -> int:
        if ctx.attempt < 3:
            raise LookupError("not yet")
        return ctx.attempt

    job_id = await app.enqueue(third_time_lucky)
    async with working(app):
        status = await finished(app, job_id)
    assert (status["status"], status["result"], status["attempt"]) == ("done", 3, 3)
    assert status["error"] is None


class SlowToHear:
    """Takes its time over jobs that are done; the next exchange waits for it."""

    name = "slow-to-hear"

    @hookimpl
    async def settled(self, outcomes: Sequence[Outcome]) -> None:
        if any(each.kind == "done" for each in outcomes):
            await asyncio.sleep(0.5)


async def test_a_retry_is_looked_for_when_it_is_due_however_late_it_was_written(
    make_app: MakeApp,
) -> None:
    app = make_app(plugins=[SlowToHear()], poll_interval=30)

    @app.job(name="done")
    async def done() -> None: ...

    @app.job(retry=0.05)
    async def second_time_lucky(ctx: JobContext) -> int:
        await asyncio.sleep(0.1)  # until the worker tells that the other is done
        if ctx.attempt < 2:
            raise LookupError("not yet")
        return ctx.attempt

    async with working(app):
        await asyncio.sleep(0.3)  # it says that it waits, and has looked for what is due later
        lucky: Job[..., Any] = second_time_lucky
        _, job_id = await app.enqueue_all([done.call(), lucky.call()])
        status = await finished(app, job_id, 10)
    assert (status["status"], status["result"]) == ("done", 2)


class RefusesAtFirst(SlowToHear):
    """Refuses a retry when it is told of it for the first time."""

    name = "refuses-at-first"

    def __init__(self) -> None:
        self.refused: set[str] = set()

    @hookimpl
    async def settle_tx(self, tx: Any, outcomes: Sequence[Outcome]) -> None:
        refused = {each.job_id for each in outcomes if each.kind == "retry"} - self.refused
        if len(outcomes) == 1:
            self.refused |= refused
        if refused:
            raise ValueError("not now")


async def test_a_retry_that_was_refused_at_first_is_looked_for_when_it_is_due(
    make_app: MakeApp,
) -> None:
    app = make_app(plugins=[RefusesAtFirst()], poll_interval=30)
    go = asyncio.Event()

    @app.job(name="done")
    async def done() -> None:
        await go.wait()

    @app.job(retry=0.05)
    async def second_time_lucky(ctx: JobContext) -> int:
        await go.wait()
        if ctx.attempt < 2:
            raise LookupError("not yet")
        return ctx.attempt

    async with working(app):
        lucky: Job[..., Any] = second_time_lucky
        _, job_id = await app.enqueue_all([done.call(), lucky.call()])
        await asyncio.sleep(0.3)  # both run; it says that it waits
        go.set()
        status = await finished(app, job_id, 10)
    assert (status["status"], status["result"]) == ("done", 2)


@pytest.mark.parametrize(
    ("make", "attempts"),
    [
        (lambda app, fails: (app.job(name="fails", retry=0.0)(fails), {}), 4),
        (lambda app, fails: (app.job(name="fails", retry=0.0, max_attempts=2)(fails), {}), 2),
        (
            lambda app, fails: (
                app.job(name="fails", retry=0.0, max_attempts=2)(fails),
                {"max_attempts": 3},
            ),
            3,
        ),
    ],
    ids=["setting", "job", "enqueue"],
)
async def test_a_job_is_dead_after_its_attempts(
    make_app: MakeApp, make: Callable[..., tuple[Any, dict[str, int]]], attempts: int
) -> None:
    app = make_app(max_attempts=4)
    errors: list[tuple[int, str]] = []
    app.on_error(lambda ctx, error: errors.append((ctx.attempt, str(error))))

    async def fails(ctx: JobContext) -> None:
        raise LookupError(f"attempt {ctx.attempt} of {ctx.max_attempts}")

    job, options = make(app, fails)
    job_id = await app.enqueue(job, **options)
    assert await app.run_worker(run_once=True) == attempts
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"], status["max_attempts"]) == (
        "dead",
        attempts,
        attempts,
    )
    assert status["error"] is not None
    assert status["error"]["message"] == f"attempt {attempts} of {attempts}"
    assert errors == [(n, f"attempt {n} of {attempts}") for n in range(1, attempts + 1)]


async def test_a_waiting_job_shows_the_error_of_its_latest_attempt(app: Soniq) -> None:
    @app.job(retry=600)
    async def fails() -> None:
        raise LookupError("the latest")

    status = await run_job(app, fails)
    assert (status["status"], status["started_at"], status["worker_id"]) == ("queued", None, None)
    assert status["error"] is not None
    assert status["error"]["message"] == "the latest"


async def test_a_dead_job_that_a_person_retries_has_all_its_attempts(app: Soniq) -> None:
    working_now = False

    @app.job(max_attempts=2, retry=0.0)
    async def fragile(ctx: JobContext) -> int:
        if not working_now:
            raise LookupError("not working")
        return ctx.attempt

    job_id = await app.enqueue(fragile)
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["status"] == "dead"
    await app.retry(job_id)
    working_now = True
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == 1
