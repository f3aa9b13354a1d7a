"""Tasks beside the worker: started with it, started again when they fail, some of them in one
worker at a time.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Sequence

import asyncpg

from soniq.errors import DatabaseError, DatabaseUnavailable
from soniq.hooks.values import Task
from soniq.postgres.connections import CLEANUP_TIMEOUT
from soniq.postgres.database import Database
from soniq.postgres.driver_errors import CONNECTION_ERRORS
from soniq.postgres.schema import CORE
from soniq.tracebacks import shown
from soniq.worker.background import BackgroundLoop, stop_all
from soniq.worker.services import Services
from soniq.worker.state import WorkerState

log = logging.getLogger("soniq.worker")

LONGEST_AWAY = 5.0
"""The longest pause of a task whose database is away, in seconds."""
LONGEST_FAILING = 60.0
"""The longest pause of a task that fails, in seconds, and how long it runs to count as well."""


class Tasks:
    """The background tasks of a worker: the core's own, and those of plugins."""

    def __init__(self, services: Services, state: WorkerState) -> None:
        self._services = services
        self._state = state
        self._loops: list[BackgroundLoop] = []

    def start(self, tasks: Sequence[tuple[str, Task]], *, after: float = 0.0) -> None:
        """Start tasks, each with the name of the plugin it belongs to, after about so many
        seconds.
        """
        database = self._services.database
        for plugin, task in tasks:
            loop = (
                ElectedTask(database, self._state, plugin, task, after=after)
                if task.elected
                else SupervisedTask(database, plugin, task, after=after)
            )
            loop.start()
            self._loops.append(loop)

    async def stop(self) -> None:
        """Cancel all; they have five seconds to end."""
        await stop_all(self._loops)
        self._loops.clear()


class SupervisedTask(BackgroundLoop):
    """Runs a task until it returns; starts it again when it fails, ever later, a minute at most."""

    def __init__(self, database: Database, plugin: str, task: Task, *, after: float = 0.0) -> None:
        super().__init__(f"{plugin} {task.name}", after=after)
        self._database = database
        self._plugin = plugin
        self._background = task
        self._pause = 0.5
        self._began = 0.0

    async def turn(self) -> None:
        """Run it, until it returns."""
        self._began = asyncio.get_running_loop().time()
        await self._background.run()

    def failed(self, error: BaseException) -> float:
        """Log why it failed, or that its database is away."""
        if isinstance(error, (DatabaseError, asyncpg.PostgresError, *CONNECTION_ERRORS)):
            self._pause = min(self._pause * 2, LONGEST_AWAY)
            self._put_off(error)
        else:
            ran = asyncio.get_running_loop().time() - self._began
            well = ran > LONGEST_FAILING
            self._pause = 1.0 if well else min(self._pause * 2, LONGEST_FAILING)

            log.error(
                "the task %s of %s failed, again in %.0f s: %s",
                self._background.name,
                self._plugin,
                self._pause,
                shown(error),
                exc_info=error,
            )
        return self._pause * random.uniform(0.8, 1.2)

    def _put_off(self, error: BaseException) -> None:
        """Say so, in an outage at debug. What a plugin's own task meets need not be of this
        database.
        """
        what = (
            f"the task {self._background.name} of {self._plugin} is put off for {self._pause:.0f} s"
        )
        ours = isinstance(error, DatabaseUnavailable) or self._database.was_told(error)
        if self._plugin == CORE or ours:
            self._database.lost(error, what)
        else:
            level = logging.DEBUG if self._database.outage.on else logging.WARNING
            log.log(level, "%s: %s", what, self._database.reason(error))


class ElectedTask(BackgroundLoop):
    """Runs a task while this worker holds its lease, which is renewed each third of it, and given
    up at the end.
    """

    def __init__(
        self,
        database: Database,
        state: WorkerState,
        plugin: str,
        task: Task,
        *,
        after: float = 0.0,
    ) -> None:
        super().__init__(f"{plugin} {task.name}", after=after)
        self._database = database
        self._state = state
        self._lease_name = f"{plugin}.{task.name}"
        self._lease = task.lease or database.settings.lease
        self._plugin = plugin
        self._background = task
        self._supervised: SupervisedTask | None = None

    async def turn(self) -> float:
        """Take part in the election, and run the task or end it."""
        elected = await self._stand()
        if elected and self._supervised is None:
            self._supervised = SupervisedTask(self._database, self._plugin, self._background)
            self._supervised.start()
        elif not elected and self._supervised is not None:
            self._supervised.cancel()
            self._supervised = None
        return self._lease / 3 * random.uniform(0.9, 1.0)

    async def _stand(self) -> bool:
        """Whether this worker has the lease, or has it still."""
        try:
            # `wait_for` of Python 3.11 may lose a cancellation.
            async with asyncio.timeout(self._lease / 3):
                rows = await self._database.fetch(
                    "elect", self._lease_name, self._state.id, self._lease
                )
        except (DatabaseError, asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
            self._database.lost(
                error, f"the election for {self._lease_name} is put off", self._lease / 3
            )
            return False
        return bool(rows)

    async def ended(self) -> None:
        """End the task, and let another worker have it at once; if that fails, it has it when the
        lease is over.
        """
        if self._supervised is not None:
            self._supervised.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervised.join()
        if self._database.outage.on:  # nobody would hear of it, and waiting for that delays the end
            return
        # also where the answer to an election did not arrive any more
        with contextlib.suppress(DatabaseError, asyncpg.PostgresError, *CONNECTION_ERRORS):
            async with asyncio.timeout(CLEANUP_TIMEOUT):
                await self._database.fetch("resign", self._lease_name, self._state.id)
