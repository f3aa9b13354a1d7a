"""What is known of one attempt, and what is settled for it."""

import asyncio
import time
from collections.abc import Sequence
from typing import Literal

from soniq.failure import error_json, failure_json
from soniq.job.context import log_fields
from soniq.job.new import NewJob
from soniq.job.outcome import OutcomeKind, outcome_of
from soniq.postgres.results import NO_RESULT, StoredResult
from soniq.registry import CompiledJob
from soniq.text import one_line
from soniq.worker.claimed import Claimed
from soniq.worker.deadlines import Deadline
from soniq.worker.services import Services
from soniq.worker.settling.settlement import FinalStatus, Finish, Requeue, RequeueKind
from soniq.worker.state import WorkerState

Cause = Literal["timeout", "cancelled", "stopped", "lost"]
"""Why an attempt is ended from outside."""


class AttemptRecord:
    """A claimed job with the context of this attempt, and how far it has come."""

    __slots__ = (
        "begun",
        "cause",
        "claimed",
        "ctx",
        "deadline",
        "decided",
        "final",
        "job",
        "put_off",
        "services",
        "started",
        "state",
        "task",
        "thread",
    )

    def __init__(
        self, claimed: Claimed, job: CompiledJob, services: Services, state: WorkerState
    ) -> None:
        self.claimed = claimed
        self.job = job
        self.services = services
        self.state = state
        self.ctx = claimed.context(state.id, state)
        self.started = time.monotonic()

        self.task: asyncio.Task[None] | None = None
        self.deadline: Deadline | None = None
        self.begun = False
        """Whether its task has taken a step: one that has not would be cancelled before it could
        say anything.
        """
        self.thread = False
        """Whether a thread runs the handler now: it cannot be ended, only waited for."""
        self.cause: Cause | None = None
        """Why it was ended from outside, if it was."""
        self.decided = False
        """Whether what it comes to is decided, and nothing ends it from outside any more."""
        self.final = False
        """Whether another attempt would end as this one."""
        self.put_off = 0.0
        """Seconds for which the job may be put off without a charge, where its database was
        away.
        """

    @property
    def timeout(self) -> float | None:
        """Seconds that the attempt may take: the job's own, or that of the enqueue."""
        own = self.job.options.timeout
        return self.claimed.timeout if self.claimed.timeout is not None else own

    @property
    def is_last(self) -> bool:
        """Whether it is the last attempt that the job has."""
        return self.ctx.attempt >= self.ctx.max_attempts

    # --- what is settled -------------------------------------------------------------------------

    def finish(
        self,
        status: FinalStatus,
        kind: OutcomeKind,
        *,
        error: BaseException | None = None,
        reason: str | None = None,
        result: StoredResult = NO_RESULT,
        children: Sequence[NewJob] = (),
    ) -> Finish:
        """The job ends."""
        ctx, took, told = self.ctx, time.monotonic() - self.started, None
        if error is not None:
            told = failure_json(error)
        elif reason is not None:
            told = error_json("JobCancelled", reason, None)

        return Finish(
            id=self.claimed.id,
            claim=self.claimed.claim,
            status=status,
            result=result.reference,
            store=result.store,
            error=told,
            age=took,
            last=ctx.attempt >= ctx.max_attempts,
            children=children,
            ctx=ctx,
            outcome=outcome_of(
                ctx,
                status,
                kind,
                took=took,
                error=error,
                reason=reason,
                result_store=result.store_name,
                result_reference=result.reference,
            ),
        )

    def requeue(
        self,
        back: RequeueKind,
        kind: OutcomeKind,
        *,
        delay: float = 0.0,
        error: BaseException | None = None,
    ) -> Requeue:
        """The job runs again, after `delay` seconds."""
        took = time.monotonic() - self.started
        return Requeue(
            id=self.claimed.id,
            claim=self.claimed.claim,
            kind=back,
            delay=delay,
            error=failure_json(error) if error is not None else None,
            age=took,
            last=self.is_last,
            ctx=self.ctx,
            outcome=outcome_of(self.ctx, "queued", kind, took=took, delay=delay, error=error),
        )

    # --- in logs ---------------------------------------------------------------------------------

    def log_fields(self, outcome: str | None = None) -> dict[str, object]:
        """What a log record about it has, as `extra=` takes it."""
        fields = log_fields(self.ctx, self.ctx.worker_id)
        return fields if outcome is None else {**fields, "outcome": outcome}

    def in_words(self) -> str:
        """The attempt, as log lines name it."""
        ctx = self.ctx
        return (
            f"job {ctx.job_id} ({one_line(ctx.job_name)}, attempt {ctx.attempt} of"
            f" {ctx.max_attempts})"
        )
