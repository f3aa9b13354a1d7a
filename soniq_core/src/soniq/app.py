"""Soniq: one app, its jobs and its hooks. What callers ask of it is in `client`, how it starts,
works and ends in `life`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

import asyncpg

from soniq import settings as settings_
from soniq.client import Client
from soniq.defaults import default_plugins
from soniq.defining import Defines, Hints
from soniq.distribution import conflict
from soniq.errors import AppNotStarted, DistributionConflict, InvalidOption, WorkerRunning
from soniq.hooks.hooks import Hooks, Instances
from soniq.hooks.implementation import of_application
from soniq.hooks.own_spec import OwnSpec
from soniq.hooks.specs import HOOKS
from soniq.job.job import Job
from soniq.jobs import Jobs
from soniq.life import Life
from soniq.postgres.database import Database
from soniq.postgres.schema import plugin_schema
from soniq.postgres.sql import quote
from soniq.registry import Origin, Registry
from soniq.runtime import Runtime
from soniq.secret import Secret
from soniq.settings import Settings
from soniq.startup import start
from soniq.sync import Sync

if TYPE_CHECKING:
    from soniq.hooks.typed import OwnAfterJob, OwnAroundJob, OwnBeforeJob, OwnOnError

Function = TypeVar("Function", bound=Callable[..., Any])
P = TypeVar("P")
R = TypeVar("R")
HookArguments = ParamSpec("HookArguments")


class Soniq(Defines, Life, Client):
    """Background jobs in one PostgreSQL. The constructor only stores its arguments; the first use
    starts the app.

    Every field of `Settings` may be given by keyword. `plugins` are configured plugins, in addition
    to those that are installed (`discover=False`: only these). Safe to make at import time, and to
    use again after `close()`.
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        plugins: Iterable[object] = (),
        discover: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__()
        self._arguments: dict[str, object] = {
            "database_url": database_url and Secret(database_url),
            **settings,
        }
        self._plugins = tuple(plugins)
        self._discover = discover
        self._made: Instances = {}
        self._registry = Registry()
        self._own_hooks: list[tuple[str, Callable[..., Any], Origin]] = []
        self._syncs: dict[int, Sync] = {}

    # --- defining jobs and hooks -----------------------------------------------------------------

    def include(self, jobs: Jobs) -> None:
        """Make the jobs of a `Jobs` jobs of this app, those that are defined in it later, too.
        Twice changes nothing.

        Raises `JobDefinitionError` if another job has one of the names, and `WorkerRunning` while a
        worker of this app runs; no job is added then.
        """
        if not isinstance(jobs, Jobs):
            raise InvalidOption(f"include takes a Jobs; got {jobs!r}", option="jobs")
        jobs._join(self)

    def before_job(self, function: "OwnBeforeJob") -> "OwnBeforeJob":
        """Call `function(ctx)` before each handler. Several run in the order in which they were
        added.
        """
        return self._add_hook("before_job", function)

    def after_job(self, function: "OwnAfterJob") -> "OwnAfterJob":
        """Call `function(ctx, result)` after each attempt that succeeded; it may take fewer
        arguments.
        """
        return self._add_hook("after_job", function)

    def on_error(self, function: "OwnOnError") -> "OwnOnError":
        """Call `function(ctx, error)` with the exception itself on each failed attempt; it may take
        fewer arguments.
        """
        return self._add_hook("on_error", function)

    def around_job(self, function: "OwnAroundJob") -> "OwnAroundJob":
        """Run each attempt inside `function(ctx)`: a generator function, async or not, that yields
        once.
        """
        return self._add_hook("around_job", function)

    def hook(
        self, spec: OwnSpec[HookArguments, R]
    ) -> Callable[[Callable[HookArguments, R | Awaitable[R]]], Callable[HookArguments, Any]]:
        """`@eq.hook(spec)`: call a function of the application's own for a hook that a plugin
        specifies. It takes the hook's arguments by position.
        """
        return lambda function: self._add_hook(spec.name, function, spec.arguments)

    @property
    def registry(self) -> Mapping[str, Job[..., Any]]:
        """The jobs that were defined, by name."""
        return dict(self._registry.jobs)

    def plugin(self, kind: type[P]) -> P:
        """The app's plugin of this class: the same one from the first call on, before the start and
        after a close, too.

        The plugins are loaded for it where the app has not started. Raises `PluginNotLoaded` where
        the app has none of this class, and `PluginError` or `ConfigurationError` where the plugins
        cannot be loaded.
        """
        return self._hooks().plugin(kind)

    # --- in use ----------------------------------------------------------------------------------

    @property
    def sync(self) -> Sync:
        """The same methods for code that is not asynchronous: `eq.sync.enqueue(...)` returns when
        it is done.
        """
        return self._syncs.setdefault(os.getpid(), Sync(self, lambda: self.sync))

    @property
    def settings(self) -> Settings:
        """The settings in force. Raises `ConfigurationError` for one that cannot be used."""
        return self._runtime.settings if self._runtime else settings_.load(self._arguments)

    def connection(self) -> "AbstractAsyncContextManager[asyncpg.Connection[asyncpg.Record]]":
        """`async with app.connection() as c:` a connection for short work of the application's own,
        or a plugin's.

        Names are searched where the role's `search_path` says, and what is set in the session is
        undone. They are of a pool of their own, `pool_size` at most, made as they are needed.
        Raises `DatabaseUnavailable`.
        """
        return self._database.session()

    # --- for plugins: `soniq.plugin.App` has these, too ------------------------------------------

    @property
    def database_url(self) -> Secret:
        """The URL in use of an app that has started, for a plugin that connects by itself, with
        another driver; also where a plugin provided it.
        """
        return self._database.url

    @property
    def server_address(self) -> tuple[str, int | None]:
        """Host and port of the database of an app that has started, of several the first; of a
        socket, its folder.
        """
        return settings_.server_address(self.database_url)

    def plugin_schema(self, plugin: str) -> str:
        """The schema in which the migrations of this plugin are applied, as a quoted SQL
        identifier.
        """
        return quote(plugin_schema(self.settings.schema, plugin))

    # --- for tools and tests ---------------------------------------------------------------------

    @asynccontextmanager
    async def override(
        self, *, plugins: Iterable[object] | None = None, **settings: Any
    ) -> AsyncIterator[Self]:
        """`async with app.override(schema="test"):` the app with other settings meanwhile; then it
        is as it was.

        It is closed at the beginning and at the end, and may be closed and used again inside.
        `plugins` take the place of those that were passed to it; each field of `Settings` may be
        given by keyword. Raises `WrongEventLoop` for an app that another event loop uses.
        """
        await self.close()
        before = self._arguments, self._plugins
        if settings.get("database_url"):
            settings["database_url"] = Secret(settings["database_url"])
        self._arguments = {**self._arguments, **settings}
        if plugins is not None:
            self._plugins = tuple(plugins)

        try:
            yield self
        finally:
            try:
                await self.close()
            finally:
                self._arguments, self._plugins = before

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _database(self) -> Database:
        """The database of an app that has started."""
        if self._runtime is None or self._process != os.getpid():
            raise AppNotStarted("the app has not been started")
        return self._runtime.database

    def _hooks(self) -> Hooks:
        """The hooks in use; before the start, as it would have them."""
        return self._runtime.hooks if self._runtime is not None else self._load_plugins()

    def _load_plugins(self, *, leave_out: Collection[str] = ()) -> Hooks:
        """What `soniq.plugin.load_plugins` does."""
        if (told := conflict()) is not None:
            raise DistributionConflict(told)
        hooks = Hooks(self._made)
        hooks.load(
            default_plugins(lambda: self._database, hooks),
            self._plugins,
            discover=self._discover,
            chosen=os.environ.get("SONIQ_PLUGINS"),
            leave_out=leave_out,
        )
        for hook, function, _ in self._own_hooks:
            hooks.add(hook, function)
        return hooks

    def _check_job(self, job: Job[..., Any]) -> None:
        """Raise if the job cannot be added now: `WorkerRunning` while a worker runs,
        `JobDefinitionError` for its name.
        """
        self._refuse_while_working("a job")
        self._registry.check(job)

    def _add_job(self, job: Job[..., Any], hints: Hints) -> None:
        """Add a job that was made; `job` and `include` do it. Raises as `_check_job` does."""
        self._check_job(job)
        self._registry.add(job, hints)
        job.apps.add(self)
        self._changed = True

    def _add_hook(
        self, hook: str, function: Function, offered: tuple[str, ...] | None = None
    ) -> Function:
        self._refuse_while_working("a hook")
        of_application(hook, HOOKS[hook].arguments if offered is None else offered, function)
        origin = Origin.of(function)
        kept = [
            each for each in self._own_hooks if each[0] != hook or not each[2].runs_again(origin)
        ]
        self._own_hooks = [*kept, (hook, function, origin)]
        self._changed = True
        return function

    def _refuse_while_working(self, what: str) -> None:
        if self._workers:
            raise WorkerRunning(f"{what} cannot be added while a worker of this app runs")

    async def _start(self, setup: bool | None) -> Runtime:
        return await start(self, self._arguments, self._registry, setup)

    def _rebuild(self, runtime: Runtime) -> None:
        runtime.rebuild([each[:2] for each in self._own_hooks])

    def _is_of_sync(self, loop: asyncio.AbstractEventLoop) -> bool:
        return any(sync.loop is loop for sync in self._syncs.values())

    def _loop_of_sync(self) -> asyncio.AbstractEventLoop:
        return self.sync.own_loop()
