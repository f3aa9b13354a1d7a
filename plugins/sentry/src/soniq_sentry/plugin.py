"""The plugin: spans around enqueues and attempts, the errors of jobs, and a flush at the end."""

import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, cast, get_args

import sentry_sdk
from sentry_sdk.utils import Dsn

from soniq import ConfigurationError, InvalidOption, JobContext, hookimpl
from soniq.errors import AttemptTimeout
from soniq.plugin import EnqueueBatch, JobDefinition, Outcome, Secret

from . import sdk
from .events import JobEvents, without_passwords, without_rescues
from .monitors import Monitors

log = logging.getLogger("soniq.sentry")

HEADER = "sentry"
"""The header of a job that continues the trace: `sentry-trace` and `baggage` by name."""

When = Literal["dead", "every", "never"]
"""Which failures are reported: those that leave a job dead, those of each attempt, or none."""


@dataclass(frozen=True)
class Report:
    """Which failures of one job are reported, whatever the plugin says.

    For one job: `@app.job(Report("every"))`.
    """

    when: When

    def __post_init__(self) -> None:
        if self.when not in get_args(When):
            raise InvalidOption(
                f"Report takes one of {get_args(When)}; got {self.when!r}", option="Report"
            )


class SentryPlugin:
    """Sends errors and traces of jobs to Sentry.

    Without a call of `sentry_sdk.init` it does nothing. `report`: "dead" (a failure that leaves no
    attempt), "every" failed attempt, or "never"; else SONIQ_SENTRY_REPORT, else "dead". `dsn`, else
    SONIQ_SENTRY_DSN: with it the app's start calls `sentry_sdk.init`, if nobody has. `monitors`,
    else SONIQ_SENTRY_MONITORS: the names of schedules, as `nightly, report:*`, whose jobs are
    check-ins of cron monitors.

    Raises `ConfigurationError`.
    """

    def __init__(
        self, *, report: When | None = None, dsn: str | None = None, monitors: str | None = None
    ) -> None:
        chosen = report or os.environ.get("SONIQ_SENTRY_REPORT", "").strip() or "dead"
        if chosen not in get_args(When):
            raise ConfigurationError(
                f"report (SONIQ_SENTRY_REPORT) is one of {get_args(When)}; got {chosen!r}"
            )
        self._report = cast("When", chosen)
        self._reports: dict[str, When] = {}
        dsn = Secret(dsn or os.environ.get("SONIQ_SENTRY_DSN", "").strip())
        self._dsn = _checked(dsn)
        self._monitors = Monitors(monitors or os.environ.get("SONIQ_SENTRY_MONITORS") or "")

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        """Read the job's own choice of what is reported."""
        option = job.option(Report)
        if option is not None:
            self._reports[job.name] = option.when

    @hookimpl
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """Begin with the DSN, if there is one; flush when the app closes."""
        sdk.describe_always(without_rescues)
        sdk.describe_always(without_passwords)
        if self._dsn is not None and not sdk.active():
            sentry_sdk.init(dsn=self._dsn)
        try:
            yield
        finally:
            if sdk.active():
                await sdk.flush()

    @hookimpl
    def around_enqueue(self, batch: EnqueueBatch) -> "AbstractContextManager[None] | None":
        """Send the trace along, inside a span."""
        return _Harmless(_published(batch)) if sdk.active() else None

    @hookimpl(tryfirst=True)
    def around_job(self, ctx: JobContext) -> "AbstractContextManager[None] | None":
        """An attempt in a scope of its own, outside of other plugins: what they raise is seen."""
        return _Harmless(self._attempted(ctx)) if sdk.active() else None

    @hookimpl
    def on_error(self, ctx: JobContext, error: BaseException) -> None:
        """A job whose worker died: it had no `around_job` here, and its outcome is decided."""
        if ctx.outcome is not None and self._is_reported(ctx) and sdk.active():
            with _scope(ctx):
                sdk.continue_trace(_headers(ctx))
                _capture(error)
        if ctx.outcome is not None and sdk.active():
            self._monitors.end(ctx, ctx.outcome, None)

    @hookimpl
    def housekeeping(self, app: object) -> "Sequence[Callable[[], AbstractContextManager[None]]]":
        """Sample nothing of a worker's own statements.

        In stream mode each would be a trace, or all of them one.
        """
        return [sdk.unsampled]

    @contextmanager
    def _attempted(self, ctx: JobContext) -> Iterator[None]:
        sampling = {"soniq_job": {"name": ctx.job_name, "queue": ctx.queue, "attempt": ctx.attempt}}
        began = time.monotonic()
        self._monitors.begin(ctx)
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
            if ctx.outcome is not None and ctx.outcome.error is not None and self._is_reported(ctx):
                _capture(ctx.outcome.error)
        self._monitors.end(ctx, ctx.outcome, time.monotonic() - began)

    def _is_reported(self, ctx: JobContext) -> bool:
        when = self._reports.get(ctx.job_name, self._report)
        status = ctx.outcome.status if ctx.outcome else "cancelled"
        return status == "dead" if when == "dead" else when == "every" and status != "cancelled"


@contextmanager
def _published(batch: EnqueueBatch) -> Iterator[None]:
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


def _checked(dsn: Secret) -> Secret | None:
    """A DSN that the SDK can use. What is wrong with another is not repeated: it may hold a key."""
    try:
        if dsn:
            Dsn(dsn)
    except ValueError:
        raise ConfigurationError(
            "dsn (SONIQ_SENTRY_DSN) is no DSN as Sentry's project settings show it"
        ) from None
    return dsn or None


class _Harmless(AbstractContextManager[None]):
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
