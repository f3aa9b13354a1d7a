"""What the plugin records with: tracer, instruments and propagator, those given or the global ones of the moment."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context, get_current
from opentelemetry.metrics import MeterProvider
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Link, Span, StatusCode, TracerProvider

from . import names

log = logging.getLogger("soniq.otel")

Attributes = dict[str, str | int | float | bool]


class Telemetry:
    """The tracer, the instruments and the propagator of one plugin."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None,
        meter_provider: MeterProvider | None,
        propagator: TextMapPropagator | None,
    ) -> None:
        release = version("soniq-otel")
        self._tracer_provider, self._meter_provider, self._propagator = tracer_provider, meter_provider, propagator
        self.tracer = trace.get_tracer(names.SCOPE, release, tracer_provider, names.SCHEMA_URL)
        self.meter = metrics.get_meter(names.SCOPE, release, meter_provider, names.SCHEMA_URL)
        self.operation_duration = self.meter.create_histogram(
            names.OPERATION_DURATION, "s", "Duration of an enqueue call.",
            explicit_bucket_boundaries_advisory=names.DURATION_BUCKETS,
        )  # fmt: skip
        self.process_duration = self.meter.create_histogram(
            names.PROCESS_DURATION, "s", "Duration of an attempt.",
            explicit_bucket_boundaries_advisory=names.DURATION_BUCKETS,
        )  # fmt: skip
        self.sent = self.meter.create_counter(names.SENT_MESSAGES, "{message}", "Jobs that were to be enqueued.")
        self.consumed = self.meter.create_counter(names.CONSUMED_MESSAGES, "{message}", "Attempts that ended.")
        self.queue_time = self.meter.create_histogram(
            names.QUEUE_TIME, "s", "Time from when a job was due until its claim.",
            explicit_bucket_boundaries_advisory=names.QUEUE_TIME_BUCKETS,
        )  # fmt: skip
        self.outcomes = self.meter.create_counter(names.JOB_OUTCOMES, "{attempt}", "What attempts came to.")
        self.recording = False
        self._looked = 0.0
        self.look()

    def look(self) -> None:
        """See whether anyone records: the SDK may be set up later than the plugin. A global lookup costs about 1 us."""
        if not self.recording:
            tracing = not _silent(self._tracer_provider or trace.get_tracer_provider())
            self.recording = tracing or self.measuring

    def glance(self) -> None:
        """`look`, but not more often than ten times in a second: for what is called for each job."""
        if not self.recording and time.monotonic() - self._looked > 0.1:
            self._looked = time.monotonic()
            self.look()

    @property
    def measuring(self) -> bool:
        """Whether anyone takes metrics."""
        return not _silent(self.meter_provider)

    @property
    def meter_provider(self) -> MeterProvider:
        return self._meter_provider or metrics.get_meter_provider()

    @property
    def propagator(self) -> TextMapPropagator:
        return self._propagator or propagate.get_global_textmap()

    def carrier(self, context: Context) -> dict[str, str]:
        """What a job takes along of a context: trace context and baggage, as the propagator writes them."""
        carrier: dict[str, str] = {}
        self.propagator.inject(carrier, context)
        return carrier

    def creation(self, headers: Mapping[str, object]) -> tuple[Context, list[Link]]:
        """The current context with what a job brought along, and a link to where it was created, if it says so."""
        current, carrier = get_current(), headers.get(names.HEADER)
        if not carrier or not isinstance(carrier, Mapping):
            return current, []
        texts = {key: value for key, value in carrier.items() if isinstance(value, str)}
        context = self.propagator.extract(texts, current)
        span = trace.get_current_span(context)
        return context, [] if span is trace.get_current_span(current) else [Link(span.get_span_context())]


def _silent(provider: TracerProvider | MeterProvider) -> bool:
    """Whether it is one of the API's own providers, which record nothing."""
    return type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


@contextmanager
def harmless(what: str) -> Iterator[None]:
    """Whatever fails in the SDK while this is done is logged, and goes no further."""
    try:
        yield
    except Exception:
        log.exception("%s failed; the job is not affected", what)


def error_type(error: BaseException) -> str:
    """The canonical name of an error's class."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def fail(span: Span, error: BaseException) -> None:
    """Mark a span as failed, with the exception as an event."""
    if span.is_recording():
        span.set_attribute(names.ERROR_TYPE, error_type(error))
        span.set_status(StatusCode.ERROR, _text(error))
        with harmless("recording an exception"):  # its text may not be to be had
            span.record_exception(error)


def _text(error: BaseException) -> str | None:
    try:
        return str(error) or None
    except Exception:
        return None
