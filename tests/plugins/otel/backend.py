"""A backend for the tests: an OTLP receiver on loopback, gRPC and HTTP, and the SDK with its
exporters in front.
"""

import gzip
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Literal, NamedTuple

import grpc
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcMetricExporter,
)
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
    OTLPMetricExporter as HttpMetricExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HttpSpanExporter,
)
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

Protocol = Literal["grpc", "http"]
Place = tuple[str, str]
"""A span's trace id and span id, in hex."""
HOUR = 3_600_000


class Span(NamedTuple):
    """A span as the receiver took it."""

    name: str
    kind: str
    """PRODUCER, CONSUMER, CLIENT or INTERNAL."""
    place: Place
    parent: Place | None
    links: list[Place]
    attributes: dict[str, Any]
    status: str
    """UNSET, OK or ERROR."""
    description: str
    events: list[tuple[str, dict[str, Any]]]
    seconds: float
    began: float
    """Seconds since 1970."""
    scope: str
    schema_url: str


class Point(NamedTuple):
    """The last state of one series of a metric."""

    attributes: dict[str, Any]
    value: float
    """Of a histogram, the sum."""
    measured: int
    """Of a histogram, how many values."""
    bounds: tuple[float, ...]


class Series(NamedTuple):
    """A metric as the receiver took it last."""

    kind: str
    """sum, gauge or histogram."""
    unit: str
    scope: str
    schema_url: str
    points: list[Point]


class Receiver:
    """What arrived."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.metrics: dict[str, Series] = {}
        self.exports = 0

    def take_traces(self, request: trace_service_pb2.ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            for group in resource.scope_spans:
                self.spans += [_span(span, group.scope, group.schema_url) for span in group.spans]

    def take_metrics(self, request: metrics_service_pb2.ExportMetricsServiceRequest) -> None:
        """Keep the metrics of this export alone: what is no longer reported is gone."""
        self.exports += 1
        self.metrics = {
            metric.name: _series(metric, group.scope, group.schema_url)
            for resource in request.resource_metrics
            for group in resource.scope_metrics
            for metric in group.metrics
        }


class Backend:
    """The SDK's providers, which export to a receiver when they are asked what arrived."""

    def __init__(
        self, receiver: Receiver, endpoint: str, protocol: Protocol, sampler: Sampler = ALWAYS_ON
    ) -> None:
        self._receiver = receiver
        spans = (
            GrpcSpanExporter(endpoint, insecure=True)
            if protocol == "grpc"
            else HttpSpanExporter(f"{endpoint}/v1/traces")
        )
        metrics = (
            GrpcMetricExporter(endpoint, insecure=True)
            if protocol == "grpc"
            else HttpMetricExporter(f"{endpoint}/v1/metrics")
        )
        self.tracer_provider = TracerProvider(sampler=sampler)
        self.tracer_provider.add_span_processor(
            BatchSpanProcessor(spans, schedule_delay_millis=HOUR)
        )
        self.meter_provider = MeterProvider(
            [PeriodicExportingMetricReader(metrics, export_interval_millis=HOUR)]
        )
        self.tracer = self.tracer_provider.get_tracer("test")

    def spans(self, name: str = "") -> list[Span]:
        """The spans whose names begin so, in the order in which they began."""
        assert self.tracer_provider.force_flush(20_000)
        return sorted(
            (each for each in self._receiver.spans if each.name.startswith(name)),
            key=lambda s: s.began,
        )

    def span(self, name: str) -> Span:
        """The only span whose name begins so."""
        (span,) = self.spans(name)
        return span

    def metrics(self) -> dict[str, Series]:
        """The metrics that are reported now. Where there are none, the SDK exports nothing."""
        self._receiver.metrics = {}
        assert self.meter_provider.force_flush(20_000)
        return self._receiver.metrics

    def points(self, name: str) -> list[Point]:
        """The series of a metric; none where it is not reported."""
        series = self.metrics().get(name)
        return series.points if series else []

    def close(self) -> None:
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()


@contextmanager
def receiving(protocol: Protocol) -> Iterator[tuple[Receiver, str]]:
    """A receiver that listens on loopback, and its endpoint."""
    receiver = Receiver()
    with _grpc_server(receiver) if protocol == "grpc" else _http_server(receiver) as port:
        yield receiver, f"http://127.0.0.1:{port}"


MakeBackend = Callable[..., Backend]


@contextmanager
def backends() -> Iterator[MakeBackend]:
    """Makes backends, each with a receiver of its own; all are closed."""
    with ExitStack() as stack:

        def make(protocol: Protocol = "grpc", sampler: Sampler = ALWAYS_ON) -> Backend:
            backend = Backend(*stack.enter_context(receiving(protocol)), protocol, sampler)
            stack.callback(backend.close)
            return backend

        yield make


@contextmanager
def _grpc_server(receiver: Receiver) -> Iterator[int]:
    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: object) -> Any:
            receiver.take_traces(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: object) -> Any:
            receiver.take_metrics(request)
            return metrics_service_pb2.ExportMetricsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)  # type: ignore[no-untyped-call] # generated
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)  # type: ignore[no-untyped-call] # generated
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait(20)


@contextmanager
def _http_server(receiver: Receiver) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/x-protobuf"
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                receiver.take_traces(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
            else:
                receiver.take_metrics(
                    metrics_service_pb2.ExportMetricsServiceRequest.FromString(body)
                )
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(20)
        server.server_close()


def _span(span: trace_pb2.Span, scope: InstrumentationScope, schema_url: str) -> Span:
    trace = span.trace_id.hex()
    return Span(
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        place=(trace, span.span_id.hex()),
        parent=(trace, span.parent_span_id.hex()) if span.parent_span_id else None,
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        attributes=_attributes(span.attributes),
        status=trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        description=span.status.message,
        events=[(event.name, _attributes(event.attributes)) for event in span.events],
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        began=span.start_time_unix_nano / 1e9,
        scope=scope.name,
        schema_url=schema_url,
    )


def _series(metric: Metric, scope: InstrumentationScope, schema_url: str) -> Series:
    kind = metric.WhichOneof("data") or ""
    return Series(
        kind,
        metric.unit,
        scope.name,
        schema_url,
        [_point(p) for p in getattr(metric, kind).data_points],
    )


def _point(point: Any) -> Point:
    attributes = _attributes(point.attributes)
    if hasattr(point, "bucket_counts"):
        return Point(attributes, point.sum, point.count, tuple(point.explicit_bounds))
    return Point(attributes, getattr(point, point.WhichOneof("value")), 1, ())


def _attributes(values: Any) -> dict[str, Any]:
    def value(of: AnyValue) -> Any:
        return getattr(of, of.WhichOneof("value") or "string_value")

    attributes: list[KeyValue] = list(values)
    return {each.key: value(each.value) for each in attributes}
