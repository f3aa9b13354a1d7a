"""What a person does to many jobs at once: retry them, cancel those that wait. In batches, newest first."""

from collections.abc import AsyncIterator
from typing import TypedDict

from soniq.errors import DuplicateJob, InvalidOption, JobNotFound, JobNotRetryable
from soniq.lookup import RETRYABLE, Lookup

BATCH = 500
"""The most jobs that one statement changes."""
WAITING = ("queued", "held")


class Retried(TypedDict):
    """What became of jobs that were all to be retried."""

    queued: int
    """How many were queued again, or had been queued for later and are due now."""
    left: dict[str, str]
    """Jobs that stay as they are, each with the job that holds its dedup key and is not finished."""


async def retry_all(lookup: Lookup, status: str, name: str | None, queue: str | None, tag: str | None) -> Retried:
    """Retry all jobs that match; of two that have one key the newer."""
    if status not in RETRYABLE:
        raise InvalidOption(f"status= is one of {', '.join(RETRYABLE)}; got {status!r}", option="status")
    done: Retried = {"queued": 0, "left": {}}
    async for ids in _batches(lookup, status, name, queue, tag):
        queued = await lookup.retry_those(ids)
        if queued is None:
            queued = await _retry_each(lookup, ids, done["left"])
        done["queued"] += queued
    return done


async def cancel_all(
    lookup: Lookup, status: str, name: str | None, queue: str | None, tag: str | None, reason: str | None
) -> int:
    """Cancel all jobs that match and wait; how many that were."""
    if status not in WAITING:
        raise InvalidOption(f"status= is one of {', '.join(WAITING)}; got {status!r}", option="status")
    batches = _batches(lookup, status, name, queue, tag)
    return sum([await lookup.cancel_waiting(ids, reason) async for ids in batches])


async def _retry_each(lookup: Lookup, ids: list[str], left: dict[str, str]) -> int:
    """Queue finished jobs again, one by one; how many that were. Those whose key is taken are added to `left`."""
    queued = 0
    for id_ in ids:
        try:
            await lookup.retry(id_)
            queued += 1
        except DuplicateJob as error:
            left[id_] = error.job_id
        except (JobNotRetryable, JobNotFound):  # someone else was faster
            pass
    return queued


async def _batches(
    lookup: Lookup, status: str, name: str | None, queue: str | None, tag: str | None
) -> AsyncIterator[list[str]]:
    """The ids of all jobs that match. What a batch leaves is not met again."""
    last: str | None = None
    while jobs := await lookup.jobs(status, name, queue, tag, last, BATCH):
        yield [job["job_id"] for job in jobs]
        last = jobs[-1]["job_id"]
