"""Changing jobs that exist: cancel, delete, retry, prune; and pausing a queue."""

from collections.abc import Collection, Sequence
from datetime import timedelta

import asyncpg

from soniq.checks import check_integer, check_queue, check_seconds, check_text
from soniq.errors import (
    DatabaseError,
    DuplicateJob,
    InvalidOption,
    JobChanged,
    JobNotFound,
    JobNotRetryable,
    JobRunning,
    ResultNotDeleted,
)
from soniq.failure import error_json
from soniq.hooks.dispatch import Observers
from soniq.hooks.in_transaction import InTransaction
from soniq.hooks.values import Action, ActionKind, IncomingJob
from soniq.ids import parse_id
from soniq.job.outcome import Outcome, decoded_headers, outcome_of
from soniq.postgres.connections import transaction
from soniq.postgres.database import Database
from soniq.postgres.gaps import over_gaps
from soniq.postgres.lookup import Lookup
from soniq.postgres.notify import CANCEL, OWED, Notifier
from soniq.postgres.refs import attempt_of
from soniq.postgres.results import Results
from soniq.postgres.retention import Retention
from soniq.postgres.settle_tx import SettleTx
from soniq.status import (
    FINISHED,
    RETRYABLE,
    STATUSES,
    WAITING,
    FinishedStatus,
    RetryableStatus,
    Status,
)
from soniq.text import cut

LONGEST_NOTE = 1_000
"""Bytes of a pause's reason, and of who did something."""


class Operations:
    """Changes jobs that exist; `lookup` reads them."""

    def __init__(
        self,
        database: Database,
        lookup: Lookup,
        results: Results,
        retention: Retention,
        notifier: Notifier,
        enqueue_tx: InTransaction,
        settle_tx: SettleTx,
        settled: Observers,
        acted: Observers,
    ) -> None:
        self.lookup = lookup
        self._database = database
        self._results = results
        self._retention = retention
        self._notifier = notifier
        self._enqueue_tx = enqueue_tx
        self._settle_tx = settle_tx
        self._settled = settled
        self._acted = acted

    async def _tell(
        self,
        kind: ActionKind,
        by: str | None,
        job_ids: Collection[str] = (),
        queue: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Tell the observers what was done, if anything was."""
        if self._acted and (job_ids or queue is not None):
            await self._acted(
                Action(kind=kind, job_ids=tuple(job_ids), queue=queue, by=by, reason=reason)
            )

    async def pause(self, queue: str, reason: str | None, by: str | None) -> None:
        """Let no worker claim jobs of a queue. Workers that listen know at once."""
        check_queue("queue", queue)
        check_by(by)
        if reason is not None:
            check_text("reason", reason, LONGEST_NOTE)
        changed = await self._database.fetch("pause", queue, reason, by)
        self._notifier.wake([""])  # for workers to learn which are paused
        if changed:
            await self._tell("pause", by, queue=queue, reason=reason)

    async def resume(self, queue: str, by: str | None) -> None:
        """Let workers claim jobs of a queue again."""
        check_queue("queue", queue)
        check_by(by)
        changed = await self._database.fetch("resume", queue)
        self._notifier.wake([""])
        if changed:
            await self._tell("resume", by, queue=queue)

    async def cancel(self, job_id: object, reason: str | None, by: str | None) -> bool:
        """Cancel a job that waits; ask the worker of one that runs to end it. False where it is
        neither.
        """
        id_ = parse_id(job_id)
        check_by(by)
        while True:
            if any(await self.cancel_those([id_], reason, by)):
                return True
            states = await self.lookup.states([id_])
            if id_ not in states or states[id_]["status"] in FINISHED:
                return False
            # Its status changed in between: try again

    async def cancel_those(
        self, ids: Sequence[str], reason: str | None, by: str | None, *, running: bool = True
    ) -> tuple[set[str], set[str]]:
        """Cancel those of some jobs that wait, and, `running`, ask the workers of those that run to
        end them; which those were.
        """
        cancelled = await self.cancel_waiting(ids, reason)
        rest = [id_ for id_ in ids if id_ not in cancelled]
        asked = await self.cancel_running(rest, reason) if running and rest else set()
        told = None if reason is None else cut(str(reason))
        await self._tell("cancel", by, cancelled | asked, reason=told)
        return cancelled, asked

    async def cancel_running(self, ids: Sequence[str], reason: str | None) -> set[str]:
        """Ask the workers of those of some jobs that run to end them; which those were."""
        rows = await self._database.fetch("cancel_running", ids, _cancelled(reason))
        asked = {str(row["id"]) for row in rows}
        self._notifier.wake(f"{CANCEL}{id_}" for id_ in asked)
        return asked

    async def cancel_waiting(
        self, ids: Sequence[str], reason: str | None, without: Collection[str] = ()
    ) -> set[str]:
        """Cancel those of some jobs that wait; which those were. Calls `settle_tx`, but not of the
        plugins in `without`.
        """
        reason = None if reason is None else cut(str(reason))
        error = _cancelled(reason)

        def outcomes(rows: Sequence[asyncpg.Record]) -> list[Outcome]:
            return [
                outcome_of(attempt_of(row), "cancelled", "cancel", reason=reason) for row in rows
            ]

        async def in_transaction() -> list[Outcome]:
            source = self._database.apart if self._settle_tx else self._database.acquire
            async with source() as connection, transaction(connection):
                cancelled = outcomes(
                    await connection.fetch(self._database.sql["cancel_waiting"], ids, error)
                )
                told = [(outcome, without) for outcome in cancelled]
                freed = await self._settle_tx(connection, told)
            self._notifier.wake(freed.lines)
            return cancelled

        async def change() -> list[Outcome]:
            return await self._database.guard(in_transaction())

        cancelled = await over_gaps(self._database, change)
        if cancelled:
            await self._settled(cancelled)
        return {outcome.job_id for outcome in cancelled}

    async def delete(self, job_id: object, status: Status | None, by: str | None) -> bool:
        """Forget a job and its result; with `status`, only if it has this one. False: it does not
        exist. Raises `JobRunning`, `JobChanged`, `ResultNotDeleted`, or what a store raises.
        """
        id_ = parse_id(job_id)
        check_by(by)
        check_status(status, STATUSES, optional=True)
        while not await self.delete_those([id_], status, by):
            states = await self.lookup.states([id_])
            if id_ not in states:
                return False
            state = states[id_]
            if differs(state["status"], status):
                raise JobChanged(id_, state["status"])
            if why := self.undeletable(state):
                raise (
                    JobRunning(id_) if state["status"] == "running" else ResultNotDeleted(id_, why)
                )
        return True

    async def delete_those(
        self, ids: Sequence[str], status: Status | None, by: str | None
    ) -> set[str]:
        """Forget those of some jobs that do not run, and are of a status where one is given; which
        those were. Those that wait are cancelled first.
        """
        finished = next((each for each in FINISHED if each == status), None)
        if status == "running":
            return set()
        if status is None:
            await self.cancel_waiting(ids, "deleted")
        elif finished is None:
            ids, finished = [*await self.cancel_waiting(ids, "deleted")], "cancelled"
        deleted = await self._database.guard(self._retention.delete(ids, finished))
        await self._tell("delete", by, deleted)
        return deleted

    def undeletable(self, state: asyncpg.Record) -> str | None:
        """Why a job of this state cannot be deleted here; None where it can be."""
        status, store = state["status"], state["result_store"]
        if status == "running":
            return "it runs"
        if status in FINISHED and store is not None and store not in self._results.known:
            return f"its result is in the store {store!r}, which no plugin here provides"
        return None

    async def retry(
        self,
        job_id: object,
        *,
        queue: str | None = None,
        priority: int | None = None,
        max_attempts: int | None = None,
        timeout: float | timedelta | None = None,
        delay: float | timedelta | None = None,
        status: RetryableStatus | None = None,
        by: str | None = None,
    ) -> bool:
        """Run a job again, with what is to change; False where nothing did, for it is due already.
        Raises `JobNotFound`, `JobNotRetryable`, `JobChanged` or `DuplicateJob`.
        """
        id_ = parse_id(job_id)
        check_status(status, RETRYABLE, optional=True)
        if queue is not None:
            check_queue("queue", queue)
        check_integer("priority", priority, -32_768, 32_767, optional=True)
        check_integer("max_attempts", max_attempts, 1, 32_767, optional=True)
        check_by(by)
        limit = check_seconds("timeout", timeout)
        if limit == 0:
            raise InvalidOption("timeout= must be more than 0 seconds", option="timeout")
        changes = queue, priority, max_attempts, limit, check_seconds("delay", delay)

        while True:
            if (rows := await self._retry([id_], changes, status, by)) is None:
                holders = await self._database.fetch("holder_of_key", id_)
                holder = str(holders[0]["id"]) if holders else "another job"
                raise DuplicateJob(
                    f"job {id_} cannot be retried: {holder} holds its dedup key and is not"
                    " finished",
                    job_id=holder,
                )
            if rows:
                return any(row["changed"] for row in rows)
            states = await self.lookup.states([id_])
            if id_ not in states:
                raise JobNotFound(id_)
            state = states[id_]
            if differs(state["status"], status):
                raise JobChanged(id_, state["status"])
            if state["status"] not in RETRYABLE:
                raise JobNotRetryable(id_, state["status"], state["held_by"] or ())
            # Its status changed in between: try again

    async def retry_those(
        self, ids: Sequence[str], status: RetryableStatus | None, by: str | None
    ) -> dict[str, bool] | None:
        """Run those of some jobs again now that can be, and are of a status where one is given;
        which those are, and whether this changed them. None: a dedup key is taken, and nothing
        changed.
        """
        rows = await self._retry(ids, (None,) * 5, status, by)
        return None if rows is None else {str(row["id"]): row["changed"] for row in rows}

    async def _retry(
        self,
        ids: Sequence[str],
        changes: Sequence[object],
        status: RetryableStatus | None,
        by: str | None,
    ) -> Sequence[asyncpg.Record] | None:
        try:
            rows = await self._database.guard(self._retry_once([ids, *changes, by, status]))
        except DatabaseError as error:
            if not isinstance(error.__cause__, asyncpg.UniqueViolationError):
                raise
            return None
        self._notifier.wake({row["queue"] for row in rows if row["changed"] and not row["held"]})
        if any(row["owed"] for row in rows):
            self._notifier.wake([OWED])
        await self._tell("retry", by, [str(row["id"]) for row in rows if row["changed"]])
        return rows

    async def _retry_once(self, values: Sequence[object]) -> Sequence[asyncpg.Record]:
        """Retry in a transaction in which plugins are told of the jobs that come back."""
        sql = self._database.sql["retry"]
        async with self._database.acquire() as connection:
            if not self._enqueue_tx:
                return await connection.fetch(sql, *values)
            async with transaction(connection):
                rows = await connection.fetch(sql, *values)
                back = [(_incoming(row), ()) for row in rows if row["back"]]
                if back:
                    await self._enqueue_tx(connection, back)
                return rows

    async def prune(
        self, older_than: float | timedelta | None, status: FinishedStatus | None
    ) -> int:
        """Forget finished jobs now: those past their time, or all finished at least `older_than`
        seconds ago.
        """
        check_status(status, FINISHED, optional=True)
        older_than = check_seconds("older_than", older_than)
        with self._database.guarding():
            return await self._retention.prune(older_than, status)


def check_status(status: object, possible: Collection[Status], *, optional: bool = False) -> None:
    """Raise `InvalidOption` unless it is one of these, or None where that may be."""
    if status not in possible and not (optional and status is None):
        raise InvalidOption(
            f"status= is one of {', '.join(possible)}; got {status!r}", option="status"
        )


def differs(status: Status, wanted: Status | None) -> bool:
    """Whether a job is not of the status that it was seen with; those that wait are of one."""
    if wanted is None or status == wanted:
        return False
    return not {status, wanted} <= {*WAITING}


def check_by(by: object) -> None:
    """Raise `InvalidOption` unless it can be kept as who did something; None: it is not said."""
    if by is not None:
        check_text("by", by, LONGEST_NOTE)


def _incoming(row: asyncpg.Record) -> IncomingJob:
    """A retried job as plugins are told of it."""
    return IncomingJob(
        job_id=str(row["id"]),
        job_name=row["name"],
        queue=row["queue"],
        priority=row["priority"],
        headers=decoded_headers(row["headers"]),
        tags=row["tags"] or (),
        marks=row["marks"] or (),
        held_by=row["held_by"] or (),
        retried=True,
    )


def _cancelled(reason: str | None) -> str | None:
    """The error that a job which was cancelled from outside is kept with; None without a reason."""
    return error_json("JobCancelled", str(reason), None) if reason else None
