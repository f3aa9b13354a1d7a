"""A worker's life: register, claim and run until it is told to stop, hand back, say goodbye."""

import asyncio
import contextvars
import logging
import os
import random
import signal
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec

from soniq.definition import CompiledJob, Registry
from soniq.errors import DatabaseError, DatabaseUnavailable
from soniq.hooks.dispatch import Observers
from soniq.hooks.values import ResultStore, Serializer, Task
from soniq.job import JobContext, Outcome
from soniq.lookup import CANCEL, error_json
from soniq.postgres.connections import Database
from soniq.worker.claim import CANCELLED, EXPIRED, SUSPECT, Claimed, Claimer, Exchange
from soniq.worker.deadlines import Deadlines
from soniq.worker.execute import Attempt, Environment, type_name
from soniq.worker.lanes import Lanes
from soniq.worker.lease import Heartbeat
from soniq.worker.listen import Listener
from soniq.worker.maintenance import Maintenance
from soniq.worker.settle import FAILED, NOT_STARTED, STOPPED, UNKNOWN, Settlement
from soniq.worker.tasks import Tasks

log = logging.getLogger("soniq.worker")

UNKNOWN_FOR = 86_400.0
"""Seconds after which a job whose name no worker knows is dead."""
AHEAD = 0.05
"""Seconds of work that a worker claims ahead."""
PROBATION = 60.0
"""Seconds in which all suspects that a worker can run at once have been started, each alone at first."""
STALE = 1.0
"""Seconds after which jobs that were claimed ahead, and could not start, are given back for others to run."""
LAST_WORDS = 5.0
"""Seconds that attempts have to end once they are told to, and the last outcomes to be written, when a worker stops."""
DROWSY = 0.02
"""Seconds without work after which a worker says that it sleeps, and looks once more."""


class WorkerParts(msgspec.Struct, frozen=True):
    """What a worker needs of its app."""

    database: Database
    registry: Registry
    serializers: Mapping[str, Serializer]
    stores: Mapping[str, ResultStore]
    claimed: Observers
    settled: Observers
    tasks: Sequence[tuple[str, Task]]
    version: str
    plugins: Sequence[str]


class Worker:
    """Runs jobs of one app in this process."""

    def __init__(
        self, parts: WorkerParts, *, concurrency: int, queues: Sequence[str] | None, run_once: bool, signals: bool
    ) -> None:
        database = parts.database
        settings = database.settings
        self._parts = parts
        database.handlers = max(database.handlers, concurrency)
        self._settings = settings
        self._concurrency = concurrency
        self._queues = list(queues) if queues is not None else None
        self._run_once = run_once
        self._signals = signals
        self.id = str(uuid.uuid4())
        self.count = 0
        """Attempts that were started."""
        self._lanes = Lanes()
        self._winding_down = False
        self._claimer = Claimer(database, lambda: self.id, self._held, lambda: not self._stopping or self._winding_down)
        self._buffer: deque[Claimed] = deque()
        self._running: dict[uuid.UUID, Attempt] = {}
        self._settlements: list[Settlement] = []
        self._sending: list[Settlement] = []  # those of the exchange under way
        self._locked = False  # whether somebody else had rows of settlements locked
        self._wake = asyncio.Event()
        self.finished = asyncio.Event()
        """Set once `run` is over."""
        self._stopping = False
        self._hurried = False  # whether running attempts have no grace time, or no more of it
        self._grace: asyncio.Timeout | None = None
        self._suspects = asyncio.Semaphore(1)
        self._moved = 0.0  # when a job last started
        self._seconds = 0.0  # what an attempt takes, as a moving average
        self._poll_at = 0.0
        self._buried = False  # whether the worker's row was found missing
        self._waiting = False  # what the worker's row says
        self._context = contextvars.copy_context()
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="soniq job")
        self._deadlines = Deadlines()
        self._environment = Environment(
            database, parts.serializers, tuple(parts.stores.values()), self._threads, settings.max_payload
        )

    def stop(self, *, now: bool = False) -> None:
        """Stop claiming, hand back what has not started, let the rest end within the grace time; `now`: at once."""
        if now and not self._hurried:
            log.warning("stopping now: %d attempts run, and are ended", len(self._running))
            self._hurried = True
            if self._grace is not None:
                self._grace.reschedule(asyncio.get_running_loop().time())
        elif not self._stopping:
            log.info("stopping: %d attempts run, and have %g s to end", len(self._running), self._settings.grace)
        self._stopping = True
        self._wake.set()

    async def run(self) -> int:
        """Work until stopped, or with `run_once` until nothing is due; how many attempts were started."""
        await self._register()
        heartbeat = Heartbeat(
            self._parts.database, lambda: self.id, self._started, self._cancel_all, self._taken_for_dead
        )
        heartbeat.start()
        maintenance = Maintenance(
            self._parts.database, self._parts.registry, self._parts.stores, self._claimer, self._lanes,
            self._parts.settled, self._look_again,
        )  # fmt: skip
        tasks = Tasks(self._parts.database, lambda: self.id)
        tasks.start([*maintenance.tasks(), *self._parts.tasks])
        listening = None
        if not self._run_once and not self._settings.pgbouncer:
            listening = asyncio.create_task(Listener(self._parts.database, self._heard).run(), name="soniq listen")
        restore = self._install_signals()
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
                restore()
                if listening is not None:
                    listening.cancel()
                    with suppress(asyncio.CancelledError):
                        await listening
                await tasks.stop()
                await heartbeat.stop()
                await self._say_goodbye()
        return self.count

    # --- the loop -------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Settle and claim, again and again; attempts run beside it."""
        self._poll_at = self._next_poll()
        idle_since: float | None = None
        while not self._stopping:
            self._wake.clear()
            if self._buried:
                await self._begin_again()
            if time.monotonic() >= self._poll_at:
                await self._poll()
            room = self._room()
            looking = room > 0 and self._lanes.hot
            if looking or self._settlements:
                found = await self._exchange(room if looking else 0)
                if found or not looking or self._lanes.hot:
                    idle_since = None
                    continue
            if self._running or self._buffer:
                idle_since = None
                await self._sleep(self._poll_at)
                continue
            if self._settlements or self._wake.is_set():
                continue
            if self._run_once:
                if await self._nothing_is_due():
                    return
                continue
            idle_since = idle_since or time.monotonic()
            if not self._waiting and time.monotonic() - idle_since >= DROWSY:
                await self._set_waiting(True)
                self._lanes.wake()
                continue
            await self._sleep(self._poll_at if self._waiting else min(self._poll_at, idle_since + DROWSY))

    async def _poll(self) -> None:
        """What is done once in a poll interval: learn new lanes, look into all, give back what cannot start soon."""
        self._poll_at = self._next_poll()
        try:
            await self._learn_lanes()
            if self._waiting and self._running:
                await self._set_waiting(False)
        except DatabaseError as error:
            log.warning("the database is away: %s", error)
        self._lanes.wake()
        if self._buffer and time.monotonic() - self._moved > STALE:
            log.info("giving back %d jobs: the attempts that run take longer than those before", len(self._buffer))
            self._settlements += [_back(each, NOT_STARTED) for each in self._buffer]
            self._buffer.clear()
            self._seconds = max(self._seconds, STALE)

    async def _exchange(self, limit: int) -> int:
        """One exchange with the database, and what follows from it; how many jobs it brought."""
        settlements, self._settlements = self._settlements, []
        lanes = self._lanes.ask() if limit else ([], [], [], [])
        self._sending = settlements
        try:
            exchange = await self._claimer.exchange(settlements, lanes, limit, around_locks=self._locked)
        except BaseException:
            self._settlements = [*settlements, *self._settlements]  # to be sent again; twice does no harm
            raise
        finally:
            self._sending = []
        self._locked = bool(exchange.left)
        if exchange.looked and exchange.registered:
            self._lanes.answer([(c.queue, c.priority, c.scheduled_at, c.id) for c in exchange.claimed], limit)
        self._settlements.extend(exchange.left)
        for settlement, error in exchange.refused:
            self._settle_refused(settlement, error)
        if settlements:
            await self._tell_settled(settlements, exchange)
        self._buried = self._buried or not exchange.registered
        if exchange.claimed:
            await self._receive(exchange.claimed)
        elif exchange.left:
            await asyncio.sleep(0.1)
        return len(exchange.claimed)

    async def _receive(self, claimed: Sequence[Claimed]) -> None:
        """Start what was claimed, as far as there is room, and keep the rest at hand."""
        if self._parts.claimed:
            await self._parts.claimed([_context(each, self.id) for each in claimed])
        self._buffer.extend(claimed)
        self._fill()

    def _room(self) -> int:
        """How many jobs to claim now: for free slots, and ahead what handlers take in some hundredths of a second."""
        ahead = 0
        if self._seconds:
            ahead = min(self._settings.prefetch, int(self._concurrency * AHEAD / self._seconds))
        free = self._concurrency - len(self._running)
        if len(self._buffer) > (free + ahead) / 2:
            return 0
        return free + ahead - len(self._buffer)

    def _fill(self) -> None:
        """Start buffered jobs while slots are free."""
        while self._buffer and len(self._running) < self._concurrency and not self._stopping:
            self._moved = time.monotonic()
            self._start(self._buffer.popleft())

    def _start(self, claimed: Claimed) -> None:
        job = self._parts.registry.get(claimed.name)
        if job is None or claimed.flags & (EXPIRED | CANCELLED):
            self._settlements.append(_without_running(claimed, known=job is not None))
            self._wake.set()
            return
        attempt = Attempt(claimed, job, self.id, self._environment)
        self._running[claimed.id] = attempt
        self.count += 1
        if attempt.timeout is not None and not claimed.flags & SUSPECT:
            self._deadlines.add(attempt, attempt.timeout)
        attempt.task = asyncio.create_task(self._attempt(attempt, job), context=self._context.copy())

    async def _attempt(self, attempt: Attempt, job: CompiledJob) -> None:
        """The task of one attempt: run it, buffer its settlement, start the next."""
        claimed = attempt.claimed
        settlement: Settlement | None = None
        try:
            if claimed.flags & SUSPECT:
                settlement = await self._on_probation(attempt)
            else:
                settlement = await attempt.run()
        except DatabaseError as error:
            log.warning("job %s (%s) could not be started: %s", claimed.id, claimed.name, error)
            settlement = _back(claimed, NOT_STARTED)
        except asyncio.CancelledError:  # ended before it could say so
            settlement = _back(claimed, NOT_STARTED if claimed.flags & SUSPECT else STOPPED, attempt)
        except Exception as error:
            log.exception("job %s (%s): the attempt could not be judged", claimed.id, claimed.name)
            settlement = attempt.unjudged(error)
        finally:
            attempt.deadline = None
            if self._running.get(claimed.id) is attempt:
                del self._running[claimed.id]
                if settlement is not None:
                    self._settlements.append(settlement)
                    if settlement.status is None and settlement.delay < self._settings.poll_interval:
                        self._look_later(claimed.queue, settlement.delay)
            took = time.monotonic() - attempt.started
            self._seconds = took if not self._seconds else self._seconds + (took - self._seconds) * 0.05
            self._fill()
            self._wake.set()

    async def _on_probation(self, attempt: Attempt) -> Settlement | None:
        """Write down that a suspect starts, so that a job that kills its worker is found, and run it.

        Suspects begin one after the other, so that a killer's neighbours have not been written down when it kills.
        """
        claimed, over = attempt.claimed, False

        def let_the_next_begin() -> None:
            nonlocal over
            if not over:
                over = True
                self._suspects.release()

        await self._suspects.acquire()
        timer = asyncio.get_running_loop().call_later(PROBATION / self._concurrency, let_the_next_begin)
        try:
            if not await self._parts.database.fetch("write_start", claimed.id, claimed.claim):
                return None
            attempt.started = time.monotonic()
            if attempt.timeout is not None:
                self._deadlines.add(attempt, attempt.timeout)
            return await attempt.run()
        finally:
            timer.cancel()
            let_the_next_begin()

    async def _tell_settled(self, settlements: Sequence[Settlement], exchange: Exchange) -> None:
        if exchange.lost:
            log.warning("%d settlements changed nothing: the jobs had been taken from this worker", len(exchange.lost))
        if self._parts.settled:
            missing = {s.id for s in exchange.left} | {s.id for s, _ in exchange.refused} | exchange.lost
            outcomes = [s.outcome for s in settlements if s.outcome is not None and s.id not in missing]
            if outcomes:
                await self._parts.settled(outcomes)

    def _settle_refused(self, settlement: Settlement, error: Exception) -> None:
        """Fail an attempt whose outcome PostgreSQL does not take; if not even that, leave it to the rescue."""
        if settlement.error is None and settlement.result is None:
            log.error("job %s cannot be settled, and runs again when this worker has ended: %s", settlement.id, error)
            return
        log.error("the outcome of job %s cannot be written, and its attempt fails: %s", settlement.id, error)
        told = None if settlement.error else error_json(type_name(error), f"the outcome was refused: {error}", None)
        status = settlement.status
        if status == "done":
            status = "dead" if settlement.last else None
        outcome = settlement.outcome and msgspec.structs.replace(
            settlement.outcome, status=status or "queued", kind="dead" if status else "retry", error=error
        )
        self._settlements.append(
            msgspec.structs.replace(
                settlement, status=status, outcome=outcome, result=None, store=None, error=told,
                back=settlement.back or FAILED, delay=settlement.delay or 1.0,
            )
        )  # fmt: skip

    # --- waiting --------------------------------------------------------------------------------------------------

    async def _sleep(self, until: float) -> None:
        """Sleep until something happens, or a monotonic time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._wake.wait()

    def _next_poll(self) -> float:
        return time.monotonic() + self._settings.poll_interval * random.uniform(0.8, 1.2)

    async def _nothing_is_due(self) -> bool:
        """Look into every lane once more."""
        await self._learn_lanes()
        self._lanes.wake()
        while self._lanes.hot:
            if await self._exchange(self._room()):
                return False
        return not (self._running or self._buffer or self._settlements)

    async def _learn_lanes(self) -> None:
        rows = await self._parts.database.fetch("lanes", self._queues)
        self._lanes.add((row["queue"], row["priority"]) for row in rows)

    def _heard(self, messages: list[str]) -> None:
        """A notification came: names of queues, a job to be cancelled, or nothing, which may be anything."""
        queues = [message for message in messages if not message.startswith(CANCEL)]
        self._cancel_all([uuid.UUID(m.removeprefix(CANCEL)) for m in messages if m.startswith(CANCEL)])
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
        except DatabaseError as error:
            log.warning("the database is away: %s", error)

    # --- leases ---------------------------------------------------------------------------------------------------

    def _started(self) -> list[uuid.UUID]:
        return list(self._running)

    def _held(self) -> list[uuid.UUID]:
        settlements = (s.id for s in [*self._settlements, *self._sending])
        return [*self._running, *(c.id for c in self._buffer), *settlements]

    def _cancel_all(self, ids: Sequence[uuid.UUID]) -> None:
        for id_ in ids:
            attempt = self._running.get(id_)
            if attempt is not None:
                attempt.end("cancelled")

    def _taken_for_dead(self, worker_id: str) -> None:
        if worker_id == self.id:
            self._buried = True
            self._wake.set()

    async def _begin_again(self) -> None:
        """This worker's row was removed: its jobs are others' now. Start again under a new id."""
        log.error("worker %s was silent for longer than its lease, and its jobs were given to others", self.id)
        self._buffer.clear()
        self._settlements.clear()
        running, self._running = list(self._running.values()), {}
        for attempt in running:
            attempt.end("lost")
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

    def _install_signals(self) -> Callable[[], None]:
        if not self._signals or threading.current_thread() is not threading.main_thread():
            return lambda: None
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        previous = [signal.getsignal(number) for number in numbers]
        for number in numbers:
            loop.add_signal_handler(number, lambda: self.stop(now=self._stopping))  # the second one ends the grace

        def restore() -> None:
            for number, handler in zip(numbers, previous, strict=True):
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

        return restore

    async def _wind_down(self) -> None:
        """Hand back what has not started, let the rest end within the grace time, and requeue what has not."""
        self._stopping = self._winding_down = True
        ends = time.monotonic() + (0.0 if self._hurried else self._settings.grace)
        self._settlements += [_back(each, NOT_STARTED) for each in self._buffer]
        self._buffer.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, ends - time.monotonic())) as self._grace:
                while self._running:
                    self._wake.clear()
                    if self._settlements:
                        await self._exchange(0)
                    else:
                        await self._sleep(ends)
        self._grace = None
        ends = time.monotonic() if self._hurried else ends
        for attempt in list(self._running.values()):
            attempt.end("stopped")
        tasks = [a.task for a in self._running.values() if a.task is not None and not a.thread]
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS)
        for attempt in list(self._running.values()):
            log.error("job %s (%s) could not be ended, and runs again", attempt.claimed.id, attempt.claimed.name)
            self._settlements.append(await attempt.give_up())
        self._running.clear()
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
        self._deadlines.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._claimer.close()
        try:
            await self._parts.database.fetch("unregister_worker", self.id)
        except DatabaseError as error:
            log.warning("the worker's row stays until its lease is over: %s", error)
        log.info("worker %s stopped after %d attempts", self.id, self.count)

    def _say_hello(self) -> None:
        queues = ", ".join(self._queues) if self._queues is not None else "all queues"
        log.info(
            "worker %s started: soniq %s on %s, %s, %d at once, %d jobs known, plugins: %s",
            self.id, self._parts.version, self._parts.database.place, queues, self._concurrency,
            len(self._parts.registry.jobs), ", ".join(self._parts.plugins) or "none",
        )  # fmt: skip


def _without_running(claimed: Claimed, *, known: bool) -> Settlement:
    """What becomes of a job that does not start: cancelled, expired, or of a name that is not known here."""
    if claimed.flags & CANCELLED:
        return _ended(claimed, "cancelled", "cancel", "cancelled before it started")
    if claimed.flags & EXPIRED:
        return _ended(claimed, "cancelled", "cancel", "expired before it started")
    assert not known
    if (claimed.unknown_for or 0.0) > UNKNOWN_FOR:
        return _ended(claimed, "dead", "dead", f"for a day no worker knew a job named {claimed.name!r}")
    log.warning("job %s: no job named %r is known here; it waits for a worker that knows it", claimed.id, claimed.name)
    return _back(claimed, UNKNOWN)


def _ended(claimed: Claimed, status: str, kind: str, reason: str) -> Settlement:
    return Settlement(
        id=claimed.id, claim=claimed.claim, status=status,
        error=error_json("UnknownJob" if status == "dead" else "JobCancelled", reason, None),
        outcome=Outcome(
            job_id=str(claimed.id), job_name=claimed.name, queue=claimed.queue, attempt=claimed.attempt,
            status=status, kind=kind, reason=reason,
        ),
    )  # fmt: skip


def _back(claimed: Claimed, kind: int, attempt: Attempt | None = None) -> Settlement:
    age = time.monotonic() - attempt.started if attempt is not None else None
    return Settlement(id=claimed.id, claim=claimed.claim, back=kind, age=age)


def _context(claimed: Claimed, worker_id: str) -> JobContext:
    return JobContext(
        job_id=str(claimed.id), job_name=claimed.name, attempt=claimed.attempt + 1, max_attempts=claimed.max_attempts,
        queue=claimed.queue, worker_id=worker_id, scheduled_at=claimed.scheduled_at, created_at=claimed.created_at,
        headers=claimed.headers, payload_size=len(claimed.args), queued_for=claimed.queued_for,
    )  # fmt: skip
