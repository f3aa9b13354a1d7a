"""The plugin needs the API alone, records nothing without an SDK, and uses the global SDK once
there is one.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from opentelemetry import baggage, context, metrics, trace
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv._incubating.metrics import messaging_metrics
from opentelemetry.semconv.attributes import error_attributes, server_attributes
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from soniq import JobContext, Soniq
from soniq_otel import OtelPlugin, names
from tests.conftest import MakeApp

from .backend import receiving


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    """An app whose plugin finds no SDK."""
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert "sdk" not in type(metrics.get_meter_provider()).__module__
    return make_app(plugins=[OtelPlugin()])


async def test_without_an_sdk_jobs_carry_no_headers(app: Soniq) -> None:
    seen: list[dict[str, object]] = []

    @app.job()
    async def job(ctx: JobContext) -> None:
        seen.append(dict(ctx.headers))
        assert not ctx.stash._values

    await app.enqueue(job)
    await app.enqueue_many(job, [{}, {}])
    await app.run_worker(run_once=True)
    assert seen == [{}] * 3


async def test_without_an_sdk_a_context_that_is_there_still_travels_from_job_to_job(
    app: Soniq,
) -> None:
    seen: list[tuple[int, int, object]] = []

    def note() -> None:
        here = trace.get_current_span().get_span_context()
        seen.append((here.trace_id, here.span_id, baggage.get_baggage("tenant")))

    @app.job()
    async def third() -> None:
        note()

    @app.job()
    def second() -> None:
        note()

    @app.job(max_attempts=2, retry=0)
    async def first(ctx: JobContext) -> None:
        note()
        if ctx.attempt == 1:
            raise ValueError("again")
        await app.enqueue(second)
        await app.enqueue_many(third, [{}, {}])

    remote = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    with trace.use_span(NonRecordingSpan(remote)):
        token = context.attach(baggage.set_baggage("tenant", "acme"))
        await app.enqueue(first)
        context.detach(token)
    await app.run_worker(run_once=True)
    assert seen == [(0xABC, 0xDEF, "acme")] * 5
    assert not trace.get_current_span().get_span_context().is_valid


def test_only_the_api_is_imported() -> None:
    code = (
        "import sys, soniq_otel; soniq_otel.OtelPlugin(); print([m for m in sys.modules if"
        " m.startswith(('opentelemetry.sdk', 'opentelemetry.semconv'))])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.strip() == "[]"


def test_the_names_are_those_of_the_conventions() -> None:
    assert Schemas.V1_44_0.value == names.SCHEMA_URL
    assert (names.SYSTEM, names.OPERATION, names.OPERATION_TYPE) == (
        messaging_attributes.MESSAGING_SYSTEM,
        messaging_attributes.MESSAGING_OPERATION_NAME,
        messaging_attributes.MESSAGING_OPERATION_TYPE,
    )
    assert (names.DESTINATION, names.MESSAGE_ID, names.MESSAGE_COUNT) == (
        messaging_attributes.MESSAGING_DESTINATION_NAME,
        messaging_attributes.MESSAGING_MESSAGE_ID,
        messaging_attributes.MESSAGING_BATCH_MESSAGE_COUNT,
    )
    assert (names.SERVER_ADDRESS, names.SERVER_PORT, names.ERROR_TYPE) == (
        server_attributes.SERVER_ADDRESS,
        server_attributes.SERVER_PORT,
        error_attributes.ERROR_TYPE,
    )
    assert (
        names.OPERATION_DURATION,
        names.PROCESS_DURATION,
        names.SENT_MESSAGES,
        names.CONSUMED_MESSAGES,
    ) == (
        messaging_metrics.MESSAGING_CLIENT_OPERATION_DURATION,
        messaging_metrics.MESSAGING_PROCESS_DURATION,
        messaging_metrics.MESSAGING_CLIENT_SENT_MESSAGES,
        messaging_metrics.MESSAGING_CLIENT_CONSUMED_MESSAGES,
    )


PROGRAM = """
import asyncio

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from soniq import Soniq

app = Soniq()  # the plugin is found by its entry point

@app.job(name="greet")
async def greet() -> None:
    ...

async def main() -> None:
    await app.enqueue(greet)
    await app.run_worker(run_once=True)  # nobody records yet
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())]))
    await app.enqueue(greet)
    await app.run_worker(run_once=True)
    await app.close()

asyncio.run(main())
"""


def test_a_global_sdk_is_used_also_when_it_is_set_up_late_and_is_flushed_at_the_end_of_the_process(
    database_url: str, schema: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    with receiving("http") as (receiver, endpoint):
        environment = {
            **os.environ,
            "SONIQ_DATABASE_URL": database_url,
            "SONIQ_SCHEMA": schema,
            "SONIQ_PLUGINS": "otel",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        }
        ran = subprocess.run(
            [sys.executable, str(program)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (ran.returncode, ran.stderr) == (0, "")
    send, process = sorted(receiver.spans, key=lambda span: span.began)
    assert (send.name, process.name, process.parent) == (
        "send default",
        "process default",
        send.place,
    )
    (consumed,) = receiver.metrics["messaging.client.consumed.messages"].points
    assert consumed.value == 1


LATE = """
import asyncio, sys

from soniq import Soniq

app = Soniq()

@app.job(name="greet")
async def greet() -> None:
    ...

async def main() -> None:
    working = asyncio.create_task(app.run_worker())
    await app.wait_for(await app.enqueue(greet), timeout=20)
    assert "opentelemetry" not in sys.modules

    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))
    await app.enqueue(greet, delay=600)
    await app.wait_for(await app.enqueue(greet), timeout=20)

    async with asyncio.timeout(20):
        while "soniq.queue.jobs" not in str(reader.get_metrics_data()):
            await asyncio.sleep(0.05)
    working.cancel()
    await asyncio.wait([working])
    await app.close()
    print(sorted(span.name for span in spans.get_finished_spans()))

asyncio.run(main())
"""


def test_an_sdk_that_is_imported_only_after_the_start_is_used_from_then_on(
    database_url: str, schema: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(LATE)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    ran = subprocess.run(
        [sys.executable, str(program)],
        env={
            **plain,
            "SONIQ_DATABASE_URL": database_url,
            "SONIQ_SCHEMA": schema,
            "SONIQ_PLUGINS": "otel",
            "SONIQ_OTEL_GAUGE_INTERVAL": "0.2",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "['process default', 'send default', 'send default']\n"
