"""The span of an attempt, `process {queue}`: from the decoding until the outcome is decided."""

import asyncio
import time
from collections.abc import Mapping
from contextvars import Token
from types import TracebackType

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanKind,
    get_current_span,
    set_span_in_context,
)

from soniq import JobContext
from soniq.errors import LeaseLost
from soniq.plugin import StashKey

from . import names
from .telemetry import Attributes, Telemetry, error_type, fail, harmless


class Process:
    """The context manager around one attempt."""

    def __init__(
        self, telemetry: Telemetry, ctx: JobContext, server: Attributes, *, parent: bool
    ) -> None:
        self._telemetry = telemetry
        self._ctx = ctx
        self._server = server
        self._parent = parent
        self._span: Span = INVALID_SPAN
        self._token: Token[Context] | None = None
        self.error: BaseException | None = None
        """What the attempt failed with, as `on_error` is told."""
        self._ended = False

    def __enter__(self) -> None:
        self._ctx.stash[PROCESS] = self
        self._began, self._clock = time.time_ns(), time.perf_counter_ns()
        with harmless("the span of an attempt"):
            self._span, context = start(
                self._telemetry, self._ctx, self._server, self._began, parent=self._parent
            )
            self._token = attach(set_span_in_context(self._span, context))
            measured = self._telemetry.measured(self._ctx.queue, self._ctx.job_name, self._server)
            self._telemetry.queue_time.record(self._ctx.queued_for, measured)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        outcome = self._ctx.outcome
        if outcome is None and self.error is None:  # the job is no longer this worker's
            lost = LeaseLost(f"job {self._ctx.job_id} was taken from this worker")
            cancelled = error is None or isinstance(error, asyncio.CancelledError)
            self.error = lost if cancelled else error
        self.end(outcome.kind if outcome else "lost")
        if self._token is not None:
            detach(self._token)

    def end(self, outcome: str) -> None:
        """End the span, once: as failed, if the attempt has an error by now."""
        if self._ended:
            return
        self._ended = True
        with harmless("the span of an attempt"):
            took = time.perf_counter_ns() - self._clock
            self._span.set_attribute(names.JOB_OUTCOME, outcome)
            if self.error is not None:
                fail(self._span, self.error)
            self._span.end(self._began + took)
            count(self._telemetry, self._ctx, self._server, took / 1e9, self.error)


PROCESS: StashKey[Process] = StashKey("soniq_otel.process")
"""The span of the attempt that runs here."""


def bring_along(telemetry: Telemetry, ctx: JobContext) -> None:
    """The context that the job brought, in the attempt's own, which ends with it."""
    with harmless("propagating the context"):
        context, _ = telemetry.creation(ctx.headers)
        attach(context)


def record_lost(
    telemetry: Telemetry, ctx: JobContext, server: Attributes, error: BaseException, *, parent: bool
) -> None:
    """Record an attempt whose worker died: from its claim, where that is known, until now."""
    with harmless("the span of a lost attempt"):
        now = time.time_ns()
        claimed = int((ctx.scheduled_at.timestamp() + ctx.queued_for) * 1e9)
        began = min(claimed, now) if ctx.queued_for else now
        span, _ = start(telemetry, ctx, server, began, parent=parent)
        span.set_attribute(names.JOB_OUTCOME, "lost")
        fail(span, error)
        span.end(now)
        count(telemetry, ctx, server, (now - began) / 1e9, error)


def start(
    telemetry: Telemetry, ctx: JobContext, server: Attributes, began: int, *, parent: bool
) -> tuple[Span, Context]:
    """A span for an attempt, linked to the creation context and perhaps its child; the context that
    it belongs in.

    What was current here before is linked, where it does not become the parent.
    """
    ambient = get_current_span()
    context, links = telemetry.creation(ctx.headers)
    if not parent:
        context = set_span_in_context(INVALID_SPAN, context)
    if (links or not parent) and ambient.get_span_context().is_valid:
        links.append(Link(ambient.get_span_context()))
    span = telemetry.tracer.start_span(
        f"process {ctx.queue}",
        context,
        kind=SpanKind.CONSUMER,
        links=links,
        start_time=began,
        attributes={
            **_common(ctx, server),
            names.OPERATION: "process",
            names.OPERATION_TYPE: "process",
            names.MESSAGE_ID: ctx.job_id,
            names.JOB_ATTEMPT: ctx.attempt,
            names.JOB_MAX_ATTEMPTS: ctx.max_attempts,
            names.WORKER_ID: ctx.worker_id,
            names.QUEUE_TIME: ctx.queued_for,
            **_schedule(ctx),
        },
    )
    return span, context


def count(
    telemetry: Telemetry,
    ctx: JobContext,
    server: Attributes,
    seconds: float,
    error: BaseException | None,
) -> None:
    """Count an attempt that ended."""
    attributes = {**telemetry.measured(ctx.queue, ctx.job_name, server), names.OPERATION: "process"}
    if error is not None:
        attributes[names.ERROR_TYPE] = error_type(error)
    telemetry.tally(telemetry.consumed, attributes)
    telemetry.process_duration.record(seconds, attributes)


def _schedule(ctx: JobContext) -> Attributes:
    """The schedule that made the job, if one did."""
    header = ctx.headers.get(names.SCHEDULE_HEADER)
    if not isinstance(header, Mapping):
        return {}
    return {names.SCHEDULE_NAME: str(header.get("name")), names.SCHEDULE_AT: str(header.get("at"))}


def _common(ctx: JobContext, server: Attributes) -> Attributes:
    return {
        names.SYSTEM: "soniq",
        names.DESTINATION: ctx.queue,
        names.JOB_NAME: ctx.job_name,
        **server,
    }
