"""When a failed attempt is tried again, where nobody else says: exponential backoff with jitter."""

from soniq.hooks.markers import hookimpl
from soniq.job import Backoff, JobContext
from soniq.signals import Retry


class BackoffPlugin:
    """The first retry after about a second, then twice as long each time, an hour at most."""

    name = "backoff"

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff()

    @hookimpl
    def retry_delay(self, ctx: JobContext) -> Retry:
        return Retry(self._backoff.delay(ctx.attempt))
