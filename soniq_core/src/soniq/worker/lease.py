"""The heartbeat: a thread and a connection of its own, so that a handler that blocks the event loop loses nothing."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import asyncpg

from soniq.postgres.connections import Database, close_quietly
from soniq.worker.state import WorkerState

log = logging.getLogger("soniq.worker")


class Heartbeat:
    """Says every third of a lease that the worker lives, and how far its jobs are; learns which are to be cancelled.

    The callbacks are called in the worker's event loop.
    """

    def __init__(
        self,
        database: Database,
        worker_id: Callable[[], str],
        running: Callable[[], list[UUID]],
        cancel: Callable[[Sequence[UUID]], None],
        lost: Callable[[str], None],
        state: WorkerState,
    ) -> None:
        self._database = database
        self._worker_id = worker_id
        self._running = running
        self._cancel = cancel
        self._lost = lost
        self._state = state
        self._loop = asyncio.get_running_loop()
        self._stop: asyncio.Event | None = None
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._main, name="soniq heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def stop(self) -> None:
        """End the thread; it has a few seconds."""
        self._stopping = True
        if self._own_loop is not None and self._stop is not None:
            self._own_loop.call_soon_threadsafe(self._stop.set)
        await asyncio.to_thread(self._thread.join, 5.0)

    def _main(self) -> None:
        asyncio.run(self._beat())

    async def _beat(self) -> None:
        interval = self._database.settings.lease / 3
        self._stop, self._own_loop = asyncio.Event(), asyncio.get_running_loop()
        connection, refused = None, False
        while not self._stopping:
            began, reports = time.monotonic(), {} if refused else self._state.take_reports()
            try:
                if connection is None or connection.is_closed():
                    connection = await self._database.connect()
                me = self._worker_id()
                async with asyncio.timeout(interval):
                    row = await connection.fetchrow(
                        self._database.sql["heartbeat"], me, self._running(), list(reports), list(reports.values())
                    )
                refused = False
                if row is None:
                    self._loop.call_soon_threadsafe(self._lost, me)
                elif row[0]:
                    self._loop.call_soon_threadsafe(self._cancel, row[0])
                pause = interval - (time.monotonic() - began)
            except asyncpg.DataError as error:
                log.error("%d jobs report a progress that cannot be written: %s", len(reports), error)
                refused, pause = True, 0.0
            except Exception as error:  # whatever it is: without a heartbeat the jobs are lost
                log.warning("no heartbeat, trying again: %s", str(error) or type(error).__name__)
                self._state.put_back(reports)
                refused = not refused  # one that they keep from being written must not end the lease
                await close_quietly(connection)
                connection, pause = None, min(1.0, interval / 4)
            try:
                async with asyncio.timeout(max(0.05, pause)):
                    await self._stop.wait()
            except TimeoutError:
                continue
        await close_quietly(connection)
