"""The context reaches the handler, its threads, and the jobs that it enqueues."""

import asyncio
from collections.abc import Callable

from opentelemetry import baggage, context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from soniq import JobContext, Soniq, hookimpl
from soniq.plugin import EnqueueBatch
from soniq_otel import OtelPlugin
from tests.conftest import MakeApp

from .backend import Backend, MakeBackend, Place

MakeTraced = Callable[..., Soniq]


def current() -> Place:
    """The span that is current here."""
    here = trace.get_current_span().get_span_context()
    return f"{here.trace_id:032x}", f"{here.span_id:016x}"


async def test_the_span_is_current_in_the_handler_the_hooks_and_threads(
    app: Soniq, backend: Backend
) -> None:
    seen: dict[str, Place] = {}

    @app.before_job
    def before(ctx: JobContext) -> None:
        seen["before_job"] = current()

    @app.after_job
    def after(ctx: JobContext) -> None:
        seen["after_job"] = current()

    @app.job()
    async def handler() -> None:
        seen["handler"] = current()
        seen["thread of the handler"] = await asyncio.to_thread(current)

    @app.job()
    def threaded() -> None:
        seen["handler in a thread"] = current()

    await app.enqueue(handler)
    await app.enqueue(threaded)
    await app.run_worker(run_once=True)
    first, second = backend.spans("process")
    if first.attributes["soniq.job.name"].endswith("threaded"):
        first, second = second, first
    assert seen.pop("handler in a thread") == second.place
    hooks = {seen.pop("before_job"), seen.pop("after_job")}
    assert hooks <= {first.place, second.place}
    assert set(seen) == {"handler", "thread of the handler"}
    assert set(seen.values()) == {first.place}


async def test_the_span_is_current_also_in_plugins_that_come_before(
    make_app: MakeApp, backend: Backend
) -> None:
    seen: dict[str, Place] = {}

    class Before:
        name = "before"

        @hookimpl
        def around_enqueue(self, batch: EnqueueBatch) -> None:
            seen["around_enqueue"] = current()

        @hookimpl
        def around_job(self, ctx: JobContext) -> None:
            seen["around_job"] = current()

    app = make_app(plugins=[Before(), OtelPlugin(tracer_provider=backend.tracer_provider)])

    @app.job()
    async def job() -> None: ...

    await app.enqueue(job)
    await app.run_worker(run_once=True)
    assert seen == {
        "around_enqueue": backend.span("send").place,
        "around_job": backend.span("process").place,
    }


async def test_spans_of_the_handler_are_children_of_the_attempt(
    app: Soniq, backend: Backend
) -> None:
    @app.job()
    async def job() -> None:
        with backend.tracer.start_as_current_span("inside"):
            pass

    await app.enqueue(job)
    await app.run_worker(run_once=True)
    assert backend.span("inside").parent == backend.span("process").place


async def test_attempts_at_the_same_time_keep_apart(app: Soniq, backend: Backend) -> None:
    seen: dict[str, Place] = {}
    all_run = asyncio.Barrier(3)

    @app.job()
    async def job(ctx: JobContext) -> None:
        await all_run.wait()
        seen[ctx.job_id] = current()

    for _ in range(3):
        await app.enqueue(job)
    await app.run_worker(run_once=True)
    assert seen == {
        each.attributes["messaging.message.id"]: each.place for each in backend.spans("process")
    }
    assert len(set(seen.values())) == 3


async def test_a_job_that_enqueues_another_continues_the_trace(
    app: Soniq, backend: Backend
) -> None:
    @app.job(name="second")
    async def second() -> None: ...

    @app.job(name="first")
    async def first() -> None:
        await app.enqueue(second)

    with backend.tracer.start_as_current_span("request"):
        await app.enqueue(first)
    await app.run_worker(run_once=True)
    chain = [backend.span("request"), *backend.spans("send"), *backend.spans("process")]
    assert len({each.place[0] for each in chain}) == 1
    request, send_first, send_second, process_first, process_second = chain
    assert send_first.parent == request.place
    assert process_first.parent == send_first.place
    assert send_second.parent == process_first.place
    assert process_second.parent == send_second.place


async def test_each_retry_and_each_round_of_a_snooze_leads_back_to_the_enqueue(
    app: Soniq, backend: Backend
) -> None:
    @app.job(max_attempts=3, retry=0)
    async def job(ctx: JobContext) -> None:
        if ctx.attempt < 3:
            raise ValueError("not yet")

    await app.enqueue(job)
    await app.run_worker(run_once=True)
    send, attempts = backend.span("send"), backend.spans("process")
    assert [each.attributes["soniq.job.attempt"] for each in attempts] == [1, 2, 3]
    assert [(each.parent, each.links) for each in attempts] == [(send.place, [send.place])] * 3
    assert [each.status for each in attempts] == ["ERROR", "ERROR", "UNSET"]


async def test_baggage_travels_to_the_handler_and_on_to_the_jobs_it_enqueues(app: Soniq) -> None:
    seen: list[object] = []

    @app.job()
    async def second() -> None:
        seen.append(baggage.get_baggage("tenant"))

    @app.job()
    async def first() -> None:
        seen.append(baggage.get_baggage("tenant"))
        await app.enqueue_many(second, [{}, {}])

    token = context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        await app.enqueue(first)
    finally:
        context.detach(token)
    await app.run_worker(run_once=True)
    assert seen == ["acme"] * 3
    assert baggage.get_baggage("tenant") is None


async def test_baggage_travels_also_where_each_attempt_is_a_trace_of_its_own(
    traced: MakeTraced,
) -> None:
    app, seen = traced(parent=False), []

    @app.job()
    async def job() -> None:
        seen.append(baggage.get_baggage("tenant"))

    token = context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        await app.enqueue(job)
    finally:
        context.detach(token)
    await app.run_worker(run_once=True)
    assert seen == ["acme"]


async def test_the_state_of_a_trace_travels_along(app: Soniq) -> None:
    seen: list[str | None] = []

    @app.job()
    async def job() -> None:
        seen.append(trace.get_current_span().get_span_context().trace_state.get("vendor"))

    remote = SpanContext(7, 7, True, TraceFlags(TraceFlags.SAMPLED), TraceState([("vendor", "x")]))
    with trace.use_span(NonRecordingSpan(remote)):
        await app.enqueue(job)
    await app.run_worker(run_once=True)
    assert seen == ["x"]


async def test_the_configured_propagator_is_used(traced: MakeTraced, backend: Backend) -> None:
    app, seen = traced(propagator=W3CBaggagePropagator()), []

    @app.job()
    async def job(ctx: JobContext) -> None:
        seen.append((baggage.get_baggage("tenant"), dict(ctx.headers["otel"])))

    token = context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        await app.enqueue(job)
    finally:
        context.detach(token)
    await app.run_worker(run_once=True)
    assert seen == [("acme", {"baggage": "tenant=acme"})]
    assert backend.span("process").parent is None


async def test_what_is_not_sampled_is_not_recorded_and_its_decision_travels(
    traced: MakeTraced, backend: Backend, make_backend: MakeBackend
) -> None:
    unsampled = make_backend(sampler=ALWAYS_OFF)
    app, seen = traced(tracer_provider=unsampled.tracer_provider), []

    @app.job()
    async def job() -> None:
        here = trace.get_current_span().get_span_context()
        seen.append((here.is_valid, here.trace_flags.sampled))

    await app.enqueue(job)
    await app.run_worker(run_once=True)
    assert unsampled.spans() == []
    assert seen == [(True, False)]
