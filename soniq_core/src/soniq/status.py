"""Jobs, queues and workers as they are told to those who ask."""

from datetime import datetime
from typing import Any, Literal, TypedDict, get_args

FinishedStatus = Literal["done", "dead", "cancelled"]
WaitingStatus = Literal["queued", "held"]
RetryableStatus = Literal["dead", "cancelled", "queued"]
Status = Literal["queued", "held", "running", "done", "dead", "cancelled"]

STATUSES: tuple[Status, ...] = get_args(Status)
FINISHED: tuple[FinishedStatus, ...] = get_args(FinishedStatus)
WAITING: tuple[WaitingStatus, ...] = get_args(WaitingStatus)
RETRYABLE: tuple[RetryableStatus, ...] = get_args(RetryableStatus)


class JobError(TypedDict):
    """The error of a job's latest failed attempt."""

    type: str
    message: str
    traceback: str | None


class JobStatus(TypedDict):
    """A job as `get_job_status` and `jobs` show it; datetimes have a time zone."""

    job_id: str
    job_name: str
    status: Status
    result: Any
    error: JobError | None
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    created_at: datetime
    scheduled_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    worker_id: str | None
    tags: list[str]
    progress: Any
    held_by: list[str]
    """Who holds it, in order: it runs once nobody does. Empty where it is not held."""


class RunningJob(TypedDict):
    """A job that a worker ran at its last heartbeat."""

    job_id: str
    job_name: str
    started_at: datetime


class WorkerStatus(TypedDict):
    """A live worker."""

    worker_id: str
    hostname: str
    pid: int
    version: str
    queues: list[str] | None
    concurrency: int
    started_at: datetime
    seen_at: datetime
    names: list[str]
    """The jobs that it knows."""
    plugins: list[str]
    running: int
    """How many attempts it ran when it was last seen."""
    running_jobs: list[RunningJob]
    """The 50 of them that had run for the longest time."""


class OldestJob(TypedDict):
    """The job that has been due for the longest time; `waiting` in seconds."""

    job_id: str
    job_name: str
    queue: str
    scheduled_at: datetime
    waiting: float


class HeldJob(OldestJob):
    """The held job that has been due for the longest time."""

    held_by: list[str]


class Owed(TypedDict):
    """What a plugin is owed: events that a worker which has it tells it of."""

    events: int
    waiting: float
    """Seconds for which the oldest has waited to be told."""


class Pause(TypedDict):
    """Since when a queue is paused, and, where it was said, by whom and why."""

    since: datetime
    by: str | None
    reason: str | None


class QueueBacklog(TypedDict):
    """What a queue holds that is not finished."""

    waiting: int
    """Jobs that are due, and wait for a worker."""
    scheduled: int
    """Jobs that are due later."""
    running: int
    held: int
    oldest_waiting: float
    """Seconds for which the oldest waiting job has been due; 0 where none waits."""
