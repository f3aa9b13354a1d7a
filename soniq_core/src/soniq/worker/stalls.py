"""Where a handler blocks the worker's event loop: what has not started is given back, and the job
that blocks it is logged.

It runs in the heartbeat's thread, which has an event loop of its own.
"""

import asyncio
import logging
import sys
import sysconfig
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import asyncpg

from soniq.errors import DatabaseError
from soniq.postgres.driver_errors import CONNECTION_ERRORS
from soniq.text import counted
from soniq.worker.attempt import named
from soniq.worker.background import BackgroundLoop
from soniq.worker.claims import Claims
from soniq.worker.lanes import NO_LANES
from soniq.worker.outcomes import Outcomes
from soniq.worker.polling import Poller
from soniq.worker.services import Services
from soniq.worker.settling.settlement import Settlement
from soniq.worker.settling.statement import settle_and_claim
from soniq.worker.slots import Slots
from soniq.worker.state import WorkerState

log = logging.getLogger("soniq.worker")

TICK = 0.5
"""Seconds between two looks."""
STALLED_AFTER = 4
"""Looks in a row for which the loop has not turned, and stands still."""
LIBRARIES = (*{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}, "<frozen")


class Stalls(BackgroundLoop):
    """Asks the worker's event loop, while it has work, whether it turns."""

    def __init__(
        self,
        services: Services,
        state: WorkerState,
        claims: Claims,
        slots: Slots,
        outcomes: Outcomes,
        poller: Poller,
    ) -> None:
        super().__init__("stalls")
        self._database = services.database
        self._state = state
        self._claims = claims
        self._slots = slots
        self._outcomes = outcomes
        self._poller = poller
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._asked: float | None = None  # when the loop was asked, and has not answered yet
        self._unanswered = 0  # looks in a row
        self._blocker: Blocker | None = None

    async def turn(self) -> float:
        """Look once, after a tick."""
        began, ran = time.monotonic(), self._claims.begun()
        await asyncio.sleep(TICK)
        late = time.monotonic() - began - TICK
        if late > STALLED_AFTER * TICK:
            log.warning(
                "nothing in this process ran for %.0f s: a handler kept the "
                "interpreter's lock, or the process was suspended; running attempts: %s",
                late,
                named({*ran, *self._claims.begun()}) or "none",
            )

        self._unanswered = self._unanswered + 1 if self._asked is not None else 0
        if self._asked is None:
            self._ask()
        elif self._unanswered >= STALLED_AFTER:
            await self._stands_still()
        return 0.0

    def failed(self, error: BaseException) -> float:
        """Log it; what it misses now it finds with the next look."""
        if not isinstance(error, Exception):
            raise error
        log.error("the check for a blocked event loop failed: %r", error, exc_info=error)
        return 0.0

    def _ask(self) -> None:
        if self._claims.busy and not self._loop.is_closed():
            self._asked = time.monotonic()
            self._loop.call_soon_threadsafe(self._turned)

    def _turned(self) -> None:
        """In the worker's loop: it turns."""
        asked, self._asked = self._asked, None
        blocker, self._blocker = self._blocker, None
        if blocker is not None and asked is not None:
            stood = time.monotonic() - asked
            log.warning(
                "the event loop was blocked for %.0f s while %s ran",
                stood,
                blocker.words,
                extra=blocker.fields,
            )
            self._poller.poll_now()

    async def _stands_still(self) -> None:
        """Tell who blocks the loop, once, and give back what has not started."""
        if self._blocker is None:
            self._blocker = self._blocking()
            log.warning(
                "the event loop has been blocked for %g s by %s; other attempts on it wait,"
                " and prefetched jobs are requeued",
                STALLED_AFTER * TICK,
                self._blocker.words,
                extra=self._blocker.fields,
            )

        back, claiming = self._slots.take_away(), self._claims.asked
        if not (back or claiming):
            return
        try:
            async with asyncio.timeout(self._database.settings.command_timeout):
                count = await self._give_back(back, claiming > 0)
            jobs = counted(count, "prefetched job")
            log.info("requeued %s, because the event loop is blocked", jobs)
        except (DatabaseError, asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
            log.warning(
                "prefetched jobs could not be requeued yet: %s", str(error) or type(error).__name__
            )
            for each in back:
                self._loop.call_soon_threadsafe(self._outcomes.settle, each)

    async def _give_back(self, back: Sequence[Settlement], claiming: bool) -> int:
        """Give back what was taken, and what is being claimed and has not been received; how many
        jobs that were.
        """
        async with self._database.apart() as connection:
            me, sql = self._state.id, self._database.sql
            header, _ = await settle_and_claim(connection, self._database, me, back, NO_LANES, 0)
            count = header.settled
            if claiming:
                with self._claims.receiving:
                    ours = self._claims.ids()
                    self._claims.recalled += 1
                count += len(await connection.fetch(sql["requeue_unreceived"], me, ours, TICK))
            return count

    def _blocking(self) -> "Blocker":
        """The job whose task is the current one, as far as it is one, and the place in its code."""
        attempt = self._claims.attempt_in(asyncio.current_task(self._loop))
        place = _place(sys._current_frames().get(self._thread))
        words = named([attempt]) if attempt else "a task or callback"
        return Blocker(
            f"{words} ({place})" if place else words, attempt.log_fields() if attempt else None
        )


class Blocker(NamedTuple):
    """What blocks the event loop, in words, and the log fields of its job, if it is one."""

    words: str
    fields: dict[str, object] | None


def _place(frame: FrameType | None) -> str:
    """Where the application's code is, of which the innermost frame may be a library's."""
    innermost = frame
    while frame is not None and frame.f_code.co_filename.startswith(LIBRARIES):
        frame = frame.f_back
    frame = frame or innermost
    if frame is None:
        return ""
    return f"{Path(frame.f_code.co_filename).name} line {frame.f_lineno} in {frame.f_code.co_name}"
