"""What became of jobs: settlements on their way to the database, what follows once they are
written, and where one is refused.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from soniq.errors import PluginError
from soniq.failure import error_json, type_name
from soniq.job.context import JobContext, log_fields
from soniq.job.outcome import Outcome
from soniq.postgres.driver_errors import words
from soniq.tracebacks import without_traceback
from soniq.worker.claimed import Claimed
from soniq.worker.claims import Claims
from soniq.worker.lanes import Lanes
from soniq.worker.services import Services
from soniq.worker.settling.exchange import Exchange
from soniq.worker.settling.settlement import (
    POSTGRESQL,
    FinalStatus,
    Finish,
    Requeue,
    RequeueKind,
    Settlement,
)
from soniq.worker.state import WorkerState

log = logging.getLogger("soniq.worker")

RETRY_REFUSED = 1.0
"""Seconds after which an attempt is tried again whose outcome was refused."""
REWRITE_END = 60.0
"""Seconds after which the end of a job is written again that PostgreSQL did not take."""
AFTER_DUE = 0.005
"""Seconds after a job is due at which it is looked for."""


class Outcomes:
    """Takes what attempts come to, and tells it once it is written."""

    def __init__(
        self, services: Services, state: WorkerState, claims: Claims, lanes: Lanes
    ) -> None:
        self._services = services
        self._state = state
        self._claims = claims
        self._lanes = lanes
        self._back_soon: dict[UUID, tuple[str, int]] = {}
        """Jobs that go back for less than a poll interval, until that is written: their lanes."""
        debug = services.settings.log_jobs == "debug"
        self._job_level = logging.DEBUG if debug else logging.INFO

    def settle(self, settlement: Settlement, claimed: Claimed | None = None) -> None:
        """Send a settlement with the next exchange; a job that goes back to its lane for a moment
        only is looked for after it. Where a plugin may let another go in its place, the exchange
        looks into its lane.
        """
        self._claims.pending.add(settlement)
        outcome = settlement.outcome
        if claimed and claimed.marks and outcome and self._services.settle_tx.in_sql(outcome):
            self._lanes.heat([claimed.lane])
        if (
            claimed is not None
            and isinstance(settlement, Requeue)
            and (settlement.kind in (RequeueKind.SNOOZED, RequeueKind.FAILED) or settlement.marks)
            and settlement.delay < self._services.settings.poll_interval
        ):
            self._back_soon[settlement.id] = claimed.lane

        self._state.wake.set()

    def _look_into(self, lane: tuple[str, int]) -> None:
        self._lanes.heat([lane])
        self._state.wake.set()

    async def exchanged(self, settlements: Sequence[Settlement], exchange: Exchange) -> None:
        """An exchange is over: keep what it left, fail what was refused, tell of the rest."""
        for left in exchange.left:
            self._claims.pending.add(left)
        if self._back_soon:
            self._look_in_time(settlements, exchange)
        for settlement, error in exchange.refused:
            await self._refused(settlement, error)
        if settlements:
            await self._tell(settlements, exchange)

    def _look_in_time(self, settlements: Sequence[Settlement], exchange: Exchange) -> None:
        """Look for jobs that went back once they are due: that is counted from when it was written,
        however long that took, and however often it was refused before.
        """
        loop = asyncio.get_running_loop()
        unwritten = {s.id for s in exchange.left} | {s.id for s, _ in exchange.refused}
        for each in settlements:
            if each.id in self._back_soon and each.id not in unwritten:
                lane = self._back_soon.pop(each.id)
                if isinstance(each, Requeue):
                    loop.call_later(each.delay + AFTER_DUE, self._look_into, lane)
        if not (self._claims.pending or exchange.refused):
            self._back_soon.clear()  # those that were settled elsewhere

    # --- telling ---------------------------------------------------------------------------------

    async def _tell(self, settlements: Sequence[Settlement], exchange: Exchange) -> None:
        """Log what was written, and tell `settled` of it."""
        if exchange.lost:
            log.warning(
                "lost lease: %d settlements changed nothing, as their jobs had been requeued",
                len(exchange.lost),
            )
        logged = log.isEnabledFor(self._job_level)
        if not (logged or self._services.settled):
            return

        missing = (
            {s.id for s in exchange.left} | {s.id for s, _ in exchange.refused} | exchange.lost
        )
        settled = [s for s in settlements if s.outcome is not None and s.id not in missing]
        if logged:
            for each in settled:
                self._log(each)
        outcomes = [s.outcome for s in settled if s.outcome is not None]
        if outcomes and self._services.settled:
            await self._services.settled(outcomes)

    def _log(self, settlement: Settlement) -> None:
        """A line for a job that is done or snoozed. Of what did not succeed the attempt itself has
        told.
        """
        outcome = settlement.outcome
        if outcome is None or outcome.kind not in ("done", "snooze"):
            return

        done = outcome.kind == "done"
        seconds = (outcome.took if done else outcome.delay) or 0.0
        log.log(
            self._job_level,
            "job %s (%s, attempt %d) done in %.3f s"
            if done
            else "job %s (%s, attempt %d) is snoozed for %.1f s",
            outcome.job_id,
            outcome.job_name,
            outcome.attempt,
            seconds,
            extra={
                **log_fields(outcome, self._state.id),
                "outcome": outcome.kind,
                "seconds": seconds,
            },
        )

    # --- refusals --------------------------------------------------------------------------------

    async def _refused(self, settlement: Settlement, error: Exception) -> None:
        """Fail an attempt whose outcome PostgreSQL, or the `settle_tx` of a plugin, does not take.

        What a plugin does not take even then is settled without it. Where PostgreSQL does not take
        the end of a job, the job goes back, charged and with the error, and ends once that can be
        written; the handler runs no more often than it may. Only what cannot be written in any way
        is left to the rescue.
        """
        fields = log_fields(settlement.about, self._state.id) if settlement.about else None
        without_traceback(error)
        who = error.plugin if isinstance(error, PluginError) else POSTGRESQL
        settlement = msgspec.structs.replace(settlement, refusals=(*settlement.refusals, who))
        done = isinstance(settlement, Finish) and settlement.status == "done"
        if isinstance(error, PluginError):
            if who in settlement.given_up:
                log.error(
                    "job %s is settled without the plugin that refuses it: %s",
                    settlement.id,
                    error,
                    extra=fields,
                )
            if not done:
                self._claims.pending.add(settlement)
                return
        elif who in settlement.given_up:
            log.error(
                "job %s cannot be settled in any way; it is orphaned until a rescue requeues"
                " it: %s",
                settlement.id,
                words(error),
                extra=fields,
            )
            return

        log.error(
            "job %s: its outcome cannot be written, and the attempt fails: %s",
            settlement.id,
            words(error),
            extra=fields,
        )
        failed = _failed(settlement, error)
        if done:
            await self._tell_on_error(settlement.ctx, failed.outcome, error)
        self._claims.pending.add(failed)

    async def _tell_on_error(
        self, ctx: JobContext | None, outcome: Outcome | None, error: Exception
    ) -> None:
        """Tell `on_error` of an attempt that had succeeded until its outcome was refused."""
        job = ctx and self._services.registry.get(ctx.job_name)
        if ctx is not None and job and job.on_error:
            ctx.outcome = outcome
            await job.on_error(ctx, error)


def _failed(settlement: Settlement, error: Exception) -> Settlement:
    """What is written in place of a refused outcome."""
    again = settlement.refusals.count(POSTGRESQL) > 1  # the end of the job is refused, too
    delay = REWRITE_END if again else RETRY_REFUSED
    before = settlement.outcome
    status = None if again else _status_of_failed(settlement)
    kind = before.kind if before and status == before.status else "dead" if status else "retry"
    common: dict[str, Any] = {
        "id": settlement.id,
        "claim": settlement.claim,
        "ctx": settlement.ctx,
        "age": settlement.age,
        "last": settlement.last,
        "refusals": settlement.refusals,
        "error": error_json(type_name(error), f"the outcome was refused: {words(error)}", None),
        "outcome": before
        and msgspec.structs.replace(
            before,
            status=status or "queued",
            kind=kind,
            delay=None if status else delay,
            error=error,
            result_store=None,
            result_reference=None,
        ),
    }
    if status is not None:
        return Finish(status=status, **common)

    own_kind = settlement.kind if isinstance(settlement, Requeue) else RequeueKind.NOT_STARTED
    return Requeue(
        kind=RequeueKind.FAILED if before else own_kind,
        delay=delay,
        **common,
    )


def _status_of_failed(settlement: Settlement) -> FinalStatus | None:
    """What a job becomes whose outcome is refused for the first time; None: it runs again."""
    if not isinstance(settlement, Finish):
        return None
    if settlement.status == "done":
        return "dead" if settlement.last else None
    return settlement.status
