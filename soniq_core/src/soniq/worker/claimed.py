"""A claimed job, as the statement that claims returns it."""

import time
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from soniq.job.context import JobContext
from soniq.job.outcome import AttemptRef

if TYPE_CHECKING:
    from soniq.worker.state import WorkerState

SUSPECT, CANCELLED = 1, 2
"""The bits of `Claimed.flags`: its last worker died while it ran; it was cancelled meanwhile."""


class Claimed(NamedTuple):
    """A claimed row, as the SQL function returns it."""

    id: UUID
    claim: int
    flags: int
    name: str
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    args: bytes
    serializer: str
    headers: str | None
    created_at: datetime
    scheduled_at: datetime
    queued_for: float
    timeout: float | None
    deferred_for: float | None
    """Seconds since it was first deferred, where its last attempts could not begin; else None."""
    expires_in: float | None
    holders: list[str] | None
    """Who holds it each time that it comes in."""
    marks: list[str] | None
    """The plugins that must hear how it ends."""
    tags: list[str] | None
    claimed_at: float
    """Monotonic time."""

    @property
    def lane(self) -> tuple[str, int]:
        """Where it was."""
        return self.queue, self.priority

    @property
    def expired(self) -> bool:
        """Whether it is too late to start the job."""
        return self.expires_in is not None and time.monotonic() - self.claimed_at >= self.expires_in

    @property
    def ref(self) -> AttemptRef:
        """What names the job, in outcomes and log records, before its attempt begins."""
        return AttemptRef(
            job_id=str(self.id),
            job_name=self.name,
            queue=self.queue,
            attempt=self.attempt,
            claim=self.claim,
            worker_id=None,
            queued_for=self.queued_for,
            json_headers=self.headers,
            tags=self.tags or (),
            marks=self.marks or (),
        )

    def context(self, worker_id: str, state: "WorkerState | None" = None) -> JobContext:
        """The context of the attempt that this claim begins."""
        return JobContext(
            job_id=str(self.id),
            job_name=self.name,
            attempt=self.attempt + 1,
            max_attempts=self.max_attempts,
            queue=self.queue,
            worker_id=worker_id,
            scheduled_at=self.scheduled_at,
            created_at=self.created_at,
            headers=self.headers,
            payload_size=len(self.args),
            queued_for=self.queued_for,
            claim=self.claim,
            tags=self.tags,
            marks=self.marks,
            state=state,
        )
