"""Which failures of jobs become events, and what the events say."""

import asyncio
import logging
from typing import Any
from uuid import uuid4

import pytest
import sentry_sdk
from sentry_sdk.integrations.logging import LoggingIntegration

from soniq import Cancel, InvalidOption, JobContext, Retry, Snooze, Soniq, hookimpl
from soniq_sentry import Report, SentryPlugin
from tests.conftest import MakeApp
from tests.plugins.sentry.backend import VERSION_3, Backend, exceptions
from tests.plugins.sentry.conftest import Init, Run
from tests.support.jobs import working
from tests.support.waiting import in_time


async def fail(number: int) -> None:
    """A job that fails."""
    raise ValueError(f"number {number}")


async def test_a_dead_job_is_reported_with_what_it_was(
    app: Soniq, backend: Backend, run: Run
) -> None:
    status = await run(app, app.job(name="fail", max_attempts=1, queue="mail")(fail), number=7)
    event = backend.event
    (exception,) = exceptions(event)
    assert (exception["type"], exception["value"]) == ("ValueError", "number 7")
    assert exception["mechanism"].items() >= {"type": "soniq", "handled": False}.items()
    assert exception["stacktrace"]["frames"][-1]["function"] == "fail"
    assert event["level"] == "error"
    assert event["transaction"] == "fail"
    job = event["extra"]["soniq-job"]
    del job["args"]
    assert job == {
        "id": status["job_id"],
        "name": "fail",
        "queue": "mail",
        "attempt": 1,
        "max_attempts": 1,
    }
    assert dict(event["tags"])["soniq.job_id"] == status["job_id"]


async def test_what_a_very_long_error_says_is_cut_whatever_the_sdk_lets_through(
    app: Soniq, init: Init, run: Run
) -> None:
    backend = init(max_value_length=10_000_000)

    @app.job(max_attempts=1)
    async def long() -> None:
        try:
            raise KeyError("cause" * 500_000)
        except KeyError as error:
            raise ValueError("begin" + "x" * 3_000_000 + "end") from error

    await run(app, long)
    cause, error = exceptions(backend.event)
    for value in (cause["value"], error["value"]):
        assert len(value) < 9_100
    assert error["value"].startswith("beginxxx")
    assert error["value"].endswith("xxxend")
    assert "2,991,008 characters are left out" in error["value"]


async def test_an_error_is_part_of_the_attempts_trace(
    app: Soniq, backend: Backend, run: Run
) -> None:
    await run(app, app.job(max_attempts=1)(fail), number=7)
    span = backend.span("queue.process")
    assert (backend.event["contexts"]["trace"]["trace_id"], backend.event["contexts"]["trace"]["span_id"]) == (
        span.trace, span.id,
    )  # fmt: skip


async def test_a_failure_with_attempts_left_is_not_reported(
    app: Soniq, backend: Backend, run: Run
) -> None:
    @app.job(max_attempts=3, retry=0)
    async def recovers(ctx: JobContext) -> None:
        if ctx.attempt < 3:
            raise ValueError("not yet")

    assert (await run(app, recovers))["status"] == "done"
    assert backend.events == []


async def test_of_a_job_that_dies_the_last_failure_is_reported(
    app: Soniq, backend: Backend, run: Run
) -> None:
    @app.job(max_attempts=3, retry=0)
    async def dies(ctx: JobContext) -> None:
        raise ValueError(f"attempt {ctx.attempt}")

    assert (await run(app, dies))["status"] == "dead"
    assert exceptions(backend.event)[0]["value"] == "attempt 3"


ByChoice = list[tuple[dict[str, Any], tuple[object, ...], dict[str, str], int]]

BY_CHOICE: ByChoice = [
    ({"report": "every"}, (), {}, 2),
    ({"report": "never"}, (), {}, 0),
    ({}, (), {"SONIQ_SENTRY_REPORT": "every"}, 2),
    ({"report": "dead"}, (), {"SONIQ_SENTRY_REPORT": "every"}, 1),
    ({}, (Report("every"),), {}, 2),
    ({"report": "every"}, (Report("dead"),), {}, 1),
    ({"report": "every"}, (Report("never"),), {}, 0),
]


@pytest.mark.parametrize(("arguments", "options", "environment", "reported"), BY_CHOICE)
async def test_each_failure_or_none_is_reported_by_choice(
    make_app: MakeApp, backend: Backend, run: Run, monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any], options: tuple[object, ...], environment: dict[str, str],
    reported: int,
) -> None:  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    app = make_app(plugins=[SentryPlugin(**arguments)])
    await run(app, app.job(*options, max_attempts=2, retry=0)(fail), number=7)
    assert len(backend.events) == reported


def test_a_report_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidOption):
        Report("sometimes")  # type: ignore[arg-type]  # what a user without a type checker may write


@pytest.mark.parametrize(
    "signal", [Snooze(60), Cancel("no need"), Retry(delay=60)], ids=lambda s: type(s).__name__
)
async def test_a_signal_is_never_reported(
    make_app: MakeApp, backend: Backend, run: Run, signal: Exception
) -> None:
    app = make_app(plugins=[SentryPlugin(report="every")])

    @app.job()
    async def handler() -> None:
        raise signal

    await run(app, handler)
    assert backend.events == []
    assert backend.span("queue.process").status in ("ok", "cancelled")


async def test_a_failure_that_is_answered_with_cancel_is_not_reported(
    make_app: MakeApp, backend: Backend, run: Run
) -> None:
    app = make_app(plugins=[SentryPlugin(report="every")])

    @app.on_error
    def give_up(ctx: JobContext, error: BaseException) -> None:
        raise Cancel("not worth it")

    assert (await run(app, app.job(max_attempts=1)(fail), number=7))["status"] == "cancelled"
    assert backend.events == []


async def test_a_retry_that_is_one_too_many_is_reported(
    app: Soniq, backend: Backend, run: Run
) -> None:
    @app.job(max_attempts=1)
    async def again() -> None:
        try:
            raise ConnectionError("the API is away")
        except ConnectionError as error:
            raise Retry from error

    assert (await run(app, again))["status"] == "dead"
    assert [e["type"] for e in exceptions(backend.event)] == [
        "ConnectionError",
        "Retry",
        "RetriesExhausted",
    ]


async def test_a_timeout_is_grouped_by_job_and_not_by_where_it_struck(
    app: Soniq, backend: Backend, run: Run
) -> None:
    @app.job(name="slow", timeout=0.05, max_attempts=1)
    async def slow() -> None:
        await asyncio.sleep(60)

    await run(app, slow)
    assert exceptions(backend.event)[-1]["type"] == "AttemptTimeout"
    assert backend.event["fingerprint"] == ["soniq", "AttemptTimeout", "slow"]
    assert backend.span("queue.process").status in ("deadline_exceeded", "error")


async def test_an_attempt_that_its_worker_ended_is_one_of_every(
    make_app: MakeApp, backend: Backend
) -> None:
    app = make_app(plugins=[SentryPlugin()])
    began: asyncio.Queue[str] = asyncio.Queue()

    @app.job(Report("every"), name="loud")
    async def loud() -> None:
        began.put_nowait("loud")
        await asyncio.sleep(60)

    @app.job(name="usual")
    async def usual() -> None:
        began.put_nowait("usual")
        await asyncio.sleep(60)

    await app.enqueue(loud)
    await app.enqueue(usual)
    async with working(app, concurrency=2):
        assert {await in_time(began.get()), await in_time(began.get())} == {"loud", "usual"}
        app.stop_workers(now=True)
    assert exceptions(backend.event)[-1]["type"] == "WorkerStopped"
    assert backend.event["transaction"] == "loud"


async def test_what_fails_before_the_handler_is_reported_as_well(
    make_app: MakeApp, backend: Backend, run: Run
) -> None:
    class Another:
        name = "another"

        @hookimpl
        def around_job(self, ctx: JobContext) -> None:
            raise RuntimeError("another plugin fails")

    app = make_app(plugins=[Another(), SentryPlugin()])
    await run(app, app.job(max_attempts=1)(fail), number=7)
    assert exceptions(backend.event)[0]["value"] == "another plugin fails"


class TestLogging:
    """What is logged: breadcrumbs, and no second event of the same failure."""

    @pytest.fixture
    def backend(self, init: Init) -> Backend:
        """Where ERROR lines of loggers become events; in version 2 that is the default."""
        return init(integrations=[LoggingIntegration(event_level=logging.ERROR)])

    async def test_soniqs_own_line_about_the_failure_is_a_breadcrumb_and_no_event(
        self, app: Soniq, backend: Backend, run: Run
    ) -> None:
        await run(app, app.job(max_attempts=1)(fail), number=7)
        event = backend.event
        assert exceptions(event)[0]["mechanism"]["type"] == "soniq"
        assert [
            c["message"] for c in event["breadcrumbs"]["values"] if c["category"] == "soniq.worker"
        ]

    async def test_it_is_none_where_the_job_is_not_reported(
        self, app: Soniq, backend: Backend, run: Run
    ) -> None:
        await run(app, app.job(Report("never"), max_attempts=1)(fail), number=7)
        assert backend.events == []

    async def test_what_a_handler_logs_is_an_event_that_describes_the_job(
        self, app: Soniq, backend: Backend, run: Run
    ) -> None:
        @app.job(name="complains")
        async def complains() -> None:
            logging.getLogger("shop").error("the shelf is empty")

        await run(app, complains)
        assert backend.event["logger"] == "shop"
        assert backend.event["extra"]["soniq-job"]["name"] == "complains"

    async def test_a_hook_that_fails_is_an_event_of_its_own(
        self, app: Soniq, backend: Backend, run: Run
    ) -> None:
        @app.before_job
        def broken(ctx: JobContext) -> None:
            raise KeyError("of the hook")

        @app.job()
        async def handler() -> None: ...

        assert (await run(app, handler))["status"] == "done"
        assert backend.event["logger"] == "soniq.hooks"
        assert exceptions(backend.event)[0]["type"] == "KeyError"


class TestArguments:
    """Where the arguments of jobs are allowed to go out."""

    @pytest.mark.filterwarnings("ignore:The send_default_pii option:DeprecationWarning")
    @pytest.mark.parametrize(
        ("options", "args"),
        [
            ({}, {"number": 7} if VERSION_3 else "[Filtered]"),
            ({"data_collection": {"queues": True}}, {"number": 7}),
            ({"data_collection": {"queues": False}}, "[Filtered]"),
            *([] if VERSION_3 else [({"send_default_pii": True}, {"number": 7})]),
        ],
    )
    async def test_they_are_in_the_event_where_the_options_allow_it(
        self, app: Soniq, init: Init, run: Run, options: dict[str, Any], args: object
    ) -> None:
        backend = init(**options)
        await run(app, app.job(max_attempts=1)(fail), number=7)
        assert backend.event["extra"]["soniq-job"]["args"] == args

    @pytest.mark.parametrize("kind", ["async def", "def"])
    async def test_soniqs_own_frames_do_not_show_them(
        self, app: Soniq, init: Init, run: Run, kind: str
    ) -> None:
        backend = init(**({"data_collection": {"queues": False}} if VERSION_3 else {}))

        def plain(password: str) -> None:
            raise ValueError("wrong")

        async def asynchronous(password: str) -> None:
            raise ValueError("wrong")

        secret = uuid4().hex
        await run(
            app, app.job(max_attempts=1)(plain if kind == "def" else asynchronous), password=secret
        )
        frames = exceptions(backend.event)[0]["stacktrace"]["frames"]
        assert {frame["module"].partition(".")[0] for frame in frames} > {"soniq", "soniq_sentry"}
        assert all(not frame.get("vars") for frame in frames if frame["module"].startswith("soniq"))
        if not VERSION_3:  # which does not filter the variables of frames by their names
            assert secret.encode() not in b"".join(backend.envelopes)

    async def test_no_frame_shows_them_where_variables_are_off(
        self, app: Soniq, init: Init, run: Run
    ) -> None:
        backend = init(data_collection={"queues": False, "stack_frame_variables": False})

        async def handler(text: str) -> None:
            raise ValueError("wrong")

        secret = uuid4().hex
        await run(app, app.job(max_attempts=1)(handler), text=secret)
        assert len(backend.events) == 1
        assert secret.encode() not in b"".join(backend.envelopes)


async def test_the_message_of_a_handler_carries_the_job(
    app: Soniq, backend: Backend, run: Run
) -> None:
    @app.job(name="speaks")
    def speaks() -> None:  # in a thread
        sentry_sdk.capture_message("hello")

    status = await run(app, speaks)
    assert backend.event["logentry"]["formatted"] == "hello"
    assert backend.event["extra"]["soniq-job"]["id"] == status["job_id"]
