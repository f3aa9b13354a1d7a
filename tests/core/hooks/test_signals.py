"""Retry, Snooze and Cancel: where they are obeyed, and where they are only logged."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from soniq import Cancel, JobContext, JobStatus, Retry, Signal, Snooze, Soniq
from soniq.errors import RetriesExhausted
from tests.core.hooks.support import MakeApp, MakePlugin, Run


class HandlerError(Exception):
    """What a handler here fails with."""


SIGNALS = [
    pytest.param(Retry(3600), "queued", 1, id="retry"),
    pytest.param(Snooze(3600), "queued", 0, id="snooze"),
    pytest.param(Cancel("no longer needed"), "cancelled", None, id="cancel"),
]


def assert_obeyed(status: JobStatus, expected: str, attempts_used: int | None) -> None:
    assert status["status"] == expected
    if attempts_used is not None:
        assert status["attempt"] == attempts_used
        assert (status["scheduled_at"] - status["created_at"]).total_seconds() > 3000
    else:
        assert status["error"] is not None
        assert status["error"]["message"] == "no longer needed"


def raising(signal: Signal) -> Callable[[], None]:
    def raise_it() -> None:
        raise signal

    return raise_it


class TestHandler:
    """A handler may raise or return them; neither is a success, and neither is a failure."""

    @pytest.mark.parametrize(("signal", "expected", "used"), SIGNALS)
    @pytest.mark.parametrize("how", ["raises", "returns"])
    @pytest.mark.parametrize("kind", ["async def", "def"])
    async def test_it_is_obeyed(
        self,
        app: Soniq,
        calls: list[str],
        run: Run,
        how: str,
        kind: str,
        signal: Signal,
        expected: str,
        used: int,
    ) -> None:
        app.after_job(lambda: calls.append("after"))
        app.on_error(lambda: calls.append("error"))

        def end() -> Any:
            if how == "raises":
                raise signal
            return signal

        async def waiting() -> Any:
            await asyncio.sleep(0)
            return end()

        def threaded() -> Any:
            return end()

        assert_obeyed(
            await run(app, app.job()(waiting if kind == "async def" else threaded)), expected, used
        )
        assert calls == []

    async def test_a_retry_without_a_delay_takes_the_jobs_own(self, app: Soniq, run: Run) -> None:
        @app.job(retry=3600)
        async def handler() -> None:
            raise Retry

        assert_obeyed(await run(app, handler), "queued", 1)

    async def test_a_snooze_on_the_last_attempt_is_obeyed(self, app: Soniq, run: Run) -> None:
        @app.job(max_attempts=1)
        async def handler() -> None:
            raise Snooze(3600)

        assert_obeyed(await run(app, handler), "queued", 0)


class TestBeforeJob:
    """Raised by before_job, they end the attempt before the handler."""

    @pytest.mark.parametrize(("signal", "expected", "used"), SIGNALS)
    async def test_the_handler_is_skipped_and_so_is_after_job(
        self, app: Soniq, calls: list[str], run: Run, signal: Signal, expected: str, used: int
    ) -> None:
        app.before_job(raising(signal))
        app.after_job(lambda: calls.append("after"))
        app.on_error(lambda: calls.append("error"))

        @app.job()
        async def handler() -> None:
            calls.append("handler")

        assert_obeyed(await run(app, handler), expected, used)
        assert calls == []

    async def test_the_other_observers_still_run_and_the_first_signal_wins(
        self, app: Soniq, calls: list[str], run: Run
    ) -> None:
        app.before_job(raising(Cancel("no longer needed")))
        app.before_job(lambda: calls.append("between"))
        app.before_job(raising(Snooze(3600)))
        app.before_job(lambda: calls.append("last"))

        @app.job()
        async def handler() -> None:
            calls.append("handler")

        assert_obeyed(await run(app, handler), "cancelled", None)
        assert calls == ["between", "last"]

    async def test_a_retry_does_not_go_beyond_the_attempts(self, app: Soniq, run: Run) -> None:
        seen: list[BaseException] = []
        app.before_job(raising(Retry(0)))
        app.on_error(lambda ctx, error: seen.append(error))

        @app.job(max_attempts=2)
        async def handler() -> None: ...

        status = await run(app, handler)
        assert (status["status"], status["attempt"]) == ("dead", 2)
        assert [type(error) for error in seen] == [RetriesExhausted]


class TestOnError:
    """Raised by on_error, they take the place of what would follow the failure."""

    @pytest.mark.parametrize(("signal", "expected", "used"), SIGNALS)
    async def test_it_is_obeyed(
        self, app: Soniq, run: Run, signal: Signal, expected: str, used: int
    ) -> None:
        app.on_error(raising(signal))

        @app.job(retry=0)
        async def handler() -> None:
            raise HandlerError

        assert_obeyed(await run(app, handler), expected, used)

    async def test_the_other_observers_still_run_and_the_first_signal_wins(
        self, app: Soniq, calls: list[str], run: Run
    ) -> None:
        app.on_error(raising(Cancel("no longer needed")))
        app.on_error(lambda ctx, error: calls.append(type(error).__name__))
        app.on_error(raising(Retry(0)))

        @app.job()
        async def handler() -> None:
            raise HandlerError

        assert_obeyed(await run(app, handler), "cancelled", None)
        assert calls == ["HandlerError"]

    async def test_a_retry_does_not_go_beyond_the_attempts_and_the_job_dies_of_its_error(
        self, app: Soniq, calls: list[str], run: Run
    ) -> None:
        app.on_error(lambda ctx, error: calls.append(type(error).__name__))
        app.on_error(raising(Retry(0)))

        @app.job(max_attempts=2)
        async def handler() -> None:
            raise HandlerError("its own")

        status = await run(app, handler)
        assert status["status"] == "dead"
        assert status["error"] is not None
        assert status["error"]["message"] == "its own"
        assert calls == ["HandlerError", "HandlerError"]

    async def test_it_keeps_the_error_of_the_attempt_that_is_tried_again(
        self, app: Soniq, run: Run
    ) -> None:
        app.on_error(raising(Retry(3600)))

        @app.job()
        async def handler() -> None:
            raise HandlerError("its own")

        status = await run(app, handler)
        assert status["error"] is not None
        assert status["error"]["message"] == "its own"


class TestAroundJob:
    """Raised by an around_job that enters, they end the attempt."""

    @pytest.mark.parametrize(("signal", "expected", "used"), SIGNALS)
    async def test_it_is_obeyed_when_entering(
        self, app: Soniq, calls: list[str], run: Run, signal: Signal, expected: str, used: int
    ) -> None:
        @app.around_job
        async def around(ctx: JobContext) -> AsyncIterator[None]:
            raising(signal)()
            yield

        app.before_job(lambda: calls.append("before"))
        app.after_job(lambda: calls.append("after"))
        app.on_error(lambda: calls.append("error"))

        @app.job()
        async def handler() -> None:
            calls.append("handler")

        assert_obeyed(await run(app, handler), expected, used)
        assert calls == []

    async def test_it_is_logged_when_leaving(
        self, make_app: MakeApp, make_plugin: MakePlugin, run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        def around_job() -> Iterator[None]:
            yield
            raise Cancel("too late")

        app = make_app(plugins=[make_plugin("late", around_job=around_job)])

        @app.job()
        async def handler() -> int:
            return 5

        status = await run(app, handler)
        assert (status["status"], status["result"]) == ("done", 5)
        assert "around_job of late" in caplog.text
        assert "too late" in caplog.text


class TestElsewhere:
    """In a hook that cannot change what happens they are logged, with the plugin's name."""

    @pytest.mark.parametrize("hook", ["after_job", "claimed", "settled"])
    @pytest.mark.parametrize("signal", [Retry(0), Snooze(0), Cancel("no longer needed")])
    async def test_it_has_no_effect(
        self,
        make_app: MakeApp,
        make_plugin: MakePlugin,
        calls: list[str],
        run: Run,
        caplog: pytest.LogCaptureFixture,
        hook: str,
        signal: Signal,
    ) -> None:
        plugins = [
            make_plugin("wrong", **{hook: raising(signal)}),
            make_plugin("other", **{hook: lambda: calls.append("other")}),
        ]
        app = make_app(plugins=plugins)

        @app.job()
        async def handler() -> int:
            calls.append("handler")
            return 5

        status = await run(app, handler)
        assert (status["status"], status["result"], status["attempt"]) == ("done", 5, 1)
        assert sorted(calls) == ["handler", "other"]
        assert f"{hook} of wrong raised {type(signal).__name__}" in caplog.text


@pytest.mark.parametrize("signal", [Retry(1), Snooze(1), Cancel("reason")])
def test_a_signal_is_an_ordinary_exception_with_read_only_properties(signal: Signal) -> None:
    name = "reason" if isinstance(signal, Cancel) else "delay"
    with pytest.raises(AttributeError):
        setattr(signal, name, 2)
    signal.__traceback__ = None
    assert isinstance(signal, Exception)
    assert repr(signal).startswith(type(signal).__name__)
