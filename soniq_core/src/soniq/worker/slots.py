"""The slots of a worker: jobs at hand are started as slots come free, and as many are claimed as
will start soon.
"""

import asyncio
import contextvars
import logging
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from soniq.errors import DatabaseError
from soniq.text import one_line
from soniq.tracebacks import TRACEBACK
from soniq.worker.admission import Admission, requeued
from soniq.worker.attempt import Attempt
from soniq.worker.claimed import SUSPECT, Claimed
from soniq.worker.claims import Claims
from soniq.worker.contained import of_a_handler
from soniq.worker.judging import unjudged
from soniq.worker.outcomes import Outcomes
from soniq.worker.services import Services
from soniq.worker.settling.settlement import Requeue, RequeueKind, Settlement
from soniq.worker.state import WorkerState

log = logging.getLogger("soniq.worker")

AHEAD = 0.05
"""Seconds of work that a worker claims ahead."""
AHEAD_BYTES = 16_000_000
"""Bytes of arguments and headers that it claims ahead, going by what jobs had lately."""
STALE = 1.0
"""Seconds after which jobs that were claimed ahead, and could not start, are given back for others
to run.
"""
PROBATION = 60.0
"""Seconds over which the starts of as many suspects are spread as a worker can run at once."""


class Slots:
    """Starts jobs as slots come free, and settles what they come to."""

    def __init__(
        self, services: Services, state: WorkerState, claims: Claims, outcomes: Outcomes
    ) -> None:
        self._services = services
        self._state = state
        self._claims = claims
        self._outcomes = outcomes
        self._concurrency = state.options.concurrency
        self._admission = Admission(state)
        self._closed = False  # whether nothing starts any more
        self._moved = 0.0  # when a job last started
        self._seconds = 0.0  # what an attempt takes, as a moving average
        self._bytes = 0.0  # what a job's arguments and headers take, as one, too
        self._suspects = asyncio.Semaphore(1)
        self._context = contextvars.copy_context()
        self._context.run(of_a_handler.set, services.database)

    # --- what is at hand -------------------------------------------------------------------------

    @property
    def stale(self) -> bool:
        """Whether jobs at hand have not come to start for a while, and others may do better."""
        return bool(self._claims.at_hand) and time.monotonic() - self._moved > STALE

    def room(self) -> int:
        """How many jobs to claim now: for the free slots, and as many ahead as handlers take in
        `AHEAD` seconds.
        """
        if self._claims.pending.full:
            return 0

        ahead = 0
        if self._seconds:
            ahead = int(self._concurrency * AHEAD / self._seconds)
            ahead = min(self._services.settings.prefetch, ahead)
            if ahead * self._bytes > AHEAD_BYTES:
                ahead = int(AHEAD_BYTES / self._bytes)

        free = self._concurrency - len(self._claims.running)
        at_hand = len(self._claims.at_hand)
        return 0 if at_hand > (free + ahead) / 2 else free + ahead - at_hand

    def receive(self, claimed: Sequence[Claimed], recalled: int) -> Sequence[Claimed]:
        """Keep what was claimed at hand; what is kept. `recalled`: how often jobs had been recalled
        when the claim began.
        """
        with self._claims.receiving:
            if self._claims.recalled != recalled:
                # Given back in the heartbeat's thread, as far as they had been claimed then
                for each in claimed:
                    self._claims.pending.add(requeued(each, RequeueKind.NOT_STARTED))
                return ()

            if claimed:
                size = sum([len(c.args) + len(c.headers or "") for c in claimed]) / len(claimed)
                self._bytes = max(size, self._bytes + (size - self._bytes) * 0.25)
                self._keep(claimed)
            return claimed

    def _keep(self, claimed: Sequence[Claimed]) -> None:
        """Put what was claimed, urgent ones first, behind what is as urgent at hand.

        Nothing is taken out for that: another thread may take it away meanwhile.
        """
        at_hand = self._claims.at_hand
        there = list(at_hand)
        if not there or there[-1].priority <= claimed[0].priority:
            at_hand.extend(claimed)
            return

        priorities = [each.priority for each in there]
        for each in claimed:
            place = bisect_right(priorities, each.priority)
            at_hand.insert(place, each)
            priorities.insert(place, each.priority)

    def hand_back(self, queues: Collection[str] | None = None) -> int:
        """Give back what has not started; how many that are. Where it is all, the next claims are
        smaller.
        """
        taken = self._take(lambda claimed: queues is None or claimed.queue in queues)
        for claimed in taken:
            self._outcomes.settle(requeued(claimed, RequeueKind.NOT_STARTED), claimed)
        if queues is None:
            self._seconds = max(self._seconds, STALE)
        return len(taken)

    def take_away(self) -> list[Requeue]:
        """Take what has not started, to be given back; called in another thread while the event
        loop stands still.

        That may turn again at any moment: what one of them takes out of the deque the other does
        not find there.
        """
        taken: list[Claimed] = []
        with suppress(IndexError):
            while True:
                taken.append(self._claims.at_hand.pop())

        running = list(self._claims.running.values())
        taken += [attempt.claimed for attempt in running if attempt.take_away()]
        if taken:
            self._seconds = max(self._seconds, STALE)
        return [requeued(claimed, RequeueKind.NOT_STARTED) for claimed in taken]

    def _take(self, which: Callable[[Claimed], bool]) -> list[Claimed]:
        """Take some of what is at hand; another thread may take what has not started meanwhile."""
        at_hand = self._claims.at_hand
        taken: list[Claimed] = []
        for _ in range(len(at_hand)):
            with suppress(IndexError):
                claimed = at_hand.popleft()
                (taken if which(claimed) else at_hand).append(claimed)
        return taken

    # --- ending from outside ---------------------------------------------------------------------

    def cancel(self, ids: Sequence[UUID]) -> None:
        """The jobs were cancelled: end the attempts of those that run here, and settle those that
        wait for a slot.
        """
        for id_ in ids:
            if id_ in self._claims.running:
                self._claims.running[id_].end("cancelled")
        for claimed in self._take(lambda each: each.id in ids):
            self._outcomes.settle(self._admission.cancelled(claimed))

    def abandon(self) -> None:
        """The jobs here have been requeued: end their attempts, and settle nothing."""
        self._claims.at_hand.clear()
        running, self._claims.running = list(self._claims.running.values()), {}
        for attempt in running:
            attempt.end("lost")

    def close(self) -> None:
        """Start nothing any more, and give back what has not started."""
        self._closed = True
        self.hand_back()

    async def end(self, patience: float) -> None:
        """End what still runs; what has not ended after `patience` seconds is settled as if it
        had.
        """
        for attempt in list(self._claims.running.values()):
            attempt.end("stopped")
        running = list(self._claims.running.values())
        tasks = [each.task for each in running if each.task is not None and not each.thread]
        if tasks:
            await asyncio.wait(tasks, timeout=patience)

        still_running, self._claims.running = list(self._claims.running.values()), {}
        for attempt in still_running:
            if attempt.task is not None and attempt.task.done():
                continue  # cancelled by others before it took its first step
            log.error(
                "job %s (%s) could not be ended; requeued",
                attempt.claimed.id,
                one_line(attempt.claimed.name),
                extra=attempt.log_fields(),
            )
        for settlement in await asyncio.gather(*(attempt.give_up() for attempt in still_running)):
            self._outcomes.settle(settlement)
        self._state.deadlines.close()

    # --- starting --------------------------------------------------------------------------------

    def fill(self) -> None:
        """Start jobs at hand while slots are free."""
        claims = self._claims
        while (
            claims.at_hand
            and len(claims.running) < self._concurrency
            and not (self._closed or claims.pending.full)
        ):
            self._moved = time.monotonic()
            try:
                claimed = claims.at_hand.popleft()
            except IndexError:  # the heartbeat's thread was quicker
                return
            self._start(claimed)

    def _start(self, claimed: Claimed) -> None:
        job = self._services.registry.get(claimed.name)
        refused = self._admission.refuse(claimed, job)
        if refused is not None:
            self._outcomes.settle(refused, claimed)
            return

        assert job is not None  # or it would have been refused
        attempt = Attempt(claimed, job, self._services, self._state)
        self._claims.running[claimed.id] = attempt
        self._claims.started += 1
        attempt.task = asyncio.Task(  # not by the loop's factory, which is for those of handlers
            self._run(attempt), context=self._context.copy()
        )

    async def _run(self, attempt: Attempt) -> None:
        """The task of one attempt: run it, buffer its settlement, start the next."""
        claimed = attempt.claimed
        settlement: Settlement | None = None
        try:
            attempt.begun = True
            if claimed.flags & SUSPECT:
                settlement = await self._on_probation(attempt)
            else:
                settlement = await attempt.run()
        except BaseException as error:
            settlement = _unfinished(attempt, error)
        finally:
            if attempt.deadline is not None:
                self._state.deadlines.drop(attempt)
            if self._claims.running.get(claimed.id) is attempt:
                if settlement is not None:
                    self._outcomes.settle(settlement, claimed)
                # Only now: another thread must find the job as running or as pending
                del self._claims.running[claimed.id]

            took = time.monotonic() - attempt.started
            self._seconds += (took - self._seconds) * 0.05 if self._seconds else took
            self.fill()
            self._state.wake.set()

    async def _on_probation(self, attempt: Attempt) -> Settlement | None:
        """Write down that a suspect starts, so that a job that kills its worker is found, and run
        it.
        """
        claimed = attempt.claimed
        async with self._alone():
            if not await self._services.database.fetch("write_start", claimed.id, claimed.claim):
                return None
            attempt.started = time.monotonic()
            return await attempt.run()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Suspects begin one after the other, so that a killer's neighbours have not been written
        down when it kills: the next begins once this one has ended, or after its share of
        `PROBATION`.
        """
        over = False

        def let_the_next_begin() -> None:
            nonlocal over
            if not over:
                over = True
                self._suspects.release()

        await self._suspects.acquire()
        seconds = PROBATION / self._concurrency
        timer = asyncio.get_running_loop().call_later(seconds, let_the_next_begin)
        try:
            yield
        finally:
            timer.cancel()
            let_the_next_begin()


def _unfinished(attempt: Attempt, error: BaseException) -> Settlement:
    """What is settled for an attempt that could not be started, or not be judged."""
    claimed = attempt.claimed
    fields = attempt.log_fields()
    if isinstance(error, DatabaseError):
        log.warning(
            "job %s (%s) could not be started; requeued: %s",
            claimed.id,
            one_line(claimed.name),
            one_line(str(error)),
            extra=fields,
        )
        return requeued(claimed, RequeueKind.NOT_STARTED)

    if isinstance(error, asyncio.CancelledError):  # ended before it could say so
        kind = RequeueKind.NOT_STARTED if claimed.flags & SUSPECT else RequeueKind.STOPPED
        return requeued(claimed, kind, time.monotonic() - attempt.started)

    with suppress(Exception):  # logging fails where no attribute of the error can be read
        log.error(
            "job %s (%s): the outcome of its attempt could not be determined",
            claimed.id,
            one_line(claimed.name),
            exc_info=(type(error), error, TRACEBACK(error)),
            extra=fields,
        )
    return unjudged(attempt, error)
