"""Tasks beside the worker: started with it, started again when they fail, some of them in one worker at a time."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence

import asyncpg

from soniq.errors import DatabaseError
from soniq.hooks.dispatch import being_cancelled
from soniq.hooks.values import Task
from soniq.postgres.connections import LOST, Database

log = logging.getLogger("soniq.worker")

AWAY = 5.0
"""The longest pause of a task whose database is away, in seconds."""


class Tasks:
    """Supervises background tasks."""

    def __init__(self, database: Database, worker_id: Callable[[], str]) -> None:
        self._database = database
        self._worker_id = worker_id
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, tasks: Sequence[tuple[str, Task]]) -> None:
        """Start tasks, each with the name of the plugin it belongs to."""
        for plugin, task in tasks:
            run = self._elected if task.elected else self._supervised
            self._tasks.append(asyncio.create_task(run(plugin, task), name=f"soniq {plugin} {task.name}"))

    async def stop(self) -> None:
        """Cancel all; they have five seconds to end."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=5)
            for task in pending:
                log.error("%s did not end when it was cancelled", task.get_name())
        self._tasks.clear()

    async def _supervised(self, plugin: str, task: Task) -> None:
        """Run a task until it returns; start it again when it fails, ever later, a minute at most."""
        pause = 0.5
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await task.run()
                return
            except (DatabaseError, asyncpg.PostgresError, *LOST) as error:
                pause = min(pause * 2, AWAY)
                log.warning("the task %s of %s is put off for %.0f s: %s", task.name, plugin, pause, error)
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and being_cancelled():
                    raise
                pause = 1.0 if loop.time() - began > 60 else min(pause * 2, 60.0)
                log.error(
                    "the task %s of %s failed, again in %.0f s: %r", task.name, plugin, pause, error, exc_info=error
                )
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))

    async def _elected(self, plugin: str, task: Task) -> None:
        """Run a task while this worker holds its lease, which is renewed each third of it, and given up at the end."""
        name, lease = f"{plugin}.{task.name}", self._database.settings.lease
        running: asyncio.Task[None] | None = None
        try:
            while True:
                try:
                    async with asyncio.timeout(lease / 3):  # wait_for of Python 3.11 may lose a cancellation
                        rows = await self._database.fetch("elect", name, self._worker_id(), lease)
                except (DatabaseError, asyncpg.PostgresError, *LOST) as error:
                    log.warning("the election for %s is put off: %s", name, str(error) or type(error).__name__)
                    rows = []
                if rows and running is None:
                    running = asyncio.create_task(self._supervised(plugin, task), name=f"soniq {name}")
                elif not rows and running is not None:
                    running.cancel()
                    running = None
                await asyncio.sleep(lease / 3 * random.uniform(0.9, 1.0))
        finally:
            if running is not None:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running
            await self._resign(name)  # also where the answer to an election did not arrive any more

    async def _resign(self, name: str) -> None:
        """Let another worker have the task at once; if that fails, it has it when the lease is over."""
        with contextlib.suppress(DatabaseError, asyncpg.PostgresError, *LOST):
            await self._database.fetch("resign", name, self._worker_id())
