"""What callers ask of an app: to change jobs that exist, and to pause queues."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from soniq.bridge import bridged
from soniq.postgres.bulk import (
    Cancelled,
    Deleted,
    Matching,
    OnBatch,
    Retried,
    cancel_all,
    cancel_many,
    delete_all,
    delete_many,
    retry_all,
    retry_many,
)
from soniq.runtime import Runtime
from soniq.status import FinishedStatus, RetryableStatus, Status, WaitingStatus


class Changes:
    """The calls of an app that change what exists.

    `by` of each is who does it, a text of 1,000 bytes at most, for the hook `acted`. A `by`, or
    another option, that cannot be raises `InvalidOption`.
    """

    async def _ready(self) -> Runtime:
        """The parts of the app, started if need be."""
        raise NotImplementedError

    def _loop_in_use(self) -> asyncio.AbstractEventLoop | None:
        """The event loop in which the app is in use, or being started; None where there is none."""
        raise NotImplementedError

    def _loop_elsewhere(self) -> asyncio.AbstractEventLoop | None:
        """The running event loop of another thread in which the app is in use, or is to be used,
        where there is one here, too.
        """
        raise NotImplementedError

    def _loop_has_ended(self) -> None:
        """The event loop in which it was in use has ended while calls from others ran in it."""
        raise NotImplementedError

    @bridged
    async def cancel(
        self, job_id: str, reason: str | None = None, *, by: str | None = None
    ) -> bool:
        """Cancel a job that waits, or have the worker that runs it end it. False: it is finished,
        or does not exist.

        Raises `InvalidJobId`.
        """
        return await (await self._ready()).operations.cancel(job_id, reason, by)

    @bridged
    async def cancel_many(
        self, job_ids: Iterable[str], reason: str | None = None, *, by: str | None = None
    ) -> Cancelled:
        """Cancel some jobs, by their ids, as `cancel` does, in batches; what became of them.

        Those that are finished or do not exist are told. Raises `InvalidJobId`; nothing is
        cancelled then.
        """
        return await cancel_many((await self._ready()).operations, job_ids, reason, by)

    @bridged
    async def delete(
        self, job_id: str, *, status: Status | None = None, by: str | None = None
    ) -> bool:
        """Forget a job: its row, with arguments, headers and error, and its result in whichever
        store. False: it does not exist.

        One that waits is cancelled first, so that plugins hear of it. `status`: only if the job has
        this status at the moment of the change, or raises `JobChanged`; of those that wait,
        "queued" and "held" are the same here. Raises `JobRunning` for one that runs: cancel it, and
        delete it when it has ended; `ResultNotDeleted` where no plugin here provides the store of
        its result; or `InvalidJobId`. If the store fails to delete the result, its error is raised
        and nothing is forgotten.
        """
        return await (await self._ready()).operations.delete(job_id, status, by)

    @bridged
    async def delete_many(
        self, job_ids: Iterable[str], *, status: Status | None = None, by: str | None = None
    ) -> Deleted:
        """Delete some jobs, by their ids, as `delete` does, in batches; what became of them.

        Those that run, are not of the `status`, do not exist, or whose result cannot be deleted
        here are told. Raises `InvalidJobId`, and nothing is deleted then, or what a result store
        raises.
        """
        return await delete_many((await self._ready()).operations, job_ids, status, by)

    @bridged
    async def delete_all(
        self,
        *,
        status: Status | None = None,
        name: str | None = None,
        queue: str | None = None,
        tag: str | None = None,
        limit: int | None = None,
        on_batch: OnBatch | None = None,
        by: str | None = None,
    ) -> Deleted:
        """Delete all jobs that match, live and finished, in batches, newest first. Those that
        cannot be are told, as ones that run.

        `limit`, `on_batch`: as of `retry_all`. Raises `InvalidOption` where nothing says which.
        """
        which = Matching(status, name, queue, tag)
        return await delete_all((await self._ready()).operations, which, limit, on_batch, by)

    @bridged
    async def retry(
        self,
        job_id: str,
        *,
        queue: str | None = None,
        priority: int | None = None,
        max_attempts: int | None = None,
        timeout: float | timedelta | None = None,
        delay: float | timedelta | None = None,
        status: RetryableStatus | None = None,
        by: str | None = None,
    ) -> None:
        """Run a job again now: a dead or cancelled one with all its attempts, one that is queued
        for later as it is.

        What is given changes with it: its `queue`, `priority`, `max_attempts` and `timeout`;
        `delay`: seconds until it is due. `status`: only if the job has this status at the moment of
        the change; "queued" runs it now, and never again one that has ended. `by`: who does this,
        kept with its attempts. Raises `JobNotFound`, `JobNotRetryable`, `JobChanged`,
        `DuplicateJob`, `InvalidJobId` or `InvalidOption`.
        """
        operations = (await self._ready()).operations
        await operations.retry(
            job_id,
            queue=queue,
            priority=priority,
            max_attempts=max_attempts,
            timeout=timeout,
            delay=delay,
            status=status,
            by=by,
        )

    @bridged
    async def retry_many(
        self,
        job_ids: Iterable[str],
        *,
        status: RetryableStatus | None = None,
        by: str | None = None,
    ) -> Retried:
        """Retry some jobs, by their ids, as `retry` does, in batches; what became of them.

        Those that are neither dead, cancelled nor queued, or not of the `status`, or whose dedup
        key is taken, or that do not exist, are told, and stay as they are. Raises `InvalidJobId`;
        nothing is retried then.
        """
        return await retry_many((await self._ready()).operations, job_ids, status, by)

    @bridged
    async def retry_all(
        self,
        *,
        status: RetryableStatus = "dead",
        name: str | None = None,
        queue: str | None = None,
        tag: str | None = None,
        limit: int | None = None,
        on_batch: OnBatch | None = None,
        by: str | None = None,
    ) -> Retried:
        """Retry all jobs that match and are "dead", "cancelled", or "queued" for later, in batches,
        newest first.

        Those whose dedup key is taken are told, and stay as they are. `limit`: of so many at most.
        `on_batch` is called after each batch with how many were gone through so far, and awaited
        where it is `async`; what it raises ends the call, and what was done stays done.
        """
        which = Matching(status, name, queue, tag)
        return await retry_all((await self._ready()).operations, which, limit, on_batch, by)

    @bridged
    async def cancel_all(
        self,
        *,
        status: WaitingStatus = "queued",
        name: str | None = None,
        queue: str | None = None,
        tag: str | None = None,
        reason: str | None = None,
        limit: int | None = None,
        on_batch: OnBatch | None = None,
        by: str | None = None,
    ) -> int:
        """Cancel all jobs that match and wait, as "queued" or "held", in batches, newest first; how
        many that were.

        `limit`, `on_batch`: as of `retry_all`.
        """
        which = Matching(status, name, queue, tag)
        return await cancel_all(
            (await self._ready()).operations, which, limit, on_batch, reason, by
        )

    @bridged
    async def release(
        self,
        job_ids: str | Iterable[str],
        *,
        holder: str | None = None,
        last: bool = False,
        connection: Any = None,
    ) -> int:
        """Let held jobs go, of one holder, or of all; how many nobody holds any more.

        These are queued, and start when they are due, as early as their enqueue allows, or, `last`,
        behind all that are due now. With `connection=`, as that of an enqueue, it is part of that
        transaction. Jobs that are not held, or not by this holder, stay as they are. Raises
        `InvalidJobId`, `InvalidOption` or `DatabaseError`.
        """
        runtime = await self._ready()
        tx = None if connection is None else await runtime.producer.adapted(connection)
        return await runtime.release.those(job_ids, holder, tx, last=last)

    @bridged
    async def release_all(self, *, held_by: str, forget: bool = False) -> int:
        """Release all jobs that a holder, by name, holds, in batches; how many nobody holds any
        more.

        `forget`, for a plugin that is gone for good: takes its mark off all jobs that are not
        finished, and drops what it was still to be told.
        """
        release = (await self._ready()).release
        released = await release.held_by(held_by)
        if forget:
            await release.forget(held_by)
        return released

    @bridged
    async def pause(self, queue: str, *, reason: str | None = None, by: str | None = None) -> None:
        """Let no worker claim jobs of this queue; those that run go on.

        Workers know it at once, or with their next poll. `overview()` lists the queues that are
        paused, with the reason and who it was, where these are said: texts of 1,000 bytes at most.
        May be called again; a reason then takes the place of the one before, as `by` does with it.
        Raises `InvalidOption`.
        """
        await (await self._ready()).operations.pause(queue, reason, by)

    @bridged
    async def resume(self, queue: str, *, by: str | None = None) -> None:
        """Let workers claim jobs of a paused queue again. Raises `InvalidOption`."""
        await (await self._ready()).operations.resume(queue, by)

    @bridged
    async def prune(
        self, *, older_than: float | timedelta | None = None, status: FinishedStatus | None = None
    ) -> int:
        """Forget finished jobs now: those past their time, or all that finished `older_than`
        seconds ago; how many.

        Dead jobs have a time of their own (`keep_dead`), and go by age only with `status="dead"`.
        Raises `InvalidOption`.
        """
        return await (await self._ready()).operations.prune(older_than, status)
