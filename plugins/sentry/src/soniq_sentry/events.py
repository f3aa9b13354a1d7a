"""What every event of an attempt carries, and which of them are dropped."""

from typing import Any

from sentry_sdk.types import Event, Hint

from soniq import AttemptTimeout, JobContext, WorkerLost, WorkerStopped

from . import sdk

FILTERED = "[Filtered]"
OWN_CODE = ("soniq", "soniq_sentry")


class JobEvents:
    """Describes the job in each event of one attempt; an event processor of the SDK."""

    def __init__(self, ctx: JobContext) -> None:
        self._ctx = ctx

    def __call__(self, event: Event, hint: Hint) -> Event | None:
        if _tells_of_the_failure(hint):
            return None
        ctx = self._ctx
        event.setdefault("transaction", ctx.job_name)
        event.setdefault("tags", {}).update({"soniq.job_id": ctx.job_id, "soniq.queue": " ".join(ctx.queue.split())})
        event.setdefault("extra", {})["soniq-job"] = {
            "id": ctx.job_id,
            "name": ctx.job_name,
            "queue": ctx.queue,
            "attempt": ctx.attempt,
            "max_attempts": ctx.max_attempts,
            "args": ctx.args if sdk.arguments_allowed() else FILTERED,
        }
        kind = (hint.get("exc_info") or (None,))[0]
        if kind in (AttemptTimeout, WorkerLost, WorkerStopped):  # where they struck is chance
            event.setdefault("fingerprint", ["soniq", kind.__name__, ctx.job_name])
        _forget_own_variables(event)
        return event


def _tells_of_the_failure(hint: Hint) -> bool:
    """Whether it is Soniq's log line about the failed attempt, which would be a second event of the same error."""
    record = hint.get("log_record")
    return record is not None and record.name == "soniq.worker" and not record.exc_info


def _forget_own_variables(event: Event) -> None:
    """Remove the variables of Soniq's own frames: they hold the job's arguments under names of no meaning."""
    parts: list[dict[str, Any]] = [
        *(event.get("exception") or {}).get("values", ()),
        *(event.get("threads") or {}).get("values", ()),
    ]
    for part in parts:
        for frame in (part.get("stacktrace") or {}).get("frames", ()):
            if (frame.get("module") or "").partition(".")[0] in OWN_CODE:
                frame.pop("vars", None)
