"""Changing many jobs at once: retry, cancel or delete some, by their ids, or all that match, newest
first. Either goes in batches: where one fails, what was done before stays done.
"""

from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Sequence,
)
from typing import NamedTuple, TypedDict, cast

import asyncpg

from soniq.checks import check_integer
from soniq.errors import DuplicateJob, InvalidOption, JobChanged, JobNotFound, JobNotRetryable
from soniq.ids import parse_ids
from soniq.postgres.operations import Operations, check_by, check_status, differs
from soniq.status import FINISHED, RETRYABLE, STATUSES, WAITING, RetryableStatus, Status
from soniq.text import shown

BATCH = 500
"""The most jobs that one statement changes."""

MOST = 1_000_000_000
"""The highest `limit`."""

UNKNOWN = "no job has this id"

OnBatch = Callable[[int], Awaitable[None] | None]
"""Called after each batch with how many jobs that match were gone through so far, and awaited where
it returns something to await. What it raises ends the call.
"""

Why = Callable[[asyncpg.Record], str | None]
"""Why a job in this state stays as it is; None where it could be changed now."""


class Retried(TypedDict):
    """What became of jobs that were all to be retried."""

    queued: int
    """How many were queued again, or had been queued for later and are due now."""
    left: dict[str, str]
    """Jobs that stay as they are, each with the reason: another job holds its dedup key; and of
    those named by their ids those that cannot be retried, or do not exist.
    """


class Cancelled(TypedDict):
    """What became of jobs that were all to be cancelled."""

    cancelled: int
    """How many waited, and are cancelled."""
    asked: int
    """How many run, so that their workers were asked to end them."""
    left: dict[str, str]
    """Those that are finished or do not exist, each with the reason."""


class Deleted(TypedDict):
    """What became of jobs that were all to be deleted."""

    deleted: int
    left: dict[str, str]
    """Jobs that were not, each with the reason: those that run, or whose result cannot be deleted
    here; and of those named by their ids those that do not exist.
    """


class Matching(NamedTuple):
    """Which jobs are meant; None is any."""

    status: Status | None
    name: str | None
    queue: str | None
    tag: str | None


# --- by their ids --------------------------------------------------------------------------------


async def retry_many(
    operations: Operations,
    job_ids: Iterable[object],
    status: RetryableStatus | None,
    by: str | None,
) -> Retried:
    """Retry these; of two that have one key the first. Those that are due already are no part of
    the answer.
    """
    check_by(by)
    check_status(status, RETRYABLE, optional=True)
    done: Retried = {"queued": 0, "left": {}}

    async def retry(ids: Sequence[str]) -> Collection[str]:
        changed = await operations.retry_those(ids, status, by)
        if changed is None:
            left = done["left"]
            done["queued"] += await _retry_each(operations, ids, status, by, left, told=True)
            return ids
        done["queued"] += sum(changed.values())
        return changed

    await _change(operations, job_ids, retry, _not_retryable, status, done["left"])
    return done


async def cancel_many(
    operations: Operations, job_ids: Iterable[object], reason: str | None, by: str | None
) -> Cancelled:
    """Cancel those that wait, and ask the workers of those that run to end them."""
    check_by(by)
    done: Cancelled = {"cancelled": 0, "asked": 0, "left": {}}

    async def cancel(ids: Sequence[str]) -> Collection[str]:
        cancelled, asked = await operations.cancel_those(ids, reason, by)
        done["cancelled"] += len(cancelled)
        done["asked"] += len(asked)
        return {*cancelled, *asked}

    await _change(operations, job_ids, cancel, _finished, None, done["left"])
    return done


async def delete_many(
    operations: Operations, job_ids: Iterable[object], status: Status | None, by: str | None
) -> Deleted:
    """Delete these; those that run are told."""
    check_by(by)
    check_status(status, STATUSES, optional=True)
    done: Deleted = {"deleted": 0, "left": {}}

    async def delete(ids: Sequence[str]) -> Collection[str]:
        deleted = await operations.delete_those(ids, status, by)
        done["deleted"] += len(deleted)
        return deleted

    await _change(operations, job_ids, delete, operations.undeletable, status, done["left"])
    return done


async def _change(
    operations: Operations,
    job_ids: Iterable[object],
    change: Callable[[Sequence[str]], Awaitable[Collection[str]]],
    why: Why,
    status: Status | None,
    left: dict[str, str],
) -> None:
    """Change these, batch by batch; `change` says which of a batch are done with. Those that cannot
    be changed, or are not of the status that is meant, are added to `left`; others, whose status
    changed in between, are tried again.
    """
    for ids in _split(job_ids):
        waiting: Sequence[str] = ids
        while waiting:
            changed = await change(waiting)
            rest = [id_ for id_ in waiting if id_ not in changed]
            waiting = await _changed_meanwhile(operations, rest, why, status, left)


def _split(job_ids: Iterable[object]) -> Iterator[list[str]]:
    """Batches of ids, each id once. Raises `InvalidJobId` before the first."""
    ids = list(dict.fromkeys(parse_ids(job_ids)))
    return (ids[at : at + BATCH] for at in range(0, len(ids), BATCH))


async def _changed_meanwhile(
    operations: Operations,
    ids: Sequence[str],
    why: Why,
    status: Status | None,
    left: dict[str, str],
) -> list[str]:
    """Why some jobs were not changed: those that cannot be are added to `left`, with the reason.
    The others are returned, to be tried again: their status has changed in between.
    """
    again = []
    states = await operations.lookup.states(ids) if ids else {}
    for id_ in ids:
        reason: str | None = UNKNOWN
        if id_ in states:
            other = differs(states[id_]["status"], status)
            reason = _as_it_is(states[id_]) if other else why(states[id_])

        if reason is None:
            again.append(id_)
        else:
            left[id_] = reason
    return again


def _not_retryable(state: asyncpg.Record) -> str | None:
    if state["status"] in RETRYABLE:
        return None
    return _as_it_is(state)


def _as_it_is(state: asyncpg.Record) -> str:
    return _why_not_retried(state["status"], state["held_by"] or ())


def _why_not_retried(status: Status, held_by: Sequence[str]) -> str:
    if status == "running":
        return "it runs"
    return f"it is {status} by {', '.join(held_by)}" if held_by else f"it is {status}"


def _finished(state: asyncpg.Record) -> str | None:
    return f"it is {state['status']}" if state["status"] in FINISHED else None


# --- all that match ------------------------------------------------------------------------------


async def retry_all(
    operations: Operations,
    which: Matching,
    limit: int | None,
    on_batch: OnBatch | None,
    by: str | None,
) -> Retried:
    """Retry all jobs that match; of two that have one key the newer."""
    check_status(which.status, RETRYABLE)
    check_by(by)
    status = cast("RetryableStatus", which.status)
    done: Retried = {"queued": 0, "left": {}}
    async for ids in _batches(operations, which, limit, on_batch):
        changed = await operations.retry_those(ids, status, by)
        if changed is None:
            left = done["left"]
            done["queued"] += await _retry_each(operations, ids, status, by, left, told=False)
        else:
            done["queued"] += sum(changed.values())
    return done


async def cancel_all(
    operations: Operations,
    which: Matching,
    limit: int | None,
    on_batch: OnBatch | None,
    reason: str | None,
    by: str | None,
) -> int:
    """Cancel all jobs that match and wait; how many that were."""
    check_status(which.status, WAITING)
    check_by(by)
    count = 0
    async for ids in _batches(operations, which, limit, on_batch):
        cancelled, _ = await operations.cancel_those(ids, reason, by, running=False)
        count += len(cancelled)
    return count


async def delete_all(
    operations: Operations,
    which: Matching,
    limit: int | None,
    on_batch: OnBatch | None,
    by: str | None,
) -> Deleted:
    """Delete all jobs that match; those that run are told."""
    if all(each is None for each in which):
        raise InvalidOption(
            "delete_all takes at least one of status=, name=, queue= and tag=", option="status"
        )
    check_by(by)

    done: Deleted = {"deleted": 0, "left": {}}
    async for ids in _batches(operations, which, limit, on_batch):
        deleted = await operations.delete_those(ids, which.status, by)
        done["deleted"] += len(deleted)
        states = await operations.lookup.states([id_ for id_ in ids if id_ not in deleted])
        for id_, state in states.items():
            if differs(state["status"], which.status):
                continue  # it does not match any more
            if why := operations.undeletable(state):
                done["left"][id_] = why
    return done


async def _batches(
    operations: Operations, which: Matching, limit: int | None, on_batch: OnBatch | None
) -> AsyncIterator[list[str]]:
    """The ids of all jobs that match, `limit` at most. What a batch leaves is not met again."""
    check_integer("limit", limit, 1, MOST, optional=True)
    if on_batch is not None and not callable(on_batch):
        raise InvalidOption(f"on_batch= takes a function; got {shown(on_batch)}", option="on_batch")
    last, count = None, 0
    while size := BATCH if limit is None else min(BATCH, limit - count):
        ids = await operations.lookup.ids(*which, last, size)
        if not ids:
            break
        yield ids

        last, count = ids[-1], count + len(ids)
        if on_batch is not None and (told := on_batch(count)) is not None:
            await told


# --- either --------------------------------------------------------------------------------------


async def _retry_each(
    operations: Operations,
    ids: Sequence[str],
    status: RetryableStatus | None,
    by: str | None,
    left: dict[str, str],
    *,
    told: bool,
) -> int:
    """Retry jobs one by one; how many changed. Those whose key is taken are added to `left`, and
    with `told` those that cannot be retried for another reason, too.
    """
    queued = 0
    for id_ in ids:
        try:
            queued += await operations.retry(id_, status=status, by=by)
        except DuplicateJob as error:
            left[id_] = f"{error.job_id} holds its dedup key and is not finished"
        except JobNotRetryable as error:
            if told:
                left[id_] = _why_not_retried(error.status, error.held_by)
        except JobChanged as error:
            if told:
                left[id_] = _why_not_retried(error.status, ())
        except JobNotFound:
            if told:
                left[id_] = UNKNOWN
    return queued
