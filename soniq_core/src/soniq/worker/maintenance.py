"""What keeps the store in order while workers run: rescue, what fell behind the cursors, partitions, lost answers."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence

import asyncpg

from soniq.definition import Registry
from soniq.errors import PluginError, WorkerLost
from soniq.hooks.dispatch import InTransaction, Observers
from soniq.hooks.values import Task
from soniq.job import JobContext, Outcome
from soniq.lookup import error_json
from soniq.postgres.connections import PASSES, Database
from soniq.results import Results
from soniq.retention import Retention
from soniq.worker.alarm import HorizonAlarm
from soniq.worker.claim import Claimer
from soniq.worker.execute import type_name
from soniq.worker.lanes import Lanes
from soniq.worker.settle import REFUSALS

log = logging.getLogger("soniq.worker")

NET = 60.0
"""Seconds between two looks at all running jobs, for those that nobody runs."""
SHARE = 0.02
"""The most of its time that a worker looks behind its cursors."""


class Maintenance:
    """The core's own background tasks."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        results: Results,
        claimer: Claimer,
        lanes: Lanes,
        settle_tx: InTransaction,
        settled: Observers,
        wake: Callable[[Sequence[str]], None],
    ) -> None:
        self._database = database
        self._registry = registry
        self._results = results
        self._claimer = claimer
        self._lanes = lanes
        self._settle_tx = settle_tx
        self._settled = settled
        self._wake = wake

    def tasks(self) -> list[tuple[str, Task]]:
        """The tasks, as the supervisor takes them."""
        tasks = [
            Task(name="rescue", run=self._rescue),
            Task(name="surface", run=self._surface),
            Task(name="retention", run=self._forget, elected=True),
        ]
        if self._database.settings.horizon_alarm:
            tasks.append(Task(name="horizon", run=HorizonAlarm(self._database).run, elected=True))
        return [("soniq", task) for task in tasks]

    # --- rescue ---------------------------------------------------------------------------------------------------

    async def _rescue(self) -> None:
        """Give the jobs of dead workers to others: after a death, and once a minute whatever came between."""
        interval = self._database.settings.lease / 3
        looked = time.monotonic()
        while True:
            buried = await self._database.fetch("bury_workers")
            if buried or time.monotonic() - looked > NET:
                looked = time.monotonic()
                await self.rescue()
                async with self._database.acquire() as connection:
                    await self._claimer.give_back_unheld(connection, claimed_for=NET / 2)
            await asyncio.sleep(interval * random.uniform(0.8, 1.0))

    async def rescue(self) -> None:
        """Rescue the jobs of workers that are gone, and tell the observers; one by one where a `settle_tx` refuses."""
        try:
            await self._rescued(await self._rescue_some(None))
        except _Refused as refused:
            for id_ in refused.ids:
                await self._rescued(await self._rescue_one(id_))

    async def _rescue_some(
        self, ids: Sequence[object] | None, without: Collection[str] = ()
    ) -> Sequence[asyncpg.Record]:
        """Change the rows of orphans, all or some, with what `settle_tx` of all plugins but some adds."""
        error = error_json(type_name(WorkerLost("")), "the worker died or fell silent while it ran this attempt", None)
        source = self._database.apart if self._settle_tx else self._database.acquire
        async with source() as connection, connection.transaction(isolation="read_committed"):
            rows = await connection.fetch(self._database.sql["rescue"], error, ids)
            try:
                await self._settle_tx(connection, [(outcome, without) for outcome in _outcomes(rows)])
            except PluginError as refusal:
                if connection.is_closed() or isinstance(refusal.__cause__, PASSES):
                    raise  # it is tried again with the next look
                raise _Refused([row["id"] for row in rows], refusal) from refusal
            return rows

    async def _rescue_one(self, id_: object) -> Sequence[asyncpg.Record]:
        refusals: Counter[str] = Counter()
        while True:
            try:
                return await self._rescue_some([id_], [name for name, count in refusals.items() if count >= REFUSALS])
            except _Refused as refused:
                refusals[refused.refusal.plugin] += 1
                if refusals[refused.refusal.plugin] == REFUSALS:
                    log.error("job %s is rescued without it: %s", id_, refused.refusal)

    async def _rescued(self, rows: Sequence[asyncpg.Record]) -> None:
        if not rows:
            return
        lost = sorted({str(row["worker_id"]) for row in rows})
        log.warning("rescued %d jobs of %d workers that died or fell silent: %s", len(rows), len(lost), ", ".join(lost))
        self._wake(sorted({row["queue"] for row in rows if row["status"] == "queued"}))
        for row in rows:
            if row["charged"]:
                await self._tell(row)
        if outcomes := _outcomes(rows):
            await self._settled(outcomes)

    async def _tell(self, row: asyncpg.Record) -> None:
        job = self._registry.get(row["name"])
        if job is None or not job.on_error:
            return
        ctx = JobContext(
            job_id=str(row["id"]), job_name=row["name"], attempt=row["attempt"], max_attempts=row["max_attempts"],
            queue=row["queue"], worker_id=str(row["worker_id"]), scheduled_at=row["scheduled_at"],
            created_at=row["created_at"], headers=row["headers"], queued_for=row["queued_for"],
        )  # fmt: skip
        ctx.outcome = _outcome(row)
        await job.on_error(ctx, WorkerLost(ctx.worker_id))

    # --- what fell behind -----------------------------------------------------------------------------------------

    async def _surface(self) -> None:
        """Move what fell behind this worker's cursors in front of them.

        The look walks all that PostgreSQL has not cleaned up yet, so the longer it takes, the less often it is done.
        """
        while True:
            took = 0.0
            for queue, priority, before in self._lanes.passed():
                async with self._database.acquire() as connection:
                    began = time.monotonic()
                    moved = await connection.fetchval(self._database.sql["surface"], queue, priority, before)
                    took += time.monotonic() - began
                if moved:
                    log.info("%d jobs had fallen behind in queue %s, priority %d", moved, queue, priority)
                    self._wake([queue])
            await asyncio.sleep(max(5.0, took / SHARE) * random.uniform(0.8, 1.2))

    # --- history --------------------------------------------------------------------------------------------------

    async def _forget(self) -> None:
        """Forget what is past its time, once an hour."""
        while True:
            try:
                await Retention(self._database, self._results).sweep()
            except asyncpg.InsufficientPrivilegeError as error:
                log.warning("no partitions are made or dropped here: this role does not own the tables (%s)", error)
            await asyncio.sleep(3600 * random.uniform(0.8, 1.2))


class _Refused(Exception):
    """A `settle_tx` refused the rescue of these jobs."""

    def __init__(self, ids: Sequence[object], refusal: PluginError) -> None:
        self.ids = ids
        self.refusal = refusal


def _outcomes(rows: Sequence[asyncpg.Record]) -> list[Outcome]:
    """What the rescue means for jobs whose attempt counts, or that ended."""
    return [_outcome(row) for row in rows if row["status"] != "queued" or row["charged"]]


def _outcome(row: asyncpg.Record) -> Outcome:
    return Outcome(
        job_id=str(row["id"]), job_name=row["name"], queue=row["queue"], attempt=row["attempt"], status=row["status"],
        kind="cancel" if row["status"] == "cancelled" else "lost", delay=0.0 if row["status"] == "queued" else None,
        error=WorkerLost(str(row["worker_id"])) if row["charged"] else None,
    )  # fmt: skip
