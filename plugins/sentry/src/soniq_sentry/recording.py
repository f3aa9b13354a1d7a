"""What is recorded with the SDK: the spans of enqueues and attempts, and the errors of jobs.

The plugin imports this, and with it the SDK, where that is in use already.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType

import sentry_sdk

from soniq import JobContext
from soniq.errors import AttemptTimeout
from soniq.plugin import EnqueueBatch, Outcome

from . import sdk
from .events import JobEvents
from .monitors import Monitors

log = logging.getLogger("soniq.sentry")

HEADER = "sentry"
"""The header of a job that continues the trace: `sentry-trace` and `baggage` by name."""


@contextmanager
def attempted(
    ctx: JobContext, monitors: Monitors, is_reported: Callable[[JobContext], bool]
) -> Iterator[None]:
    """The spans of an attempt, in a scope of its own, and the error that it ends with."""
    sampling = {"soniq_job": {"name": ctx.job_name, "queue": ctx.queue, "attempt": ctx.attempt}}
    began = time.monotonic()
    monitors.begin(ctx)
    with _scope(ctx), sdk.attempt(ctx.job_name, _headers(ctx), sampling) as span:
        span.set(
            {
                "messaging.system": "soniq",
                "messaging.destination.name": ctx.queue,
                "messaging.message.id": ctx.job_id,
                "messaging.message.retry.count": ctx.attempt - 1,
                "messaging.message.body.size": ctx.payload_size,
                "messaging.message.receive.latency": ctx.queued_for * 1000,
            }
        )

        with suppress(BaseException):  # the outcome has the error, and whether it counts
            yield

        span.end(_status(ctx.outcome))
        if ctx.outcome is not None and ctx.outcome.error is not None and is_reported(ctx):
            _capture(ctx.outcome.error)
    monitors.end(ctx, ctx.outcome, time.monotonic() - began)


def report_lost(ctx: JobContext, error: BaseException) -> None:
    """Report the error of a job whose worker died, in the trace of its enqueue."""
    with _scope(ctx):
        sdk.continue_trace(_headers(ctx))
        _capture(error)


@contextmanager
def published(batch: EnqueueBatch) -> Iterator[None]:
    """One span for each call, also a bulk one: a thousand of them would fill any trace."""
    first = batch.jobs[0]
    queues = {job.queue for job in batch.jobs}
    several = len({job.name for job in batch.jobs}) > 1
    with sdk.publish("several jobs" if several else first.name) as span:
        headers = sdk.headers()
        for job in batch.jobs:
            job.headers.setdefault(HEADER, dict(headers))

        span.set({"messaging.system": "soniq"})
        if len(queues) == 1:
            span.set({"messaging.destination.name": first.queue})
        if batch.bulk:
            span.set({"messaging.batch.message_count": len(batch.jobs)})
            yield
        else:
            span.set({"messaging.message.id": str(first.id), "messaging.message.retry.count": 0})
            yield
            span.set(
                {
                    "messaging.message.id": str(first.id),
                    "messaging.message.body.size": len(first.payload),
                }
            )


@contextmanager
def _scope(ctx: JobContext) -> Iterator[None]:
    """A scope of the attempt's own, without the worker's breadcrumbs."""
    with sentry_sdk.isolation_scope() as scope:
        scope.clear_breadcrumbs()
        scope.add_event_processor(JobEvents(ctx))
        yield


def _capture(error: BaseException) -> None:
    event, hint = sdk.event_of(error)
    sentry_sdk.capture_event(event, hint=hint)


def _headers(ctx: JobContext) -> dict[str, str]:
    found = ctx.headers.get(HEADER)
    if not isinstance(found, Mapping):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _status(outcome: Outcome | None) -> sdk.Status:
    if outcome is None:  # the job was taken from this worker
        return "aborted"
    if outcome.error is None:
        return "cancelled" if outcome.status == "cancelled" else "ok"
    return "deadline_exceeded" if isinstance(outcome.error, AttemptTimeout) else "internal_error"


class Harmless(AbstractContextManager[None]):
    """A context manager whose failures are logged: no enqueue and no attempt fails with Sentry."""

    def __init__(self, manager: AbstractContextManager[None]) -> None:
        self._manager = manager
        self._entered = False

    def __enter__(self) -> None:
        try:
            self._manager.__enter__()
            self._entered = True
        except Exception as failure:
            log.warning("Sentry records nothing of this: %r", failure, exc_info=failure)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._entered:
                self._manager.__exit__(kind, error, trace)
        except Exception as failure:
            if failure is not error:
                log.warning("Sentry does not record all of this: %r", failure, exc_info=failure)
