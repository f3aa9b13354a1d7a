"""The plugin: its options, and which hook leads where."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from opentelemetry.context import attach, get_current
from opentelemetry.metrics import MeterProvider
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import TracerProvider

from soniq import ConfigurationError, JobContext, JobDetail, Soniq, hookimpl
from soniq.errors import WorkerLost, WorkerStopped
from soniq.plugin import EnqueueBatch, Outcome, Task

from . import names
from .consume import PROCESS, Process, record_lost
from .gauges import sample
from .produce import Send, propagate_only
from .telemetry import Attributes, Telemetry, harmless, silence

if TYPE_CHECKING:
    from soniq_dashboard import Link

T = TypeVar("T")

TRACE_ID = "{trace_id}"
"""What stands in `trace_url` for the trace."""


class OtelPlugin:
    """Traces and metrics of an app, through the OpenTelemetry API. One plugin serves one app.

    `tracer_provider`, `meter_provider`, `propagator`: the global ones unless given. `create_spans`
    (True): a span for each job of a bulk enqueue. `parent` (True): an attempt is also a child of
    the span that created its job; without, it is a trace of its own with a link. `gauge_interval`
    (15): seconds between two samples of the queues. `trace_url` (None): where a trace is shown, an
    address with `{trace_id}`, to which the dashboard leads from a job. All but the first three are
    also read from SONIQ_OTEL_CREATE_SPANS, SONIQ_OTEL_PARENT and so on.

    Raises `ConfigurationError`.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        propagator: TextMapPropagator | None = None,
        create_spans: bool | None = None,
        parent: bool | None = None,
        gauge_interval: float | timedelta | None = None,
        trace_url: str | None = None,
    ) -> None:
        if isinstance(gauge_interval, timedelta):
            gauge_interval = gauge_interval.total_seconds()
        self.create_spans = _option("create_spans", create_spans, _flag, True)
        self.parent = _option("parent", parent, _flag, True)
        self.gauge_interval = _option("gauge_interval", gauge_interval, _seconds, 15.0)
        self.trace_url = _option("trace_url", trace_url, _address, "")
        self._telemetry = Telemetry(tracer_provider, meter_provider, propagator)
        self._app: Soniq | None = None
        self._server: Attributes | None = None

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        """Remember the app, whose server the spans name; send what was recorded when it closes."""
        if self._app is not None and self._app is not app:
            raise ConfigurationError("an OtelPlugin serves one app: make one for each")
        self._app, self._server = app, None
        try:
            yield
        finally:
            await self._telemetry.flush()
            self._app = None

    @hookimpl(tryfirst=True)  # what other plugins do there is part of it
    def around_enqueue(self, batch: EnqueueBatch) -> AbstractAsyncContextManager[None] | None:
        """The spans of an enqueue call, or nothing where nobody records."""
        self._telemetry.look()
        if self._telemetry.recording:
            return Send(self._telemetry, batch, self.server, create_spans=self.create_spans)
        context = get_current()
        if context:
            propagate_only(self._telemetry, batch.jobs, context)
        return None

    @hookimpl(tryfirst=True)
    def around_job(self, ctx: JobContext) -> AbstractContextManager[None] | None:
        """The span of an attempt; where nobody records, only the context that the job brought."""
        self._telemetry.glance()
        if self._telemetry.recording:
            return Process(self._telemetry, ctx, self.server, parent=self.parent)
        if names.HEADER in ctx.headers:
            with harmless("propagating the context"):
                context, _ = self._telemetry.creation(ctx.headers)
                attach(context)  # in the attempt's own context, which ends with it
        return None

    @hookimpl
    def on_error(self, ctx: JobContext, error: BaseException) -> None:
        """Remember what the attempt failed with; record the span of one whose worker died."""
        process = ctx.stash.get(PROCESS)
        if process is not None:
            process.error = error
            # A handler in a thread may go on for longer than the process
            if isinstance(error, WorkerStopped):
                process.end("stopped")
        elif isinstance(error, WorkerLost) and self._telemetry.recording:
            record_lost(self._telemetry, ctx, self.server, error, parent=self.parent)

    @hookimpl
    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Count what jobs came to, also by a rescue or an operator."""
        if not self._telemetry.recording:
            return
        for outcome in outcomes:
            measured = self._telemetry.measured(outcome.queue, outcome.job_name, self.server)
            attributes = {**measured, names.JOB_OUTCOME: outcome.kind}
            if outcome.error_type is not None:
                attributes[names.ERROR_TYPE] = outcome.error_type
            self._telemetry.tally(self._telemetry.outcomes, attributes)
        with harmless("counting"):
            self._telemetry.add_tallies()

    @hookimpl
    def background_tasks(self, app: Soniq) -> Sequence[Task]:
        """Sample the queues, in one worker at a time."""
        run = partial(sample, self._telemetry, app, self.server, self.gauge_interval)
        return [Task(name="gauges", run=run, elected=True)]

    @hookimpl(optionalhook=True)
    def dashboard_links(self, job: JobDetail) -> "Sequence[Link]":
        """Where the trace is shown in which the job was created."""
        from soniq_dashboard import Link

        _, created = self._telemetry.creation(job["headers"])
        if not created or not self.trace_url:
            return ()
        trace_id = f"{created[0].context.trace_id:032x}"
        return [Link("Trace", self.trace_url.replace(TRACE_ID, trace_id))]

    @hookimpl
    def housekeeping(self, app: Soniq) -> Sequence[Callable[[], AbstractContextManager[None]]]:
        """Keep instrumentations, as of asyncpg, from tracing statements that are no job's."""
        return [silence]

    @property
    def server(self) -> Attributes:
        """The attributes that name the database server; none before the app has started."""
        if self._server is None and self._app is not None:
            self._server = {}
            with harmless("reading the server's address"):
                host, port = self._app.server_address
                self._server = {names.SERVER_ADDRESS: host}
                if port is not None:
                    self._server[names.SERVER_PORT] = port
        return self._server or {}


def _option(name: str, given: T | None, read: Callable[[str], T], default: T) -> T:
    """An argument, else its environment variable, else the default. Raises `ConfigurationError`."""
    variable = f"SONIQ_OTEL_{name.upper()}"
    text = str(given) if given is not None else os.environ.get(variable)
    if text is None:
        return default
    try:
        return read(text.strip())
    except ValueError as error:
        where = f"OtelPlugin({name}=)" if given is not None else variable
        raise ConfigurationError(f"{where} is {error}; got {text!r}") from None


def _flag(text: str) -> bool:
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError("true or false")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise ValueError("a number of seconds above 0")
    return seconds


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or TRACE_ID not in text:
        raise ValueError(f"an address with https:// and {TRACE_ID}")
    return text
