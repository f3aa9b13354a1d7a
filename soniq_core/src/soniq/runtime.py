"""An app in use, in one event loop: its parts, and how they are wired together."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Literal

from soniq.distribution import core_version
from soniq.enqueue.outbox import Outbox
from soniq.enqueue.producer import Producer
from soniq.errors import PluginError
from soniq.hooks.dispatch import Observers
from soniq.hooks.hooks import Hooks
from soniq.hooks.housekeeping import Housekeeping
from soniq.hooks.implementation import fail
from soniq.hooks.in_transaction import InTransaction
from soniq.hooks.values import ResultStore, Serializer
from soniq.job.job import App
from soniq.job.new import NewJob
from soniq.jobs import Jobs
from soniq.postgres.database import Database
from soniq.postgres.lookup import Lookup
from soniq.postgres.notify import Notifier
from soniq.postgres.operations import Operations
from soniq.postgres.reading import Reading
from soniq.postgres.release import Release
from soniq.postgres.results import Results
from soniq.postgres.retention import Retention
from soniq.postgres.settle_tx import SettleTx
from soniq.presenting import Presenter
from soniq.registry import Registry
from soniq.settings import Settings
from soniq.transaction import TransactionConnection

if TYPE_CHECKING:
    from soniq.worker.limits import Limits
    from soniq.worker.services import Services, WorkerOptions
    from soniq.worker.worker import Worker

log = logging.getLogger("soniq")


class Runtime:
    """The parts of an app in use, in one event loop."""

    def __init__(
        self,
        app: App,
        settings: Settings,
        database: Database,
        registry: Registry,
        hooks: Hooks,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.settings = settings
        self.database = database
        self.app = app
        self.registry = registry
        self.stack = AsyncExitStack()
        """The database and the plugins' lifespans, to be left at the close."""
        self.blocks = 0
        """How many `async with app:` are open."""

        self._housekeeping = Housekeeping(hooks.collect("housekeeping", app))
        self._notifier = Notifier(database, self._housekeeping)
        self._outbox = Outbox(database, self._notifier)
        self.hooks = hooks
        self.serializers = _by_name("serializers", hooks)
        self.results = Results(_by_name("result_stores", hooks), settings.max_payload)
        self.reading = Reading(database)
        self.release = Release(database, self._notifier)
        self.lookup = Lookup(database, registry, self.serializers, self.results)
        self._add_jobs_of_plugins()
        self._compile()

    def rebuild(self, own: Iterable[tuple[str, Callable[..., Any]]]) -> None:
        """Compile the jobs and the application's own hooks as they are now; the plugins stay what
        they are.
        """
        self.hooks.replace_own(own)
        self._compile()

    def _add_jobs_of_plugins(self) -> None:
        for job in self.registry.forget_plugins():
            job.apps.discard(self.app)
        for plugin, jobs in jobs_of(self.hooks):
            for job, hints in jobs.name_under(plugin).values():
                self.registry.add_of_plugin(plugin, job, hints)
                job.apps.add(self.app)

    def _compile(self) -> None:
        hooks = self.hooks
        self.registry.compile(hooks, self.settings, self.serializers)
        limit = self.settings.hook_timeout

        self._settle_tx = SettleTx(
            self.database,
            InTransaction("settle_tx", hooks.implementations("settle_tx"), limit=limit),
        )
        self._enqueue_tx = self._outbox.enqueue_tx = InTransaction(
            "enqueue_tx", hooks.implementations("enqueue_tx"), limit=limit
        )
        self._settled = Observers("settled", hooks.implementations("settled"), limit=limit)
        self._retention = Retention(
            self.database,
            self.results,
            InTransaction("forgotten_tx", hooks.implementations("forgotten_tx"), limit=limit),
        )

        self.present = Presenter(
            self.registry, self.serializers, hooks.implementations("present"), limit
        )
        self.producer = Producer(
            self.settings, self.registry, hooks, self.serializers, self._outbox
        )
        self.operations = Operations(
            self.database,
            self.lookup,
            self.results,
            self._retention,
            self._notifier,
            self._enqueue_tx,
            self._settle_tx,
            self._settled,
            Observers("acted", hooks.implementations("acted"), limit=limit),
        )

    def worker(self, options: "WorkerOptions", limits: "Limits") -> "Worker":
        """A worker over these parts."""
        from soniq.worker.worker import Worker  # all that enqueues has no need of it

        return Worker(self.services(), options, limits)

    def services(self) -> "Services":
        """What a worker is given of these parts."""
        from soniq.worker.services import Services

        hooks, limit = self.hooks, self.settings.hook_timeout
        offered = hooks.collect("background_tasks", self.app)
        return Services(
            settings=self.settings,
            database=self.database,
            registry=self.registry,
            serializers=self.serializers,
            results=self.results,
            retention=self._retention,
            insert=self._insert_children,
            enqueue=self.producer.enqueue,
            cancel=self.operations.cancel_waiting,
            adapted=self.producer.adapted,
            claimed=Observers("claimed", hooks.implementations("claimed"), limit=limit),
            settle_tx=self._settle_tx,
            settled=self._settled,
            workers_lost=Observers(
                "workers_lost", hooks.implementations("workers_lost"), limit=limit
            ),
            owed_tx=self._owed_tx(),
            notifier=self._notifier,
            tasks=[(plugin, task) for plugin, tasks in offered for task in tasks],
            housekeeping=self._housekeeping,
            version=core_version(),
            plugins=[
                plugin.name
                for plugin in hooks.plugins
                if plugin.source != "default" and not plugin.blocked
            ],
        )

    def _owed_tx(self) -> dict[str, InTransaction]:
        """What tells a plugin what it is owed, by the plugin's name."""
        limit, found = self.settings.hook_timeout, self.hooks.implementations("owed_tx")
        return {
            plugin: InTransaction(
                "owed_tx", [each for each in found if each.plugin == plugin], limit=limit
            )
            for plugin in dict.fromkeys(each.plugin for each in found)
        }

    async def _insert_children(
        self, jobs: Sequence[NewJob], connection: TransactionConnection
    ) -> None:
        await self._outbox.insert(jobs, connection, notify=True, atomic=True)

    async def close(self) -> None:
        await self._outbox.close()
        await self._notifier.close()
        await self.stack.aclose()


def _by_name(hook: Literal["serializers", "result_stores"], hooks: Hooks) -> dict[str, Any]:
    """What plugins provide, by name. Two of one name are an error."""
    found: dict[str, Serializer | ResultStore] = {}
    owner: dict[str, str] = {}
    for plugin, offered in hooks.collect(hook):
        for each in offered:
            if each.name in found:
                raise PluginError(
                    f"{hook} of {plugin}: {each.name!r} is provided by {owner[each.name]} already",
                    plugin=plugin,
                )
            found[each.name], owner[each.name] = each, plugin
    return found


def jobs_of(hooks: Hooks) -> list[tuple[str, Jobs]]:
    """The jobs that plugins define, with the plugin's name. Raises `PluginError`."""
    found = []
    for each in hooks.implementations("jobs"):
        try:
            jobs = each.call()
        except BaseException as error:
            fail("jobs", each.plugin, error)
        if jobs is not None and not isinstance(jobs, Jobs):
            raise PluginError(
                f"jobs of {each.plugin} returned {jobs!r}; it returns a Jobs", plugin=each.plugin
            )
        if jobs is not None:
            found.append((each.plugin, jobs))
    return found
