"""What every event of an attempt carries, and which of them are dropped."""

from collections.abc import Iterator
from typing import Any

from sentry_sdk.types import Event, Hint

from soniq import JobContext
from soniq.errors import AttemptTimeout, WorkerLost, WorkerStopped

from . import sdk

FILTERED = "[Filtered]"
OWN_CODE = ("soniq", "soniq_sentry")
DRIVERS = {"asyncpg", "psycopg", "psycopg_pool", "redis", "sqlalchemy"}
"""Whose frames hold passwords, in URLs and structures, and what was sent to a database."""

BEGIN, END = 6_000, 3_000
"""Characters that are sent of an exception's message where it is longer than both."""
LONGEST = BEGIN + END


class JobEvents:
    """Describes the job in each event of one attempt; an event processor of the SDK."""

    def __init__(self, ctx: JobContext) -> None:
        self._ctx = ctx

    def __call__(self, event: Event, hint: Hint) -> Event | None:
        if _tells_of_the_failure(hint):
            return None

        ctx = self._ctx
        event.setdefault("transaction", ctx.job_name)
        event.setdefault("tags", {}).update(
            {"soniq.job_id": ctx.job_id, "soniq.queue": " ".join(ctx.queue.split())}
        )
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
        _cut_messages(event)
        return event


def without_rescues(event: Event, hint: Hint) -> Event | None:
    """Drop Soniq's log line about a job whose worker died: `on_error` reports the same."""
    return None if _tells_of_the_failure(hint) and hasattr(hint["log_record"], "outcome") else event


def _tells_of_the_failure(hint: Hint) -> bool:
    """Whether it is Soniq's log line about the failed attempt: a second event of the same error."""
    record = hint.get("log_record")
    return record is not None and record.name == "soniq.worker" and not record.exc_info


def without_passwords(event: Event, hint: Hint) -> Event:
    """Remove the variables of drivers' frames, which hold the password of a failed connection."""
    for frame in _frames(event):
        if (frame.get("module") or "").partition(".")[0] in DRIVERS:
            frame.pop("vars", None)
    return event


def _forget_own_variables(event: Event) -> None:
    """Remove the variables of Soniq's own frames: they hold the job's arguments, unnamed."""
    for frame in _frames(event):
        if (frame.get("module") or "").partition(".")[0] in OWN_CODE:
            frame.pop("vars", None)


def _cut_messages(event: Event) -> None:
    """Cut the messages of exceptions, whatever the SDK lets through."""
    for exception in (event.get("exception") or {}).get("values", ()):
        text = exception.get("value")
        if isinstance(text, str) and len(text) > LONGEST:
            left_out = len(text) - LONGEST
            exception["value"] = (
                f"{text[:BEGIN]}\n... {left_out:,} characters are left out ...\n{text[-END:]}"
            )


def _frames(event: Event) -> Iterator[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        *(event.get("exception") or {}).get("values", ()),
        *(event.get("threads") or {}).get("values", ()),
    ]
    for part in parts:
        yield from (part.get("stacktrace") or {}).get("frames", ())
