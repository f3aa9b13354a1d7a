"""Whatever fails or hangs in telemetry, jobs are enqueued and run as if there were none."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from threading import Event
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult

from soniq import Soniq
from tests.support.jobs import run_job

from .backend import Backend

MakeTraced = Callable[..., Soniq]


class FailingExporter(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise RuntimeError("the exporter is broken")


class HangingExporter(SpanExporter):
    """An exporter that waits until it is let go."""

    def __init__(self) -> None:
        self.called, self.go_on = Event(), Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.called.set()
        self.go_on.wait(60)
        return SpanExportResult.SUCCESS


class FailsAtTheStart(SpanProcessor):
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        raise RuntimeError("on_start is broken")


class FailsAtTheEnd(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("on_end is broken")


class FailingSampler(Sampler):
    def should_sample(self, *args: Any, **keywords: Any) -> SamplingResult:
        raise RuntimeError("the sampler is broken")

    def get_description(self) -> str:
        return "broken"


class FailingPropagator(TextMapPropagator):
    def inject(self, *args: Any, **keywords: Any) -> None:
        raise RuntimeError("inject is broken")

    def extract(self, *args: Any, **keywords: Any) -> Context:
        raise RuntimeError("extract is broken")

    @property
    def fields(self) -> set[str]:
        return set()


class FailingMeterProvider(MeterProvider):
    """Instruments that raise."""

    def get_meter(self, *args: Any, **keywords: Any) -> Any:
        meter = super().get_meter(*args, **keywords)
        for make in ("create_counter", "create_histogram"):
            setattr(meter, make, lambda *args, **keywords: Broken())
        return meter


class Broken:
    def add(self, *args: object) -> None:
        raise RuntimeError("the counter is broken")

    def record(self, *args: object) -> None:
        raise RuntimeError("the histogram is broken")


def with_processor(processor: SpanProcessor) -> dict[str, object]:
    provider = TracerProvider()
    provider.add_span_processor(processor)
    return {"tracer_provider": provider}


CASES: dict[str, Callable[[], dict[str, object]]] = {
    "exporter": lambda: with_processor(SimpleSpanProcessor(FailingExporter())),
    "on_start": lambda: with_processor(FailsAtTheStart()),
    "on_end": lambda: with_processor(FailsAtTheEnd()),
    "sampler": lambda: {"tracer_provider": TracerProvider(sampler=FailingSampler())},
    "propagator": lambda: {"propagator": FailingPropagator()},
    "meter": lambda: {"meter_provider": FailingMeterProvider([InMemoryMetricReader()])},
}


@pytest.mark.parametrize("case", CASES)
async def test_what_raises_is_logged_and_the_jobs_are_enqueued_and_run(
    traced: MakeTraced, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    app, ran = traced(**CASES[case]()), []
    before = trace.get_current_span()

    @app.job(max_attempts=2, retry=0)
    async def job(number: int) -> int:
        ran.append(number)
        if ran.count(3) == 1 and number == 3:
            raise ValueError("boom")
        return number

    ids = [await app.enqueue(job, 0), *await app.enqueue_many(job, [{"number": 1}, {"number": 2}])]
    retried = await app.enqueue(job, 3)
    assert trace.get_current_span() is before
    assert await app.run_worker(run_once=True) == 5
    assert [await app.get_result(job_id) for job_id in ids] == [0, 1, 2]
    assert await app.get_result(retried) == 3
    assert sorted(ran) == [0, 1, 2, 3, 3]
    assert "is broken" in caplog.text
    assert trace.get_current_span() is before


@pytest.fixture
def hanging() -> Iterator[HangingExporter]:
    exporter = HangingExporter()
    yield exporter
    exporter.go_on.set()


async def test_an_exporter_that_hangs_behind_a_batch_processor_holds_up_no_job(
    traced: MakeTraced, hanging: HangingExporter
) -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(hanging, schedule_delay_millis=1))
    app = traced(tracer_provider=provider)

    @app.job()
    async def job() -> str:
        return "ran"

    await app.enqueue(job)
    await asyncio.to_thread(hanging.called.wait, 20)
    job_id = await app.enqueue(job)
    assert await app.run_worker(run_once=True) == 2
    assert await app.get_result(job_id) == "ran"
    assert not hanging.go_on.is_set()
    hanging.go_on.set()
    provider.shutdown()


async def test_an_error_whose_text_cannot_be_made_is_still_an_error(
    traced: MakeTraced, backend: Backend
) -> None:
    app = traced()

    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    @app.job(max_attempts=1)
    async def job() -> None:
        raise Unspeakable

    status = await run_job(app, job)
    assert status["status"] == "dead"
    span = backend.span("process")
    assert (span.status, span.description) == ("ERROR", "")
    assert span.attributes["error.type"].endswith("Unspeakable")
