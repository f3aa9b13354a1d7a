"""What a worker takes, and in which order: concurrency, queues, priorities, names it does not
know.
"""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from soniq import InvalidOption, Soniq, hookimpl
from soniq.job import JobContext
from tests.conftest import MakeApp
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import in_time


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_no_more_attempts_run_at_once_than_the_concurrency(
    app: Soniq, concurrency: int
) -> None:
    now = most = 0

    @app.job()
    async def one() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1

    await app.enqueue_many(one, [{} for _ in range(30)])
    await app.run_worker(run_once=True, concurrency=concurrency)
    assert most == concurrency


async def test_the_setting_is_the_default_concurrency(make_app: MakeApp) -> None:
    app = make_app(concurrency=2)
    together = asyncio.Barrier(2)

    @app.job(timeout=20, max_attempts=1)
    async def meets() -> None:
        await together.wait()

    ids = await app.enqueue_many(meets, [{} for _ in range(4)])
    await in_time(app.run_worker(run_once=True))
    assert {(await status_of(app, each))["status"] for each in ids} == {"done"}


async def test_a_worker_takes_only_the_queues_it_is_given(app: Soniq) -> None:
    ran: list[str] = []

    @app.job()
    async def one(ctx: JobContext) -> None:
        ran.append(ctx.queue)

    for queue in ("mail", "reports", "default", "images"):
        await app.enqueue(one, queue=queue)
    assert await app.run_worker(run_once=True, queues=["mail", "images"]) == 2
    assert sorted(ran) == ["images", "mail"]
    assert await app.run_worker(run_once=True) == 2


@pytest.mark.parametrize(
    ("queues", "told"),
    [
        ([], "queues= names no queue"),
        ({}, "queues= names no queue"),
        ([1], "queues= takes text; got 1"),
        (1, "queues= takes names of queues; got 1"),
        ([""], "queues= takes 1 to 200 bytes of text"),
        ("", "queues= takes 1 to 200 bytes of text"),
        ({"x" * 201: 1}, "queues= takes 1 to 200 bytes of text"),
        (["a\n"], "queues= cannot hold control characters"),
    ],
)
async def test_queues_that_cannot_be_are_an_error(app: Soniq, queues: Any, told: str) -> None:
    with pytest.raises(InvalidOption, match=told):
        await app.run_worker(run_once=True, queues=queues)


async def test_of_two_due_jobs_the_one_of_lower_priority_runs_first(app: Soniq) -> None:
    ran: list[int] = []

    @app.job(priority=5)
    async def one(number: int) -> None:
        ran.append(number)

    await app.enqueue(one, number=5)
    for priority in (10, -3, 0, 32_767, -32_768):
        await app.enqueue(one, args={"number": priority}, priority=priority)
    await app.run_worker(run_once=True, concurrency=1)
    assert ran == [-32_768, -3, 0, 5, 10, 32_767]


async def test_jobs_of_one_priority_run_in_the_order_of_their_time(app: Soniq) -> None:
    ran: list[int] = []

    @app.job()
    async def one(number: int) -> None:
        ran.append(number)

    for number in range(20):
        await app.enqueue(one, number=number)
    await app.run_worker(run_once=True, concurrency=1)
    assert ran == list(range(20))


async def test_an_urgent_job_overtakes_a_backlog(app: Soniq) -> None:
    ran: list[str] = []

    @app.job()
    async def one(word: str) -> None:
        ran.append(word)
        if len(ran) == 5:
            await app.enqueue(one, args={"word": "urgent"}, priority=-1)
        if word == "urgent":
            app.stop_workers()
        await asyncio.sleep(0.01)

    await app.enqueue_many(one, [{"word": "patient"} for _ in range(400)])
    await app.run_worker(run_once=True, concurrency=1)
    assert ran.index("urgent") < 350


async def test_an_urgent_job_overtakes_what_its_worker_has_claimed_ahead(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.worker.slots.AHEAD", 10.0)
    claimed: list[set[str]] = []
    ran: list[str] = []

    class Noting:
        name = "noting"

        @hookimpl
        def claimed(self, batch: Sequence[JobContext]) -> None:
            claimed.append({each.job_id for each in batch})

    app = make_app(plugins=[Noting()])

    @app.job(name="one")
    async def one(word: str, ctx: JobContext) -> None:
        ran.append(ctx.job_id)
        if len(ran) == 50:
            await app.enqueue("one", "patient", priority=1)
            urgent.append(await app.enqueue("one", "urgent", priority=-1))
        await asyncio.sleep(0.002)

    urgent: list[str] = []
    await app.enqueue_many(one, [{"word": "patient"} for _ in range(300)])
    await app.run_worker(run_once=True, concurrency=1)
    at = next(number for number, batch in enumerate(claimed) if urgent[0] in batch)
    before = set[str]().union(*claimed[:at])
    assert before - {*ran[: ran.index(urgent[0])]}, "it came behind all that was claimed before"
    assert len(ran) == 302


async def test_queues_of_one_priority_take_turns(app: Soniq) -> None:
    ran: list[str] = []

    @app.job()
    async def one(ctx: JobContext) -> None:
        ran.append(ctx.queue)
        await asyncio.sleep(0.005)

    queues = ["a", "b", "c"]
    for queue in queues:
        await app.enqueue_many(one, [{} for _ in range(60)], queue=queue)
    await app.run_worker(run_once=True, concurrency=1)
    for queue in queues:
        assert 10 <= ran[:90].count(queue) <= 50, f"queue {queue} waited for the others"


async def test_more_queues_than_one_look_takes_are_all_served(app: Soniq) -> None:
    ran: set[str] = set()

    @app.job()
    async def one(ctx: JobContext) -> None:
        ran.add(ctx.queue)

    for number in range(100):
        await app.enqueue(one, queue=f"queue{number}", priority=number % 3)
    assert await in_time(app.run_worker(run_once=True)) == 100
    assert len(ran) == 100


async def test_a_paused_transaction_does_not_hide_its_job_for_good(make_app: MakeApp) -> None:
    app = make_app(poll_interval=0.1)
    late = asyncio.Event()

    @app.job()
    async def one(number: int) -> None:
        if number == 0:
            late.set()

    async with working(app):
        async with app._database.acquire() as connection, connection.transaction():
            await app.enqueue(one, args={"number": 0}, connection=connection)
            for number in range(1, 6):  # later ones, claimed before it is committed
                await app.wait_for(await app.enqueue(one, number=number), 20)
                await asyncio.sleep(0.1)
        await in_time(late.wait())


# --- names that a worker does not know -----------------------------------------------------------


async def test_an_unknown_name_goes_back_uncharged_and_ever_later(
    make_app: MakeApp, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(unknown_jobs="allow")
    job_id = await app.enqueue("elsewhere.job", args={})
    delays: list[float] = []
    async with app._database.acquire() as connection:
        for _ in range(11):
            assert await app.run_worker(run_once=True) == 0
            row = await connection.fetchrow(
                f"update {schema}.job set scheduled_at = now() from (select scheduled_at as due"
                f" from {schema}.job) old returning extract(epoch from due - now())::float8 as"
                " delay, attempt, deferred_since, status"
            )
            assert row is not None
            assert (row["attempt"], row["status"]) == (0, "queued")
            assert row["deferred_since"] is not None
            delays.append(row["delay"])
    assert 0 < delays[0] <= 1
    for shorter, longer in pairwise(delays[:9]):
        assert longer > shorter * 1.2
    assert 250 < delays[-1] <= 300
    assert any("elsewhere.job" in message and "requeued" in message for message in caplog.messages)
    assert (await status_of(app, job_id))["error"] is None


async def test_another_worker_that_knows_the_name_runs_it(make_app: MakeApp) -> None:
    old, new = make_app(unknown_jobs="allow", poll_interval=0.05), make_app(poll_interval=0.05)
    seen: list[JobContext] = []

    @new.job(name="added.lately", max_attempts=1)
    async def added(ctx: JobContext) -> str:
        seen.append(ctx)
        return "ran"

    job_id = await old.enqueue("added.lately", args={})
    await old.run_worker(run_once=True)
    assert (await status_of(old, job_id))["status"] == "queued"
    async with working(new):
        assert (await finished(new, job_id))["result"] == "ran"
    assert [ctx.attempt for ctx in seen] == [1]


async def test_after_a_day_an_unknown_name_is_dead_and_says_why(
    make_app: MakeApp, schema: str
) -> None:
    app = make_app(unknown_jobs="allow")
    job_id = await app.enqueue("elsewhere.job", args={})
    other = await app.enqueue("elsewhere.job", args={})
    await app.run_worker(run_once=True)
    async with app._database.acquire() as connection:
        for each, hours in ((job_id, 25), (other, 23)):
            await connection.execute(
                f"update {schema}.job set scheduled_at = now(), deferred_since = now() -"
                " make_interval(hours => $2) where id = $1",
                UUID(each),
                hours,
            )
    assert await app.run_worker(run_once=True) == 0
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"]) == ("dead", 0)
    assert status["error"] is not None
    assert "elsewhere.job" in status["error"]["message"]
    assert (await status_of(app, other))["status"] == "queued"


# --- jobs that do not start ----------------------------------------------------------------------


async def test_a_job_that_has_expired_does_not_run(app: Soniq) -> None:
    ran: list[str] = []

    @app.job(expires=0.05)
    async def one(word: str) -> None:
        ran.append(word)

    expired = await app.enqueue(one, word="too late")
    in_good_time = await app.enqueue(one, args={"word": "in time"}, expires=600)
    await asyncio.sleep(0.1)
    await app.run_worker(run_once=True)
    assert ran == ["in time"]
    status = await status_of(app, expired)
    assert (status["status"], status["attempt"]) == ("cancelled", 0)
    assert status["error"] is not None
    assert "expired" in status["error"]["message"]
    assert (await status_of(app, in_good_time))["status"] == "done"
