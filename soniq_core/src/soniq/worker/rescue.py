"""The jobs of workers whose lease expired: requeued, or ended where that was their last
attempt.
"""

import logging
import random
import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

import asyncpg

from soniq.errors import PluginError, WorkerLost
from soniq.failure import error_json, type_name
from soniq.job.context import JobContext, log_fields
from soniq.job.outcome import Outcome, outcome_of
from soniq.postgres.connections import transaction
from soniq.postgres.driver_errors import RETRYABLE_ERRORS
from soniq.postgres.gaps import over_gaps
from soniq.postgres.overview import worker_status
from soniq.postgres.refs import attempt_of
from soniq.text import counted
from soniq.worker.background import repeat
from soniq.worker.polling import Poller
from soniq.worker.services import Services
from soniq.worker.settling.exchange import Claimer
from soniq.worker.settling.refusals import Refused, over_refusals

log = logging.getLogger("soniq.worker")

WORKER_LOST = error_json(
    type_name(WorkerLost("")), "the lease of the worker expired while it ran this attempt", None
)

LOOK_AT_ALL = 60.0
"""Seconds between two looks at all running jobs, for those that nobody runs."""


class Rescued(NamedTuple):
    """A job that was rescued: its row, and what became of it."""

    row: asyncpg.Record
    outcome: Outcome

    @property
    def counts(self) -> bool:
        """Whether the attempt counts, or the job has ended; else it only goes back."""
        return self.outcome.status != "queued" or bool(self.row["charged"])


class Rescue:
    """Finds workers whose lease is over, and requeues their jobs."""

    def __init__(self, services: Services, claimer: Claimer, poller: Poller) -> None:
        self._services = services
        self._database = services.database
        self._claimer = claimer
        self._poller = poller
        self._looked = time.monotonic()

    async def run(self) -> None:
        """Requeue the jobs of dead workers: after a death, and once a minute whatever came
        between.
        """
        self._looked = time.monotonic()
        await repeat(self.look)

    async def look(self) -> float:
        """Requeue the jobs of workers that died since the last look; seconds until the next."""
        lost = await self._database.fetch("remove_lost_workers")
        if lost or time.monotonic() - self._looked > LOOK_AT_ALL:
            self._looked = time.monotonic()
            try:
                await self.rescue()
            finally:
                if lost:  # of which nobody hears again
                    await self._services.workers_lost(
                        [worker_status(row["worker"]) for row in lost]
                    )
            async with self._database.acquire() as connection:
                await self._claimer.requeue_unreceived(connection, claimed_for=LOOK_AT_ALL / 2)
        return self._services.settings.lease / 3 * random.uniform(0.8, 1.0)

    async def rescue(self) -> None:
        """Rescue the jobs of workers that are gone, and tell the observers; one by one where a
        `settle_tx` refuses.
        """
        try:
            await self._rescued(await self._rescue_some(None))
        except _RescueRefused as refused:
            for each in refused.jobs:
                await self._rescued(await self._rescue_one(each))

    async def _rescue_some(
        self, ids: Sequence[object] | None, without: Collection[str] = ()
    ) -> Sequence[Rescued]:
        """Rescue orphans, all or some, in one transaction; once more where that meets a gap."""
        return await over_gaps(self._database, lambda: self._rescue_in_one(ids, without))

    async def _rescue_in_one(
        self, ids: Sequence[object] | None, without: Collection[str]
    ) -> Sequence[Rescued]:
        """Change the rows of orphans, all or some, with what `settle_tx` of all plugins but some
        adds.
        """
        source = self._database.apart if self._services.settle_tx else self._database.acquire
        async with source() as connection, transaction(connection):
            sql = self._database.sql
            if ids is None:
                ids = [row["id"] for row in await connection.fetch(sql["orphans"])]
            rows = await connection.fetch(sql["rescue"], ids, WORKER_LOST) if ids else []
            jobs = [Rescued(row, _outcome(row)) for row in rows]

            try:
                freed = await self._services.settle_tx(
                    connection, [(each.outcome, without) for each in jobs if each.counts]
                )
            except PluginError as refusal:
                if connection.is_closed() or isinstance(refusal.__cause__, RETRYABLE_ERRORS):
                    raise  # it is tried again with the next look
                raise _RescueRefused(jobs, refusal) from refusal
        if freed.lines:
            self._services.notifier.wake(freed.lines)
        return jobs

    async def _rescue_one(self, job: Rescued) -> Sequence[Rescued]:
        """Rescue one job, if need be without the plugins that refuse it."""
        id_ = job.row["id"]
        return await over_refusals(
            lambda without: self._rescue_some([id_], without),
            f"job {id_} is rescued",
            _fields(job.outcome),
        )

    async def _rescued(self, jobs: Sequence[Rescued]) -> None:
        if not jobs:
            return
        lost = sorted({str(each.outcome.worker_id) for each in jobs})
        log.warning(
            "rescued %s of %s whose lease expired: %s",
            counted(len(jobs), "orphaned job"),
            counted(len(lost), "worker"),
            ", ".join(lost),
        )

        requeued = {each.outcome.queue for each in jobs if each.outcome.status == "queued"}
        self._poller.look_again(sorted(requeued))
        for each in jobs:
            if each.counts:
                _log_rescued(each)
            if each.outcome.error is not None:
                await self._tell(each.row, each.outcome, each.outcome.error)
        if outcomes := [each.outcome for each in jobs if each.counts]:
            await self._services.settled(outcomes)

    async def _tell(self, row: asyncpg.Record, outcome: Outcome, error: BaseException) -> None:
        job = self._services.registry.get(outcome.job_name)
        if job is None or not job.on_error:
            return

        ctx = JobContext(
            job_id=outcome.job_id,
            job_name=outcome.job_name,
            attempt=outcome.attempt,
            max_attempts=row["max_attempts"],
            queue=outcome.queue,
            worker_id=outcome.worker_id or "",
            scheduled_at=row["scheduled_at"],
            created_at=row["created_at"],
            headers=outcome.headers,
            queued_for=outcome.queued_for or 0.0,
            claim=outcome.claim,
            tags=outcome.tags,
            marks=outcome.marks,
        )
        ctx.outcome = outcome
        await job.on_error(ctx, error)


class _RescueRefused(Refused):
    """A `settle_tx` refused the rescue of these jobs."""

    def __init__(self, jobs: Sequence[Rescued], refusal: PluginError) -> None:
        super().__init__(refusal)
        self.jobs = jobs


def _log_rescued(job: Rescued) -> None:
    """A line for each job that the death of its worker ended, or counted for."""
    outcome = job.outcome
    level, became = {
        "dead": (logging.ERROR, "is dead"),
        "cancelled": (logging.INFO, "was cancelled"),
    }.get(outcome.status, (logging.WARNING, "is requeued"))

    log.log(
        level,
        "job %s (%s, attempt %d of %d) %s: the lease of its worker expired",
        outcome.job_id,
        outcome.job_name,
        outcome.attempt,
        job.row["max_attempts"],
        became,
        extra={**_fields(outcome), "outcome": outcome.kind},
    )


def _fields(outcome: Outcome) -> dict[str, object]:
    return log_fields(outcome, outcome.worker_id or "")


def _outcome(row: asyncpg.Record) -> Outcome:
    return outcome_of(
        attempt_of(row),
        row["status"],
        "cancel" if row["status"] == "cancelled" else "lost",
        took=row["took"],
        delay=0.0 if row["status"] == "queued" else None,
        error=WorkerLost(str(row["worker_id"])) if row["charged"] else None,
    )
