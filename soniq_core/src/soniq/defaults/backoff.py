"""When a failed attempt is tried again, where nobody else says: exponential backoff with jitter."""

from soniq.backoff import DEFAULT, Backoff
from soniq.hooks.markers import hookimpl
from soniq.job.context import JobContext
from soniq.signals import Retry


class BackoffPlugin:
    """Asked last of all: as `soniq.backoff.DEFAULT`, unless it is given another backoff."""

    name = "backoff"

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or DEFAULT

    @hookimpl
    def retry_delay(self, ctx: JobContext) -> Retry:
        return Retry(self._backoff.delay(ctx.attempt))
