"""The plugin: spans around enqueues and attempts, the errors of jobs, and a flush at the end.

The SDK is left to the application, or to a DSN: where nobody has imported it, it was not begun.
"""

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, cast, get_args

from soniq import ConfigurationError, InvalidOption, JobContext, hookimpl
from soniq.plugin import EnqueueBatch, JobDefinition, Secret

from .monitors import Monitors

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
        self._looks_at_events = False
        """Whether the SDK has each event looked at, for what must not be sent."""

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        """Read the job's own choice of what is reported."""
        option = job.option(Report)
        if option is not None:
            self._reports[job.name] = option.when

    @hookimpl
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """Begin with the DSN, if there is one; flush when the app closes."""
        self._looks_at_events = False
        if not self._records() and self._dsn is not None:
            import sentry_sdk

            sentry_sdk.init(dsn=self._dsn)
        try:
            yield
        finally:
            if self._records():
                from . import sdk

                await sdk.flush()

    @hookimpl
    def around_enqueue(self, batch: EnqueueBatch) -> "AbstractContextManager[None] | None":
        """Send the trace along, inside a span."""
        if not self._records():
            return None
        from .recording import Harmless, published

        return Harmless(published(batch))

    @hookimpl(tryfirst=True)
    def around_job(self, ctx: JobContext) -> "AbstractContextManager[None] | None":
        """An attempt in a scope of its own, outside of other plugins: what they raise is seen."""
        if not self._records():
            return None
        from .recording import Harmless, attempted

        return Harmless(attempted(ctx, self._monitors, self._is_reported))

    @hookimpl
    def on_error(self, ctx: JobContext, error: BaseException) -> None:
        """A job whose worker died: it had no `around_job` here, and its outcome is decided."""
        if ctx.outcome is None or not self._records():
            return
        if self._is_reported(ctx):
            from .recording import report_lost

            report_lost(ctx, error)
        self._monitors.end(ctx, ctx.outcome, None)

    @hookimpl
    def housekeeping(self, app: object) -> "Sequence[Callable[[], AbstractContextManager[None]]]":
        """Sample nothing of a worker's own statements.

        In stream mode each would be a trace, or all of them one.
        """
        return [self._unsampled]

    @contextmanager
    def _unsampled(self) -> Iterator[None]:
        if not self._records():
            yield
            return
        from . import sdk

        with sdk.unsampled():
            yield

    def _records(self) -> bool:
        """Whether `sentry_sdk.init` was called. It may be called after the start, too: what looks
        at each event is there from the first time that the SDK is seen.
        """
        if sys.modules.get("sentry_sdk") is None:
            return False
        from . import sdk

        if not self._looks_at_events:
            from .events import without_passwords, without_rescues

            sdk.describe_always(without_rescues)
            sdk.describe_always(without_passwords)
            self._looks_at_events = True
        return sdk.active()

    def _is_reported(self, ctx: JobContext) -> bool:
        when = self._reports.get(ctx.job_name, self._report)
        status = ctx.outcome.status if ctx.outcome else "cancelled"
        return status == "dead" if when == "dead" else when == "every" and status != "cancelled"


def _checked(dsn: Secret) -> Secret | None:
    """A DSN that the SDK can use. What is wrong with another is not repeated: it may hold a key."""
    if not dsn:
        return None
    from sentry_sdk.utils import Dsn

    try:
        Dsn(dsn)
    except ValueError:
        raise ConfigurationError(
            "dsn (SONIQ_SENTRY_DSN) is no DSN as Sentry's project settings show it"
        ) from None
    return dsn
