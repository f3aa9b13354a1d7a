"""around_job: a context manager from before the decoding until the outcome is decided."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from soniq import JobContext, Retry, Soniq
from soniq.errors import AttemptTimeout
from soniq.plugin import Outcome, StashKey
from tests.core.hooks.support import MakeApp, MakePlugin, Run


def fail(error: Exception) -> None:
    """Raise it, where a `raise` would make the rest unreachable."""
    raise error


class HandlerError(Exception):
    """What a handler here fails with."""


Form = Callable[[list[str]], Callable[..., Any]]


def plain_generator(calls: list[str]) -> Callable[..., Any]:
    def around_job(ctx: JobContext) -> Iterator[None]:
        calls.append("enter")
        yield
        calls.append("leave")

    return around_job


def async_generator(calls: list[str]) -> Callable[..., Any]:
    async def around_job(ctx: JobContext) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        calls.append("enter")
        yield
        await asyncio.sleep(0)
        calls.append("leave")

    return around_job


def decorated_with_contextmanager(calls: list[str]) -> Callable[..., Any]:
    return contextmanager(plain_generator(calls))


def decorated_with_asynccontextmanager(calls: list[str]) -> Callable[..., Any]:
    return asynccontextmanager(async_generator(calls))


def returns_a_context_manager(calls: list[str]) -> Callable[..., Any]:
    class Manager:
        def __enter__(self) -> None:
            calls.append("enter")

        def __exit__(self, *_: object) -> None:
            calls.append("leave")

    def around_job(ctx: JobContext) -> Manager:
        return Manager()

    return around_job


def returns_an_async_context_manager(calls: list[str]) -> Callable[..., Any]:
    class Manager:
        async def __aenter__(self) -> None:
            await asyncio.sleep(0)
            calls.append("enter")

        async def __aexit__(self, *_: object) -> None:
            await asyncio.sleep(0)
            calls.append("leave")

    def around_job(ctx: JobContext) -> Manager:
        return Manager()

    return around_job


def awaits_before_it_returns_one(calls: list[str]) -> Callable[..., Any]:
    make = decorated_with_asynccontextmanager(calls)

    async def around_job(ctx: JobContext) -> Any:
        await asyncio.sleep(0)
        return make(ctx)

    return around_job


def wrapped_by_another_decorator(calls: list[str]) -> Callable[..., Any]:
    function = async_generator(calls)

    @functools.wraps(function)
    def around_job(ctx: JobContext) -> Any:
        return function(ctx)

    return around_job


FORMS: list[Form] = [
    plain_generator,
    async_generator,
    decorated_with_contextmanager,
    decorated_with_asynccontextmanager,
    returns_a_context_manager,
    returns_an_async_context_manager,
    awaits_before_it_returns_one,
    wrapped_by_another_decorator,
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", ["application", "plugin"])
async def test_it_may_be_written_in_each_of_these_forms(
    make_app: MakeApp, make_plugin: MakePlugin, calls: list[str], run: Run, form: Form, where: str
) -> None:
    function = form(calls)
    app = make_app(
        plugins=[make_plugin("around", around_job=function)] if where == "plugin" else []
    )
    if where == "application":
        app.around_job(function)

    @app.job()
    async def handler() -> None:
        calls.append("handler")

    await run(app, handler)
    assert calls == ["enter", "handler", "leave"]


async def test_it_may_want_no_part_in_an_attempt(
    app: Soniq, calls: list[str], run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    make = decorated_with_contextmanager(calls)
    app.around_job(lambda ctx: make(ctx) if ctx.job_name == "wanted" else None)

    async def handler() -> None:
        calls.append("handler")

    await run(app, app.job(name="other")(handler))
    assert calls == ["handler"]
    assert [record for record in caplog.records if record.name == "soniq.hooks"] == []


async def test_it_goes_from_before_the_decoding_to_after_after_job(
    app: Soniq, calls: list[str], run: Run
) -> None:
    @app.around_job
    async def around(ctx: JobContext) -> AsyncIterator[None]:
        calls.append(f"enter, args {ctx.args}, outcome {ctx.outcome}")
        yield
        assert ctx.outcome is not None
        calls.append(f"leave, args {ctx.args}, outcome {ctx.outcome.status}")

    app.before_job(lambda ctx: calls.append("before"))
    app.after_job(lambda ctx: calls.append("after"))

    @app.job()
    async def handler(a: int) -> None: ...

    await run(app, handler, a=1)
    assert calls == [
        "enter, args None, outcome None", "before", "after", "leave, args {'a': 1}, outcome done",
    ]  # fmt: skip


async def test_what_it_sets_in_the_context_and_the_stash_reaches_the_handler(
    app: Soniq, run: Run
) -> None:
    current: ContextVar[str] = ContextVar("current", default="nothing")
    key: StashKey[str] = StashKey("key")
    seen: list[object] = []

    @app.around_job
    async def around(ctx: JobContext) -> AsyncIterator[None]:
        current.set("set")
        ctx.stash[key] = "remembered"
        yield
        seen.append(current.get())

    @app.job()
    async def handler(ctx: JobContext) -> None:
        seen.extend([current.get(), ctx.stash[key]])
        current.set("changed")

    await run(app, handler)
    assert seen == ["set", "remembered", "changed"]


@pytest.fixture
def seen(app: Soniq) -> list[tuple[BaseException | None, Outcome | None]]:
    """The error and the outcome of each attempt, as an around_job sees them when it leaves."""
    seen: list[tuple[BaseException | None, Outcome | None]] = []

    @app.around_job
    async def around(ctx: JobContext) -> AsyncIterator[None]:
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            seen.append((error, ctx.outcome))

    return seen


Seen = list[tuple[BaseException | None, Outcome | None]]


class TestWhatItSees:
    """It sees the error itself, and what the attempt came to."""

    async def test_of_a_success(self, app: Soniq, run: Run, seen: Seen) -> None:
        @app.job()
        async def handler() -> None: ...

        status = await run(app, handler)
        [(error, outcome)] = seen
        assert error is None
        assert outcome is not None
        assert (outcome.job_id, outcome.status, outcome.kind) == (status["job_id"], "done", "done")

    async def test_of_a_failure_with_attempts_left_and_of_the_last_one(
        self, app: Soniq, run: Run, seen: Seen
    ) -> None:
        raised = HandlerError("this very one")

        @app.job(max_attempts=2, retry=0)
        async def handler() -> None:
            raise raised

        await run(app, handler)
        assert [error for error, _ in seen] == [raised, raised]
        outcomes = [outcome for _, outcome in seen if outcome is not None]
        assert [(o.attempt, o.status, o.kind, o.delay, o.error) for o in outcomes] == [
            (1, "queued", "retry", 0.0, raised),
            (2, "dead", "dead", None, raised),
        ]

    async def test_of_a_signal(self, app: Soniq, run: Run, seen: Seen) -> None:
        @app.job()
        async def handler() -> None:
            raise Retry(3600)

        await run(app, handler)
        [(error, outcome)] = seen
        assert isinstance(error, Retry)
        assert outcome is not None
        assert (outcome.status, outcome.kind, outcome.delay, outcome.error) == (
            "queued",
            "retry",
            3600,
            None,
        )

    async def test_of_a_timeout_which_is_inside_it(self, app: Soniq, run: Run, seen: Seen) -> None:
        @app.job(timeout=0.05, max_attempts=1)
        async def handler() -> None:
            await asyncio.Event().wait()

        await run(app, handler)
        [(error, outcome)] = seen
        assert error is not None
        assert outcome is not None
        assert outcome.status == "dead"
        assert isinstance(outcome.error, AttemptTimeout)

    async def test_of_arguments_that_cannot_be_read(
        self, app: Soniq, seen: Seen, connection: Any, schema: str, calls: list[str]
    ) -> None:
        app.on_error(lambda ctx, error: calls.append(f"{type(error).__name__}, args {ctx.args}"))

        @app.job()
        async def handler(a: int) -> None: ...

        await app.enqueue(handler, a=1)
        await connection.execute(f"update {schema}.job set args = '\\x00ff'")
        await app.run_worker(run_once=True)
        [(error, outcome)] = seen
        assert "cannot be read" in str(error)
        assert outcome is not None
        assert outcome.status == "dead"
        assert calls == [f"{type(error).__name__}, args None"]

    async def test_of_a_returned_signal_and_a_failure_in_before_jobs_place(
        self, app: Soniq, run: Run, seen: Seen
    ) -> None:
        @app.before_job
        def later() -> None:
            raise Retry(3600)

        @app.job()
        async def handler() -> None: ...

        await run(app, handler)
        assert isinstance(seen[0][0], Retry)


class TestErrors:
    """Entering: the attempt ends with it. Leaving: it is logged, and the outcome stands."""

    async def test_an_error_while_entering_fails_the_attempt_and_those_entered_are_left(
        self, app: Soniq, calls: list[str], run: Run
    ) -> None:
        @app.around_job
        async def outer(ctx: JobContext) -> AsyncIterator[None]:
            calls.append("enter outer")
            try:
                yield
            except HandlerError as error:
                assert ctx.outcome is not None
                calls.append(f"leave outer with {error}, {ctx.outcome.status}")
                raise

        @app.around_job
        async def broken() -> AsyncIterator[None]:
            fail(HandlerError("cannot enter"))
            yield

        @app.around_job
        async def inner() -> AsyncIterator[None]:
            calls.append("enter inner")
            yield

        app.before_job(lambda: calls.append("before"))
        app.on_error(lambda ctx, error: calls.append(f"on_error {error}"))

        @app.job(max_attempts=1)
        async def handler() -> None:
            calls.append("handler")

        status = await run(app, handler)
        assert status["status"] == "dead"
        assert status["error"] is not None
        assert status["error"]["message"] == "cannot enter"
        assert calls == [
            "enter outer",
            "on_error cannot enter",
            "leave outer with cannot enter, dead",
        ]

    async def test_one_that_never_yields_fails_the_attempt(self, app: Soniq, run: Run) -> None:
        @app.around_job
        async def around(ctx: JobContext) -> AsyncIterator[None]:
            if ctx.attempt == 0:
                yield

        @app.job(max_attempts=1)
        async def handler() -> None: ...

        status = await run(app, handler)
        assert status["status"] == "dead"
        assert status["error"] is not None
        assert "didn't yield" in status["error"]["message"]

    async def test_an_error_while_leaving_is_logged_with_the_plugin_and_the_others_still_leave(
        self,
        make_app: MakeApp,
        make_plugin: MakePlugin,
        calls: list[str],
        run: Run,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        async def breaks() -> AsyncIterator[None]:
            yield
            raise ValueError("cannot leave")

        async def cancels_itself() -> AsyncIterator[None]:
            yield
            raise asyncio.CancelledError

        app = make_app(
            plugins=[
                make_plugin("outer", around_job=plain_generator(calls)),
                make_plugin("breaks", around_job=breaks),
                make_plugin("cancels", around_job=cancels_itself),
            ]
        )

        @app.job()
        async def handler() -> int:
            return 5

        status = await run(app, handler)
        assert (status["status"], status["result"]) == ("done", 5)
        assert calls == ["enter", "leave"]
        messages = [
            record.getMessage() for record in caplog.records if record.name == "soniq.hooks"
        ]
        assert [message.partition(" failed")[0] for message in messages] == [
            "around_job of cancels", "around_job of breaks",
        ]  # fmt: skip
        assert "cannot leave" in messages[1]

    async def test_swallowing_the_error_changes_nothing_for_the_job_and_the_others_see_it(
        self, app: Soniq, calls: list[str], run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        @app.around_job
        async def outer() -> AsyncIterator[None]:
            try:
                yield
            except HandlerError:
                calls.append("outer saw it")
                raise

        @app.around_job
        async def swallows() -> AsyncIterator[None]:
            try:
                yield
            except HandlerError:
                calls.append("swallowed")

        @app.job(max_attempts=1)
        async def handler() -> None:
            raise HandlerError

        assert (await run(app, handler))["status"] == "dead"
        assert calls == ["swallowed", "outer saw it"]
        assert [record for record in caplog.records if record.name == "soniq.hooks"] == []

    async def test_replacing_the_error_is_logged_and_the_job_keeps_its_own(
        self, app: Soniq, run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        @app.around_job
        async def replaces() -> AsyncIterator[None]:
            try:
                yield
            except HandlerError as error:
                raise ValueError("another one") from error

        @app.job(max_attempts=1)
        async def handler() -> None:
            raise HandlerError("its own")

        status = await run(app, handler)
        assert status["error"] is not None
        assert status["error"]["message"] == "its own"
        assert "another one" in caplog.text

    async def test_the_jobs_timeout_does_not_cut_the_leaving_short(
        self, app: Soniq, calls: list[str], run: Run
    ) -> None:
        @app.around_job
        async def around() -> AsyncIterator[None]:
            yield
            await asyncio.sleep(0.3)
            calls.append("left")

        @app.job(timeout=0.2, max_attempts=1)
        async def handler() -> None: ...

        assert (await run(app, handler))["status"] == "done"
        assert calls == ["left"]

    async def test_an_entering_that_hangs_fails_the_attempt(
        self, make_app: MakeApp, calls: list[str], run: Run
    ) -> None:
        app = make_app(hook_timeout=0.1)

        @app.around_job
        async def around() -> AsyncIterator[None]:
            await asyncio.Event().wait()
            yield

        app.on_error(lambda ctx, error: calls.append(type(error).__name__))

        @app.job(max_attempts=1)
        async def handler() -> None: ...

        assert (await run(app, handler))["status"] == "dead"
        assert calls == ["HookTimeout"]
