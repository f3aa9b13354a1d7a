"""Soniq: background jobs for Python in the PostgreSQL you already have.

What an application needs is here, what an author of plugins needs besides in `soniq.plugin`, and
every error in `soniq.errors`.
"""

from soniq.app import Soniq
from soniq.backoff import Backoff
from soniq.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
    DuplicateJob,
    InvalidArguments,
    InvalidJobId,
    InvalidOption,
    JobCancelled,
    JobChanged,
    JobFailed,
    JobNotFound,
    JobNotRetryable,
    JobRunning,
    PayloadTooLarge,
    SerializationError,
    SoniqError,
    UnknownJob,
    WaitTimeout,
)
from soniq.hooks.markers import hookimpl
from soniq.ids import JobId
from soniq.job.context import JobContext
from soniq.job.job import Call, Job
from soniq.job.signature import PROVIDED
from soniq.jobs import Jobs
from soniq.postgres.bulk import Cancelled, Deleted, Retried
from soniq.postgres.overview import Overview
from soniq.search import FoundJob, Page, Search
from soniq.settings import Settings
from soniq.signals import Cancel, Retry, Signal, Snooze
from soniq.status import (
    Count,
    Facets,
    JobDetail,
    JobError,
    JobStatus,
    LaneStatus,
    QueueBacklog,
    QueueStatus,
)
from soniq.unique import Unique

__all__ = [
    "PROVIDED",
    "Backoff",
    "Call",
    "Cancel",
    "Cancelled",
    "ConfigurationError",
    "Count",
    "DatabaseError",
    "DatabaseUnavailable",
    "Deleted",
    "DuplicateJob",
    "Facets",
    "FoundJob",
    "InvalidArguments",
    "InvalidJobId",
    "InvalidOption",
    "Job",
    "JobCancelled",
    "JobChanged",
    "JobContext",
    "JobDetail",
    "JobError",
    "JobFailed",
    "JobId",
    "JobNotFound",
    "JobNotRetryable",
    "JobRunning",
    "JobStatus",
    "Jobs",
    "LaneStatus",
    "Overview",
    "Page",
    "PayloadTooLarge",
    "QueueBacklog",
    "QueueStatus",
    "Retried",
    "Retry",
    "Search",
    "SerializationError",
    "Settings",
    "Signal",
    "Snooze",
    "Soniq",
    "SoniqError",
    "Unique",
    "UnknownJob",
    "WaitTimeout",
    "hookimpl",
]
