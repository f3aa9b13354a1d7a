"""Jobs, queues and workers as they are told to those who ask."""

from dataclasses import dataclass
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


class Attempt(TypedDict):
    """An attempt that failed, was lost or ended the job; or that it was run again by hand."""

    n: int | None
    """Which attempt it was, from 1 after each retry by hand; None for that."""
    kind: str
    """"retry": it failed, or asked for one; "dead", "cancel": it ended the job so; "lost": its
    worker died; "retried": the finished job was run again by hand.
    """
    at: datetime
    """When it started, or was run again."""
    took: float | None
    """Seconds."""
    worker_id: str | None
    by: str | None
    """Who retried it, where that was said."""
    type: str | None
    message: str | None
    """At most 1,000 characters."""
    traceback: str | None
    """Of the first alone; that of the latest failed attempt is in the job's `error`."""


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
    attempts: list[Attempt]
    """The first and the last 19 of those that did not succeed, in order; none in a list of jobs."""


class RunningJob(TypedDict):
    """A job that a worker ran at its last heartbeat."""

    job_id: str
    job_name: str
    started_at: datetime


class JobDetail(JobStatus):
    """A job as `get_job` shows it, with all that is kept of it. `result` as plain values."""

    args: Any
    """The arguments as plain values; None where they are larger than was asked for, or cannot be
    read here.
    """
    args_size: int
    """Bytes, as of `result_size`, of what is stored."""
    result_size: int | None
    """None where there is no result. Of one that another store has, this is its reference."""
    result_store: str | None
    headers: dict[str, Any]
    headers_size: int
    """Bytes of JSON."""
    serializer: str
    dedup_label: str | None
    """The dedup key that it was given."""
    timeout: float | None
    """Seconds, where its enqueue or a retry said so; None is as the job says."""
    expires_at: datetime | None
    """When it is cancelled unless it has started; None once it is finished."""
    keep: float
    """Seconds for which it is kept once it is done or cancelled."""
    keep_dead: float | None
    """The same once it is dead; None is as the setting says."""
    forget_at: datetime | None
    """When it may be forgotten; None where it is not finished, or that depends on the setting."""
    cancel_requested: bool
    """Whether the worker that runs it is asked to end it."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """How many jobs there are."""

    value: int
    exact: bool
    """False where not all were counted: there are at least so many, or, of those done in `counts`,
    about so many.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Facets:
    """How many of the jobs that a search finds there are of each status, name and queue; those of
    which there are most come first.
    """

    statuses: dict[str, int]
    names: dict[str, int]
    queues: dict[str, int]
    exact: bool
    """False where not all were looked at: there are at least so many of each, and there may be
    others.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneStatus:
    """The queued jobs of a queue that have one priority."""

    priority: int
    waiting: Count
    """Jobs that are due."""
    scheduled: Count
    """Jobs that are due later."""
    oldest_waiting: float
    """Seconds for which the first has been due; 0 where none is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueStatus:
    """How a queue is."""

    queue: str
    waiting: Count
    scheduled: Count
    oldest_waiting: float
    lanes: list[LaneStatus]
    """By priority; none where nothing is queued."""
    workers: int
    """How many live workers serve it."""
    paused_since: datetime | None
    paused_by: str | None
    pause_reason: str | None
