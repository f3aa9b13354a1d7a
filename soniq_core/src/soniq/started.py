"""An app in use: its parts, made at the first use and left at the close."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

from soniq import settings as settings_
from soniq.definition import Registry
from soniq.enqueue.notify import Notifier
from soniq.enqueue.outbox import Outbox
from soniq.enqueue.producer import Producer
from soniq.errors import ConfigurationError, PluginError
from soniq.hooks.dispatch import InTransaction, Manager, Observers, being_cancelled, leave, resolved
from soniq.hooks.manager import Hooks, fail
from soniq.hooks.values import NewJob, ResultStore, Serializer, Task, TransactionConnection
from soniq.lookup import Lookup
from soniq.postgres.connections import Database
from soniq.postgres.schema import Schema
from soniq.results import Results
from soniq.settings import Settings
from soniq.worker.limits import Limits
from soniq.worker.worker import Worker, WorkerParts

if TYPE_CHECKING:
    from soniq.app import Soniq

log = logging.getLogger("soniq")


class Started:
    """The parts of an app in use, in one event loop."""

    def __init__(
        self,
        app: "Soniq",
        settings: Settings,
        database: Database,
        registry: Registry,
        hooks: Hooks,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.settings = settings
        self.database = database
        self._app = app
        self._registry = registry
        self.stack = AsyncExitStack()
        """The database and the plugins' lifespans, to be left at the close."""
        self._notifier = Notifier(database)
        self._outbox = Outbox(database, self._notifier)
        self._hooks = hooks
        self.serializers = _by_name("serializers", hooks)
        self.results = Results(_by_name("result_stores", hooks), settings.max_payload)
        self._compile()

    def rebuild(self, own: Iterable[tuple[str, Callable[..., Any]]]) -> None:
        """Compile the jobs and the application's own hooks as they are now; the plugins stay what they are."""
        self._hooks.replace_own(own)
        self._compile()

    def _compile(self) -> None:
        hooks = self._hooks
        self._registry.compile(hooks, self.settings, self.serializers)
        limit = self.settings.hook_timeout
        self._settle_tx = InTransaction("settle_tx", hooks.implementations("settle_tx"), limit=limit)
        self._settled = Observers("settled", hooks.implementations("settled"), limit=limit)
        self.producer = Producer(self.settings, self._registry, hooks, self.serializers, self._outbox)
        self.lookup = Lookup(
            self.database,
            self._registry,
            self.serializers,
            self.results,
            self._notifier,
            self._settle_tx,
            self._settled,
        )

    def worker(self, concurrency: int, *, queues: Sequence[str] | None, run_once: bool, limits: Limits) -> Worker:
        """A worker over these parts."""
        tasks: list[tuple[str, Task]] = []
        for plugin, offered in self._hooks.collect("background_tasks", self._app):
            tasks += [(plugin, task) for task in offered]
        parts = WorkerParts(
            database=self.database,
            registry=self._registry,
            serializers=self.serializers,
            results=self.results,
            insert=self._insert_children,
            enqueue=self.producer.enqueue,
            claimed=Observers("claimed", self._hooks.implementations("claimed"), limit=self.settings.hook_timeout),
            settle_tx=self._settle_tx,
            settled=self._settled,
            tasks=tasks,
            version=core_version(),
            plugins=[
                plugin.name for plugin in self._hooks.plugins if plugin.source != "default" and not plugin.blocked
            ],
        )
        return Worker(
            parts, concurrency=concurrency, queues=queues, run_once=run_once, signals=not run_once, limits=limits
        )

    async def _insert_children(self, jobs: Sequence[NewJob], connection: TransactionConnection) -> None:
        await self._outbox.insert(jobs, connection, notify=True, atomic=True)

    async def close(self) -> None:
        await self._outbox.close()
        await self._notifier.close()
        await self.stack.aclose()


async def start(
    app: "Soniq", arguments: Mapping[str, object], registry: Registry, setup: bool | None = None
) -> Started:
    """Start an app: settings, plugins, a URL, the plugins' lifespans, the pool, the tables."""
    settings = settings_.load(arguments if setup is None else {**arguments, "setup": setup})
    hooks = app.load_plugins()
    async with AsyncExitStack() as stack:
        database, schema = await _reach(stack, app, settings, hooks)
        await schema.ensure()
        started = Started(app, settings, database, registry, hooks)
        started.stack = stack.pop_all()
        return started
    raise AssertionError("a lifespan swallowed an error")


@asynccontextmanager
async def schema_of(app: "Soniq") -> AsyncIterator[Schema]:
    """What an app needs in its database, to be looked at or made while the app itself is not started."""
    async with AsyncExitStack() as stack:
        _, schema = await _reach(stack, app, app.settings, app.load_plugins())
        yield schema


async def _reach(stack: AsyncExitStack, app: "Soniq", settings: Settings, hooks: Hooks) -> tuple[Database, Schema]:
    """The database, opened inside the plugins' lifespans, and what the app and its plugins need there."""
    url = settings.database_url
    if url is None:
        url = await _provided_url(app, hooks)
    for each in hooks.implementations("lifespan"):
        await _enter_lifespan(stack, Manager(each), app)
    database = Database(url, settings)
    await database.open()
    stack.push_async_callback(database.close)
    return database, Schema(database, dict(hooks.collect("migrations")))


async def _provided_url(app: "Soniq", hooks: Hooks) -> str:
    for each in hooks.implementations("database_url"):
        try:
            url = await resolved(each.call(app))
        except Exception as error:
            fail("database_url", each.plugin, error)
        if url is not None:
            settings_.check_url(str(url))
            return str(url)
    raise ConfigurationError(
        "no database is given: set SONIQ_DATABASE_URL or pass Soniq(database_url='postgresql://...'), "
        "or install soniq-embedded for a PostgreSQL of this project's own"
    )


async def _enter_lifespan(stack: AsyncExitStack, manager: Manager, app: "Soniq") -> None:
    try:
        leaving = await manager.enter(app)
    except Exception as error:
        raise PluginError(f"lifespan of {manager.plugin} failed: {error}", plugin=manager.plugin) from error
    if leaving is None:
        return

    async def exit_(_: object, error: BaseException | None, __: object) -> None:
        try:
            await leave(leaving, error)
        except (Exception, asyncio.CancelledError) as failure:
            if isinstance(failure, asyncio.CancelledError) and being_cancelled():
                raise
            if failure is not error:
                log.error("lifespan of %s failed while leaving: %r", manager.plugin, failure, exc_info=failure)

    stack.push_async_exit(exit_)


def _by_name(hook: Literal["serializers", "result_stores"], hooks: Hooks) -> dict[str, Any]:
    """What plugins provide, by name. Two of one name are an error."""
    found: dict[str, Serializer | ResultStore] = {}
    owner: dict[str, str] = {}
    for plugin, offered in hooks.collect(hook):
        for each in offered:
            if each.name in found:
                raise PluginError(
                    f"{hook} of {plugin}: {each.name!r} is provided by {owner[each.name]} already", plugin=plugin
                )
            found[each.name], owner[each.name] = each, plugin
    return found


def core_version() -> str:
    """The version of soniq-core."""
    try:
        return version("soniq-core")
    except PackageNotFoundError:
        return "unknown"
