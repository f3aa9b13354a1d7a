"""What a handler does with its context: cancelled, stopping, progress, logger, and children."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import asyncpg
import numpy
import pytest

from soniq import Cancel, InvalidOption, JobContext, JobFailed, Snooze, Soniq
from tests.conftest import MakeApp
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import in_time


async def until(check: Callable[[], Awaitable[Any]]) -> Any:
    """What `check` gives, once it gives something."""
    async with asyncio.timeout(20):
        while not (found := await check()):
            await asyncio.sleep(0.02)
        return found


class TestEnding:
    """ctx.cancelled and ctx.stopping, for handlers in threads."""

    async def test_a_thread_sees_that_its_job_was_cancelled(self, app: Soniq) -> None:
        began, saw = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        @app.job()
        def one(ctx: JobContext) -> None:
            loop.call_soon_threadsafe(began.set)
            while not ctx.cancelled:
                threading.Event().wait(0.01)
            saw.set()
            raise Cancel

        job_id = await app.enqueue(one)
        async with working(app):
            await in_time(began.wait())
            assert await app.cancel(job_id)
            assert (await finished(app, job_id))["status"] == "cancelled"
        assert saw.is_set()

    async def test_a_thread_sees_that_it_timed_out(self, app: Soniq) -> None:
        saw = threading.Event()

        @app.job(timeout=0.1, max_attempts=1)
        def one(ctx: JobContext) -> None:
            while not ctx.cancelled:
                threading.Event().wait(0.01)
            saw.set()

        job_id = await app.enqueue(one)
        async with working(app):
            assert (await finished(app, job_id))["status"] == "dead"
        assert saw.is_set()

    async def test_a_thread_sees_that_the_worker_stops_and_may_end_in_time(
        self, app: Soniq
    ) -> None:
        began = asyncio.Event()
        loop = asyncio.get_running_loop()

        @app.job()
        def one(ctx: JobContext) -> str:
            loop.call_soon_threadsafe(began.set)
            while not ctx.stopping:
                threading.Event().wait(0.01)
            return "in time" if not ctx.cancelled else "cancelled"

        job_id = await app.enqueue(one)
        async with working(app):
            await in_time(began.wait())
        assert await app.get_result(job_id) == "in time"

    def test_in_a_unit_test_nothing_is_cancelled_and_nothing_stops(self) -> None:
        ctx = JobContext(job_id="1", job_name="one")
        assert (ctx.cancelled, ctx.stopping) == (False, False)


class TestProgress:
    """ctx.progress."""

    @pytest.mark.parametrize("threaded", [False, True])
    async def test_it_is_in_the_status_while_the_job_runs_and_stays(
        self, make_app: MakeApp, threaded: bool
    ) -> None:
        app = make_app(lease=1)
        go_on = threading.Event()

        async def here(ctx: JobContext) -> None:
            await ctx.progress(0.2, step="load")
            await ctx.progress(0.4, step="resize", file="ü")
            await asyncio.to_thread(go_on.wait, 20)

        def in_a_thread(ctx: JobContext) -> None:
            ctx.report_progress(0.4, step="resize", file="ü")
            go_on.wait(20)

        job_id = await app.enqueue(app.job(name="one")(in_a_thread if threaded else here))

        async def reported() -> Any:
            status = await app.get_job_status(job_id)
            return status is not None and status["progress"]

        async with working(app):
            expected = {"fraction": 0.4, "step": "resize", "file": "ü"}
            assert await until(reported) == expected
            go_on.set()
            assert (await finished(app, job_id))["progress"] == expected

    async def test_an_attempt_begins_without_the_progress_of_the_one_before(
        self, make_app: MakeApp
    ) -> None:
        app = make_app(lease=1)
        seen: list[object] = []

        @app.job(retry=0)
        async def one(ctx: JobContext) -> None:
            status = await app.get_job_status(ctx.job_id)
            assert status is not None
            seen.append(status["progress"])
            if ctx.attempt == 1:
                await ctx.progress(0.4)
                while not seen[0]:
                    await asyncio.sleep(0.02)
                    seen[0] = (await status_of(app, ctx.job_id))["progress"]
                raise ValueError("once more")

        job_id = await app.enqueue(one)
        async with working(app):
            await finished(app, job_id)
        assert seen == [{"fraction": 0.4}, None]

    @pytest.mark.parametrize(
        "fraction", [-0.1, 1.1, float("nan"), "0.5", None, 10**400, numpy.ones(2)]
    )
    async def test_what_is_no_fraction_is_refused(self, fraction: Any) -> None:
        with pytest.raises(ValueError, match="a fraction between 0 and 1"):
            await JobContext(job_id="1", job_name="one").progress(fraction)

    @pytest.mark.parametrize("fraction", [Decimal("0.5"), numpy.float32(0.5), Fraction(1, 2)])
    async def test_a_fraction_of_any_library_is_a_number(self, fraction: Any) -> None:
        reported: list[str] = []
        state: Any = SimpleNamespace(report=lambda job_id, text: reported.append(text))
        await JobContext(job_id="1", job_name="one", state=state).progress(fraction)
        assert reported == ['{"fraction":0.5}']

    @pytest.mark.parametrize(
        "loss", [float("nan"), [1.0, float("inf")], "\ud800", 10**5000, {1: 1, "1": 2}], ids=type
    )
    async def test_what_json_would_change_is_refused(self, loss: object) -> None:
        with pytest.raises(InvalidOption, match="progress takes JSON values"):
            await JobContext(job_id="1", job_name="one").progress(0.5, loss=loss)

    async def test_the_limit_is_in_bytes(self) -> None:
        with pytest.raises(InvalidOption, match="takes 10,000 bytes of JSON; got 12,0"):
            await JobContext(job_id="1", job_name="one").progress(0.5, text="ü" * 6_000)

    async def test_what_is_no_json_is_refused(self) -> None:
        with pytest.raises(TypeError):
            await JobContext(job_id="1", job_name="one").progress(0.5, what=object())


def test_the_logger_carries_the_job(caplog: pytest.LogCaptureFixture) -> None:
    ctx = JobContext(job_id="the-id", job_name="mail", attempt=2)
    with caplog.at_level(logging.INFO, "soniq.job"):
        ctx.logger.info("sent %d", 3, extra={"to": "x"})
    record = caplog.records[0]
    assert record.getMessage() == "mail the-id attempt 2: sent 3"
    assert {name: vars(record)[name] for name in ("job_id", "job_name", "attempt", "to")} == {
        "job_id": "the-id", "job_name": "mail", "attempt": 2, "to": "x",
    }  # fmt: skip


def test_the_logger_takes_a_job_whose_name_holds_a_percent_sign(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "soniq.job"):
        JobContext(job_id="the-id", job_name="50%done").logger.info("sent %d", 3)
    assert caplog.records[0].getMessage() == "50%done the-id attempt 1: sent 3"


class TestChildren:
    """ctx.enqueue."""

    @pytest.fixture
    def ran(self, app: Soniq) -> list[int]:
        """The numbers of the children that ran."""
        ran: list[int] = []

        @app.job(name="child")
        async def child(number: int) -> None:
            ran.append(number)

        return ran

    async def test_they_come_with_the_completion_of_their_parent(
        self, app: Soniq, ran: list[int]
    ) -> None:
        seen: list[object] = []

        @app.job()
        async def parent(ctx: JobContext) -> list[str]:
            ids = [await ctx.enqueue("child", number=number) for number in range(3)]
            seen.extend([await app.get_job_status(id_) for id_ in ids])
            return [str(id_) for id_ in ids]

        job_id = await app.enqueue(parent)
        await app.run_worker(run_once=True)
        assert seen == [None] * 3
        assert sorted(ran) == [0, 1, 2]
        assert sorted(await app.get_result(job_id)) == sorted(
            job["job_id"] for job in await app.jobs(name="child", status="done")
        )

    @pytest.mark.parametrize("end", [ValueError("no"), Snooze(60)])
    async def test_an_attempt_that_does_not_succeed_leaves_none(
        self, app: Soniq, ran: list[int], end: Exception
    ) -> None:
        @app.job(max_attempts=1)
        async def parent(ctx: JobContext) -> None:
            await ctx.enqueue("child", number=1)
            raise end

        await app.enqueue(parent)
        await app.run_worker(run_once=True)
        assert await app.jobs(name="child") == []

    async def test_they_come_in_the_transaction_of_an_injected_connection(
        self, app: Soniq, ran: list[int]
    ) -> None:
        @app.job()
        async def parent(ctx: JobContext, connection: asyncpg.Connection) -> None:
            await ctx.enqueue("child", number=7)
            await connection.execute("select 1")

        await app.enqueue(parent)
        await app.run_worker(run_once=True)
        assert ran == [7]

    async def test_one_of_a_parent_that_was_taken_away_is_not_enqueued(
        self,
        app: Soniq,
        ran: list[int],
        schema: str,
        connection: "asyncpg.Connection[asyncpg.Record]",
    ) -> None:
        @app.job()
        async def parent(ctx: JobContext) -> None:
            await ctx.enqueue("child", number=1)
            await connection.execute(
                f"update {schema}.job set claim = claim + 1, status = 'queued', scheduled_at ="
                " now() + interval '1 h'"
            )

        await app.enqueue(parent)
        await app.run_worker(run_once=True)
        assert await app.jobs(name="child") == []

    async def test_they_may_be_unique_and_delayed(self, app: Soniq, ran: list[int]) -> None:
        @app.job()
        async def parent(ctx: JobContext) -> None:
            await ctx.enqueue("child", number=1, dedup_key="k", delay=3600)
            await ctx.enqueue("child", number=2, dedup_key="k", delay=3600)

        await app.enqueue(parent)
        await app.run_worker(run_once=True)
        assert [(job["status"]) for job in await app.jobs(name="child")] == ["queued"]

    async def test_a_child_in_a_new_queue_is_found_by_a_worker_that_was_busy(
        self, make_app: MakeApp
    ) -> None:
        app = make_app(poll_interval=30)

        @app.job(name="child")
        async def child() -> None: ...

        @app.job()
        async def parent(ctx: JobContext) -> str:
            return await ctx.enqueue("child", queue="new")

        parent_id = await app.enqueue(parent)
        async with working(app, concurrency=1):
            await finished(app, parent_id)
            await finished(app, await app.get_result(parent_id), limit=10)

    async def test_a_child_has_no_connection_of_its_own(self, app: Soniq, ran: list[int]) -> None:
        @app.job(max_attempts=1)
        async def parent(ctx: JobContext) -> None:
            async with app.connection() as own:
                await ctx.enqueue("child", number=1, connection=own)

        job_id = await app.enqueue(parent)
        await app.run_worker(run_once=True)
        status = await app.get_job_status(job_id)
        assert status is not None
        assert status["error"] is not None
        assert status["error"]["type"] == "soniq.errors.InvalidOption"

    async def test_outside_a_worker_it_is_an_error(self) -> None:
        with pytest.raises(RuntimeError, match="belongs to no worker"):
            await JobContext(job_id="1", job_name="one").enqueue("child")


class TestClosing:
    """A handler that closes its app would wait for itself, until the worker had ended for it."""

    async def test_a_handler_may_open_the_app_as_a_program_does(self, app: Soniq) -> None:
        @app.job(name="child")
        async def child() -> int:
            return 7

        @app.job(name="parent")
        async def parent() -> int:
            async with app:
                job_id = await app.enqueue(child)
            return int(await app.wait_for(job_id, timeout=20))

        await app.start()
        async with working(app):
            assert await app.wait_for(await app.enqueue(parent), timeout=20) == 7

    async def test_a_handler_cannot_close_the_app_and_the_worker_goes_on(self, app: Soniq) -> None:
        @app.job(name="closing", max_attempts=1)
        async def closing() -> None:
            await app.close()

        @app.job(name="child")
        async def child() -> int:
            return 7

        async with working(app):
            with pytest.raises(JobFailed, match="a job cannot close the app whose worker runs it"):
                await app.wait_for(await app.enqueue(closing), timeout=20)
            assert await app.wait_for(await app.enqueue(child), timeout=20) == 7

    def test_neither_can_one_in_a_thread(self, make_app: MakeApp) -> None:
        app = make_app()

        @app.job(name="closing", max_attempts=1)
        def closing() -> None:
            app.sync.close()

        job_id = app.sync.enqueue(closing)
        assert app.sync.run_worker(run_once=True) == 1
        with pytest.raises(JobFailed, match="a job cannot close the app whose worker runs it"):
            app.sync.wait_for(job_id, timeout=20)
        app.sync.close()

    async def test_a_handler_may_close_another_app(self, app: Soniq, make_app: MakeApp) -> None:
        other = make_app()

        @app.job(name="to_another")
        async def to_another() -> bool:
            async with other:
                await other.backlog()
            return other.closed

        async with working(app):
            assert await app.wait_for(await app.enqueue(to_another), timeout=20) is True


async def test_blocks_of_one_app_close_it_with_the_last_of_them(app: Soniq) -> None:
    @app.job(name="child")
    async def child() -> int:
        return 7

    async def view() -> int:
        async with app:
            return int(await app.wait_for(await app.enqueue(child), timeout=20))

    async with app:
        async with working(app):
            assert list(await asyncio.gather(view(), view())) == [7, 7]
            assert await view() == 7
        assert not app.closed
    assert app.closed
