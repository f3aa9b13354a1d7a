"""The heartbeat: a thread and a connection of its own, so that a handler that blocks the event loop loses nothing."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from soniq.postgres.connections import Database, close_quietly

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
        reports: Callable[[], Mapping[str, str]],
    ) -> None:
        self._database = database
        self._worker_id = worker_id
        self._running = running
        self._cancel = cancel
        self._lost = lost
        self._reports = reports
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
        connection = None
        while not self._stopping:
            began = time.monotonic()
            try:
                if connection is None or connection.is_closed():
                    connection = await self._database.connect()
                me = self._worker_id()
                reports = self._reports()
                async with asyncio.timeout(interval):
                    row = await connection.fetchrow(
                        self._database.sql["heartbeat"], me, self._running(), list(reports), list(reports.values())
                    )
                if row is None:
                    self._loop.call_soon_threadsafe(self._lost, me)
                elif row[0]:
                    self._loop.call_soon_threadsafe(self._cancel, row[0])
                pause = interval - (time.monotonic() - began)
            except Exception as error:  # whatever it is: without a heartbeat the jobs are lost
                log.warning("no heartbeat, trying again: %s", str(error) or type(error).__name__)
                await close_quietly(connection)
                connection, pause = None, min(1.0, interval / 4)
            try:
                async with asyncio.timeout(max(0.05, pause)):
                    await self._stop.wait()
            except TimeoutError:
                continue
        await close_quietly(connection)
