"""The loop of a worker: settle and claim, again and again; attempts run beside it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from soniq.errors import DatabaseError, PluginError
from soniq.postgres.driver_errors import CONNECTION_ERRORS
from soniq.worker.answers import Answers
from soniq.worker.claims import Claims
from soniq.worker.lanes import NO_LANES, Lanes
from soniq.worker.limits import Limits
from soniq.worker.outcomes import Outcomes
from soniq.worker.owed import Deliveries
from soniq.worker.polling import Poller
from soniq.worker.registration import Registration
from soniq.worker.services import Services
from soniq.worker.settling.exchange import Claimer, Exchange
from soniq.worker.settling.settlement import Settlement
from soniq.worker.slots import Slots
from soniq.worker.state import Phase, WorkerState

log = logging.getLogger("soniq.worker")

IDLE_AFTER = 0.02
"""Seconds without work after which a worker says that it waits, and looks once more."""
ALL_LOCKED_PAUSE = 0.1
"""Seconds before the next exchange where all that one could settle was locked."""


async def _nothing() -> None:
    """Where nothing is to be done."""


class ClaimLoop:
    """Goes round until the worker is drained or told to stop, or, with `run_once`, until nothing is
    due.
    """

    def __init__(
        self,
        services: Services,
        state: WorkerState,
        claims: Claims,
        lanes: Lanes,
        slots: Slots,
        outcomes: Outcomes,
        poller: Poller,
        registration: Registration,
        claimer: Claimer,
        answers: Answers,
        limits: Limits,
        deliveries: Deliveries,
    ) -> None:
        self._services = services
        self._state = state
        self._claims = claims
        self._lanes = lanes
        self._slots = slots
        self._outcomes = outcomes
        self._poller = poller
        self._registration = registration
        self._claimer = claimer
        self._answers = answers
        self._limits = limits
        self._deliveries = deliveries

        self._run_once = state.options.run_once
        self._idle_since: float | None = None  # with slots free, and no job found for them
        self._rows_locked = False  # whether another session had rows of settlements locked
        self._turned = time.monotonic()
        self.maintain: Callable[[], Awaitable[object]] = _nothing
        """Called before a worker with `run_once` ends, which may be all the workers there are."""

    @property
    def last_turn(self) -> float:
        """When it last went round, or tried to reach the database, as monotonic time."""
        return max(self._turned, self._claimer.tried, self._registration.tried)

    async def run(self) -> None:
        """Go round and round."""
        self._poller.plan()
        while not self._state.stopping:
            if not await self._turn():
                return

    async def _turn(self) -> bool:
        """Once round; False where nothing more is to come."""
        self._turned = time.monotonic()
        self._state.wake.clear()
        await self._catch_up()

        room = self._room()
        if await self._exchange_if_needed(room):
            return True
        if self._state.draining and not (self._claims.busy or self._claims.pending):
            return False

        if room <= 0 or (self._run_once and self._claims.busy):
            await self._wait_for_slots(room)
        elif self._claims.pending or self._state.wake.is_set():
            pass  # something came meanwhile
        elif self._run_once:
            return not await self._nothing_is_due()
        else:
            await self._idle()
        return True

    async def _catch_up(self) -> None:
        """What is to be known before the next claim: the registration, lanes and pauses, limits."""
        if self._state.row_missing:
            await self._registration.begin_again()
        await self._poller.look(idle=self._idle_since is not None)
        if self._state.claiming and (why := self._limits.reached()):
            log.info(
                "draining: recycling the worker once its %d running attempts have ended: %s",
                len(self._claims.running),
                why,
            )
            self.drain()

    def drain(self) -> None:
        """Claim no more, give back what has not started, and end when what runs has ended."""
        self._state.advance(Phase.DRAINING)
        self._slots.close()

    def _room(self) -> int:
        """How many jobs to claim now."""
        return self._limits.room(self._slots.room()) if self._state.claiming else 0

    # --- settling and claiming -------------------------------------------------------------------

    async def _exchange_if_needed(self, room: int) -> bool:
        """Settle what is pending, and claim where jobs may be; whether to go round again at
        once.
        """
        looking = room > 0 and (self._lanes.hot or self._poller.polled)
        if not (looking or self._claims.pending):
            return False
        if await self.exchange(room if looking else 0) or self._lanes.hot:
            self._idle_since = None
            return True
        return not looking

    async def exchange(self, limit: int) -> int:
        """One exchange with the database, and what follows from it; how many jobs it brought."""
        settlements, recalled = self._claims.begin_exchange(limit)
        exchange = await self._send(settlements, limit)

        self._rows_locked = bool(exchange.left)
        if freed := self._claimer.take_freed():
            self._poller.notified([*freed])
            self._services.notifier.wake(freed, heard_by=self._poller.near)
        if exchange.looked and exchange.registered:
            self._lanes.answer(
                [(c.queue, c.priority, c.scheduled_at, c.id) for c in exchange.claimed], limit
            )
        claimed = self._slots.receive(exchange.claimed, recalled)
        await self._outcomes.exchanged(settlements, exchange)
        if not exchange.registered:
            self._state.row_missing = True

        if claimed and self._services.claimed:
            await self._services.claimed([each.context(self._state.id) for each in claimed])
        self._slots.fill()
        if exchange.left and not claimed:
            await asyncio.sleep(ALL_LOCKED_PAUSE)
        return len(claimed)

    async def _send(self, settlements: Sequence[Settlement], limit: int) -> Exchange:
        """The exchange itself; what it was to settle waits again where it fails."""
        lanes = self._lanes.ask() if limit else NO_LANES
        self._poller.polled = self._poller.polled and not limit
        try:
            async with self._answers.awaited():
                return await self._claimer.exchange(
                    settlements, lanes, limit, around_locks=self._rows_locked
                )
        except BaseException:
            self._claims.pending.put_back(settlements)  # to be sent again; twice does no harm
            raise
        finally:
            self._claims.end_exchange()

    # --- waiting ---------------------------------------------------------------------------------

    async def _wait_for_slots(self, room: int) -> None:
        """Sleep until a slot is free, or an attempt has ended."""
        self._idle_since = None
        # At the limit while slots are free: workers beside this one may have asked for more than
        # they find.
        at_limit = room <= 0 < self._slots.room() and self._state.claiming
        await self._poller.sleep(time.monotonic() + IDLE_AFTER if at_limit else None)

    async def _idle(self) -> None:
        """Sleep until jobs come; after a moment say so in the worker's row, and look once more."""
        self._idle_since = self._idle_since or time.monotonic()
        if self._poller.waiting:
            await self._poller.sleep()
        elif time.monotonic() - self._idle_since >= IDLE_AFTER:
            await self._poller.set_waiting(True)
        else:
            await self._poller.sleep(self._idle_since + IDLE_AFTER)

    async def _nothing_is_due(self) -> bool:
        """Look into every lane once more, from its start: a job may have been committed late.
        Before that, do what is due of maintenance, which may rescue jobs, and tell plugins what
        they are owed: they may let jobs go.
        """
        for step, follows in (
            (self.maintain, "what is due of maintenance is done by another worker"),
            (self._deliveries.deliver, "what plugins are owed is told by another worker"),
        ):
            try:
                await step()
            except (DatabaseError, asyncpg.PostgresError, *CONNECTION_ERRORS, PluginError) as error:
                self._services.database.lost(error, follows)

        self._lanes.rewind()
        await self._poller.learn_lanes(all_=True)
        while (
            self._lanes.hot
            and self._room() > 0
            and not (self._state.row_missing or self._state.stopping)
        ):
            if await self.exchange(self._room()):
                return False
        return not (self._claims.busy or self._claims.pending or self._state.row_missing)
