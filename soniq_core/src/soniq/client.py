"""What callers ask of an app: to enqueue jobs, and to read and change those that exist."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, overload

from soniq.bridge import bridged
from soniq.ids import JobId
from soniq.job.job import Call, Job
from soniq.postgres.bulk import Deleted, Retried, cancel_all, delete_all, retry_all
from soniq.postgres.overview import Overview, backlog, overview
from soniq.runtime import Runtime
from soniq.status import (
    FinishedStatus,
    JobStatus,
    QueueBacklog,
    RetryableStatus,
    Status,
    WaitingStatus,
)


class Client:
    """The calls of an app. Each starts the app if need be, and runs in the event loop that the app
    is in use in.
    """

    async def _ready(self) -> Runtime:
        """The parts of the app, started if need be."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close the app."""
        raise NotImplementedError

    def _loop_in_use(self) -> asyncio.AbstractEventLoop | None:
        """The event loop in which the app is in use, or being started; None where there is none."""
        raise NotImplementedError

    def _loop_elsewhere(self) -> asyncio.AbstractEventLoop | None:
        """The running event loop of another thread in which the app is in use, where there is one
        here, too.
        """
        raise NotImplementedError

    # --- enqueueing ------------------------------------------------------------------------------

    @bridged
    async def enqueue(self, job: Job[..., Any] | str, /, *args: object, **keywords: Any) -> JobId:
        """Enqueue a job; its id once it is committed, or is part of the transaction of
        `connection=`.

        `job` is the decorated function, or a name. Arguments are the job's own, except for the
        keywords that are options: `delay`, `scheduled_at`, `dedup_key`, `headers`, `connection`,
        `notify`, `queue`, `priority`, `max_attempts`, `timeout`, `unique`, `serializer`, `tags`,
        `expires`, `keep`, `keep_dead`, and `args`, the job's arguments as a mapping. Raises
        `UnknownJob`, `InvalidArguments`, `InvalidOption`, `SerializationError`, `PayloadTooLarge`
        or `DatabaseError`; nothing is enqueued then.
        """
        return await (await self._ready()).producer.enqueue(job, args, keywords)

    @bridged
    async def enqueue_many(
        self, job: Job[..., Any] | str, arguments: Iterable[Mapping[str, object]], /, **options: Any
    ) -> list[JobId]:
        """Enqueue a job for each mapping of arguments, all or none, in one transaction; their ids,
        in order.
        """
        return await (await self._ready()).producer.enqueue_many(job, list(arguments), options)

    @bridged
    async def enqueue_all(
        self, calls: Iterable[Call], *, connection: Any = None, notify: bool = True
    ) -> list[JobId]:
        """Enqueue different jobs, all or none, in one transaction; their ids, in order.

        `calls` are made by `job.call(...)`, or `job.using(...).call(...)`; a job may be there more
        than once. Raises as `enqueue` does.
        """
        runtime, options = await self._ready(), {"connection": connection, "notify": notify}
        return await runtime.producer.enqueue_all(list(calls), options, runtime.app)

    @bridged
    async def _call(
        self,
        job: Job[..., Any],
        args: tuple[object, ...],
        arguments: Mapping[str, object],
        options: Mapping[str, object],
    ) -> JobId:
        """`enqueue`, with the options apart from the job's arguments: what `job.using(...)` and
        `job.enqueue` do.
        """
        return await (await self._ready()).producer.call(job, args, arguments, options)

    @bridged
    async def dump_arguments(
        self, job: Job[..., Any] | str, arguments: Mapping[str, object], /
    ) -> bytes:
        """The arguments of a job as its serializer writes them, without those left to its defaults:
        to be kept, and enqueued later.

        They are checked as `enqueue` checks them, and raise the same.
        """
        return (await self._ready()).producer.dump_arguments(job, arguments)

    @bridged
    async def load_arguments(
        self, job: Job[..., Any] | str, data: bytes, /, *, serializer: str | None = None
    ) -> Mapping[str, object]:
        """What `dump_arguments` wrote, as `args=` of an enqueue takes it.

        `serializer`: what wrote it, instead of the job's own, such as "json" for an object that
        somebody typed. Raises `UnknownJob`, `InvalidOption` or `InvalidArguments`.
        """
        return (await self._ready()).producer.load_arguments(job, data, serializer)

    # --- jobs that exist -------------------------------------------------------------------------

    @overload
    async def get_result(self, job_id: str) -> Any: ...

    @overload
    async def get_result(
        self, job_id: str, *, stream: Literal[True]
    ) -> AsyncIterator[bytes] | None: ...

    async def get_result(self, job_id: str, *, stream: bool = False) -> Any:
        """The result of a job, as the type it returns; None while it is not done, or where it does
        not exist.

        `stream`: an async iterator over its bytes as they are stored. A streamed result is `bytes`
        otherwise.
        """
        return await self._result(job_id, stream)

    @bridged
    async def _result(self, job_id: str, stream: bool) -> Any:
        lookup = (await self._ready()).lookup
        return await (lookup.result_stream(job_id) if stream else lookup.result(job_id))

    @bridged
    async def get_job_status(self, job_id: str, *, result: bool = True) -> JobStatus | None:
        """All about a job; None where it does not exist, or was forgotten. `result=False` leaves
        the result unread.
        """
        return await (await self._ready()).lookup.status(job_id, result)

    @bridged
    async def get_args(self, job_id: str) -> Any:
        """The arguments of a job as plain values; None where it does not exist."""
        return await (await self._ready()).lookup.arguments(job_id)

    @bridged
    async def wait_for(self, job_id: str, timeout: float | timedelta | None = None) -> Any:
        """The result of a job once it is done. `timeout` in seconds, None for ever.

        Raises `JobFailed`, `JobCancelled`, `JobNotFound`, `WaitTimeout` (the job goes on), or
        `InvalidOption`.
        """
        return await (await self._ready()).lookup.wait_for(job_id, timeout)

    @bridged
    async def jobs(
        self,
        *,
        status: Status | None = None,
        name: str | None = None,
        queue: str | None = None,
        tag: str | None = None,
        since: datetime | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[JobStatus]:
        """The newest jobs that match, without results; `before` an id, for the next page.

        `since`, a time with its zone: those that finished since then, or are not finished and were
        created since then.
        """
        return await (await self._ready()).lookup.jobs(
            status, name, queue, tag, before, limit, since
        )

    @bridged
    async def cancel(self, job_id: str, reason: str | None = None) -> bool:
        """Cancel a job that waits, or have the worker that runs it end it. False: it is finished,
        or does not exist.
        """
        return await (await self._ready()).operations.cancel(job_id, reason)

    @bridged
    async def delete(self, job_id: str) -> bool:
        """Forget a job: its row, with arguments, headers and error, and its result in whichever
        store. False: none.

        One that waits is cancelled first, so that plugins hear of it. Raises `JobRunning` for one
        that runs: cancel it, and delete it when it has ended. If its store cannot delete the
        result, the error is raised and nothing is forgotten.
        """
        return await (await self._ready()).operations.delete(job_id)

    @bridged
    async def delete_all(
        self,
        *,
        status: Status | None = None,
        name: str | None = None,
        queue: str | None = None,
        tag: str | None = None,
    ) -> Deleted:
        """Delete all jobs that match, live and finished, in batches. Those that cannot be are told,
        as ones that run.

        Raises `InvalidOption` where nothing says which.
        """
        return await delete_all((await self._ready()).operations, status, name, queue, tag)

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
    ) -> None:
        """Run a job again now: a dead or cancelled one with all its attempts, one that is queued
        for later as it is.

        What is given changes with it: its `queue`, `priority`, `max_attempts` and `timeout`;
        `delay`: seconds until it is due. Raises `JobNotFound`, `JobNotRetryable`, `DuplicateJob` or
        `InvalidOption`.
        """
        operations = (await self._ready()).operations
        await operations.retry(
            job_id,
            queue=queue,
            priority=priority,
            max_attempts=max_attempts,
            timeout=timeout,
            delay=delay,
        )

    @bridged
    async def retry_all(
        self,
        *,
        status: RetryableStatus = "dead",
        name: str | None = None,
        queue: str | None = None,
        tag: str | None = None,
    ) -> Retried:
        """Retry all jobs that match and are "dead", "cancelled", or "queued" for later, in batches.

        Those whose dedup key is taken are told, and stay as they are.
        """
        return await retry_all((await self._ready()).operations, status, name, queue, tag)

    @bridged
    async def cancel_all(
        self,
        *,
        status: WaitingStatus = "queued",
        name: str | None = None,
        queue: str | None = None,
        tag: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Cancel all jobs that match and wait, as "queued" or "held", in batches; how many that
        were.
        """
        return await cancel_all((await self._ready()).operations, status, name, queue, tag, reason)

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
    async def pause(self, queue: str) -> None:
        """Let no worker claim jobs of this queue; those that run go on. May be called twice.

        Workers know it at once, or with their next poll. `overview()` lists the queues that are
        paused.
        """
        await (await self._ready()).operations.pause(queue, True)

    @bridged
    async def resume(self, queue: str) -> None:
        """Let workers claim jobs of a paused queue again."""
        await (await self._ready()).operations.pause(queue, False)

    @bridged
    async def prune(
        self, *, older_than: float | timedelta | None = None, status: FinishedStatus | None = None
    ) -> int:
        """Forget finished jobs now: those past their time, or all that finished `older_than`
        seconds ago; how many.

        Dead jobs have a time of their own (`keep_dead`), and go by age only with `status="dead"`.
        """
        return await (await self._ready()).operations.prune(older_than, status)

    @bridged
    async def overview(self) -> Overview:
        """Counts by queue and status, the live workers, the oldest waiting job, and names that no
        live worker knows.
        """
        return await overview((await self._ready()).database)

    @bridged
    async def backlog(self) -> dict[str, QueueBacklog]:
        """By queue, how many jobs wait, are scheduled, run and are held, and how long the oldest
        has waited.
        """
        return await backlog((await self._ready()).database)
