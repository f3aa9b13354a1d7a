"""Observers: before_job, after_job, on_error, claimed and settled. None of them takes a job
down.
"""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import asyncpg
import pytest

from soniq import JobContext, Retry, Soniq
from soniq.errors import AttemptTimeout, RetriesExhausted, WorkerLost
from tests.core.hooks.support import MakeApp, MakePlugin, Run, Work

OBSERVERS = ["before_job", "after_job", "on_error", "claimed", "settled"]


class HandlerError(Exception):
    """What a handler here fails with, so that on_error is called."""


def raises_at_once(error: BaseException) -> Callable[[], None]:
    def broken() -> None:
        raise error

    return broken


def raises_in_a_coroutine(error: BaseException) -> Callable[[], Any]:
    async def broken() -> None:
        raise error

    return broken


def raises_after_waiting(error: BaseException) -> Callable[[], Any]:
    async def broken() -> None:
        await asyncio.sleep(0)
        raise error

    return broken


async def awaits_what_was_cancelled() -> None:
    waiting = asyncio.get_running_loop().create_future()
    waiting.cancel()
    await waiting


async def cancels_what_it_awaits() -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


async def waits_for_ever() -> None:
    await asyncio.Event().wait()


class TestIsolation:
    """What an observer does wrong is logged, with its plugin's name; the job and the other
    observers go on.
    """

    @pytest.fixture
    def check(
        self, make_app: MakeApp, make_plugin: MakePlugin, run: Run, caplog: pytest.LogCaptureFixture
    ) -> Any:
        async def check(hook: str, function: Callable[..., Any], *said: str) -> None:
            others: list[str] = []
            app = make_app(
                plugins=[
                    make_plugin("broken-plugin", **{hook: function}),
                    make_plugin("other-plugin", **{hook: lambda: others.append("called")}),
                ],
                hook_timeout=0.05,
            )

            @app.job(max_attempts=1)
            async def handler() -> int:
                if hook == "on_error":
                    raise HandlerError("the handler's own")
                return 5

            status = await run(app, handler)
            if hook == "on_error":
                assert status["status"] == "dead"
                assert status["error"] is not None
                assert status["error"]["message"] == "the handler's own"
            else:
                assert (status["status"], status["result"]) == ("done", 5)
            assert others == ["called"]
            messages = [r.getMessage() for r in caplog.records if r.name == "soniq.hooks"]
            assert len(messages) == 1
            for text in (hook, "broken-plugin", *said):
                assert text in messages[0]

        return check

    @pytest.mark.parametrize("hook", OBSERVERS)
    async def test_an_error_of_a_def(self, check: Any, hook: str) -> None:
        await check(hook, raises_at_once(ValueError("boom")), "ValueError('boom')")

    @pytest.mark.parametrize("hook", OBSERVERS)
    async def test_an_error_of_an_async_def_that_waited(self, check: Any, hook: str) -> None:
        await check(hook, raises_after_waiting(ValueError("boom")), "ValueError('boom')")

    @pytest.mark.parametrize("hook", OBSERVERS)
    async def test_waiting_for_longer_than_the_limit(self, check: Any, hook: str) -> None:
        await check(hook, waits_for_ever, "HookTimeout", "0.05 s")

    @pytest.mark.parametrize("hook", OBSERVERS)
    async def test_a_cancellation_of_the_hooks_own_making(self, check: Any, hook: str) -> None:
        await check(hook, cancels_what_it_awaits, "CancelledError")

    async def test_an_error_of_an_async_def_that_did_not_wait(self, check: Any) -> None:
        await check("before_job", raises_in_a_coroutine(ValueError("boom")), "ValueError('boom')")

    @pytest.mark.parametrize("make", [raises_at_once, raises_in_a_coroutine, raises_after_waiting])
    async def test_a_cancelled_error_that_it_raises(self, check: Any, make: Any) -> None:
        await check("before_job", make(asyncio.CancelledError("own")), "CancelledError")

    async def test_a_future_that_was_cancelled(self, check: Any) -> None:
        await check("after_job", awaits_what_was_cancelled, "CancelledError")

    async def test_a_timeout_error_of_the_hooks_own_is_not_taken_for_the_limit(
        self, check: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        await check("before_job", raises_after_waiting(TimeoutError("own")), "TimeoutError('own')")
        assert "HookTimeout" not in caplog.text

    async def test_a_value_that_is_returned_has_no_effect(self, check: Any) -> None:
        await check("before_job", lambda: Retry(1), "returned Retry", "no effect")

    async def test_the_log_has_the_traceback(
        self, check: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        await check("before_job", raises_at_once(ValueError("boom")))
        assert "in broken" in caplog.text


class TestWhatIsCalled:
    """`def`, `async def`, and what returns an awaitable; with all of the arguments, or fewer."""

    async def test_an_observer_may_be_async_def_or_return_an_awaitable(
        self, app: Soniq, calls: list[str], run: Run
    ) -> None:
        async def note(name: str, ctx: JobContext) -> None:
            await asyncio.sleep(0)
            calls.append(name)

        def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def wrapper(*args: Any) -> Any:
                return function(*args)

            return wrapper

        async def plain(ctx: JobContext) -> None:
            await note("async def", ctx)

        class Callable_:
            async def __call__(self, ctx: JobContext) -> None:
                await note("object", ctx)

        app.before_job(plain)
        app.before_job(functools.partial(note, "partial"))
        app.before_job(decorated(plain))
        app.before_job(Callable_())
        app.before_job(lambda ctx: asyncio.ensure_future(note("task", ctx)))

        @app.job()
        async def handler() -> None:
            calls.append("handler")

        await run(app, handler)
        assert calls == ["async def", "partial", "async def", "object", "task", "handler"]

    async def test_a_plugins_hook_takes_the_arguments_that_it_names_in_any_order(
        self, make_app: MakeApp, make_plugin: MakePlugin, run: Run
    ) -> None:
        seen: dict[str, Any] = {}

        def neither() -> None:
            seen["neither"] = ()

        def only_result(result: object) -> None:
            seen["result"] = result

        def turned_round(result: object, ctx: JobContext) -> None:
            seen["both"] = (result, ctx.job_name)

        app = make_app(
            plugins=[
                make_plugin("a", after_job=neither),
                make_plugin("b", after_job=only_result),
                make_plugin("c", after_job=turned_round),
            ]
        )

        @app.job(name="five")
        async def handler() -> int:
            return 5

        await run(app, handler)
        assert seen == {"neither": (), "result": 5, "both": (5, "five")}


class TestWhen:
    """Which observer is called when."""

    async def test_after_job_is_called_after_success_only_and_on_error_after_failure_only(
        self, app: Soniq, calls: list[str], run: Run
    ) -> None:
        app.before_job(lambda ctx: calls.append(f"before {ctx.attempt}"))
        app.after_job(lambda ctx, result: calls.append(f"after {ctx.attempt} {result}"))
        app.on_error(lambda ctx, error: calls.append(f"error {ctx.attempt} {error!r}"))

        @app.job(max_attempts=3, retry=0)
        async def handler(ctx: JobContext) -> str:
            if ctx.attempt < 3:
                raise HandlerError(ctx.attempt)
            return "well"

        await run(app, handler)
        assert calls == [
            "before 1", "error 1 HandlerError(1)", "before 2", "error 2 HandlerError(2)",
            "before 3", "after 3 well",
        ]  # fmt: skip

    async def test_on_error_gets_the_exception_itself(self, app: Soniq, run: Run) -> None:
        raised, seen = HandlerError("this very one"), []
        app.on_error(lambda ctx, error: seen.append(error))

        @app.job(max_attempts=1)
        async def handler() -> None:
            raise raised

        await run(app, handler)
        assert seen == [raised]
        assert seen[0] is raised

    async def test_before_job_knows_the_arguments_and_after_job_the_result_but_no_outcome_yet(
        self, app: Soniq, run: Run
    ) -> None:
        seen: list[object] = []
        app.before_job(lambda ctx: seen.append(dict(ctx.args)))
        app.after_job(lambda ctx, result: seen.append((result, ctx.outcome)))

        @app.job()
        async def add(a: int, b: int = 3) -> int:
            return a + b

        await run(app, add, a=2)
        assert seen == [{"a": 2, "b": 3}, (5, None)]

    async def test_after_job_comes_after_the_commit_of_an_injected_connection(
        self, app: Soniq, schema: str, connection: Any, run: Run
    ) -> None:
        seen: list[object] = []

        @app.after_job
        async def look() -> None:
            seen.append(await connection.fetchval(f"select count(*) from {schema}_own.effect"))

        @app.job()
        async def handler(own: asyncpg.Connection) -> None:
            await own.execute(f"insert into {schema}_own.effect values (1)")

        await connection.execute(
            f"create schema {schema}_own; create table {schema}_own.effect (number integer)"
        )
        await run(app, handler)
        assert seen == [1]

    async def test_a_result_that_cannot_be_stored_is_an_error_not_a_success(
        self, app: Soniq, calls: list[str], run: Run
    ) -> None:
        app.after_job(lambda: calls.append("after"))
        app.on_error(lambda ctx, error: calls.append(type(error).__name__))

        @app.job(max_attempts=1)
        async def handler() -> int:
            return object()  # type: ignore[return-value]

        assert (await run(app, handler))["status"] == "dead"
        assert calls == ["SerializationError"]

    async def test_a_timeout_is_an_error_and_the_observers_are_not_under_it(
        self, app: Soniq, calls: list[str], run: Run
    ) -> None:
        @app.on_error
        async def failed(ctx: JobContext, error: BaseException) -> None:
            await asyncio.sleep(0.1)
            calls.append(type(error).__name__)

        @app.job(max_attempts=1, timeout=0.05)
        async def handler() -> None:
            await asyncio.Event().wait()

        assert (await run(app, handler))["status"] == "dead"
        assert calls == [AttemptTimeout.__name__]

    async def test_a_jobs_timeout_ends_it_also_while_an_observer_waits(
        self,
        make_app: MakeApp,
        make_plugin: MakePlugin,
        calls: list[str],
        run: Run,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        app = make_app(plugins=[make_plugin("slow", before_job=waits_for_ever)], hook_timeout=60.0)
        app.on_error(lambda ctx, error: calls.append(type(error).__name__))

        @app.job(max_attempts=1, timeout=0.1)
        async def handler() -> None:
            calls.append("handler")

        assert (await run(app, handler))["status"] == "dead"
        assert calls == ["AttemptTimeout"]
        assert "slow" not in [r.getMessage() for r in caplog.records if r.name == "soniq.hooks"]

    async def test_on_error_hears_of_an_attempt_whose_worker_died(
        self, make_app: MakeApp, connection: Any, schema: str, work: Work
    ) -> None:
        seen: list[tuple[str, int, BaseException]] = []
        told = asyncio.Event()
        app = make_app(lease=1.0)

        @app.on_error
        def failed(ctx: JobContext, error: BaseException) -> None:
            seen.append((ctx.job_id, ctx.attempt, error))
            told.set()

        @app.job()
        async def handler() -> None: ...

        job_id = await app.enqueue(handler)
        await connection.execute(
            f"update {schema}.job set status = 'running', claim = 7, worker_id = gen_random_uuid(),"
            " suspect = true, started = true, started_at = now()"
        )
        await connection.execute(
            f"insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, names,"
            " seen_at) select worker_id, 1, 1, 1, 'gone', '0', '{}', now() - interval '1 minute'"
            f" from {schema}.job"
        )
        async with work(app):
            await asyncio.wait_for(told.wait(), 20)
        assert [(each[0], each[1]) for each in seen] == [(job_id, 1)]
        assert isinstance(seen[0][2], WorkerLost)


class TestContextVariables:
    """What before_job sets reaches the handler and all that follows in the attempt, and no other
    job.
    """

    async def test_they_reach_the_handler_and_the_other_hooks_of_the_attempt(
        self, app: Soniq, run: Run
    ) -> None:
        current: ContextVar[str] = ContextVar("current", default="nothing")
        seen: dict[str, str] = {}

        @app.around_job
        async def around(ctx: JobContext) -> AsyncIterator[None]:
            try:
                yield
            finally:
                seen["around_job"] = current.get()

        @app.before_job
        async def set_it(ctx: JobContext) -> None:
            await asyncio.sleep(0)
            current.set(ctx.job_name)

        app.after_job(lambda: seen.update(after_job=current.get()))
        app.on_error(lambda: seen.update(on_error=current.get()))

        @app.job(name="well")
        async def well() -> None:
            seen["handler"] = current.get()

        @app.job(name="badly", max_attempts=1)
        async def badly() -> None:
            raise HandlerError

        await run(app, well)
        assert seen == {"handler": "well", "after_job": "well", "around_job": "well"}
        seen.clear()
        await run(app, badly)
        assert seen == {"on_error": "badly", "around_job": "badly"}
        assert current.get() == "nothing"

    async def test_they_reach_a_handler_in_a_thread(self, app: Soniq, run: Run) -> None:
        current: ContextVar[str] = ContextVar("current", default="nothing")
        seen: list[object] = []

        @app.before_job
        def set_it() -> None:
            current.set("set")

        @app.job()
        def handler() -> None:
            seen.extend([current.get(), threading.current_thread() is threading.main_thread()])

        await run(app, handler)
        assert seen == ["set", False]

    async def test_they_leak_to_no_other_job(self, make_app: MakeApp, run: Run) -> None:
        current: ContextVar[str] = ContextVar("current", default="nothing")
        seen: list[str] = []
        app = make_app(concurrency=1)

        @app.before_job
        def set_it(ctx: JobContext) -> None:
            seen.append(current.get())
            current.set(ctx.job_id)

        @app.around_job
        def around() -> Iterator[None]:
            seen.append(current.get())
            current.set("around")
            yield

        @app.job()
        async def handler() -> None:
            current.set("handler")

        await app.enqueue_many(handler, [{}, {}, {}])
        await app.run_worker(run_once=True)
        assert seen == ["nothing", "around"] * 3


async def test_a_retry_with_no_attempt_left_reaches_on_error_as_retries_exhausted(
    app: Soniq, run: Run
) -> None:
    seen: list[BaseException] = []
    app.on_error(lambda ctx, error: seen.append(error))

    @app.job(max_attempts=2)
    async def handler() -> None:
        raise Retry(0)

    status = await run(app, handler)
    assert (status["status"], status["attempt"]) == ("dead", 2)
    assert [type(error) for error in seen] == [RetriesExhausted]
    assert isinstance(seen[0].__cause__, Retry)
