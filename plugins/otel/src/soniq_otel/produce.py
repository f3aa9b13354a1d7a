"""The spans of an enqueue call: `send {queue}`, and for a batch `create {queue}` for each of its jobs."""

import asyncio
import time
from collections.abc import Sequence
from contextvars import Token
from types import TracebackType

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, set_span_in_context

from soniq import EnqueueBatch, NewJob

from . import names
from .telemetry import Attributes, Telemetry, error_type, fail, harmless

BREATH = 500
"""Spans that are made before the event loop may do something else."""


def propagate_only(telemetry: Telemetry, jobs: Sequence[NewJob], context: Context) -> None:
    """Send the current context along with each job that brings none of its own."""
    with harmless("propagating the context"):
        _inject(telemetry, [job for job in jobs if not job.headers.get(names.HEADER)], context)


class Send:
    """The context manager around one enqueue call."""

    def __init__(self, telemetry: Telemetry, batch: EnqueueBatch, server: Attributes, *, create_spans: bool) -> None:
        first = batch.jobs[0]
        self._telemetry = telemetry
        self._jobs = batch.jobs
        self._common: Attributes = {
            names.SYSTEM: "soniq", names.DESTINATION: first.queue, names.JOB_NAME: first.name, **server
        }  # fmt: skip
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
            attributes = {**self._common, names.OPERATION: "send", names.OPERATION_TYPE: "send"}
            if self._batched:
                attributes[names.MESSAGE_COUNT] = len(self._jobs)
            else:
                attributes[names.MESSAGE_ID] = str(self._jobs[0].id)
            creates = bool(own) and not self._create_spans
            self._span = self._telemetry.tracer.start_span(
                f"send {self._common[names.DESTINATION]}", kind=SpanKind.PRODUCER if creates else SpanKind.CLIENT,
                attributes=attributes, links=links, start_time=self._began,
            )  # fmt: skip
            if creates:
                _inject(self._telemetry, own, set_span_in_context(self._span))
            self._token = attach(set_span_in_context(self._span))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
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

    def _links_to_given(self) -> list[Link]:
        """Links to the creation contexts that the caller put into the headers, one for each."""
        given = [job.headers for job in self._jobs if job.headers.get(names.HEADER)]
        links = [link for headers in given for link in self._telemetry.creation(headers)[1]]
        return list({(link.context.trace_id, link.context.span_id): link for link in links}.values())

    async def _create(self, jobs: Sequence[NewJob]) -> list[Link]:
        """A creation span for each job, in its headers; links to them."""
        links = []
        for number, job in enumerate(jobs, 1):
            span = self._telemetry.tracer.start_span(
                f"create {job.queue}", kind=SpanKind.PRODUCER,
                attributes={
                    **self._common, names.OPERATION: "create", names.OPERATION_TYPE: "create",
                    names.MESSAGE_ID: str(job.id),
                },
            )  # fmt: skip
            _inject(self._telemetry, [job], set_span_in_context(span))
            span.end()
            links.append(Link(span.get_span_context()))
            if number % BREATH == 0:
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
        attributes = {**self._common, names.OPERATION: "send"}
        if error is not None:
            attributes[names.ERROR_TYPE] = error_type(error)
        self._telemetry.sent.add(len(self._jobs), attributes)
        self._telemetry.operation_duration.record(seconds, {**attributes, names.OPERATION_TYPE: "send"})


def _inject(telemetry: Telemetry, jobs: Sequence[NewJob], context: Context) -> None:
    carrier = telemetry.carrier(context)
    if carrier:
        for job in jobs:
            job.headers[names.HEADER] = dict(carrier)
