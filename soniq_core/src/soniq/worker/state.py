"""What the attempts of a worker share with it: whether it stops, what they report, and how they enqueue children."""

import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from soniq.hooks.values import NewJob
from soniq.ids import JobId

Enqueue = Callable[[Any, tuple[object, ...], Mapping[str, object], list[NewJob]], Awaitable[JobId]]


class WorkerState:
    """One for each worker. Handlers' threads report, the heartbeat's thread takes what they reported."""

    def __init__(self, enqueue: Enqueue) -> None:
        self.enqueue = enqueue
        """Prepares a job and adds it to a list, to be inserted later."""
        self.stopping = False
        self._reports: dict[str, str] = {}
        self._lock = threading.Lock()

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
