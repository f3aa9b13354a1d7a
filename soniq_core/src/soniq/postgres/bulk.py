"""Changing many jobs at once: retry, cancel or delete all that match, in batches, newest first."""

from collections.abc import AsyncIterator
from typing import TypedDict

from soniq.errors import DuplicateJob, InvalidOption, JobNotFound, JobNotRetryable
from soniq.postgres.lookup import Lookup
from soniq.postgres.operations import Operations
from soniq.status import RETRYABLE, WAITING, RetryableStatus, Status, WaitingStatus

BATCH = 500
"""The most jobs that one statement changes."""


class Retried(TypedDict):
    """What became of jobs that were all to be retried."""

    queued: int
    """How many were queued again, or had been queued for later and are due now."""
    left: dict[str, str]
    """Jobs that stay as they are, each with the job that holds its dedup key and is not finished.
    """


class Deleted(TypedDict):
    """What became of jobs that were all to be deleted."""

    deleted: int
    left: dict[str, str]
    """Jobs that are still there, each with the reason: those that run, or whose result cannot be
    deleted here.
    """


async def retry_all(
    operations: Operations,
    status: RetryableStatus,
    name: str | None,
    queue: str | None,
    tag: str | None,
) -> Retried:
    """Retry all jobs that match; of two that have one key the newer."""
    if status not in RETRYABLE:
        raise InvalidOption(
            f"status= is one of {', '.join(RETRYABLE)}; got {status!r}", option="status"
        )
    done: Retried = {"queued": 0, "left": {}}
    async for ids in _batches(operations.lookup, status, name, queue, tag):
        queued = await operations.retry_those(ids)
        if queued is None:
            queued = await _retry_each(operations, ids, done["left"])
        done["queued"] += queued
    return done


async def cancel_all(
    operations: Operations,
    status: WaitingStatus,
    name: str | None,
    queue: str | None,
    tag: str | None,
    reason: str | None,
) -> int:
    """Cancel all jobs that match and wait; how many that were."""
    if status not in WAITING:
        raise InvalidOption(
            f"status= is one of {', '.join(WAITING)}; got {status!r}", option="status"
        )
    batches = _batches(operations.lookup, status, name, queue, tag)
    return sum([await operations.cancel_waiting(ids, reason) async for ids in batches])


async def delete_all(
    operations: Operations,
    status: Status | None,
    name: str | None,
    queue: str | None,
    tag: str | None,
) -> Deleted:
    """Delete all jobs that match; those that run are told."""
    if status is None and name is None and queue is None and tag is None:
        raise InvalidOption(
            "delete_all takes at least one of status=, name=, queue= and tag=", option="status"
        )
    done: Deleted = {"deleted": 0, "left": {}}
    async for ids in _batches(operations.lookup, status, name, queue, tag):
        deleted = await operations.delete_those(ids)
        done["deleted"] += len(deleted)
        for id_ in ids:
            if id_ not in deleted and (why := await operations.why_left(id_)):
                done["left"][id_] = why
    return done


async def _retry_each(operations: Operations, ids: list[str], left: dict[str, str]) -> int:
    """Queue finished jobs again, one by one; how many that were. Those whose key is taken are added
    to `left`.
    """
    queued = 0
    for id_ in ids:
        try:
            await operations.retry(id_)
            queued += 1
        except DuplicateJob as error:
            left[id_] = error.job_id
        except (JobNotRetryable, JobNotFound):  # someone else was faster
            pass
    return queued


async def _batches(
    lookup: Lookup, status: Status | None, name: str | None, queue: str | None, tag: str | None
) -> AsyncIterator[list[str]]:
    """The ids of all jobs that match. What a batch leaves is not met again."""
    last: str | None = None
    while jobs := await lookup.jobs(status, name, queue, tag, last, BATCH):
        yield [job["job_id"] for job in jobs]
        last = jobs[-1]["job_id"]
