"""Soniq: one app, its jobs and its hooks. It wires the parts together; what they do is in their own files."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

import asyncpg

from soniq import settings as settings_
from soniq.defaults import default_plugins
from soniq.defining import Defines, Hints
from soniq.definition import Registry
from soniq.errors import SoniqError
from soniq.hooks.manager import Hooks, check_choice, check_distribution
from soniq.ids import JobId
from soniq.job import Job
from soniq.jobs import Jobs
from soniq.lookup import JobStatus, Overview, QueueBacklog
from soniq.many import Retried, cancel_all, retry_all
from soniq.postgres.connections import Database
from soniq.postgres.schema import plugin_schema
from soniq.postgres.sql import quote
from soniq.settings import Settings
from soniq.started import Started, start
from soniq.worker.limits import Limits
from soniq.worker.together import check_work, run_together
from soniq.worker.worker import Worker

if TYPE_CHECKING:
    from soniq.hooks.typed import OwnAfterJob, OwnAroundJob, OwnBeforeJob, OwnOnError
    from soniq.sync import Sync

Function = TypeVar("Function", bound=Callable[..., Any])


class Soniq(Defines):
    """Background jobs in one PostgreSQL. The constructor only stores its arguments; the first use starts the app.

    Every field of `Settings` may be given by keyword. `plugins` are configured plugins, in addition to those that are
    installed (`discover=False`: only these). Safe to make at import time, and to use again after `close()`.
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        plugins: Iterable[object] = (),
        discover: bool = True,
        **settings: Any,
    ) -> None:
        self._arguments: dict[str, object] = {"database_url": database_url, **settings}
        self._plugins = tuple(plugins)
        self._discover = discover
        self._registry = Registry()
        self._own_hooks: list[tuple[str, Callable[..., Any]]] = []
        self._started: Started | None = None
        self._starting: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._starter: asyncio.Task[Any] | None = None
        self._changed = False
        self.closed = False
        """Whether it was closed, and not used since."""
        self._workers: set[Worker] = set()
        self._process: int | None = None
        self._syncs: dict[int, Sync] = {}
        self._inherited: list[object] = []

    # --- defining jobs and hooks ------------------------------------------------------------------------------------

    def include(self, jobs: Jobs) -> None:
        """Make the jobs of a `Jobs` jobs of this app, those that are defined in it later, too. Twice changes nothing.

        Raises `JobDefinitionError` if another job has one of the names, and `SoniqError` while a worker of this app
        runs; no job is added then.
        """
        if not isinstance(jobs, Jobs):
            raise SoniqError(f"include takes a Jobs; got {jobs!r}")
        jobs.join(self)

    def before_job(self, function: "OwnBeforeJob") -> "OwnBeforeJob":
        """Call `function(ctx)` before each handler. Several run in the order in which they were added."""
        return self._add_hook("before_job", function)

    def after_job(self, function: "OwnAfterJob") -> "OwnAfterJob":
        """Call `function(ctx, result)` after each attempt that succeeded; it may take fewer arguments."""
        return self._add_hook("after_job", function)

    def on_error(self, function: "OwnOnError") -> "OwnOnError":
        """Call `function(ctx, error)` with the exception itself on each failed attempt; it may take fewer arguments."""
        return self._add_hook("on_error", function)

    def around_job(self, function: "OwnAroundJob") -> "OwnAroundJob":
        """Run each attempt inside `function(ctx)`: a generator function, async or not, that yields once."""
        return self._add_hook("around_job", function)

    @property
    def registry(self) -> Mapping[str, Job[..., Any]]:
        """The jobs that were defined, by name."""
        return dict(self._registry.jobs)

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self, *, setup: bool | None = None) -> None:
        """Start the app: plugins, pool, tables. Any use does it; call it to fail early.

        `setup` takes the place of the setting for this start: whether tables are made or updated.
        """
        await self._ready(setup)

    async def close(self) -> None:
        """Close the app: workers of this process stop first, and what is being enqueued is written.

        May be called twice, and the app used again afterwards.
        """
        self._leave_dead_loop()
        if self._started is not None:
            for worker in list(self._workers):  # their handlers may still enqueue
                worker.stop()
                await worker.finished.wait()
        if self._started is not None and self._starting is not None:
            async with self._starting[1]:  # whoever uses the app meanwhile waits, and starts it afresh
                started, self._started = self._started, None
                if started is not None:
                    await started.close()
        self.closed = self._started is None

    async def __aenter__(self) -> Self:
        await self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def sync(self) -> "Sync":
        """The same methods for code that is not asynchronous: `eq.sync.enqueue(...)` returns when it is done."""
        from soniq.sync import Sync  # which is made of this class

        return self._syncs.setdefault(os.getpid(), Sync(self))

    @property
    def settings(self) -> Settings:
        """The settings in force. Raises `ConfigurationError` for one that cannot be used."""
        return self._started.settings if self._started else settings_.load(self._arguments)

    @property
    def database(self) -> Database:
        """The database of an app that has started."""
        if self._started is None or self._process != os.getpid():
            raise SoniqError("the app has not been started")
        return self._started.database

    @property
    def server_address(self) -> tuple[str, int | None]:
        """Host and port of the database of an app that has started, of several the first; of a socket, its folder."""
        return settings_.server_address(self.database.url)

    def connection(self) -> "AbstractAsyncContextManager[asyncpg.Connection[asyncpg.Record]]":
        """`async with app.connection() as c:` a connection of the app's pool, for a plugin's own tables.

        For short work that leaves nothing behind in the session. Raises `DatabaseUnavailable`.
        """
        return self.database.acquire()

    def plugin_schema(self, plugin: str) -> str:
        """The schema in which the migrations of this plugin are applied, as a quoted SQL identifier."""
        return quote(plugin_schema(self.settings.schema, plugin))

    # --- enqueueing -------------------------------------------------------------------------------------------------

    async def enqueue(self, job: Job[..., Any] | str, /, *args: object, **keywords: Any) -> JobId:
        """Enqueue a job; its id once it is committed, or is part of the transaction of `connection=`.

        `job` is the decorated function, or a name. Arguments are the job's own, except for the keywords in
        `EnqueueOptions`: `delay`, `scheduled_at`, `dedup_key`, `headers`, `connection`, `notify`, `queue`, `priority`,
        `max_attempts`, `timeout`, `unique`, `serializer`, `tags`, `expires`, `keep`, and `args`, the job's arguments as
        a mapping. Raises `UnknownJob`, `InvalidArguments`, `InvalidOption`, `SerializationError`, `PayloadTooLarge` or
        `DatabaseError`; nothing is enqueued then.
        """
        return await (await self._ready()).producer.enqueue(job, args, keywords)

    async def enqueue_many(
        self, job: Job[..., Any] | str, arguments: Iterable[Mapping[str, object]], /, **options: Any
    ) -> list[JobId]:
        """Enqueue a job for each mapping of arguments, all or none, in one transaction; their ids, in order."""
        return await (await self._ready()).producer.enqueue_many(job, list(arguments), options)

    # --- jobs that exist --------------------------------------------------------------------------------------------

    @overload
    async def get_result(self, job_id: str) -> Any: ...

    @overload
    async def get_result(self, job_id: str, *, stream: Literal[True]) -> AsyncIterator[bytes] | None: ...

    async def get_result(self, job_id: str, *, stream: bool = False) -> Any:
        """The result of a job, as the type it returns; None while it is not done, or where it does not exist.

        `stream`: an async iterator over its bytes as they are stored. A streamed result is `bytes` otherwise.
        """
        lookup = (await self._ready()).lookup
        return await (lookup.result_stream(job_id) if stream else lookup.result(job_id))

    async def get_job_status(self, job_id: str, *, result: bool = True) -> JobStatus | None:
        """All about a job; None where it does not exist, or was forgotten. `result=False` leaves the result unread."""
        return await (await self._ready()).lookup.status(job_id, result)

    async def get_args(self, job_id: str) -> Any:
        """The arguments of a job as plain values; None where it does not exist."""
        return await (await self._ready()).lookup.arguments(job_id)

    async def wait_for(self, job_id: str, timeout: float | None = None) -> Any:
        """The result of a job once it is done. `timeout` in seconds, None for ever.

        Raises `JobFailed`, `JobCancelled`, `JobNotFound`, or `WaitTimeout` (the job goes on).
        """
        return await (await self._ready()).lookup.wait_for(job_id, timeout)

    async def jobs(
        self,
        *,
        status: str | None = None,
        name: str | None = None,
        queue: str | None = None,
        tag: str | None = None,
        since: datetime | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[JobStatus]:
        """The newest jobs that match, without results; `before` an id, for the next page.

        `since`, a time with its zone: those that finished since then, or are not finished and were created since then.
        """
        return await (await self._ready()).lookup.jobs(status, name, queue, tag, before, limit, since)

    async def cancel(self, job_id: str, reason: str | None = None) -> bool:
        """Cancel a job that waits, or have the worker that runs it end it. False: it is finished, or does not exist."""
        return await (await self._ready()).lookup.cancel(job_id, reason)

    async def retry(self, job_id: str) -> None:
        """Run a job again now: a dead or cancelled one with all its attempts, one that is queued for later as it is.

        Raises `JobNotFound`, `JobNotRetryable` or `DuplicateJob`.
        """
        await (await self._ready()).lookup.retry(job_id)

    async def retry_all(
        self,
        *,
        status: str = "dead",
        name: str | None = None,
        queue: str | None = None,
        tag: str | None = None,
    ) -> Retried:
        """Retry all jobs that match and are "dead", "cancelled", or "queued" for later, in batches.

        Those whose dedup key is taken are told, and stay as they are.
        """
        return await retry_all((await self._ready()).lookup, status, name, queue, tag)

    async def cancel_all(
        self,
        *,
        status: str = "queued",
        name: str | None = None,
        queue: str | None = None,
        tag: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Cancel all jobs that match and wait, as "queued" or "held", in batches; how many that were."""
        return await cancel_all((await self._ready()).lookup, status, name, queue, tag, reason)

    async def pause(self, queue: str) -> None:
        """Let no worker claim jobs of this queue; those that run go on. May be called twice.

        Workers know it at once, or with their next poll. `overview()` lists the queues that are paused.
        """
        await (await self._ready()).lookup.pause(queue, True)

    async def resume(self, queue: str) -> None:
        """Let workers claim jobs of a paused queue again."""
        await (await self._ready()).lookup.pause(queue, False)

    async def prune(self, *, older_than: float | None = None, status: str | None = None) -> int:
        """Forget finished jobs now: those past their time, or all that finished `older_than` seconds ago; how many."""
        return await (await self._ready()).lookup.prune(older_than, status)

    async def overview(self) -> Overview:
        """Counts by queue and status, the live workers, the oldest waiting job, and names that no live worker knows."""
        return await (await self._ready()).lookup.overview()

    async def backlog(self) -> dict[str, QueueBacklog]:
        """By queue, how many jobs wait, are scheduled, run and are held, and how long the oldest has waited."""
        return await (await self._ready()).lookup.backlog()

    # --- working ----------------------------------------------------------------------------------------------------

    async def run_worker(
        self,
        *,
        concurrency: int | None = None,
        queues: Sequence[str] | Mapping[str, int] | None = None,
        run_once: bool = False,
        max_jobs: int | None = None,
        max_memory: int | None = None,
    ) -> int:
        """Run jobs until SIGTERM, SIGINT or `close()`; with `run_once`, until nothing is due. How many attempts ran.

        `queues`: only these, or each with a concurrency of its own: `{"media": 2, "default": 20}`. With `run_once` no
        signal handlers are installed, and jobs that are due later, retries included, are left for later. After
        `max_jobs` attempts, or at `max_memory` bytes of resident memory, it claims no more and ends when what runs has
        ended, to be started afresh by whoever supervises it. Raises `InvalidOption`.
        """
        started = await self._ready()
        shares = check_work(queues, concurrency, started.settings.concurrency, max_jobs, max_memory)
        total = 0
        while True:
            limits = Limits(max_jobs and max_jobs - total, max_memory)
            workers = [started.worker(each, queues=names, run_once=run_once, limits=limits) for names, each in shares]
            self._workers.update(workers)
            try:
                count = await run_together(workers, run_once=run_once)
            finally:
                self._workers.difference_update(workers)
                for worker in workers:
                    worker.finished.set()
            total += count
            if len(workers) == 1 or not run_once or not count:  # else one may have enqueued for another
                return total

    def stop_workers(self, *, now: bool = False) -> None:
        """Ask the workers that this app runs in this process to stop, as SIGTERM does; returns at once.

        `now`: the running attempts get no grace time, or no more of it, as with a second SIGTERM.
        """
        for worker in self._workers:
            worker.stop(now=now)

    # --- inside -----------------------------------------------------------------------------------------------------

    def load_plugins(self, *, leave_out: Collection[str] = ()) -> Hooks:
        """The app's plugins, loaded and checked afresh. Raises `PluginError` or `ConfigurationError`.

        `leave_out`: names of installed plugins that are left out, as SONIQ_PLUGINS may do it.
        """
        check_distribution()
        chosen = os.environ.get("SONIQ_PLUGINS")
        if self._discover:
            check_choice(chosen)
        hooks = Hooks()
        hooks.load(default_plugins(self), self._plugins, discover=self._discover, chosen=_without(chosen, leave_out))
        for hook, function in self._own_hooks:
            hooks.add(hook, function)
        return hooks

    async def call(
        self,
        job: Job[..., Any],
        args: tuple[object, ...],
        arguments: Mapping[str, object],
        options: Mapping[str, object],
    ) -> JobId:
        """`enqueue`, with the options apart from the job's arguments: what `job.using(...)` and `job.enqueue` do."""
        return await (await self._ready()).producer.call(job, args, arguments, options)

    def check_job(self, job: Job[..., Any]) -> None:
        """Raise if the job cannot be added now: `SoniqError` while a worker runs, `JobDefinitionError` for its name."""
        self._refuse_while_working("a job")
        self._registry.check(job)

    def add_job(self, job: Job[..., Any], hints: Hints) -> None:
        """Add a job that was made; `job` and `include` do it. Raises as `check_job` does."""
        self.check_job(job)
        self._registry.add(job, hints)
        job.apps.add(self)
        self._changed = True

    def _add_hook(self, hook: str, function: Function) -> Function:
        self._refuse_while_working("a hook")
        Hooks().add(hook, function)
        self._own_hooks.append((hook, function))
        self._changed = True
        return function

    def _refuse_while_working(self, what: str) -> None:
        if self._workers:
            raise SoniqError(f"{what} cannot be added while a worker of this app runs")

    async def _ready(self, setup: bool | None = None) -> "Started":
        """The parts of the app, started if need be; once, whoever asks first."""
        self._leave_dead_loop()
        if self._started is None:
            if self._starter is not None and self._starter is asyncio.current_task():
                raise SoniqError("the app is being started; database_url and lifespan cannot use it before it is")
            loop = asyncio.get_running_loop()
            if self._starting is None or self._starting[0] is not loop:
                self._starting = (loop, asyncio.Lock())
            async with self._starting[1]:
                if self._started is None:
                    self._changed = self.closed = False
                    self._starter = asyncio.current_task()
                    try:
                        self._started = await start(self, self._arguments, self._registry, setup)
                    finally:
                        self._starter = None
        elif self._changed and not self._workers:
            self._changed = False  # before: another thread may add a job meanwhile
            try:
                self._started.rebuild(self._own_hooks)
            except BaseException:
                self._changed = True
                raise
        return self._started

    def loop_in_use(self) -> asyncio.AbstractEventLoop | None:
        """The event loop in which the app is in use, or being started; None where that is closed, or the parent's."""
        started, starting = self._started, self._starting
        loop = started.loop if started is not None else None
        if loop is None and starting is not None and starting[1].locked():
            loop = starting[0]
        return None if loop is None or loop.is_closed() or self._process != os.getpid() else loop

    def _leave_dead_loop(self) -> None:
        """Forget the parts in use if their event loop is closed. Raises `SoniqError` if it is another, live one."""
        in_use = self.loop_in_use()
        if in_use is not None and in_use is not asyncio.get_running_loop():
            if any(sync.loop is in_use for sync in self._syncs.values()):
                raise SoniqError(
                    "app.sync has this app in use, in a thread of its own: call app.sync.close() before, or start the "
                    "app here before app.sync is used (async with app: ...), which then works in this event loop"
                )
            raise SoniqError("this app is in use in another event loop; close it there, or make an app for each loop")
        if self._process != os.getpid():
            self._leave_parent()
        elif in_use is None and self._started is not None:
            self._started.database.abandon()
            self._started = self._starting = None

    def _leave_parent(self) -> None:
        """Begin afresh after a fork. What was inherited is kept and never closed: its sockets are the parent's."""
        self._inherited.append((self._started, self._starting, self._starter, self._workers))
        self._started = self._starting = self._starter = None
        self._workers = set()
        self._process = os.getpid()


def _without(chosen: str | None, leave_out: Collection[str]) -> str | None:
    """A value of SONIQ_PLUGINS that leaves out these plugins, too."""
    names = [name.strip() for name in (chosen or "").split(",") if name.strip()]
    if not leave_out:
        return chosen
    if chosen is None or any(name.startswith("-") for name in names):
        return ",".join([*names, *(f"-{name}" for name in leave_out)])
    return ",".join(name for name in names if name not in leave_out)
