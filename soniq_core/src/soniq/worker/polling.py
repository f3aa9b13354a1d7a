"""Where a worker's jobs are: it is notified, and it looks itself once in a poll interval."""

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta

from soniq.errors import DatabaseError
from soniq.postgres.notify import CANCEL, EPOCH, OWED, Near
from soniq.text import counted
from soniq.worker.answers import Answers
from soniq.worker.lanes import Lanes
from soniq.worker.services import Services
from soniq.worker.slots import Slots
from soniq.worker.state import WorkerState
from soniq.worker.survey import Survey

log = logging.getLogger("soniq.worker")

LONGEST_UNHEARD = 0.8
"""The longest poll interval where nothing is heard of a pause, in seconds."""

LANE = re.compile(r"(-?[0-9]{1,5})(?:\t([0-9]{1,17}))?")
"""What follows the queue's name: a priority, and where to look, in microseconds since 1970."""


def _nobody(_ids: Iterable[str] = ()) -> None:
    """Where nobody hears of it."""


class Poller:
    """Knows when to look next, which lanes may hold jobs, and which queues are paused."""

    def __init__(
        self,
        services: Services,
        state: WorkerState,
        lanes: Lanes,
        slots: Slots,
        answers: Answers,
    ) -> None:
        self._database = services.database
        self._settings = services.settings
        self._state = state
        self._lanes = lanes
        self._slots = slots
        self._answers = answers

        queues = state.options.queues
        self._queues = list(queues) if queues is not None else None
        self._survey = Survey(answers.ask, lanes, self._queues)

        self._poll_at = 0.0
        self._pauses_changed = False  # a queue may have been paused or resumed since the last look
        self.polled = False
        """Whether to claim although no job is known of, so that a lost connection is noticed."""
        self.waiting = False
        """Whether the worker's row says that it waits for jobs."""
        self.owed: Callable[[], None] = _nobody
        """Called where a plugin may be owed something."""
        self.cancelled: Callable[[Iterable[str]], None] = _nobody
        """Called with the ids of jobs that are to be cancelled."""
        self.near: Near | None = None
        """Itself, as the one that its app tells at once."""

    # --- looking ---------------------------------------------------------------------------------

    def plan(self) -> None:
        """Let a poll interval begin."""
        interval = self._settings.poll_interval * random.uniform(0.8, 1.2)
        if self._settings.pgbouncer:
            interval = min(interval, LONGEST_UNHEARD)
        self._poll_at = time.monotonic() + interval

    async def look(self, *, idle: bool) -> None:
        """Poll if it is time, and learn of pauses; `idle`: no job was found lately."""
        if time.monotonic() >= self._poll_at:
            await self._poll(idle)
            if self._poll_at == 0.0:  # asked for meanwhile: the answer may be from before
                await self._poll(idle)
        if self._pauses_changed:
            await self._learn_pauses()

    async def _poll(self, idle: bool) -> None:
        """What is done once in a poll interval: see which lanes hold jobs, give back what cannot
        start soon.
        """
        self.plan()
        self.polled = True
        try:
            await self.learn_lanes()
            if self.waiting and not idle:
                await self.set_waiting(False)
        except DatabaseError as error:
            self._database.lost(error, "looking again with the next poll")

        if self._slots.stale:
            log.info(
                "requeued %s: attempts take longer than they did",
                counted(self._slots.hand_back(), "job"),
            )

    async def learn_lanes(self, *, all_: bool = False) -> None:
        """See which lanes hold jobs, and which queues are paused; lanes that are due are asked."""
        self._pauses_changed = False
        paused = await (self._survey.whole() if all_ else self._survey.round())
        self._poll_at = self._survey.next_at(self._poll_at)
        self._obey_pauses(paused)

    async def _learn_pauses(self) -> None:
        """See which queues are paused: a look at the lanes may have to wait, and a pause does
        not.
        """
        self._pauses_changed = False
        with suppress(DatabaseError):  # the next poll learns them
            self._obey_pauses(row["queue"] for row in await self._answers.ask("paused"))

    def _obey_pauses(self, paused: Iterable[str]) -> None:
        if newly := self._lanes.pause(paused):
            log.info(
                "paused: %s; requeued %s",
                ", ".join(sorted(newly)),
                counted(self._slots.hand_back(newly), "job"),
            )

    async def set_waiting(self, waiting: bool) -> None:
        """Say in the worker's row whether it waits: an enqueue in someone's transaction then wakes
        it.
        """
        self.waiting = waiting
        try:
            await self._answers.ask("set_waiting", self._state.id, waiting)
            if waiting:
                await self.learn_lanes()  # of which nobody told it while it was awake
        except DatabaseError as error:
            self._database.lost(error, "looking again with the next poll")

    # --- being told ------------------------------------------------------------------------------

    def poll_now(self) -> None:
        """What a pause or another process has changed is not known here yet."""
        self._poll_at = 0.0
        self._state.wake.set()

    def hear(self, lines: Sequence[str]) -> None:
        """Lines: queues, with priorities or without, and jobs to be cancelled; no line means that
        there is something to do somewhere.
        """
        cancelled = [line.removeprefix(CANCEL) for line in lines if line.startswith(CANCEL)]
        if cancelled:
            self.cancelled(cancelled)
        queues = [line for line in lines if not line.startswith(CANCEL)]
        if queues or not lines:
            self.notified(queues)

    def notified(self, lines: Sequence[str]) -> None:
        """Jobs came to these queues, with priorities or without; no line means that there is
        something to do somewhere.
        """
        if OWED in lines or not lines:
            self.owed()
        if not lines or "" in lines:
            self._pauses_changed = True
            self.look_again([])
            return

        lanes, whole = [], []
        for line in lines:
            queue, _, rest = line.partition("\t")
            if line == OWED or (self._queues is not None and queue not in self._queues):
                continue
            if found := LANE.fullmatch(rest):
                lanes.append((queue, int(found[1])))
                if found[2]:
                    place = EPOCH + timedelta(microseconds=int(found[2]))
                    self._lanes.look_from(queue, int(found[1]), place)
            else:
                whole.append(queue)

        if lanes:
            self._lanes.heat(lanes)
            self._state.wake.set()
        if whole:
            self.look_again(whole)

    def look_again(self, queues: Sequence[str]) -> None:
        """Jobs may have come to these queues, of whichever priority: look which lanes hold some."""
        self._lanes.wake(queues)
        self._poll_at = min(self._poll_at, self._survey.not_before)
        self._state.wake.set()

    # --- waiting ---------------------------------------------------------------------------------

    async def sleep(self, until: float | None = None) -> None:
        """Sleep until something happens, the next poll, or a monotonic time before it."""
        ends = self._poll_at if until is None else min(self._poll_at, until)
        await sleep(self._state.wake, ends)


async def sleep(wake: asyncio.Event, until: float) -> None:
    """Sleep until an event, or a monotonic time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, until - time.monotonic())):
            await wake.wait()
