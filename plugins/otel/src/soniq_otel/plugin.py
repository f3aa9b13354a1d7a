"""The plugin: its options, and which hook leads where.

OpenTelemetry's API is left to who records with it, or instruments a library: without its import, a
setting or a job that brings a context, there is nothing to record with, and no context.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from soniq import ConfigurationError, JobContext, JobDetail, Soniq, hookimpl
from soniq.errors import WorkerLost, WorkerStopped
from soniq.plugin import EnqueueBatch, Outcome, Task

from . import names

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import TracerProvider

    from soniq_dashboard import Link

    from .telemetry import Attributes, Telemetry

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
        tracer_provider: "TracerProvider | None" = None,
        meter_provider: "MeterProvider | None" = None,
        propagator: "TextMapPropagator | None" = None,
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
        self._given = tracer_provider, meter_provider, propagator
        self._made: Telemetry | None = None
        """What it records with, once that may be needed."""
        given = any(each is not None for each in self._given)
        self._telemetry(needed=given or any(name.startswith("OTEL_") for name in os.environ))
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
            if self._made is not None:
                await self._made.flush()
            self._app = None

    @hookimpl(tryfirst=True)  # what other plugins do there is part of it
    def around_enqueue(self, batch: EnqueueBatch) -> AbstractAsyncContextManager[None] | None:
        """The spans of an enqueue call, or nothing where nobody records."""
        telemetry = self._telemetry()
        if telemetry is None:
            return None
        from .produce import Send, propagate_only

        telemetry.look()
        if telemetry.recording:
            return Send(telemetry, batch, self.server, create_spans=self.create_spans)
        propagate_only(telemetry, batch.jobs)
        return None

    @hookimpl(tryfirst=True)
    def around_job(self, ctx: JobContext) -> AbstractContextManager[None] | None:
        """The span of an attempt; where nobody records, only the context that the job brought."""
        telemetry = self._telemetry(needed=names.HEADER in ctx.headers)
        if telemetry is None:
            return None
        from .consume import Process, bring_along

        telemetry.glance()
        if telemetry.recording:
            return Process(telemetry, ctx, self.server, parent=self.parent)
        if names.HEADER in ctx.headers:
            bring_along(telemetry, ctx)
        return None

    @hookimpl
    def on_error(self, ctx: JobContext, error: BaseException) -> None:
        """Remember what the attempt failed with; record the span of one whose worker died."""
        telemetry = self._telemetry()
        if telemetry is None:
            return
        from .consume import PROCESS, record_lost

        process = ctx.stash.get(PROCESS)
        if process is not None:
            process.error = error
            # A handler in a thread may go on for longer than the process
            if isinstance(error, WorkerStopped):
                process.end("stopped")
        elif isinstance(error, WorkerLost) and telemetry.recording:
            record_lost(telemetry, ctx, self.server, error, parent=self.parent)

    @hookimpl
    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Count what jobs came to, also by a rescue or an operator."""
        telemetry = self._telemetry()
        if telemetry is None or not telemetry.recording:
            return
        for outcome in outcomes:
            measured = telemetry.measured(outcome.queue, outcome.job_name, self.server)
            attributes = {**measured, names.JOB_OUTCOME: outcome.kind}
            if outcome.error_type is not None:
                attributes[names.ERROR_TYPE] = outcome.error_type
            telemetry.tally(telemetry.outcomes, attributes)
        from .telemetry import harmless

        with harmless("counting"):
            telemetry.add_tallies()

    @hookimpl
    def background_tasks(self, app: Soniq) -> Sequence[Task]:
        """Sample the queues, in one worker at a time."""
        return [Task(name="gauges", run=partial(self._sample, app), elected=True)]

    @hookimpl(optionalhook=True)
    def dashboard_links(self, job: JobDetail) -> "Sequence[Link]":
        """Where the trace is shown in which the job was created."""
        from soniq_dashboard import Link

        telemetry = self._telemetry(needed=names.HEADER in job["headers"])
        if telemetry is None or not self.trace_url:
            return ()
        _, created = telemetry.creation(job["headers"])
        if not created:
            return ()
        trace_id = f"{created[0].context.trace_id:032x}"
        return [Link("Trace", self.trace_url.replace(TRACE_ID, trace_id))]

    @hookimpl
    def housekeeping(self, app: Soniq) -> Sequence[Callable[[], AbstractContextManager[None]]]:
        """Keep instrumentations, as of asyncpg, from tracing statements that are no job's."""
        return [self._silence]

    @contextmanager
    def _silence(self) -> Iterator[None]:
        if self._telemetry() is None:
            yield
            return
        from .telemetry import silence

        with silence():
            yield

    async def _sample(self, app: Soniq) -> None:
        while (telemetry := self._telemetry()) is None:  # noqa: ASYNC110 (nothing tells of an import)
            await asyncio.sleep(self.gauge_interval)
        from .gauges import sample

        await sample(telemetry, app, self.server, self.gauge_interval)

    def _telemetry(self, *, needed: bool = False) -> "Telemetry | None":
        """What it records with; None where nobody can have set anything up, unless it is needed."""
        if self._made is None and (needed or sys.modules.get("opentelemetry") is not None):
            from .telemetry import Telemetry

            self._made = Telemetry(*self._given)
        return self._made

    @property
    def server(self) -> "Attributes":
        """The attributes that name the database server; none before the app has started."""
        if self._server is None and self._app is not None:
            from .telemetry import harmless

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
