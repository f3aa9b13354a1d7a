"""A worker's life: register, claim and run until it is told to stop, hand back, say goodbye."""

import asyncio
import logging
import os
import random
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import asyncpg
import msgspec

from soniq.definition import Registry
from soniq.errors import DatabaseError, DatabaseUnavailable, PluginError
from soniq.hooks.dispatch import InTransaction, Observers
from soniq.hooks.values import Serializer, Task
from soniq.job import JobContext, Outcome
from soniq.lookup import CANCEL, error_json
from soniq.postgres.connections import LOST, Database, words
from soniq.results import Results
from soniq.worker.claim import Claimer, Exchange, Insert
from soniq.worker.deadlines import Deadlines
from soniq.worker.execute import Environment, type_name
from soniq.worker.interrupts import stop_on_signals
from soniq.worker.lanes import Lanes
from soniq.worker.lease import Heartbeat
from soniq.worker.limits import Limits
from soniq.worker.listen import Listener
from soniq.worker.maintenance import Maintenance
from soniq.worker.settle import FAILED, SNOOZED, Settlement
from soniq.worker.slots import Slots
from soniq.worker.state import Enqueue, WorkerState
from soniq.worker.tasks import Tasks

log = logging.getLogger("soniq.worker")

LAST_WORDS = 5.0
"""Seconds that attempts have to end once they are told to, and the last outcomes to be written, when a worker stops."""
OBEY = 0.8
"""The longest poll interval where nothing is heard of a pause, in seconds."""
DROWSY = 0.02
"""Seconds without work after which a worker says that it sleeps, and looks once more."""


class WorkerParts(msgspec.Struct, frozen=True):
    """What a worker needs of its app."""

    database: Database
    registry: Registry
    serializers: Mapping[str, Serializer]
    results: Results
    insert: Insert
    enqueue: Enqueue
    claimed: Observers
    settle_tx: InTransaction
    settled: Observers
    tasks: Sequence[tuple[str, Task]]
    version: str
    plugins: Sequence[str]


class Worker:
    """Runs jobs of one app in this process."""

    def __init__(
        self,
        parts: WorkerParts,
        *,
        concurrency: int,
        queues: Sequence[str] | None,
        run_once: bool,
        signals: bool,
        limits: Limits,
    ) -> None:
        database = parts.database
        settings = database.settings
        self._parts = parts
        self._settings = settings
        self._concurrency = concurrency
        self._queues = list(queues) if queues is not None else None
        self._run_once = run_once
        self._signals = signals
        self._limits = limits
        self.id = str(uuid.uuid4())
        self._settlements: list[Settlement] = []
        self._sending: list[Settlement] = []  # those of the exchange under way
        self._locked = False  # whether somebody else had rows of settlements locked
        self._wake = asyncio.Event()
        self.finished = asyncio.Event()
        """Set once `run` is over."""
        self._stopping = False
        self._draining = False  # whether it ends when what runs has ended
        self._winding_down = False
        self._hurried = False  # whether running attempts have no grace time, or no more of it
        self._grace: asyncio.Timeout | None = None
        self._poll_at = 0.0
        self._buried = False  # whether the worker's row was found missing
        self._waiting = False  # what the worker's row says
        self._idle_since: float | None = None  # with slots free, and no job found for them
        self._lanes = Lanes()
        self._state = WorkerState(parts.enqueue)
        self._claimer = Claimer(
            database,
            lambda: self.id,
            self._held,
            parts.settle_tx,
            parts.insert,
            lambda: not self._stopping or self._winding_down,
        )
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="soniq job")
        environment = Environment(
            database, parts.serializers, parts.results, parts.settle_tx, parts.insert, self._state, self._threads,
            settings.prefetch, Deadlines(),
        )  # fmt: skip
        self._slots = Slots(
            parts.registry, environment, concurrency, lambda: self.id, self._settle, lambda: self._wake.set()
        )
        limits.slots.append(self._slots)

    def stop(self, *, now: bool = False) -> None:
        """Stop claiming, hand back what has not started, let the rest end within the grace time; `now`: at once."""
        if now and not self._hurried:
            log.warning("stopping now: %d attempts run, and are ended", len(self._slots.running))
            self._hurried = True
            if self._grace is not None:
                self._grace.reschedule(asyncio.get_running_loop().time())
        elif not self._stopping:
            log.info("stopping: %d attempts run, and have %g s to end", len(self._slots.running), self._settings.grace)
        self._stopping = self._state.stopping = True
        self._slots.close()
        self._wake.set()

    @property
    def draining(self) -> bool:
        """Whether it ends when what runs has ended."""
        return self._draining

    def drain(self) -> None:
        """Stop claiming, hand back what has not started, and end when what runs has ended, however long it takes."""
        self._draining = True
        self._slots.close()
        self._wake.set()

    async def run(self) -> int:
        """Work until stopped, or with `run_once` until nothing is due; how many attempts were started."""
        await self._register()
        self._parts.database.handlers += self._concurrency
        heartbeat = Heartbeat(
            self._parts.database,
            lambda: self.id,
            self._slots.held,
            self._slots.cancel,
            self._taken_for_dead,
            self._state,
        )
        heartbeat.start()
        maintenance = Maintenance(
            self._parts.database, self._parts.registry, self._parts.results, self._claimer, self._lanes,
            self._parts.settle_tx, self._parts.settled, self._look_again,
        )  # fmt: skip
        tasks = Tasks(self._parts.database, lambda: self.id)
        tasks.start([*maintenance.tasks(), *self._parts.tasks])
        listening = None
        if not self._run_once and not self._settings.pgbouncer:
            listening = asyncio.create_task(Listener(self._parts.database, self._heard).run(), name="soniq listen")
        release = stop_on_signals(lambda: self.stop(now=self._stopping)) if self._signals else None
        self._say_hello()
        try:
            await self._work()
        except DatabaseUnavailable:
            if not self._stopping:
                raise
        finally:
            try:
                await self._wind_down()
            finally:
                if release is not None:
                    release()
                if listening is not None:
                    listening.cancel()
                    with suppress(asyncio.CancelledError):
                        await listening
                await tasks.stop()
                await heartbeat.stop()
                await self._say_goodbye()
                self._parts.database.handlers -= self._concurrency
        return self._slots.count

    # --- the loop -------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Settle and claim, again and again; attempts run beside it."""
        self._poll_at = self._next_poll()
        while not self._stopping:
            self._wake.clear()
            if self._buried:
                await self._begin_again()
            if time.monotonic() >= self._poll_at:
                await self._poll()
            if not self._draining and (why := self._limits.reached()):
                log.info("the worker ends with its %d attempts, to start afresh: %s", len(self._slots.running), why)
                self.drain()
            room = self._room()
            looking = room > 0 and self._lanes.hot
            if looking or self._settlements:
                found = await self._exchange(room if looking else 0)
                if found or self._lanes.hot:
                    self._idle_since = None
                    continue
                if not looking:
                    continue
            if self._draining and not (self._slots.busy or self._settlements):
                return
            if room <= 0 or (self._run_once and self._slots.busy):
                self._idle_since = None
                # At the limit while slots are free: workers beside this one may have asked for more than they find.
                limited = room <= 0 < self._slots.room() and not self._draining
                await self._sleep(min(self._poll_at, time.monotonic() + DROWSY) if limited else self._poll_at)
                continue
            if self._settlements or self._wake.is_set():
                continue
            if self._run_once:
                if await self._nothing_is_due():
                    return
                continue
            self._idle_since = self._idle_since or time.monotonic()
            if not self._waiting and time.monotonic() - self._idle_since >= DROWSY:
                await self._set_waiting(True)
                self._lanes.wake()
                continue
            await self._sleep(self._poll_at if self._waiting else min(self._poll_at, self._idle_since + DROWSY))

    async def _poll(self) -> None:
        """What is done once in a poll interval: learn new lanes, look into all, give back what cannot start soon."""
        self._poll_at = self._next_poll()
        try:
            await self._learn_lanes()
            if self._waiting and self._idle_since is None:
                await self._set_waiting(False)
        except DatabaseError as error:
            log.warning("the database is away: %s", error)
        self._lanes.wake()
        if self._slots.stale:
            log.info("gave back %d jobs: attempts take longer than they did", self._slots.hand_back())

    async def _exchange(self, limit: int) -> int:
        """One exchange with the database, and what follows from it; how many jobs it brought."""
        settlements, self._settlements = self._settlements, []
        lanes = self._lanes.ask() if limit else ([], [], [], [])
        self._sending, self._slots.asked = settlements, limit
        try:
            exchange = await self._claimer.exchange(settlements, lanes, limit, around_locks=self._locked)
        except BaseException:
            self._settlements = [*settlements, *self._settlements]  # to be sent again; twice does no harm
            raise
        finally:
            self._sending, self._slots.asked = [], 0
        self._locked = bool(exchange.left)
        if exchange.looked and exchange.registered:
            self._lanes.answer([(c.queue, c.priority, c.scheduled_at, c.id) for c in exchange.claimed], limit)
        self._slots.receive(exchange.claimed)
        self._settlements.extend(exchange.left)
        for settlement, error in exchange.refused:
            await self._settle_refused(settlement, error)
        if settlements:
            await self._tell_settled(settlements, exchange)
        self._buried = self._buried or not exchange.registered
        if exchange.claimed:
            if self._parts.claimed:
                await self._parts.claimed([each.context(self.id) for each in exchange.claimed])
            self._slots.fill()
        elif exchange.left:
            await asyncio.sleep(0.1)
        return len(exchange.claimed)

    def _settle(self, settlement: Settlement, queue: str) -> None:
        """Send a settlement with the next exchange; a job that goes back for a moment only is looked for after it."""
        self._settlements.append(settlement)
        soon = settlement.delay < self._settings.poll_interval
        if settlement.status is None and settlement.back in (SNOOZED, FAILED) and soon:
            self._look_later(queue, settlement.delay)
        self._wake.set()

    async def _tell_settled(self, settlements: Sequence[Settlement], exchange: Exchange) -> None:
        if exchange.lost:
            log.warning("%d settlements changed nothing: the jobs had been taken from this worker", len(exchange.lost))
        if self._parts.settled:
            missing = {s.id for s in exchange.left} | {s.id for s, _ in exchange.refused} | exchange.lost
            outcomes = [s.outcome for s in settlements if s.outcome is not None and s.id not in missing]
            if outcomes:
                await self._parts.settled(outcomes)

    async def _settle_refused(self, settlement: Settlement, error: Exception) -> None:
        """Fail an attempt whose outcome PostgreSQL, or the `settle_tx` of a plugin, does not take.

        What PostgreSQL does not take even then is left to the rescue; what a plugin does not, is settled without it.
        """
        if isinstance(error, PluginError):
            settlement = msgspec.structs.replace(settlement, refusals=(*settlement.refusals, error.plugin))
            if error.plugin in settlement.given_up:
                log.error("job %s is settled without it: %s", settlement.id, error)
            if settlement.status != "done":
                self._settlements.append(settlement)
                return
        elif settlement.error is None and settlement.result is None:
            log.error("job %s cannot be settled, and runs again after a while: %s", settlement.id, error)
            return
        log.error("the outcome of job %s cannot be written, and its attempt fails: %s", settlement.id, words(error))
        told = (
            None if settlement.error else error_json(type_name(error), f"the outcome was refused: {words(error)}", None)
        )
        status = settlement.status
        if status == "done":
            status = "dead" if settlement.last else None
        outcome = settlement.outcome and msgspec.structs.replace(
            settlement.outcome,
            status=status or "queued",
            kind="dead" if status else "retry",
            error=error,
            result_store=None,
            result_reference=None,
        )
        if settlement.status == "done":
            await self._tell_failed(settlement.ctx, outcome, error)
        self._settlements.append(
            msgspec.structs.replace(
                settlement, status=status, outcome=outcome, result=None, store=None, error=told, children=(),
                back=settlement.back or FAILED, delay=settlement.delay or 1.0,
            )
        )  # fmt: skip

    async def _tell_failed(self, ctx: JobContext | None, outcome: Outcome | None, error: Exception) -> None:
        """Tell `on_error` of an attempt that had succeeded until its outcome was refused."""
        job = ctx and self._parts.registry.get(ctx.job_name)
        if ctx is not None and job and job.on_error:
            ctx.outcome = outcome
            await job.on_error(ctx, error)

    # --- waiting --------------------------------------------------------------------------------------------------

    async def _sleep(self, until: float) -> None:
        """Sleep until something happens, or a monotonic time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._wake.wait()

    def _next_poll(self) -> float:
        interval = self._settings.poll_interval * random.uniform(0.8, 1.2)
        return time.monotonic() + (min(interval, OBEY) if self._settings.pgbouncer else interval)

    def _room(self) -> int:
        """How many jobs to claim now."""
        return 0 if self._draining else self._limits.room(self._slots.room())

    async def _nothing_is_due(self) -> bool:
        """Look into every lane once more, from its start: a job may have been committed late."""
        await self._learn_lanes()
        self._lanes.rewind()
        self._lanes.wake()
        while self._lanes.hot and self._room() > 0 and not self._buried and not self._stopping:
            if await self._exchange(self._room()):
                return False
        return not (self._slots.busy or self._settlements or self._buried)

    async def _learn_lanes(self) -> None:
        rows = await self._parts.database.fetch("lanes", self._queues)
        self._lanes.add((row["queue"], row["priority"]) for row in rows)
        if newly := self._lanes.pause(row["queue"] for row in rows if row["paused"]):
            log.info("paused: %s; gave back %d jobs", ", ".join(sorted(newly)), self._slots.hand_back(newly))

    def _heard(self, messages: list[str]) -> None:
        """A notification came: names of queues, a job to be cancelled, or nothing, which may be anything."""
        queues = [message for message in messages if not message.startswith(CANCEL)]
        self._slots.cancel([uuid.UUID(m.removeprefix(CANCEL)) for m in messages if m.startswith(CANCEL)])
        if not messages or "" in queues:  # whatever it was
            self._poll_at = 0.0
            self._wake.set()
            return
        if self._queues is not None:
            queues = [queue for queue in queues if queue in self._queues]
        if queues:
            self._look_again(queues)

    def _look_again(self, queues: Sequence[str] | None) -> None:
        if not self._lanes.wake(queues):
            self._poll_at = 0.0  # a queue that is new
        self._wake.set()

    def _look_later(self, queue: str, delay: float) -> None:
        asyncio.get_running_loop().call_later(delay + 0.005, self._look_again, [queue])

    async def _set_waiting(self, waiting: bool) -> None:
        """Say in the worker's row whether it sleeps: an enqueue in someone's transaction then wakes it."""
        self._waiting = waiting
        try:
            await self._parts.database.fetch("set_waiting", self.id, waiting)
            if waiting:
                await self._learn_lanes()  # of which nobody told it while it was awake
        except DatabaseError as error:
            log.warning("the database is away: %s", error)

    # --- leases ---------------------------------------------------------------------------------------------------

    def _held(self) -> list[uuid.UUID]:
        return [*self._slots.held(), *(s.id for s in [*self._settlements, *self._sending])]

    def _taken_for_dead(self, worker_id: str) -> None:
        if worker_id == self.id:
            self._buried = True
            self._wake.set()

    async def _begin_again(self) -> None:
        """This worker's row was removed: its jobs are others' now. Start again under a new id."""
        log.error("worker %s was silent for longer than its lease, and its jobs were given to others", self.id)
        self._slots.abandon()
        self._settlements.clear()
        while self._buried and not self._stopping:
            try:
                await self._register()
                self._buried = False
            except DatabaseError as error:
                log.warning("the worker cannot register again, trying again: %s", error)
                await asyncio.sleep(1)

    # --- beginning and end ----------------------------------------------------------------------------------------

    async def _register(self) -> None:
        self.id = str(uuid.uuid4())
        self._waiting = False
        await self._parts.database.fetch(
            "register_worker", self.id, self._settings.lease, self._concurrency, os.getpid(), socket.gethostname(),
            self._parts.version, self._queues, sorted(self._parts.registry.jobs),
        )  # fmt: skip
        await self._learn_lanes()
        self._lanes.wake()

    async def _wind_down(self) -> None:
        """Hand back what has not started, let the rest end within the grace time, and requeue what has not."""
        self._stopping = self._winding_down = self._state.stopping = True
        ends = time.monotonic() + (0.0 if self._hurried else self._settings.grace)
        self._slots.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, ends - time.monotonic())) as self._grace:
                while self._slots.running:
                    self._wake.clear()
                    if self._settlements:
                        await self._exchange(0)
                    else:
                        await self._sleep(ends)
        self._grace = None
        ends = time.monotonic() if self._hurried else ends
        await self._slots.end(LAST_WORDS)
        await self._settle_the_rest(max(ends, time.monotonic() + LAST_WORDS))

    async def _settle_the_rest(self, until: float) -> None:
        """Write what is not yet written. What the database does not take in time is rescued, and runs again."""
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                while self._settlements:
                    await self._exchange(0)
        except TimeoutError:
            log.error("the database did not take the last outcomes in time; those jobs are rescued, and run again")

    async def _say_goodbye(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._claimer.close()
        try:
            async with self._parts.database.acquire() as connection:  # a claim that was cut off may have been committed
                await self._claimer.give_back_unheld(connection, claimed_for=0)
            await self._parts.database.fetch("unregister_worker", self.id)
        except (DatabaseError, asyncpg.PostgresError, *LOST) as error:
            log.warning("the worker's row stays until its lease is over: %s", error)
        log.info("worker %s stopped after %d attempts", self.id, self._slots.count)

    def _say_hello(self) -> None:
        queues = ", ".join(self._queues) if self._queues is not None else "all queues"
        log.info(
            "worker %s started: soniq %s on %s, %s, %d at once, %d jobs known, plugins: %s",
            self.id, self._parts.version, self._parts.database.place, queues, self._concurrency,
            len(self._parts.registry.jobs), ", ".join(self._parts.plugins) or "none",
        )  # fmt: skip
