"""A worker's life: register, claim and run until it is told to stop, wind down, say goodbye."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from soniq.errors import DatabaseUnavailable
from soniq.worker.answers import Answers
from soniq.worker.background import FIRST_TURN, BackgroundLoop
from soniq.worker.claims import Claims
from soniq.worker.contained import contain
from soniq.worker.heartbeat import Heartbeat
from soniq.worker.hints import CancelHints
from soniq.worker.interrupts import stop_on_signals
from soniq.worker.lanes import Lanes
from soniq.worker.limits import Limits
from soniq.worker.listen import Listener
from soniq.worker.loop import ClaimLoop
from soniq.worker.maintenance import Maintenance
from soniq.worker.outcomes import Outcomes
from soniq.worker.owed import Deliveries
from soniq.worker.polling import Poller, sleep
from soniq.worker.registration import Registration
from soniq.worker.services import Services, WorkerOptions
from soniq.worker.settling.exchange import Claimer
from soniq.worker.slots import Slots
from soniq.worker.stalls import Stalls
from soniq.worker.state import Phase, WorkerState
from soniq.worker.tasks import Tasks

log = logging.getLogger("soniq.worker")

LAST_CHANCE = 5.0
"""Seconds that attempts have to end once they are told to, and the last outcomes to be written,
when a worker stops.
"""
STEP_STARTS = 3
"""How often a step of the end is begun again after its task was cancelled."""


class Worker:
    """Runs jobs of one app in this process."""

    def __init__(self, services: Services, options: WorkerOptions, limits: Limits) -> None:
        self._services = services
        self._state = state = WorkerState(services, options)
        self._claims = claims = Claims()
        self._answers = answers = Answers(services)
        lanes = Lanes()

        claimer = Claimer(services, state, claims, lanes)
        outcomes = Outcomes(services, state, claims, lanes)
        self._slots = slots = Slots(services, state, claims, outcomes)
        poller = Poller(services, state, lanes, slots, answers)
        self._registration = registration = Registration(
            services, state, claims, slots, poller, claimer, answers
        )
        self._deliveries = deliveries = Deliveries(services, lanes)
        poller.owed = deliveries.hear
        self._loop = ClaimLoop(
            services,
            state,
            claims,
            lanes,
            slots,
            outcomes,
            poller,
            registration,
            claimer,
            answers,
            limits,
            deliveries,
        )

        stalls = Stalls(services, state, claims, slots, outcomes, poller)
        self._heartbeat = Heartbeat(services, state, claims, slots, stalls)
        self._hints = CancelHints(services, state, claims, slots)
        poller.cancelled = self._hints.hear
        self._poller = poller
        self._listener = Listener(services, poller)
        self._maintenance = Maintenance(services, claimer, lanes, poller)
        self._loop.maintain = self._maintenance.once
        self._tasks = Tasks(services, state)

        self._hurried = False  # whether running attempts have no grace time, or no more of it
        self._grace: asyncio.Timeout | None = None
        self._cancelled = False  # whether its task was cancelled while it wound down
        self.finished = asyncio.Event()
        """Set once `run` is over."""
        limits.claims.append(claims)

    @property
    def id(self) -> str:
        """The id of its row; another one where it had to register again."""
        return self._state.id

    def since_last_turn(self) -> float:
        """Seconds since the loop last went round, or tried to reach the database; 0 while it
        stops.
        """
        return 0.0 if self._state.stopping else time.monotonic() - self._loop.last_turn

    async def run(self) -> int:
        """Work until stopped, or with `run_once` until nothing is due; how many attempts were
        started.
        """
        remove_signal_handlers = self._stop_on_signals() if self._state.options.signals else None
        stop_containing = contain(asyncio.get_running_loop())
        try:
            with self._services.housekeeping():  # attempts are in the context of the worker's maker
                await self._begin()
                return 0 if self._state.stopping else await self._live()
        finally:
            stop_containing()
            if remove_signal_handlers is not None:
                remove_signal_handlers()

    def _stop_on_signals(self) -> Callable[[], None]:
        return stop_on_signals(lambda: self.stop(now=self._state.stopping))

    async def _begin(self) -> None:
        """Register. One that is told to stop meanwhile, or fails, leaves no row."""
        try:
            await self._registration.begin()
        except BaseException:
            await self._leave_early()
            raise
        if self._state.stopping:
            await self._leave_early()
            if self._cancelled:
                raise asyncio.CancelledError

    async def _leave_early(self) -> None:
        """Say goodbye before any work, where the row may be there."""
        if self._registration.tried:
            await self._undisturbed(self._say_goodbye)

    async def _live(self) -> int:
        """The life of a worker that is registered."""
        self._state.follow(asyncio.current_task())
        database, concurrency = self._services.database, self._state.options.concurrency
        database.handlers += concurrency
        self._start_beside()
        self._registration.say_hello()
        try:
            await self._loop.run()
        except (DatabaseUnavailable, TimeoutError):
            if not self._state.stopping:
                raise
        finally:
            try:
                await self._undisturbed(self._wind_down)
            finally:
                await self._undisturbed(self._leave)
                database.handlers -= concurrency

        if self._cancelled:
            raise asyncio.CancelledError
        return self._claims.started

    def _start_beside(self) -> None:
        """Start what runs beside the loop."""
        self._heartbeat.start()
        self._poller.near = self._services.notifier.add(self._poller.hear)
        self._tasks.start(self._services.tasks)
        self._tasks.start(self._maintenance.tasks(), after=FIRST_TURN)
        if not (self._state.options.run_once or self._services.settings.pgbouncer):
            self._listener.start()
        if not self._state.options.run_once:  # then the loop tells of all before it ends
            self._deliveries.start()

    # --- being told to end -----------------------------------------------------------------------

    def drain(self) -> None:
        """Stop claiming, hand back what has not started, and end when what runs has ended, however
        long it takes.
        """
        self._loop.drain()

    def stop(self, *, now: bool = False) -> None:
        """Stop claiming, hand back what has not started, let the rest end within the grace time;
        `now`: at once.
        """
        running = len(self._claims.running)
        if now and not self._hurried:
            log.warning("stopping now: %d attempts run, and are ended", running)
            self._hurried = True
            if self._grace is not None:
                self._grace.reschedule(asyncio.get_running_loop().time())
        elif not self._state.stopping:
            grace = self._services.settings.grace
            log.info("stopping: %d attempts run, and have %g s to end", running, grace)

        self._answers.hurry()
        self._state.advance(Phase.STOPPING)
        self._slots.close()

    def hand_back(self, seconds: float) -> None:
        """Give back all jobs from another thread, within so many seconds, because the process
        ends.
        """
        self._heartbeat.hand_back(seconds)

    # --- winding down ----------------------------------------------------------------------------

    async def _undisturbed(self, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Take a step of the end, which has limits of its own, however often this task is cancelled
        meanwhile.

        Who cancels a worker that winds down leaves its attempts no more grace time. The step's own
        task may be cancelled, too, as `asyncio.run` does at its end with all that there are: then
        the step begins again.
        """
        for _ in range(STEP_STARTS):
            task = asyncio.create_task(step(), name=f"soniq {step.__name__.strip('_')}")
            while not task.done():
                try:
                    await asyncio.wait([task])
                except asyncio.CancelledError:
                    self._cancelled = True
                    self.stop(now=True)
            if not task.cancelled():
                return task.result()
            self.stop(now=True)
        return None

    async def _wind_down(self) -> None:
        """Hand back what has not started, let the rest end within the grace time, and requeue what
        has not.
        """
        self._state.advance(Phase.WINDING_DOWN)
        ends = time.monotonic() + (0.0 if self._hurried else self._services.settings.grace)
        self._slots.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, ends - time.monotonic())) as self._grace:
                await self._settle_what_ends(ends)
        self._grace = None

        ends = time.monotonic() if self._hurried else ends
        await self._slots.end(LAST_CHANCE)
        await self._settle_the_rest(max(ends, time.monotonic() + LAST_CHANCE))

    async def _settle_what_ends(self, ends: float) -> None:
        """Settle what ends in its own time, until nothing runs; `ends` is a monotonic time."""
        while self._claims.running:
            self._state.wake.clear()
            if self._claims.pending:
                await self._loop.exchange(0)
            else:
                await sleep(self._state.wake, ends)

    async def _settle_the_rest(self, until: float) -> None:
        """Write what is not yet written. What the database does not take in time is rescued, and
        runs again.
        """
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                while self._claims.pending:
                    await self._loop.exchange(0)
        except TimeoutError as error:
            self._services.database.lost(
                error, "the worker stops without having written the last outcomes", LAST_CHANCE
            )
            log.error(
                "the last outcomes could not be written in time; those jobs are orphaned until they"
                " are rescued, and then run again"
            )

    async def _leave(self) -> None:
        """End what runs beside, and say goodbye."""
        self._services.notifier.remove(self._poller.near)
        beside: list[BackgroundLoop] = [self._listener, self._hints, self._heartbeat]
        stops = (loop.stop() for loop in beside)
        await asyncio.gather(*stops, self._tasks.stop(), self._deliveries.stop())
        await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        """Remove the worker's row."""
        self._state.threads.shutdown(wait=False, cancel_futures=True)
        await self._registration.leave()
