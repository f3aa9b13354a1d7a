"""What commands show of jobs: as `presented` has it, without what is secret."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from soniq.app import Soniq
from soniq.plugin import Presentable, presented
from soniq.search import FoundJob
from soniq.status import JobStatus

Show = Callable[[Presentable, object], Awaitable[Any]]
"""What may be shown of a value of a job."""


async def shown_error(show: Show, error: Mapping[str, Any]) -> dict[str, Any]:
    """An error, or an attempt, with its message and traceback as they may be shown."""
    return {
        **error,
        "message": await show("error", error["message"]),
        "traceback": await show("traceback", error["traceback"]),
    }


async def shown_job(app: Soniq, job: JobStatus) -> dict[str, Any]:
    """A job of a list."""
    show = partial(presented, app, job["job_name"])
    return {
        **job,
        "error": job["error"] and await shown_error(show, job["error"]),
        "progress": await show("progress", job["progress"]),
    }


async def shown_in_short(app: Soniq, job: FoundJob) -> FoundJob:
    """A job that a search found."""
    message = await presented(app, job.job_name, "error", job.error_message)
    return replace(job, error_message=None if message is None else str(message))
