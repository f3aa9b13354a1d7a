"""Whether a claimed job may start; where not, what is settled for it."""

import logging
import math
import time

import msgspec

from soniq.failure import error_json
from soniq.job.context import log_fields
from soniq.job.outcome import outcome_of
from soniq.registry import CompiledJob
from soniq.text import one_line
from soniq.worker.claimed import CANCELLED, Claimed
from soniq.worker.settling.settlement import (
    UNKNOWN_FOR,
    FinalStatus,
    Finish,
    Requeue,
    RequeueKind,
    Settlement,
)
from soniq.worker.state import WorkerState

log = logging.getLogger("soniq.worker")

WARN_AGAIN = 60.0
"""Seconds between two warnings of one unknown name."""


class Admission:
    """Looks at jobs that are about to start."""

    def __init__(self, state: WorkerState) -> None:
        self._state = state
        self._warned: dict[str, float] = {}  # when a name was last told to be unknown

    def refuse(self, claimed: Claimed, job: CompiledJob | None) -> Settlement | None:
        """What is settled where the job may not start; None where it may. `job`: as it runs here,
        None where its name is not known.
        """
        if claimed.attempt >= claimed.max_attempts:
            # Its end could not be written before; its error is in the row
            dead = self._finish(claimed, "dead", "all attempts are used")
            return msgspec.structs.replace(dead, error=None)
        if claimed.flags & CANCELLED:
            return self.cancelled(claimed)
        if claimed.expires_in is not None and claimed.expired:
            return self._finish(claimed, "cancelled", "expired before it started")
        if job is None:
            return self._unknown(claimed)
        return self._without(claimed, job) if job.holders or job.marks else None

    def cancelled(self, claimed: Claimed) -> Finish:
        """What is settled for a job that was cancelled before it started."""
        return self._finish(claimed, "cancelled", "cancelled before it started")

    def _unknown(self, claimed: Claimed) -> Settlement:
        """What becomes of a job of a name that is not known here; told once a minute for each
        name.
        """
        if (claimed.deferred_for or 0.0) > UNKNOWN_FOR:
            reason = f"for a day no worker knew a job named {claimed.name!r}"
            return self._finish(claimed, "dead", reason)

        if time.monotonic() - self._warned.get(claimed.name, -math.inf) > WARN_AGAIN:
            self._warned[claimed.name] = time.monotonic()
            log.warning(
                "job %s: no job named %r is known here; it is requeued for a worker that "
                "knows it (logged at most once a minute)",
                claimed.id,
                one_line(claimed.name),
                extra=log_fields(claimed.ref, self._state.id),
            )
        return requeued(claimed, RequeueKind.DEFERRED)

    def _without(self, claimed: Claimed, job: CompiledJob) -> Requeue | None:
        """What becomes of a job that came in without those who hold all of its name, or without
        their marks: from SQL, or from a program without their plugins.
        """
        holders = tuple(each for each in job.holders if each not in (claimed.holders or ()))
        marks = tuple(each for each in job.marks if each not in (claimed.marks or ()))
        if not (holders or marks):
            return None

        log.info(
            "job %s (%s) came in without what %s put on each of its name, and gets that before it"
            " starts",
            claimed.id,
            one_line(claimed.name),
            one_line(", ".join(dict.fromkeys([*holders, *marks]))),
            extra=log_fields(claimed.ref, self._state.id),
        )
        back = requeued(claimed, RequeueKind.NOT_STARTED)
        return msgspec.structs.replace(back, holders=holders, marks=marks)

    def _finish(self, claimed: Claimed, status: FinalStatus, reason: str) -> Finish:
        """What is settled for a job that ends without having started."""
        dead = status == "dead"
        ref = claimed.ref._replace(worker_id=self._state.id)
        log.log(
            logging.ERROR if dead else logging.INFO,
            "job %s (%s) %s: %s",
            claimed.id,
            one_line(claimed.name),
            "is dead" if dead else "was cancelled",
            reason,
            extra=log_fields(ref, self._state.id),
        )

        return Finish(
            id=claimed.id,
            claim=claimed.claim,
            status=status,
            error=error_json("UnknownJob" if dead else "JobCancelled", reason, None),
            outcome=outcome_of(ref, status, "dead" if dead else "cancel", reason=reason),
        )


def requeued(claimed: Claimed, kind: RequeueKind, age: float | None = None) -> Requeue:
    """What is settled for a job that goes back to its queue; `age`: seconds since it started."""
    return Requeue(id=claimed.id, claim=claimed.claim, ref=claimed.ref, kind=kind, age=age)
