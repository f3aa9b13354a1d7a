"""Who runs what: queues with a concurrency of their own, paused queues, and workers that end to be
started afresh.
"""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from soniq import InvalidOption, JobContext, Soniq
from soniq.memory import resident_memory
from tests.conftest import MakeApp
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import eventually, in_time


class Gauge:
    """How many handlers of each queue run, and the most that ever did."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def run(self, queue: str) -> None:
        self.now[queue] += 1
        self.most[queue] = max(self.most[queue], self.now[queue])
        await asyncio.sleep(0.02)
        self.now[queue] -= 1


class TestConcurrency:
    """queues={...}."""

    async def test_each_queue_has_its_own(self, app: Soniq) -> None:
        gauge = Gauge()

        @app.job(queue="media")
        async def media() -> None:
            await gauge.run("media")

        @app.job()
        async def other() -> None:
            await gauge.run("default")

        for _ in range(12):
            await app.enqueue(media)
            await app.enqueue(other)
        assert await app.run_worker(queues={"media": 2, "default": 5}, run_once=True) == 24
        assert gauge.most["media"] == 2
        assert 2 < gauge.most["default"] <= 5

    async def test_a_job_may_lead_to_one_of_another_queue_also_when_run_once(
        self, app: Soniq
    ) -> None:
        @app.job(queue="b", name="second")
        async def second() -> None: ...

        @app.job(queue="a", name="first")
        async def first() -> None:
            await asyncio.sleep(0.3)  # the worker of the other queue has found nothing meanwhile
            await app.enqueue(second)

        await app.enqueue(first)
        assert await app.run_worker(queues={"b": 1, "a": 1}, run_once=True) == 2

    async def test_other_queues_are_left_alone(self, app: Soniq) -> None:
        @app.job(queue="other")
        async def one() -> None: ...

        await app.enqueue(one)
        assert await app.run_worker(queues={"media": 2}, run_once=True) == 0

    @pytest.mark.parametrize("queues", [{}, {"media": 0}, {"media": "2"}, {"": 2}])
    async def test_bad_ones_are_refused(self, app: Soniq, queues: dict[str, int]) -> None:
        with pytest.raises(InvalidOption, match="queues"):
            await app.run_worker(queues=queues, run_once=True)

    async def test_all_stop_together(self, app: Soniq) -> None:
        @app.job(queue="media")
        async def one() -> None: ...

        job_id = await app.enqueue(one)
        async with working(app, queues={"media": 1, "default": 1}):
            assert (await finished(app, job_id))["status"] == "done"
            assert len((await app.overview())["workers"]) == 2
        assert (await app.overview())["workers"] == []


class TestPause:
    """pause and resume."""

    @pytest.fixture
    def pausing(self, make_app: MakeApp) -> Soniq:
        """An app whose workers poll seldom, so that only a notification tells them soon."""
        app = make_app(poll_interval=60)

        @app.job(name="one", queue="media")
        async def one() -> None: ...

        @app.job(name="other")
        async def other() -> None: ...

        return app

    async def test_no_job_of_a_paused_queue_starts_until_it_is_resumed(
        self, pausing: Soniq
    ) -> None:
        await pausing.pause("media")
        waits, runs = await pausing.enqueue("one"), await pausing.enqueue("other")
        assert await pausing.run_worker(run_once=True) == 1
        assert (await status_of(pausing, waits))["status"] == "queued"
        assert (await status_of(pausing, runs))["status"] == "done"
        await pausing.resume("media")
        assert await pausing.run_worker(run_once=True) == 1

    async def test_a_pause_keeps_since_when_and_the_last_reason_with_who_gave_it(
        self, pausing: Soniq
    ) -> None:
        await pausing.pause("media")
        first = (await pausing.overview())["paused"]["media"]
        assert (first["by"], first["reason"]) == (None, None)
        await pausing.pause("media", reason="the provider is down", by="Eva")
        await pausing.pause("media", by="Tom")
        second = (await pausing.overview())["paused"]["media"]
        assert second == {**first, "by": "Eva", "reason": "the provider is down"}

    @pytest.mark.parametrize("what", ["reason", "by"])
    @pytest.mark.parametrize("wrong", ["", "x" * 1_001, "\0", 7])
    async def test_a_reason_that_cannot_be_kept_pauses_nothing(
        self, pausing: Soniq, what: str, wrong: Any
    ) -> None:
        with pytest.raises(InvalidOption, match=f"{what}="):
            await pausing.pause("media", **{what: wrong})
        assert (await pausing.overview())["paused"] == {}

    async def test_a_worker_that_runs_obeys_at_once(
        self, pausing: Soniq, make_app: MakeApp
    ) -> None:
        async with working(pausing):
            first = await pausing.enqueue("one")
            await finished(pausing, first)
            await pausing.pause("media")

            async def listed() -> bool:
                return list((await pausing.overview())["paused"]) == ["media"]

            await eventually(listed)
            second, other = await pausing.enqueue("one"), await pausing.enqueue("other")
            await finished(pausing, other)
            assert (await status_of(pausing, second))["status"] == "queued"
            await pausing.resume("media")
            await finished(pausing, second, limit=15)

    async def test_a_worker_that_hears_nothing_obeys_within_a_second(
        self, make_app: MakeApp
    ) -> None:
        app = make_app(poll_interval=60, pgbouncer=True)
        started: list[float] = []

        @app.job(queue="media")
        async def one() -> None:
            started.append(time.monotonic())
            await app.enqueue(one)
            await asyncio.sleep(0.01)

        await app.enqueue(one)
        async with working(app):
            await eventually(lambda: _any(started))
            await app.pause("media")
            paused = time.monotonic()
            await asyncio.sleep(2)
            assert started[-1] - paused < 1

    async def test_jobs_that_were_claimed_and_have_not_started_are_given_back(
        self, make_app: MakeApp
    ) -> None:
        app = make_app(poll_interval=60, prefetch=50)
        go_on, began = asyncio.Event(), asyncio.Event()

        @app.job(name="quick", queue="media")
        async def quick() -> None: ...

        @app.job(name="slow", queue="media")
        async def slow() -> None:
            began.set()
            await go_on.wait()

        await app.enqueue_many("quick", [{} for _ in range(50)])
        async with working(app, concurrency=1):
            await eventually(
                lambda: _none_waits(app)
            )  # the worker has learned that handlers are quick
            await app.enqueue_many("slow", [{} for _ in range(10)])
            await in_time(began.wait())
            await app.pause("media")

            async def one_runs() -> bool:
                backlog = (await app.backlog())["media"]
                return (backlog["running"], backlog["waiting"]) == (1, 9)

            await eventually(one_runs)
            go_on.set()
            await eventually(lambda: _none_runs(app))
            assert (await app.backlog())["media"]["waiting"] == 9

    async def test_it_may_be_said_twice(self, pausing: Soniq) -> None:
        await pausing.pause("media")
        await pausing.pause("media")
        await pausing.resume("media")
        await pausing.resume("media")
        assert (await pausing.overview())["paused"] == {}


async def _none_waits(app: Soniq) -> bool:
    return not await app.backlog()


async def _any(found: list[float]) -> bool:
    return bool(found)


async def _runs(app: Soniq, job_id: str) -> bool:
    return (await status_of(app, job_id))["status"] == "running"


async def _none_runs(app: Soniq) -> bool:
    return (await app.backlog())["media"]["running"] == 0


class TestLimits:
    """max_jobs and max_memory."""

    @pytest.fixture
    def many(self, app: Soniq) -> Soniq:
        """An app with a job of which many are enqueued."""

        @app.job(name="one")
        async def one() -> None:
            await asyncio.sleep(0.001)

        return app

    async def test_a_worker_ends_after_so_many_attempts_and_leaves_the_rest(
        self, many: Soniq
    ) -> None:
        await many.enqueue_many("one", [{} for _ in range(2_000)])
        count = await in_time(many.run_worker(max_jobs=10))
        assert count == 10
        assert (await many.backlog())["default"]["waiting"] == 1_990

    async def test_queues_with_a_concurrency_of_their_own_share_the_limit(
        self, many: Soniq
    ) -> None:
        for queue in ("a", "b", "c", "d"):
            await many.enqueue_many("one", [{} for _ in range(200)], queue=queue)
        count = await in_time(
            many.run_worker(queues={"a": 20, "b": 20, "c": 20, "d": 20}, max_jobs=50)
        )
        assert count == 50

    async def test_a_queue_without_jobs_does_not_keep_another_from_what_the_limit_leaves(
        self, make_app: MakeApp
    ) -> None:
        app = make_app(poll_interval=30)

        @app.job()
        async def one() -> None: ...

        for queue in ("a", "b"):
            await app.enqueue(one, queue=queue)
        await app.run_worker(run_once=True)
        await app.enqueue_many(one, [{}] * 5, queue="b")
        assert await in_time(app.run_worker(queues={"a": 10, "b": 10}, max_jobs=5), 10) == 5

    @pytest.mark.parametrize("queues", [None, {"default": 2, "other": 2}])
    async def test_a_worker_at_its_limit_waits_for_what_runs_for_longer_than_grace(
        self, make_app: MakeApp, queues: dict[str, int] | None
    ) -> None:
        app = make_app(grace=0.2)
        told: list[bool] = []

        @app.job()
        async def slow(ctx: JobContext) -> str:
            await asyncio.sleep(1)
            told.append(ctx.stopping)
            return "done"

        other = await app.enqueue(slow, queue="other")
        job_id = await app.enqueue(slow)
        assert await in_time(app.run_worker(max_jobs=2, queues=queues)) == 2
        assert [await app.get_result(each) for each in (job_id, other)] == ["done", "done"]
        assert told == [False, False]

    async def test_a_worker_at_its_limit_that_is_stopped_gives_what_runs_its_grace_only(
        self, make_app: MakeApp
    ) -> None:
        app = make_app(grace=0.1)

        @app.job()
        async def endless() -> None:
            await asyncio.sleep(3600)

        job_id = await app.enqueue(endless)
        worker = asyncio.create_task(app.run_worker(max_jobs=1))
        await eventually(lambda: _runs(app, job_id))
        await asyncio.sleep(0.3)
        assert not worker.done()
        app.stop_workers()
        assert await in_time(worker) == 1
        assert (await status_of(app, job_id))["status"] == "queued"

    async def test_a_worker_ends_when_its_process_is_too_large(self, many: Soniq) -> None:
        await many.enqueue("one")
        await in_time(many.run_worker(max_memory=resident_memory() // 2))

    async def test_a_worker_goes_on_while_its_process_is_small_enough(self, many: Soniq) -> None:
        await many.enqueue("one")
        assert (
            await many.run_worker(max_memory=resident_memory() * 100, max_jobs=5, run_once=True)
            == 1
        )

    @pytest.mark.parametrize("option", ["max_jobs", "max_memory", "concurrency"])
    @pytest.mark.parametrize("value", [0, -1, 1.5, "1"])
    async def test_bad_limits_are_refused(self, many: Soniq, option: str, value: object) -> None:
        with pytest.raises(InvalidOption, match=option):
            await many.run_worker(run_once=True, **{option: value})  # type: ignore[arg-type] # the mistake itself
