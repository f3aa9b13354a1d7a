"""The spans of enqueues and attempts: one trace, and what the Queues page reads."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk import traces

from soniq import InvalidArguments, JobContext, Retry, Soniq
from tests.plugins.sentry.backend import Backend, Mode
from tests.plugins.sentry.conftest import Init, Run

Request = Callable[[str], AbstractContextManager[Any]]


async def nothing(number: int = 1) -> None:
    """A job that does nothing."""


@pytest.fixture
def request_span(mode: Mode) -> Request:
    """A span such as a web framework's, around what a request does."""

    @contextmanager
    def request_span(name: str) -> Iterator[str]:
        if mode == "stream":
            with traces.start_span(name, {"sentry.op": "http.server"}) as span:
                yield span.trace_id
        else:
            with sentry_sdk.start_transaction(op="http.server", name=name) as transaction:
                yield transaction.trace_id

    return request_span


async def test_an_attempt_has_a_process_span_named_after_the_job(
    app: Soniq, backend: Backend, run: Run, mode: Mode
) -> None:
    status = await run(app, app.job(name="shop.pay", queue="payments")(nothing), number=5)
    span = backend.span("queue.process")
    assert (span.name, span.status) == ("shop.pay", "ok")
    assert span.service is (mode == "stream")
    data = {name: value for name, value in span.data.items() if name.startswith("messaging.")}
    latency = data.pop("messaging.message.receive.latency")
    assert data == {
        "messaging.system": "soniq",
        "messaging.destination.name": "payments",
        "messaging.message.id": status["job_id"],
        "messaging.message.retry.count": 0,
        "messaging.message.body.size": len(b'{"number":5}'),
    }
    assert isinstance(latency, float)


async def test_the_process_span_is_inside_a_transaction_of_another_op(
    app: Soniq, backend: Backend, run: Run, mode: Mode
) -> None:
    await run(app, app.job(name="shop.pay")(nothing))
    roots = backend.spans("queue.task.soniq")
    if mode == "static":
        (root,) = roots
        assert (root.name, root.id, root.status) == (
            "shop.pay",
            backend.span("queue.process").parent,
            "ok",
        )
        (transaction,) = backend.transactions
        assert transaction["transaction_info"] == {"source": "task"}
        assert transaction["extra"]["soniq-job"]["name"] == "shop.pay"
    else:
        assert roots == []
        assert backend.span("queue.process").data["sentry.segment.name.source"] == "task"


async def test_the_latency_is_the_time_in_the_queue_in_milliseconds(
    app: Soniq, backend: Backend
) -> None:
    waited: list[float] = []
    app.before_job(lambda ctx: waited.append(ctx.queued_for))
    await app.enqueue(app.job(nothing))
    await asyncio.sleep(0.2)
    await app.run_worker(run_once=True)
    (seconds,) = waited
    assert seconds >= 0.2
    assert backend.span("queue.process").data["messaging.message.receive.latency"] == pytest.approx(
        seconds * 1000
    )


async def test_a_failed_attempt_is_an_error_also_when_it_is_retried(
    app: Soniq, backend: Backend, run: Run
) -> None:
    @app.job(max_attempts=3, retry=0)
    async def recovers(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            raise ValueError("not yet")
        if ctx.attempt == 2:
            raise Retry(delay=0)

    await run(app, recovers)
    spans = backend.spans("queue.process")
    assert [span.data["messaging.message.retry.count"] for span in spans] == [0, 1, 2]
    assert [span.status in ("internal_error", "error") for span in spans] == [True, False, False]


async def test_an_enqueue_inside_a_span_has_a_publish_span(
    app: Soniq, backend: Backend, request_span: Request
) -> None:
    job = app.job(name="shop.pay", queue="payments")(nothing)
    with request_span("POST /pay") as trace:
        job_id = await app.enqueue(job, number=5)
    span = backend.span("queue.publish")
    assert (span.name, span.trace, span.parent) == (
        "shop.pay",
        trace,
        backend.span("http.server").id,
    )
    assert {name: value for name, value in span.data.items() if name.startswith("messaging.")} == {
        "messaging.system": "soniq",
        "messaging.destination.name": "payments",
        "messaging.message.id": job_id,
        "messaging.message.retry.count": 0,
        "messaging.message.body.size": len(b'{"number":5}'),
    }


async def test_the_publish_span_of_a_duplicate_names_the_job_that_is_there(
    app: Soniq, backend: Backend, request_span: Request
) -> None:
    job = app.job(unique=True)(nothing)
    first = await app.enqueue(job)
    with request_span("POST /pay"):
        await app.enqueue(job)
    assert backend.span("queue.publish").data["messaging.message.id"] == first


async def test_a_bulk_enqueue_is_one_span_and_one_trace(
    app: Soniq, backend: Backend, request_span: Request
) -> None:
    job = app.job(nothing)
    with request_span("POST /all") as trace:
        ids = await app.enqueue_many(job, [{"number": n} for n in range(3)])
    await app.run_worker(run_once=True)
    published, processed = backend.span("queue.publish"), backend.spans("queue.process")
    assert published.data["messaging.batch.message_count"] == 3
    assert "messaging.message.id" not in published.data
    assert {span.data["messaging.message.id"] for span in processed} == set(ids)
    assert {span.trace for span in processed} == {trace}


async def test_an_enqueue_that_fails_fails_its_span(
    app: Soniq, backend: Backend, request_span: Request
) -> None:
    job = app.job(nothing)
    with request_span("POST /pay"), pytest.raises(InvalidArguments):
        await app.enqueue(job, number="five")
    assert backend.span("queue.publish").status in ("internal_error", "error")


async def test_a_trace_goes_on_through_retries_and_the_jobs_that_a_job_enqueues(
    app: Soniq, backend: Backend, request_span: Request
) -> None:
    @app.job(name="second")
    async def second() -> None: ...

    @app.job(name="first", max_attempts=2, retry=0)
    async def first(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            raise ValueError("not yet")
        await app.enqueue(second)

    with request_span("POST /pay") as trace:
        await app.enqueue(first)
    await app.run_worker(run_once=True)
    published = {span.name: span for span in backend.spans("queue.publish")}
    processed = {
        (s.name, s.data["messaging.message.retry.count"]): s for s in backend.spans("queue.process")
    }
    assert list(processed) == [("first", 0), ("first", 1), ("second", 0)]
    assert {span.trace for span in [*published.values(), *processed.values()]} == {trace}
    assert published["second"].parent == processed["first", 1].id
    roots = {
        span.id: span for span in backend.spans("queue.task.soniq")
    }  # between the two, where there are any
    for (name, _), span in processed.items():
        assert roots.get(span.parent or "", span).parent == published[name].id


async def test_without_a_span_the_enqueue_has_none_and_the_trace_goes_on_all_the_same(
    app: Soniq, backend: Backend, run: Run
) -> None:
    enqueued_in = str(sentry_sdk.get_traceparent()).partition("-")[0]
    await run(app, app.job(nothing))
    assert backend.spans("queue.publish") == []
    assert backend.span("queue.process").trace == enqueued_in


async def test_a_span_around_the_worker_is_no_parent_of_an_attempt(
    app: Soniq, backend: Backend, request_span: Request
) -> None:
    enqueued_in = str(sentry_sdk.get_traceparent()).partition("-")[0]
    await app.enqueue(app.job(nothing))
    with request_span("the worker") as trace:
        await app.run_worker(run_once=True)
    (attempt,) = [*backend.spans("queue.task.soniq"), backend.span("queue.process")][:1]
    assert (attempt.service, attempt.trace) == (True, enqueued_in)
    assert backend.span("http.server").trace == trace


async def test_a_job_without_headers_begins_a_trace_of_its_own(
    app: Soniq, backend: Backend
) -> None:
    job = app.job(nothing)
    for _ in range(2):
        await app.enqueue(job, headers={"sentry": {}})
    await app.run_worker(run_once=True)
    here = str(sentry_sdk.get_traceparent()).partition("-")[0]
    assert len({here, *(span.trace for span in backend.spans("queue.process"))}) == 3


@pytest.mark.parametrize(
    "header", ["text", 7, ["list"], {"sentry-trace": 5}, {"sentry-trace": "garbage"}], ids=repr
)
async def test_a_header_that_is_none_of_sentrys_does_no_harm(
    app: Soniq, backend: Backend, header: object
) -> None:
    job_id = await app.enqueue(app.job(nothing), headers={"sentry": header})
    await app.run_worker(run_once=True)
    assert backend.span("queue.process").data["messaging.message.id"] == job_id


async def test_without_tracing_errors_still_belong_to_the_trace_of_the_enqueue(
    app: Soniq, init: Init, run: Run
) -> None:
    backend = init(traces_sample_rate=None)

    @app.job(max_attempts=1)
    async def fails() -> None:
        raise ValueError("no")

    trace = str(sentry_sdk.get_traceparent()).partition("-")[0]
    await run(app, fails)
    assert backend.event["contexts"]["trace"]["trace_id"] == trace
    assert backend.spans("queue.process") == []


async def test_a_sampler_knows_the_job(app: Soniq, init: Init, run: Run) -> None:
    seen: list[object] = []

    def sampler(context: dict[str, Any]) -> float:
        seen.append(context.get("soniq_job"))
        return 0.0 if context.get("soniq_job", {}).get("name") == "dull" else 1.0

    backend = init(traces_sample_rate=None, traces_sampler=sampler)
    await run(app, app.job(name="dull", queue="q")(nothing))
    await run(app, app.job(name="bright", queue="q")(nothing))
    assert {"name": "dull", "queue": "q", "attempt": 1} in seen
    assert [span.name for span in backend.spans("queue.process")] == ["bright"]


async def test_enqueues_that_overlap_leave_the_span_around_them_in_place(
    app: Soniq, backend: Backend, request_span: Request
) -> None:
    job = app.job(nothing)
    await app.start()
    with request_span("POST /two"):
        before = sentry_sdk.get_traceparent()
        await asyncio.gather(*(app.enqueue(job, number=n) for n in range(2)))
        assert sentry_sdk.get_traceparent() == before
    outer = backend.span("http.server").id
    assert [span.parent for span in backend.spans("queue.publish")] == [outer, outer]


class TestScopes:
    """Each attempt has an isolation scope of its own."""

    async def test_what_an_attempt_sets_is_gone_after_it(
        self, app: Soniq, backend: Backend, run: Run
    ) -> None:
        @app.job(name="first")
        async def first() -> None:
            sentry_sdk.set_tag("customer", "ada")
            sentry_sdk.add_breadcrumb(message="looked for a pen")

        @app.job(name="second")
        async def second() -> None:
            sentry_sdk.capture_message("hello")

        await run(app, first)
        await run(app, second)
        sentry_sdk.capture_message("outside")
        for event in backend.events:
            assert "customer" not in dict(event["tags"] or [])
            assert "looked for a pen" not in str(event.get("breadcrumbs"))

    async def test_the_breadcrumbs_of_the_worker_are_not_the_attempts(
        self, app: Soniq, backend: Backend, run: Run
    ) -> None:
        sentry_sdk.add_breadcrumb(message="the worker began")

        @app.job()
        async def speaks() -> None:
            sentry_sdk.capture_message("hello")

        await run(app, speaks)
        assert "the worker began" not in str(backend.event.get("breadcrumbs"))

    @pytest.mark.parametrize("kind", ["async def", "def"])
    async def test_attempts_at_the_same_time_are_kept_apart(
        self, app: Soniq, backend: Backend, kind: str
    ) -> None:
        tasks, threads = asyncio.Barrier(3), threading.Barrier(3)

        async def asynchronous(number: int) -> None:
            sentry_sdk.set_tag("number", str(number))
            await tasks.wait()
            sentry_sdk.capture_message(f"message {number}")
            await tasks.wait()

        def threaded(number: int) -> None:
            sentry_sdk.set_tag("number", str(number))
            threads.wait(20)
            sentry_sdk.capture_message(f"message {number}")
            threads.wait(20)

        job = app.job()(threaded if kind == "def" else asynchronous)
        ids = await app.enqueue_many(job, [{"number": n} for n in range(3)])
        assert await app.run_worker(run_once=True, concurrency=3) == 3
        spans = {span.data["messaging.message.id"]: span for span in backend.spans("queue.process")}
        assert len(backend.events) == 3
        for event in backend.events:
            number = int(dict(event["tags"])["number"])
            job_id = ids[number]
            assert event["logentry"]["formatted"] == f"message {number}"
            assert event["extra"]["soniq-job"]["id"] == job_id
            assert event["contexts"]["trace"]["span_id"] == spans[job_id].id


async def test_the_header_sentry_holds_the_headers_of_sentry(
    app: Soniq, backend: Backend, run: Run
) -> None:
    seen: list[Mapping[str, Any]] = []

    @app.job()
    async def handler(ctx: JobContext) -> None:
        seen.append(ctx.headers)

    await run(app, handler)
    assert [set(headers["sentry"]) for headers in seen] == [{"sentry-trace", "baggage"}]


async def test_jobs_of_several_names_in_one_call_are_published_as_several(
    app: Soniq, backend: Backend, request_span: Request
) -> None:
    mail = app.job(name="mail", queue="post")(nothing)
    bill = app.job(name="bill", queue="money")(nothing)
    with request_span("POST /all"):
        await app.enqueue_all([mail.call(number=1), bill.call(number=2)])
    published = backend.span("queue.publish")
    assert published.data["messaging.batch.message_count"] == 2
    assert "messaging.destination.name" not in published.data
