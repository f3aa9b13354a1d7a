"""Soniq: one app, its jobs and its hooks. It wires the parts together; what they do is in their own files."""

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar, overload

import asyncpg

from soniq import settings as settings_
from soniq.defaults import default_plugins
from soniq.defining import job_options, make_job
from soniq.definition import Registry
from soniq.enqueue.bind import frame_locals
from soniq.errors import SoniqError
from soniq.hooks.manager import Hooks, check_choice, check_distribution
from soniq.ids import JobId
from soniq.job import Job, JobOptions, RetryPolicy
from soniq.lookup import JobStatus, Overview, QueueBacklog
from soniq.postgres.connections import Database
from soniq.postgres.schema import plugin_schema
from soniq.postgres.sql import quote
from soniq.settings import Settings
from soniq.started import Started, start
from soniq.worker.worker import Worker

if TYPE_CHECKING:
    from soniq.hooks.typed import OwnAfterJob, OwnAroundJob, OwnBeforeJob, OwnOnError

P = ParamSpec("P")
R = TypeVar("R")
Function = TypeVar("Function", bound=Callable[..., Any])


class Soniq:
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
        self._workers: set[Worker] = set()

    # --- defining jobs and hooks ------------------------------------------------------------------------------------

    @overload
    def job(self, function: Callable[P, R], /) -> Job[P, R]: ...  # type: ignore[overload-overlap]

    @overload
    def job(
        self,
        *typed: object,
        name: str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        max_attempts: int | None = None,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
        unique: bool = False,
        serializer: str | None = None,
        tags: Sequence[str] = (),
        expires: float | None = None,
        keep: float | None = None,
    ) -> Callable[[Callable[P, R]], Job[P, R]]: ...

    def job(self, *typed: Any, name: str | None = None, **options: Any) -> Any:
        """Make a function a job of this app: `@eq.job(queue="mail")`. Called, it stays the function it is.

        `name`: what rows call it (default: module and qualified name). `queue`: default "default". `priority`: of two
        due jobs the lower runs first (0). `max_attempts` (5). `timeout`: seconds for one attempt (none). `retry`:
        seconds, a `Backoff`, or a callable of context and error. `unique`: while one of the same arguments is not
        finished, an enqueue changes nothing. `serializer` ("json"). `tags`, `expires` (seconds), `keep` (seconds).
        Values without a keyword are options for plugins. Raises `JobDefinitionError` or `InvalidOption`.
        """
        local = frame_locals(1)
        bare = len(typed) == 1 and not options and name is None
        if bare and (inspect.isfunction(typed[0]) or isinstance(typed[0], Job)):
            return self._add_job(typed[0], None, JobOptions(), (), local)
        checked = job_options(options)
        return lambda function: self._add_job(function, name, checked, typed, local)

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

    async def __aenter__(self) -> Self:
        await self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def settings(self) -> Settings:
        """The settings in force. Raises `ConfigurationError` for one that cannot be used."""
        return self._started.settings if self._started else settings_.load(self._arguments)

    @property
    def database(self) -> Database:
        """The database of an app that has started."""
        if self._started is None:
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
        before: str | None = None,
        limit: int = 100,
    ) -> list[JobStatus]:
        """The newest jobs that match, without results; `before` an id, for the next page."""
        return await (await self._ready()).lookup.jobs(status, name, queue, tag, before, limit)

    async def cancel(self, job_id: str, reason: str | None = None) -> bool:
        """Cancel a job that waits, or have the worker that runs it end it. False: it is finished, or does not exist."""
        return await (await self._ready()).lookup.cancel(job_id, reason)

    async def retry(self, job_id: str) -> None:
        """Queue a dead job again, with all its attempts. Raises `JobNotFound`, `JobNotDead` or `DuplicateJob`."""
        await (await self._ready()).lookup.retry(job_id)

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
        queues: Sequence[str] | None = None,
        run_once: bool = False,
    ) -> int:
        """Run jobs until SIGTERM, SIGINT or `close()`; with `run_once`, until nothing is due. How many attempts ran.

        `queues`: only these. With `run_once` no signal handlers are installed, and jobs that are due later, retries
        included, are left for later.
        """
        started = await self._ready()
        worker = started.worker(
            concurrency=concurrency or started.settings.concurrency,
            queues=[queues] if isinstance(queues, str) else queues,
            run_once=run_once,
        )
        self._workers.add(worker)
        try:
            return await worker.run()
        finally:
            self._workers.discard(worker)
            worker.finished.set()

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

    def _add_job(
        self,
        function: Callable[..., Any],
        name: str | None,
        options: JobOptions,
        typed: tuple[object, ...],
        local: Mapping[str, Any],
    ) -> Job[..., Any]:
        self._refuse_while_working("a job")
        job, hints = make_job(function, name, options, typed, local)
        self._registry.add(job, hints)
        self._changed = True
        return job

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
                    self._changed = False
                    self._starter = asyncio.current_task()
                    try:
                        self._started = await start(self, self._arguments, self._registry, setup)
                    finally:
                        self._starter = None
        elif self._changed and not self._workers:
            self._started.rebuild(self._own_hooks)
            self._changed = False
        return self._started

    def _leave_dead_loop(self) -> None:
        """Forget the parts in use if their event loop is closed. Raises `SoniqError` if it is another, live one."""
        loop, started = asyncio.get_running_loop(), self._started
        in_use = started.loop if started is not None else None
        if in_use is None and self._starting is not None and self._starting[1].locked():
            in_use = self._starting[0]
        if in_use is None or in_use is loop:
            return
        if not in_use.is_closed():
            raise SoniqError("this app is in use in another event loop; close it there, or make an app for each loop")
        if started is not None:
            started.database.abandon()
        self._started = self._starting = None


def _without(chosen: str | None, leave_out: Collection[str]) -> str | None:
    """A value of SONIQ_PLUGINS that leaves out these plugins, too."""
    names = [name.strip() for name in (chosen or "").split(",") if name.strip()]
    if not leave_out:
        return chosen
    if chosen is None or any(name.startswith("-") for name in names):
        return ",".join([*names, *(f"-{name}" for name in leave_out)])
    return ",".join(name for name in names if name not in leave_out)
