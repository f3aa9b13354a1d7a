"""A process that is forked, as web servers do that load the application first, sends its own spans
and metrics.
"""

from pathlib import Path

import pytest

from tests.support.forking import CHILDREN, run_forking

from .backend import receiving

PROGRAM = """
import os
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from soniq import Soniq
from soniq_otel import OtelPlugin

traces = TracerProvider(shutdown_on_exit=False)
spans = OTLPSpanExporter(os.environ["ENDPOINT"] + "/v1/traces")
traces.add_span_processor(BatchSpanProcessor(spans, schedule_delay_millis=3_600_000))
points = OTLPMetricExporter(os.environ["ENDPOINT"] + "/v1/metrics")
metrics = MeterProvider(
    [PeriodicExportingMetricReader(points, export_interval_millis=3_600_000)], shutdown_on_exit=False
)
plugin = OtelPlugin(tracer_provider=traces, meter_provider=metrics)
eq = Soniq(plugins=[plugin], discover=False)

@eq.job(name="mail")
def mail(number: int) -> None: ...

def in_child(number):
    eq.sync.enqueue("mail", number)
"""


NO_THREADS = """
    import atexit, threading

    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    # As Python 3.12 does where the process ends
    atexit.register(lambda: setattr(threading.Thread, "start", refuse))
"""
"""Goes on in `in_child`."""


@pytest.mark.parametrize("at_the_end", ["", NO_THREADS])
@pytest.mark.usefixtures("app")
async def test_spans_and_metrics_of_forked_children_arrive_and_none_twice(
    tmp_path: Path, database_url: str, schema: str, at_the_end: str
) -> None:
    with receiving("http") as (receiver, endpoint):
        run_forking(
            tmp_path,
            PROGRAM + at_the_end,
            ENDPOINT=endpoint,
            SONIQ_DATABASE_URL=database_url,
            SONIQ_SCHEMA=schema,
        )
    sent = [each for each in receiver.spans if each.name.startswith("send")]
    assert len({each.place for each in sent}) == len(sent) == 1 + CHILDREN
    assert receiver.exports == 1 + CHILDREN
    assert "messaging.client.sent.messages" in receiver.metrics
