"""The slots of a worker: jobs at hand that wait for one, attempts that run in one, and how many to claim for them."""

import asyncio
import contextvars
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from uuid import UUID

from soniq.definition import CompiledJob, Registry
from soniq.errors import DatabaseError
from soniq.job import Outcome
from soniq.lookup import error_json
from soniq.worker.claim import CANCELLED, SUSPECT, Claimed
from soniq.worker.execute import Attempt, Environment
from soniq.worker.settle import NOT_STARTED, STOPPED, UNKNOWN, UNKNOWN_FOR, Settlement

log = logging.getLogger("soniq.worker")

AHEAD = 0.05
"""Seconds of work that a worker claims ahead."""
STALE = 1.0
"""Seconds after which jobs that were claimed ahead, and could not start, are given back for others to run."""
TELL = 60.0
"""Seconds between two warnings of one unknown name."""
PROBATION = 60.0
"""Seconds in which all suspects that a worker can run at once have been started, each alone at first."""


class Slots:
    """Starts jobs as slots come free. What they come to goes to `settle`, with the queue; `changed` follows each."""

    def __init__(
        self,
        registry: Registry,
        environment: Environment,
        concurrency: int,
        worker_id: Callable[[], str],
        settle: Callable[[Settlement, str], None],
        changed: Callable[[], None],
    ) -> None:
        self._registry = registry
        self._environment = environment
        self._concurrency = concurrency
        self._worker_id = worker_id
        self._settle = settle
        self._changed = changed
        self.count = 0
        """Attempts that were started."""
        self.asked = 0
        """Jobs that are being claimed, at most."""
        self.running: dict[UUID, Attempt] = {}
        self._at_hand: deque[Claimed] = deque()
        self._closed = False  # whether nothing starts any more
        self._moved = 0.0  # when a job last started
        self._seconds = 0.0  # what an attempt takes, as a moving average
        self._suspects = asyncio.Semaphore(1)
        self._told: dict[str, float] = {}  # when a name was last told to be unknown
        self._context = contextvars.copy_context()

    @property
    def busy(self) -> bool:
        """Whether anything runs or waits for a slot."""
        return bool(self.running or self._at_hand)

    @property
    def taken(self) -> int:
        """Attempts that were started, and jobs at hand or being claimed."""
        return self.count + len(self._at_hand) + self.asked

    @property
    def stale(self) -> bool:
        """Whether jobs at hand have not come to start for a while, and others may do better."""
        return bool(self._at_hand) and time.monotonic() - self._moved > STALE

    def room(self) -> int:
        """How many jobs to claim now: for free slots, and ahead what handlers take in some hundredths of a second."""
        ahead = 0
        if self._seconds:
            ahead = min(self._environment.prefetch, int(self._concurrency * AHEAD / self._seconds))
        free = self._concurrency - len(self.running)
        if len(self._at_hand) > (free + ahead) / 2:
            return 0
        return free + ahead - len(self._at_hand)

    def receive(self, claimed: Iterable[Claimed]) -> None:
        """Keep what was claimed at hand."""
        self._at_hand.extend(claimed)

    def hand_back(self, queues: Collection[str] | None = None) -> int:
        """Give back what has not started; how many that are. Where it is all, the next claims are smaller."""
        back = [claimed for claimed in self._at_hand if queues is None or claimed.queue in queues]
        for claimed in back:
            self._at_hand.remove(claimed)
            self._settle(_back(claimed, NOT_STARTED), claimed.queue)
        if queues is None:
            self._seconds = max(self._seconds, STALE)
        return len(back)

    def held(self) -> list[UUID]:
        """The jobs that are here."""
        return [*self.running, *(claimed.id for claimed in self._at_hand)]

    def cancel(self, ids: Sequence[UUID]) -> None:
        """The jobs were cancelled: end the attempts of those that run here, and settle those that wait for a slot."""
        for id_ in ids:
            if id_ in self.running:
                self.running[id_].end("cancelled")
        for claimed in [each for each in self._at_hand if each.id in ids]:
            self._at_hand.remove(claimed)
            self._settle(_ended(claimed, "cancelled", "cancel", "cancelled before it started"), claimed.queue)

    def abandon(self) -> None:
        """The jobs here are others' now: end their attempts, and settle nothing."""
        self._at_hand.clear()
        running, self.running = list(self.running.values()), {}
        for attempt in running:
            attempt.end("lost")

    def close(self) -> None:
        """Start nothing any more, and give back what has not started."""
        self._closed = True
        self.hand_back()

    async def end(self, patience: float) -> None:
        """End what still runs; what has not ended after `patience` seconds is settled as if it had."""
        for attempt in list(self.running.values()):
            attempt.end("stopped")
        tasks = [each.task for each in self.running.values() if each.task is not None and not each.thread]
        if tasks:
            await asyncio.wait(tasks, timeout=patience)
        refused, self.running = list(self.running.values()), {}
        for attempt in refused:
            log.error("job %s (%s) could not be ended, and runs again", attempt.claimed.id, attempt.claimed.name)
        for settlement in await asyncio.gather(*(attempt.give_up() for attempt in refused)):
            self._settle(settlement, "")
        self._environment.deadlines.close()

    def fill(self) -> None:
        """Start jobs at hand while slots are free."""
        while self._at_hand and len(self.running) < self._concurrency and not self._closed:
            self._moved = time.monotonic()
            self._start(self._at_hand.popleft())

    def _start(self, claimed: Claimed) -> None:
        job = self._registry.get(claimed.name)
        if claimed.flags & CANCELLED:
            self._settle(_ended(claimed, "cancelled", "cancel", "cancelled before it started"), claimed.queue)
            return
        if claimed.expired:
            self._settle(_ended(claimed, "cancelled", "cancel", "expired before it started"), claimed.queue)
            return
        if job is None:
            self._settle(self._unknown(claimed), claimed.queue)
            return
        attempt = Attempt(claimed, job, self._worker_id(), self._environment)
        self.running[claimed.id] = attempt
        self.count += 1
        attempt.task = asyncio.create_task(self._attempt(attempt, job), context=self._context.copy())

    def _unknown(self, claimed: Claimed) -> Settlement:
        """What becomes of a job of a name that is not known here; told once a minute for each name."""
        if (claimed.unknown_for or 0.0) > UNKNOWN_FOR:
            return _ended(claimed, "dead", "dead", f"for a day no worker knew a job named {claimed.name!r}")
        if time.monotonic() - self._told.get(claimed.name, -math.inf) > TELL:
            self._told[claimed.name] = time.monotonic()
            log.warning(
                "job %s: no job named %r is known here; it waits for a worker that knows it (told once a minute)",
                claimed.id, claimed.name,
            )  # fmt: skip
        return _back(claimed, UNKNOWN)

    async def _attempt(self, attempt: Attempt, job: CompiledJob) -> None:
        """The task of one attempt: run it, buffer its settlement, start the next."""
        claimed = attempt.claimed
        settlement: Settlement | None = None
        try:
            attempt.begun = True
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
            if self.running.get(claimed.id) is attempt:
                del self.running[claimed.id]
                if settlement is not None:
                    self._settle(settlement, claimed.queue)
            took = time.monotonic() - attempt.started
            self._seconds = took if not self._seconds else self._seconds + (took - self._seconds) * 0.05
            self.fill()
            self._changed()

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
            if not await self._environment.database.fetch("write_start", claimed.id, claimed.claim):
                return None
            attempt.started = time.monotonic()
            return await attempt.run()
        finally:
            timer.cancel()
            let_the_next_begin()


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
