"""What the plugin records with: tracer, instruments and propagator, given or global."""

import asyncio
import logging
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context, attach, detach, get_current, set_value
from opentelemetry.metrics import Counter, Histogram, MeterProvider
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Link, Span, StatusCode, TracerProvider

from . import names

log = logging.getLogger("soniq.otel")

FLUSH = 5.0
"""Seconds that a flush may take."""

Value = str | int | float | bool
Attributes = dict[str, Value]


class Capped:
    """The first values that it is asked for; every other one is `_OTHER`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, str] = {}

    def __call__(self, value: str) -> str:
        known = self._known.get(value)
        if known is None:
            if len(self._known) >= self._most:
                return names.OTHER
            known = self._known[value] = value
        return known


class Telemetry:
    """The tracer, the instruments and the propagator of one plugin."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None,
        meter_provider: MeterProvider | None,
        propagator: TextMapPropagator | None,
    ) -> None:
        release = version("soniq-otel")
        self._tracer_provider = tracer_provider
        self._meter_provider = meter_provider
        self._propagator = propagator
        self.tracer = trace.get_tracer(names.SCOPE, release, tracer_provider, names.SCHEMA_URL)
        self.meter = metrics.get_meter(names.SCOPE, release, meter_provider, names.SCHEMA_URL)

        self.operation_duration = self._seconds(
            names.OPERATION_DURATION, "Duration of an enqueue call.", names.DURATION_BUCKETS
        )
        self.process_duration = self._seconds(
            names.PROCESS_DURATION, "Duration of an attempt.", names.DURATION_BUCKETS
        )
        self.queue_time = self._seconds(
            names.QUEUE_TIME,
            "Time from when a job was due until its claim.",
            names.QUEUE_TIME_BUCKETS,
        )
        self.sent = self.meter.create_counter(
            names.SENT_MESSAGES, "{message}", "Jobs that were to be enqueued."
        )
        self.consumed = self.meter.create_counter(
            names.CONSUMED_MESSAGES, "{message}", "Attempts that ended."
        )
        self.outcomes = self.meter.create_counter(
            names.JOB_OUTCOMES, "{attempt}", "What attempts came to."
        )

        self._queues, self._jobs = Capped(names.MOST), Capped(names.MOST)
        self._tallies: dict[tuple[Counter, tuple[tuple[str, Value], ...]], int] = {}
        self.recording = False
        self._looked = 0.0
        self.look()

    def _seconds(self, name: str, about: str, buckets: Sequence[float]) -> Histogram:
        return self.meter.create_histogram(
            name, "s", about, explicit_bucket_boundaries_advisory=buckets
        )

    def measured(self, queue: str, job_name: str, server: Attributes) -> Attributes:
        """What all metrics of a job carry."""
        return {
            names.SYSTEM: "soniq",
            names.DESTINATION: self._queues(queue),
            names.JOB_NAME: self._jobs(job_name),
            **server,
        }

    def tally(self, counter: Counter, attributes: Attributes) -> None:
        """Count one; it is added later with others of the same attributes, which is cheaper."""
        key = counter, tuple(attributes.items())
        self._tallies[key] = self._tallies.get(key, 0) + 1

    def add_tallies(self) -> None:
        """Add what was counted since the last time."""
        tallies, self._tallies = self._tallies, {}
        for (counter, attributes), number in tallies.items():
            counter.add(number, dict(attributes))

    def look(self) -> None:
        """See whether anyone records: the SDK may be set up later than the plugin.

        A global lookup costs about 1 us.
        """
        if not self.recording:
            tracing = not _silent(self._tracer_provider or trace.get_tracer_provider())
            self.recording = tracing or self.measuring

    def glance(self) -> None:
        """`look`, but at most ten times in a second: for what is called for each job."""
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

    async def flush(self) -> None:
        """Send what was recorded, in a few seconds: the process may skip its exit functions."""
        with harmless("counting"):
            self.add_tallies()
        thread = threading.Thread(target=self._flush, name="soniq otel flush", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # Python 3.12 starts none where the process ends
            self._flush()
            return

        ends = time.monotonic() + FLUSH
        while thread.is_alive():
            if time.monotonic() > ends:
                log.warning("spans and metrics were not sent within %g s, and may be lost", FLUSH)
                return
            await asyncio.sleep(0.01)

    def _flush(self) -> None:
        tracer_provider = self._tracer_provider or trace.get_tracer_provider()
        for provider in (tracer_provider, self.meter_provider):
            flush = getattr(provider, "force_flush", None)  # the SDK has it, and the API has not
            if flush is not None:
                with harmless("flushing"):
                    flush()

    def carrier(self, context: Context) -> dict[str, str]:
        """What a job takes along: trace context and baggage, as the propagator writes them."""
        carrier: dict[str, str] = {}
        self.propagator.inject(carrier, context)
        return carrier

    def creation(self, headers: Mapping[str, object]) -> tuple[Context, list[Link]]:
        """The current context with what a job brought along, and a link to its creation."""
        current, carrier = get_current(), headers.get(names.HEADER)
        if not carrier or not isinstance(carrier, Mapping):
            return current, []

        texts = {key: value for key, value in carrier.items() if isinstance(value, str)}
        context = self.propagator.extract(texts, current)
        span = trace.get_current_span(context)
        if span is trace.get_current_span(current):  # it does not say where it was created
            return context, []
        return context, [Link(span.get_span_context())]


def _silent(provider: TracerProvider | MeterProvider) -> bool:
    """Whether it is one of the API's own providers, which record nothing."""
    return type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


@contextmanager
def silence() -> Iterator[None]:
    """Instrumentations of libraries record nothing inside."""
    token = attach(set_value("suppress_instrumentation", True))
    try:
        yield
    finally:
        detach(token)


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
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


LONGEST = 4_000
"""Characters of an error's message that a span has."""
LONGEST_STACK = 20_000
"""Characters of an error's stack trace that a span has."""


def fail(span: Span, error: BaseException) -> None:
    """Mark a span as failed, with the exception as an event."""
    if not span.is_recording():
        return
    text = _text(error)
    span.set_attribute(names.ERROR_TYPE, error_type(error))
    span.set_status(StatusCode.ERROR, text)

    with harmless("recording an exception"):  # its text may not be to be had
        stack = "".join(traceback.format_exception(error))
        event = {
            "exception.type": error_type(error),
            "exception.message": text or "",
            "exception.stacktrace": _cut(stack, LONGEST_STACK),
        }
        span.add_event("exception", event)


def _text(error: BaseException) -> str | None:
    try:
        return _cut(str(error), LONGEST) or None
    except BaseException:  # of the error's own
        return None


def _cut(text: str, longest: int) -> str:
    """A text, or its beginning and its end where it is longer."""
    if len(text) <= longest:
        return text
    return f"{text[: longest * 2 // 3]}\n...\n{text[-longest // 3 :]}"
