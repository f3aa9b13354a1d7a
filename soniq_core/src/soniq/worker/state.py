"""What a worker is just now: its id, its phase, and what its attempts report."""

import asyncio
import threading
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from typing import Any

from soniq.postgres.theirs import fetch_in_theirs
from soniq.worker.deadlines import Deadlines
from soniq.worker.services import Services, WorkerOptions


class Phase(IntEnum):
    """How far a worker's life is."""

    RUNNING = 0
    """It claims and runs jobs, or tries to register."""
    DRAINING = 1
    """It claims no more, and ends when what runs has ended, however long that takes."""
    STOPPING = 2
    """It was told to stop: the loop ends."""
    WINDING_DOWN = 3
    """What runs has grace time, and what has ended is settled."""


class WorkerState:
    """One for each worker. Handlers' threads report, the heartbeat's thread takes what they
    reported.
    """

    def __init__(self, services: Services, options: WorkerOptions) -> None:
        self.id = str(uuid.uuid4())
        """The id of the worker's row; a new one with each registration."""
        self.options = options
        self.phase = Phase.RUNNING
        self.row_missing = False
        """Whether the worker's row was found missing: it is to register again."""

        self.wake = asyncio.Event()
        """Set where the loop is to go round."""
        self.enqueue = services.enqueue
        self._services = services
        self.deadlines = Deadlines()
        self.threads = ThreadPoolExecutor(options.concurrency, thread_name_prefix="soniq job")
        self.without_result: set[str] = set()
        """The jobs of which it was said that their results cannot be stored."""

        self._task: asyncio.Task[Any] | None = None
        self._cancelled_before = 0
        self._reports: dict[str, str] = {}
        self._lock = threading.Lock()

    # --- its phase -------------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        """Whether it claims no more, and ends when what runs has ended."""
        return self.phase is Phase.DRAINING

    @property
    def claiming(self) -> bool:
        """Whether it claims jobs."""
        return self.phase is Phase.RUNNING

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self.phase >= Phase.STOPPING

    @property
    def waits_for_database(self) -> bool:
        """Whether to wait for a database that is away: not between being told to stop and winding
        down. After that outcomes must still be written.
        """
        return self.phase is not Phase.STOPPING

    def advance(self, phase: Phase) -> None:
        """Enter a phase, unless a later one has begun; the loop sees it."""
        self.phase = max(self.phase, phase)
        self.wake.set()

    # --- its registration ------------------------------------------------------------------------

    def renew(self) -> None:
        """Take a new id, to register under it."""
        self.id = str(uuid.uuid4())

    def lose_row(self, worker_id: str) -> None:
        """The row of this id is not there any more: its jobs have been requeued."""
        if worker_id == self.id:
            self.row_missing = True
            self.wake.set()

    def follow(self, task: "asyncio.Task[Any] | None") -> None:
        """The worker runs in this task."""
        self._task, self._cancelled_before = task, task.cancelling() if task else 0

    @property
    def cancelled(self) -> bool:
        """Whether the worker's own task was cancelled, as by `asyncio.run` at its end, with all
        that there are.
        """
        return self._task is not None and self._task.cancelling() > self._cancelled_before

    # --- what its attempts hold ------------------------------------------------------------------

    async def still_claims(self, job_id: str, claim: int, connection: object) -> bool:
        """Whether a claim still stands, held in the open transaction of `connection`."""
        tx = await self._services.adapted(connection)
        failed, query = "it is not known whether the claim stands", "still_claimed"
        rows = await fetch_in_theirs(self._services.database, tx, failed, query, job_id, claim)
        return bool(rows[0][0])

    # --- progress --------------------------------------------------------------------------------

    def report(self, job_id: str, progress: str) -> None:
        """Keep a job's progress, as JSON, for the next heartbeat."""
        with self._lock:
            self._reports[job_id] = progress

    def take_reports(self) -> dict[str, str]:
        """What was reported since the last time, by job."""
        with self._lock:
            reports, self._reports = self._reports, {}
        return reports

    def put_back(self, reports: Mapping[str, str]) -> None:
        """Take back what could not be written; what was reported since counts more."""
        with self._lock:
            self._reports = {**reports, **self._reports}
