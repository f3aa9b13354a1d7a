"""The heartbeat: a thread and a connection of its own, so that a handler that blocks the event loop
loses nothing.
"""

import asyncio
import contextvars
import logging
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg

from soniq.postgres.connections import CLEANUP_TIMEOUT, close_quietly
from soniq.text import counted, in_ascii
from soniq.worker.background import FIRST_TURN, BackgroundLoop
from soniq.worker.claims import Claims
from soniq.worker.services import Services
from soniq.worker.slots import Slots
from soniq.worker.stalls import Stalls
from soniq.worker.state import WorkerState

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

log = logging.getLogger("soniq.worker")


class Heartbeat(BackgroundLoop):
    """Says every third of a lease that the worker lives, what it runs, and how far its jobs are;
    learns which are to be cancelled.

    What it learns it tells in the worker's event loop.
    """

    def __init__(
        self,
        services: Services,
        state: WorkerState,
        claims: Claims,
        slots: Slots,
        stalls: Stalls,
    ) -> None:
        super().__init__("heartbeat", after=FIRST_TURN)
        self._database = services.database
        self._interval = services.settings.lease / 3
        self._state = state
        self._claims = claims
        self._slots = slots
        self._stalls = stalls

        self._connection: Connection | None = None
        self._reports: dict[str, str] = {}
        self._refused = False  # whether the last reports could not be written

        self._loop = asyncio.get_running_loop()
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._stopping = False
        self._beating: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._over = asyncio.Event()  # in the worker's loop: the thread has ended

    # --- the thread ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, in the context of the worker, and so inside its housekeeping."""
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._main,), name="soniq heartbeat", daemon=True
        )
        self._thread.start()

    async def stop(self) -> None:
        """End the thread: once it has its answer, or without one after a moment."""
        self._stopping = True
        if self._thread is None:
            return
        if self._own_loop is not None:
            self._own_loop.call_soon_threadsafe(self._stop.set)
        await self._ended_soon()
        if not self._over.is_set() and self._own_loop is not None and self._beating is not None:
            with suppress(RuntimeError):  # it has just ended
                self._own_loop.call_soon_threadsafe(self._beating.cancel)
            await self._ended_soon()

    async def _ended_soon(self) -> None:
        """Wait a moment for the thread's end; not in the loop's own threads, as handlers may keep
        all of them busy, or have ended them.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(CLEANUP_TIMEOUT):
                await self._over.wait()

    def _main(self) -> None:
        try:
            with suppress(asyncio.CancelledError):
                asyncio.run(self._live())
        finally:
            with suppress(RuntimeError):  # the worker's loop is closed
                self._loop.call_soon_threadsafe(self._over.set)

    async def _live(self) -> None:
        self._own_loop, self._beating = asyncio.get_running_loop(), asyncio.current_task()
        self._stalls.start()
        try:
            await self.run()
        finally:
            self._stalls.cancel()

    async def rest(self, seconds: float) -> None:
        """Wait for the next beat, or for the end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.05, seconds)):
                await self._stop.wait()

    # --- a beat ----------------------------------------------------------------------------------

    async def turn(self) -> float | None:
        """One heartbeat."""
        if self._stopping or self._loop.is_closed():  # closed amid the worker's life
            return None
        began = time.monotonic()
        self._reports = {} if self._refused else self._state.take_reports()
        try:
            await self._beat()
        except asyncio.CancelledError:  # at the end, without an answer
            self._drop()
            raise
        return self._interval - (time.monotonic() - began)

    async def _beat(self) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect()
        me, asked = self._state.id, time.monotonic()
        async with asyncio.timeout(self._interval):
            row = await self._connection.fetchrow(
                self._database.sql["heartbeat"],
                me,
                self._claims.here(),
                list(self._reports),
                list(self._reports.values()),
                *self._claims.running_now(),
            )

        self._refused = False
        self._database.outage.over(asked, wrote=True)
        if row is None:
            self._loop.call_soon_threadsafe(self._state.lose_row, me)
        elif row[0]:
            self._loop.call_soon_threadsafe(self._slots.cancel, row[0])

    def failed(self, error: BaseException) -> float:
        """Try again soon, whatever it is: without a heartbeat the jobs are lost."""
        if not isinstance(error, Exception):
            raise error
        if isinstance(error, asyncpg.UntranslatableCharacterError) and not self._is_ascii():
            # The database's encoding does not have what one of them holds
            self._state.put_back({id_: in_ascii(text) for id_, text in self._reports.items()})
            return 0.0
        if isinstance(error, asyncpg.DataError):
            count = counted(len(self._reports), "job")
            log.error("the progress of %s cannot be written: %s", count, error)
            self._refused = True
            return 0.0

        pause = min(1.0, self._interval / 4)
        self._database.tell(error, f"no heartbeat, trying again in {pause:.1f} s", self._interval)
        self._state.put_back(self._reports)
        # Without reports every second time: one that cannot be written must not end the lease
        self._refused = not self._refused
        self._drop()
        return pause

    def _is_ascii(self) -> bool:
        return all(map(str.isascii, self._reports.values()))

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def ended(self) -> None:
        """Close the connection."""
        await close_quietly(self._connection)

    # --- where the process ends ------------------------------------------------------------------

    def hand_back(self, seconds: float) -> None:
        """Give back all jobs of the worker, and remove its row; called in any other thread, where
        the process ends.
        """
        if self._own_loop is None or not self._own_loop.is_running():
            return
        try:
            asyncio.run_coroutine_threadsafe(self._hand_back(), self._own_loop).result(seconds)
        except Exception as error:  # they are rescued
            log.warning(
                "the jobs cannot be requeued, and are rescued once the lease has expired: %s",
                str(error) or type(error).__name__,
            )

    async def _hand_back(self) -> None:
        me = self._state.id
        async with self._database.apart() as connection:
            back = await connection.fetch(self._database.sql["requeue_unreceived"], me, [], 0.0)
            await connection.execute(self._database.sql["unregister_worker"], me)
        log.warning("requeued %s, because the process ends", counted(len(back), "job"))
