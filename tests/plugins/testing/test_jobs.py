"""`soniq_app`, `drain` and `travel`: the fixtures that `soniq_testing` brings, as a project of
users has them.
"""

import asyncio
import threading

import pytest

from soniq import InvalidOption, JobContext, JobFailed, Snooze, Soniq
from soniq_testing import Drain, Travel, app_on_test_schema, drain


async def test_drain_runs_all_that_is_due_and_what_that_enqueues(
    soniq_app: Soniq, drain: Drain
) -> None:
    @soniq_app.job(name="first")
    async def first() -> None:
        await soniq_app.enqueue("second")

    @soniq_app.job(name="second")
    async def second() -> str:
        return "reached"

    await soniq_app.enqueue("first")
    assert await drain() == 2
    (job,) = await soniq_app.jobs(name="second")
    assert await soniq_app.get_result(job["job_id"]) == "reached"


async def test_drain_leaves_what_is_due_later_until_time_has_passed(
    soniq_app: Soniq, drain: Drain, travel: Travel
) -> None:
    @soniq_app.job(name="later")
    async def later() -> None: ...

    await soniq_app.enqueue("later", delay=3600)
    assert await drain() == 0
    await travel(3599)
    assert await drain() == 0
    await travel(1)
    assert await drain() == 1


async def test_time_passes_for_a_retry_and_for_a_snooze(
    soniq_app: Soniq, drain: Drain, travel: Travel
) -> None:
    slept: list[str] = []

    @soniq_app.job(name="flaky", retry=600)
    async def flaky(ctx: JobContext) -> int:
        if ctx.attempt == 1:
            raise ConnectionError("not yet")
        return ctx.attempt

    @soniq_app.job(name="sleepy")
    async def sleepy() -> None:
        if not slept:
            slept.append("once")
            raise Snooze(600)

    jobs = [await soniq_app.enqueue("flaky"), await soniq_app.enqueue("sleepy")]
    assert await drain() == 2
    assert await drain() == 0
    await travel(600)
    assert await drain() == 2
    assert [(await soniq_app.jobs(name=name))[0]["status"] for name in ("flaky", "sleepy")] == [
        "done",
        "done",
    ]
    assert await soniq_app.get_result(jobs[0]) == 2


async def test_time_passes_for_expiry(soniq_app: Soniq, drain: Drain, travel: Travel) -> None:
    @soniq_app.job(name="fresh")
    async def fresh() -> None: ...

    job_id = await soniq_app.enqueue("fresh", expires=60)
    await travel(61)
    assert await drain() == 0
    status = await soniq_app.get_job_status(job_id)
    assert status is not None
    assert status["status"] == "cancelled"


async def test_jobs_that_become_due_at_once_keep_their_order(
    soniq_app: Soniq, travel: Travel
) -> None:
    ran: list[int] = []

    @soniq_app.job(name="note")
    async def note(place: int) -> None:
        ran.append(place)

    for place in (2, 1, 3):
        await soniq_app.enqueue("note", place=place, delay=place * 600)
    await travel(7200)
    await soniq_app.run_worker(run_once=True, concurrency=1)
    assert ran == [1, 2, 3]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
async def test_time_does_not_pass_backwards_or_for_ever(travel: Travel, seconds: float) -> None:
    with pytest.raises(InvalidOption, match="time passes by 0 to"):
        await travel(seconds)


async def test_drain_raises_the_error_of_a_job_that_died_if_asked_to(
    soniq_app: Soniq, drain: Drain
) -> None:
    @soniq_app.job(name="fail", max_attempts=1)
    async def fail(word: str) -> None:
        raise ValueError(word)

    await soniq_app.enqueue("fail", word="earlier")
    assert await drain() == 1
    first = await soniq_app.enqueue("fail", word="one")
    await soniq_app.enqueue("fail", word="two")
    with pytest.raises(JobFailed, match="ValueError: one") as raised:
        await drain(check=True)
    assert raised.value.job_id == first
    traceback, other = raised.value.__notes__
    assert "raise ValueError(word)" in traceback
    assert "died as well: ValueError: two" in other


async def test_drain_says_nothing_of_jobs_that_died_before_it_began(
    soniq_app: Soniq, drain: Drain
) -> None:
    @soniq_app.job(name="fail", max_attempts=1)
    async def fail() -> None:
        raise ValueError

    await soniq_app.enqueue("fail")
    await drain()
    assert await drain(check=True) == 0


async def test_drain_ends_a_job_that_takes_too_long_and_names_it(
    soniq_app: Soniq, drain: Drain
) -> None:
    @soniq_app.job(name="endless")
    async def endless() -> None:
        await asyncio.Event().wait()

    await soniq_app.enqueue("endless")
    with pytest.raises(TimeoutError, match=r"not all was done after 3 s; running: endless"):
        await drain(timeout=3)  # it has begun by then
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "soniq drain"]


async def test_drain_is_a_function_for_any_app_as_well(soniq_app: Soniq) -> None:
    @soniq_app.job(name="plain")
    def plain() -> str:
        return threading.current_thread().name

    job_id = await soniq_app.enqueue("plain")
    assert await drain(soniq_app) == 1
    assert "soniq job" in await soniq_app.get_result(job_id)


async def test_each_test_has_a_schema_of_its_own(soniq_app: Soniq, soniq_database_url: str) -> None:
    async with app_on_test_schema(Soniq(discover=False), database_url=soniq_database_url) as other:
        assert soniq_app.settings.schema != other.settings.schema
        assert soniq_app.settings.database_url == soniq_database_url
