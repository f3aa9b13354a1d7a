"""The spans of an enqueue call: `send {queue}`, and `create {queue}` for each job of a batch."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import Token
from types import TracebackType

from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, set_span_in_context

from soniq.plugin import EnqueueBatch, NewJob

from . import names
from .telemetry import Attributes, Telemetry, error_type, fail, harmless

YIELD_EVERY = 500
"""Spans that are made before the event loop may do something else."""


def propagate_only(telemetry: Telemetry, jobs: Sequence[NewJob]) -> None:
    """Send the current context along with each job that brings none of its own."""
    context = get_current()
    if not context:
        return
    with harmless("propagating the context"):
        _inject(telemetry, [job for job in jobs if not job.headers.get(names.HEADER)], context)


class Send:
    """The context manager around one enqueue call."""

    def __init__(
        self, telemetry: Telemetry, batch: EnqueueBatch, server: Attributes, *, create_spans: bool
    ) -> None:
        self._telemetry = telemetry
        self._jobs = batch.jobs
        self._server = server
        self._kinds = Counter((job.queue, job.name) for job in batch.jobs)
        """How many jobs there are of each queue and name; of `enqueue_all` there may be several."""

        self._batched = len(batch.jobs) > 1
        self._create_spans = create_spans and self._batched
        self._span: Span = INVALID_SPAN
        self._token: Token[Context] | None = None
        self._began = time.time_ns()
        self._clock = time.perf_counter_ns()

    async def __aenter__(self) -> None:
        with harmless("the span of an enqueue"):
            own = [job for job in self._jobs if not job.headers.get(names.HEADER)]
            links = self._links_to_given()
            if self._create_spans:
                links += await self._create(own)

            attributes = {
                **self._alike(self._spanned),
                names.OPERATION: "send",
                names.OPERATION_TYPE: "send",
            }
            if self._batched:
                attributes[names.MESSAGE_COUNT] = len(self._jobs)
            else:
                attributes[names.MESSAGE_ID] = str(self._jobs[0].id)

            creates = bool(own) and not self._create_spans
            self._span = self._telemetry.tracer.start_span(
                f"send {attributes.get(names.DESTINATION, '')}".rstrip(),
                kind=SpanKind.PRODUCER if creates else SpanKind.CLIENT,
                attributes=attributes,
                links=links,
                start_time=self._began,
            )
            if creates:
                _inject(self._telemetry, own, set_span_in_context(self._span))
            self._token = attach(set_span_in_context(self._span))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with harmless("the span of an enqueue"):
            took = time.perf_counter_ns() - self._clock
            if error is not None:
                fail(self._span, error)
            else:
                self._show_duplicates()
            self._span.end(self._began + took)
            self._count(took / 1e9, error)
        if self._token is not None:
            detach(self._token)

    def _spanned(self, queue: str, job_name: str) -> Attributes:
        """What the spans of a job carry."""
        return {
            names.SYSTEM: "soniq",
            names.DESTINATION: queue,
            names.JOB_NAME: job_name,
            **self._server,
        }

    def _measured(self, queue: str, job_name: str) -> Attributes:
        """What the metrics of a job carry."""
        return self._telemetry.measured(queue, job_name, self._server)

    def _alike(self, attributes_of: Callable[[str, str], Attributes]) -> Attributes:
        """The attributes that all jobs of the call have alike."""
        first, *others = (attributes_of(*kind) for kind in self._kinds)
        if not others:
            return first
        return {
            key: value
            for key, value in first.items()
            if all(other[key] == value for other in others)
        }

    def _links_to_given(self) -> list[Link]:
        """Links to the creation contexts that the caller put into the headers, one for each."""
        given = [job.headers for job in self._jobs if job.headers.get(names.HEADER)]
        links = [link for headers in given for link in self._telemetry.creation(headers)[1]]
        by_id = {(link.context.trace_id, link.context.span_id): link for link in links}
        return list(by_id.values())

    async def _create(self, jobs: Sequence[NewJob]) -> list[Link]:
        """A creation span for each job, in its headers; links to them."""
        links = []
        for number, job in enumerate(jobs, 1):
            attributes = {
                **self._spanned(job.queue, job.name),
                names.OPERATION: "create",
                names.OPERATION_TYPE: "create",
                names.MESSAGE_ID: str(job.id),
            }
            span = self._telemetry.tracer.start_span(
                f"create {job.queue}", kind=SpanKind.PRODUCER, attributes=attributes
            )
            _inject(self._telemetry, [job], set_span_in_context(span))
            span.end()
            links.append(Link(span.get_span_context()))

            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        return links

    def _show_duplicates(self) -> None:
        duplicates = [job for job in self._jobs if not job.id.inserted]
        if duplicates and self._batched:
            self._span.set_attribute(names.BATCH_DUPLICATES, len(duplicates))
        elif duplicates:
            self._span.set_attribute(names.JOB_DUPLICATE, True)
            self._span.set_attribute(names.MESSAGE_ID, str(duplicates[0].id))

    def _count(self, seconds: float, error: BaseException | None) -> None:
        operation: Attributes = {names.OPERATION: "send"}
        if error is not None:
            operation[names.ERROR_TYPE] = error_type(error)
        for kind, number in self._kinds.items():
            self._telemetry.sent.add(number, {**self._measured(*kind), **operation})

        attributes = {**self._alike(self._measured), **operation, names.OPERATION_TYPE: "send"}
        self._telemetry.operation_duration.record(seconds, attributes)


def _inject(telemetry: Telemetry, jobs: Sequence[NewJob], context: Context) -> None:
    carrier = telemetry.carrier(context)
    if carrier:
        for job in jobs:
            job.headers[names.HEADER] = dict(carrier)
