"""What callers ask of an app: to enqueue jobs, and to read those that exist."""

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, overload

from soniq.bridge import bridged
from soniq.changes import Changes
from soniq.hooks.values import Presentable
from soniq.ids import JobId
from soniq.job.job import Call, Job
from soniq.postgres import counting, searching
from soniq.postgres.overview import Overview, backlog, overview
from soniq.search import Page, Search
from soniq.status import Count, Facets, JobDetail, JobStatus, QueueBacklog, QueueStatus, Status


class Client(Changes):
    """The calls of an app. Each starts the app if need be, and runs in the event loop that the app
    is in use in.

    Besides what a call names itself, each raises `DatabaseError` where the database cannot be asked
    or refuses, and what `start` raises if it is the first use.
    """

    async def close(self) -> None:
        """Close the app."""
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

        `options` are the keywords of `enqueue` that are options, without `args`, and hold for all
        of these jobs. Raises as `enqueue` does.
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
        otherwise. Raises `InvalidJobId`, `SerializationError` where the result cannot be read here,
        or what its result store raises.
        """
        return await self._result(job_id, stream)

    @bridged
    async def _result(self, job_id: str, stream: bool) -> Any:
        lookup = (await self._ready()).lookup
        return await (lookup.result_stream(job_id) if stream else lookup.result(job_id))

    @bridged
    async def get_job_status(self, job_id: str, *, result: bool = True) -> JobStatus | None:
        """All about a job; None where it does not exist, or was forgotten.

        `result=False` leaves the result unread. Raises `InvalidJobId`, and for the result what
        `get_result` raises.
        """
        return await (await self._ready()).lookup.status(job_id, result)

    @bridged
    async def get_job(self, job_id: str, *, largest: int = 100_000) -> JobDetail | None:
        """All that is kept of a job; None where it does not exist, or was forgotten.

        Arguments and result are there as plain values where they are stored in at most `largest`
        bytes, and the result in the row; what is larger is not read, but its size is told. What
        cannot be read here is None. Raises `InvalidJobId` or `InvalidOption`.
        """
        return await (await self._ready()).lookup.detail(job_id, largest)

    @bridged
    async def get_args(self, job_id: str) -> Any:
        """The arguments of a job as plain values; None where it does not exist.

        Raises `InvalidJobId`, or `SerializationError` where they cannot be read here.
        """
        return await (await self._ready()).lookup.arguments(job_id)

    @bridged
    async def _present(
        self, job_name: str, what: Presentable, value: object, serializer: str | None
    ) -> Any:
        """What operators may be shown of a value of a job: `soniq.plugin.presented`."""
        return await (await self._ready()).present(job_name, what, value, serializer)

    @bridged
    async def wait_for(self, job_id: str, timeout: float | timedelta | None = None) -> Any:
        """The result of a job once it is done. `timeout` in seconds, None for ever.

        Raises `JobFailed`, `JobCancelled`, `JobNotFound`, `WaitTimeout` (the job goes on),
        `InvalidJobId`, `InvalidOption`, and for the result what `get_result` raises.
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
        created since then. `limit` is 100,000 at most. Raises `InvalidOption` or `InvalidJobId`.
        """
        return await (await self._ready()).lookup.jobs(
            status, name, queue, tag, before, limit, since
        )

    @bridged
    async def search(
        self,
        search: Search,
        *,
        cursor: str | None = None,
        limit: int = 50,
        rows: int = 50_000,
        seconds: float | timedelta = 1.0,
    ) -> Page:
        """A page of the jobs that a `Search` finds, in short; `cursor`, the `next` of a page, for
        the one behind it.

        It looks at `rows` jobs at most, of those live and those finished each, for about `seconds`;
        where they end first, the page is not `complete`, and its `next` leads on from there. What
        is found by an index is found beyond `rows`, too. Raises `InvalidOption`, `InvalidJobId` or
        `DatabaseError`.
        """
        reading = (await self._ready()).reading
        return await searching.search(reading, search, cursor, limit, rows, seconds)

    @bridged
    async def count(
        self, search: Search, *, limit: int = 10_000, seconds: float | timedelta = 0.2
    ) -> Count:
        """How many jobs a `Search` finds. It counts up to `limit`, for about `seconds`; where there
        are more, or the time is over, the count is not exact: there are at least so many. Raises
        `InvalidOption`.
        """
        return await counting.count((await self._ready()).reading, search, limit, seconds)

    @bridged
    async def facets(
        self, search: Search, *, limit: int = 10_000, seconds: float | timedelta = 0.2
    ) -> Facets:
        """How many jobs of each status, name and queue a `Search` finds, up to `limit` jobs in all
        and for about `seconds`, as `count` does. Raises `InvalidOption`.
        """
        return await counting.facets((await self._ready()).reading, search, limit, seconds)

    @bridged
    async def counts(self) -> dict[str, dict[Status, Count]]:
        """How many jobs there are, by queue and status; a status that no job of a queue has is left
        out.

        Where there are many they are not all counted: of those done the number is an estimate then,
        of others there are at least so many.
        """
        return await counting.counts((await self._ready()).reading)

    @bridged
    async def queues(self) -> list[QueueStatus]:
        """How each queue is that holds queued jobs, that a live worker serves by name, or that is
        paused.
        """
        return await counting.queues((await self._ready()).reading)

    @bridged
    async def overview(self) -> Overview:
        """Counts by queue and status, the live workers, the oldest waiting job, and names that no
        live worker knows.

        Where there are many jobs they are not all counted, as by `counts`: `at_least` says of which
        there may be more.
        """
        return await overview((await self._ready()).reading)

    @bridged
    async def backlog(self) -> dict[str, QueueBacklog]:
        """By queue, how many jobs wait, are scheduled, run and are held, and how long the oldest
        has waited.
        """
        return await backlog((await self._ready()).database)
