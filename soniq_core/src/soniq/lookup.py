"""Reading jobs, and what a person does to them: status, result, list, cancel, retry, wait, prune."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

import asyncpg
import msgspec

from soniq.definition import Registry
from soniq.enqueue.notify import Notifier
from soniq.enqueue.options import check_integer, check_queue, check_seconds, check_text, check_time
from soniq.errors import (
    DatabaseError,
    DuplicateJob,
    InvalidOption,
    JobCancelled,
    JobFailed,
    JobNotFound,
    JobNotRetryable,
    SerializationError,
    WaitTimeout,
)
from soniq.hooks.dispatch import InTransaction, Observers
from soniq.hooks.values import Serializer
from soniq.horizon import HorizonHolder, old_holders
from soniq.ids import parse_id
from soniq.job import Outcome
from soniq.postgres.connections import Database
from soniq.results import Results, kept_in
from soniq.retention import Retention

Status = Literal["queued", "held", "running", "done", "dead", "cancelled"]
STATUSES: tuple[Status, ...] = ("queued", "held", "running", "done", "dead", "cancelled")
FINISHED = ("done", "dead", "cancelled")
RETRYABLE = ("dead", "cancelled", "queued")

CANCEL = "\x01cancel "
"""Begins a notification that asks whoever runs a job to end it; no queue's name begins so."""


class JobError(TypedDict):
    """The error of a job's latest failed attempt."""

    type: str
    message: str
    traceback: str | None


class JobStatus(TypedDict):
    """A job as `get_job_status` and `jobs` show it; datetimes have a time zone."""

    job_id: str
    job_name: str
    status: Status
    result: Any
    error: JobError | None
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    created_at: datetime
    scheduled_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    worker_id: str | None
    tags: list[str]
    progress: Any


class WorkerStatus(TypedDict):
    """A live worker."""

    worker_id: str
    hostname: str
    pid: int
    version: str
    queues: list[str] | None
    concurrency: int
    started_at: datetime
    seen_at: datetime


class OldestJob(TypedDict):
    """The job that has been due for the longest time; `waiting` in seconds."""

    job_id: str
    job_name: str
    queue: str
    scheduled_at: datetime
    waiting: float


class Overview(TypedDict):
    """The state of the queues: counts by queue and status, workers, and what may need a person."""

    queues: dict[str, dict[str, int]]
    backlog: dict[str, "QueueBacklog"]
    """What each queue holds that is not finished: of those that are queued, how many are due, and since when."""
    workers: list[WorkerStatus]
    oldest_waiting: OldestJob | None
    unknown_names: dict[str, int]
    """Jobs that wait, by name, where no live worker knows the name."""
    unserved_queues: dict[str, int]
    """Jobs that are due, by queue, where no live worker serves the queue."""
    paused: list[str]
    """Queues of which no worker claims."""
    horizon: list[HorizonHolder]
    """What has kept PostgreSQL from cleaning up for longer than the setting `horizon_alarm`."""


class QueueBacklog(TypedDict):
    """What a queue holds that is not finished."""

    waiting: int
    """Jobs that are due, and wait for a worker."""
    scheduled: int
    """Jobs that are due later."""
    running: int
    held: int
    oldest_waiting: float
    """Seconds for which the oldest waiting job has been due; 0 where none waits."""


class Lookup:
    """Reads and changes jobs that exist."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        serializers: Mapping[str, Serializer],
        results: Results,
        notifier: Notifier,
        settle_tx: InTransaction,
        settled: Observers,
    ) -> None:
        self._database = database
        self._registry = registry
        self._serializers = serializers
        self._results = results
        self._notifier = notifier
        self._settle_tx = settle_tx
        self._settled = settled

    async def status(self, job_id: object, result: bool = True) -> JobStatus | None:
        """The job, with its result unless `result` is False; None where it does not exist or was forgotten."""
        row = await self._row(job_id)
        return None if row is None else _status(row, await self._result(row) if result else None)

    async def result(self, job_id: object) -> Any:
        """The result, as the type that the job returns; None while it is not done, or where it does not exist."""
        row = await self._row(job_id)
        return None if row is None else await self._result(row)

    async def result_stream(self, job_id: object) -> AsyncIterator[bytes] | None:
        """The bytes of the result as they are stored; None while it is not done, or where it does not exist."""
        row = await self._row(job_id)
        if row is None or row["status"] != "done" or row["result"] is None:
            return None
        return await self._results.get_stream(kept_in(row), row["name"])

    async def arguments(self, job_id: object) -> Any:
        """The arguments of a job as plain values; None where it does not exist. Raises `SerializationError`."""
        row = await self._row(job_id)
        return None if row is None else self._loads(row["name"], row["serializer"], row["args"], Any, "arguments")

    async def wait_for(self, job_id: object, timeout: float | None) -> Any:
        """The result once the job is done. Raises `JobFailed`, `JobCancelled`, `JobNotFound` or `WaitTimeout`."""
        loop = asyncio.get_running_loop()
        started, pause = loop.time(), 0.01
        while True:
            row = await self._row(job_id)
            if row is None:
                raise JobNotFound(parse_id(job_id))
            if row["status"] == "done":
                return await self._result(row)
            if row["status"] in FINISHED:
                raise _no_result(row)
            remaining = float("inf") if timeout is None else started + timeout - loop.time()
            if timeout is not None and remaining <= 0:
                raise WaitTimeout(parse_id(job_id), timeout)
            await asyncio.sleep(min(pause, remaining))
            pause = min(pause * 1.5, 1.0) * random.uniform(0.9, 1.1)

    async def jobs(
        self,
        status: str | None,
        name: str | None,
        queue: str | None,
        tag: str | None,
        before: object,
        limit: int,
        since: datetime | None = None,
    ) -> list[JobStatus]:
        """The newest jobs that match, without their results."""
        if status is not None and status not in STATUSES:
            raise InvalidOption(f"status= is one of {', '.join(STATUSES)}; got {status!r}", option="status")
        check_integer("limit", limit, 1, 100_000)
        for option, text in (("name", name), ("queue", queue), ("tag", tag)):
            if text is not None:
                check_text(option, text, 500)
        if since is not None:
            check_time("since", since)
        last = None if before is None else parse_id(before)
        rows = await self._database.fetch("jobs", status, name, queue, tag, last, limit, since)
        return [_status(row, None) for row in rows]

    async def overview(self) -> Overview:
        """Counts by queue and status, the live workers, and what may need a person."""
        queues: dict[str, dict[str, int]] = {}
        for row in await self._database.fetch("overview"):
            queues.setdefault(row["queue"], {})[row["status"]] = row["jobs"]
        backlog = await self.backlog()
        oldest = await self._database.fetch("oldest")
        workers: list[WorkerStatus] = [
            {
                "worker_id": str(row["id"]),
                "hostname": row["hostname"],
                "pid": row["pid"],
                "version": row["version"],
                "queues": row["queues"],
                "concurrency": row["concurrency"],
                "started_at": row["started_at"],
                "seen_at": row["seen_at"],
            }
            for row in await self._database.fetch("workers")
        ]
        return {
            "queues": queues,
            "backlog": backlog,
            "workers": workers,
            "oldest_waiting": {
                "job_id": str(oldest[0]["id"]),
                "job_name": oldest[0]["name"],
                "queue": oldest[0]["queue"],
                "scheduled_at": oldest[0]["scheduled_at"],
                "waiting": oldest[0]["waiting"],
            }
            if oldest
            else None,
            "unknown_names": {row["name"]: row["jobs"] for row in await self._database.fetch("unknown_names")},
            "unserved_queues": _unserved(backlog, workers),
            "paused": [row["queue"] for row in await self._database.fetch("paused")],
            "horizon": await old_holders(self._database),
        }

    async def backlog(self) -> dict[str, QueueBacklog]:
        """What each queue holds that is not finished. Reads the live jobs only, whatever is kept."""
        rows = await self._database.fetch("backlog")
        return {
            row["queue"]: {
                "waiting": row["waiting"],
                "scheduled": row["scheduled"],
                "running": row["running"],
                "held": row["held"],
                "oldest_waiting": row["oldest_waiting"],
            }
            for row in rows
        }

    async def pause(self, queue: str, paused: bool) -> None:
        """Let no worker claim jobs of a queue, or let them again. Workers that listen know at once."""
        check_queue("queue", queue)
        await self._database.fetch("pause" if paused else "resume", queue)
        self._notifier.wake([""])  # for workers to learn the lanes anew

    async def cancel(self, job_id: object, reason: str | None) -> bool:
        """Cancel a job that waits; ask the worker of one that runs to end it. False where it is neither."""
        id_ = parse_id(job_id)
        while True:
            if await self.cancel_waiting([id_], reason):
                return True
            if await self._database.fetch("cancel_running", id_, _cancelled(reason)):
                self._notifier.wake([f"{CANCEL}{id_}"])
                return True
            now = await self._row(id_)
            if now is None or now["status"] in FINISHED:
                return False  # else it went from one to the other in between

    async def cancel_waiting(self, ids: Sequence[str], reason: str | None) -> int:
        """Cancel those of some jobs that wait, with what `settle_tx` adds to it; how many that were."""
        error = _cancelled(reason)

        def outcomes(rows: Sequence[asyncpg.Record]) -> list[Outcome]:
            return [
                Outcome(
                    job_id=str(row["id"]), job_name=row["name"], queue=row["queue"], attempt=row["attempt"],
                    status="cancelled", kind="cancel", reason=reason,
                )
                for row in rows
            ]  # fmt: skip

        async def in_transaction() -> list[Outcome]:
            async with self._database.apart() as connection, connection.transaction(isolation="read_committed"):
                cancelled = outcomes(await connection.fetch(self._database.sql["cancel_waiting"], ids, error))
                await self._settle_tx(connection, [(outcome, ()) for outcome in cancelled])
                return cancelled

        if self._settle_tx:
            cancelled = await self._database.guard(in_transaction())
        else:
            cancelled = outcomes(await self._database.fetch("cancel_waiting", ids, error))
        if cancelled:
            await self._settled(cancelled)
        return len(cancelled)

    async def retry(self, job_id: object) -> None:
        """Run a job again now. Raises `JobNotFound`, `JobNotRetryable` or `DuplicateJob`."""
        id_ = parse_id(job_id)
        while True:
            if (rows := await self._retry([id_])) is None:
                holders = await self._database.fetch("holder_of_key", id_)
                holder = str(holders[0]["id"]) if holders else "another job"
                raise DuplicateJob(
                    f"job {id_} cannot be retried: {holder} holds its dedup key and is not finished", job_id=holder
                )
            if rows:
                return
            row = await self._row(id_)
            if row is None:
                raise JobNotFound(id_)
            if row["status"] not in RETRYABLE:
                raise JobNotRetryable(id_, row["status"])  # else it went from one to the other in between

    async def retry_those(self, ids: Sequence[str]) -> int | None:
        """Run those of some jobs again now that can be; how many changed. None: a key is taken, and none did."""
        rows = await self._retry(ids)
        return None if rows is None else sum(row["changed"] for row in rows)

    async def _retry(self, ids: Sequence[str]) -> Sequence[asyncpg.Record] | None:
        try:
            rows = await self._database.fetch("retry", ids)
        except DatabaseError as error:
            if not isinstance(error.__cause__, asyncpg.UniqueViolationError):
                raise
            return None
        self._notifier.wake({row["queue"] for row in rows if row["changed"]})
        return rows

    async def prune(self, older_than: float | None, status: str | None) -> int:
        """Forget finished jobs now: those past their time, or all finished at least `older_than` seconds ago."""
        if status is not None and status not in FINISHED:
            raise InvalidOption(f"status= is one of {', '.join(FINISHED)}; got {status!r}", option="status")
        check_seconds("older_than", older_than)
        return await Retention(self._database, self._results).prune(older_than, status)

    async def _row(self, job_id: object) -> asyncpg.Record | None:
        rows = await self._database.fetch("job", parse_id(job_id))
        return rows[0] if rows else None

    async def _result(self, row: asyncpg.Record) -> Any:
        if row["status"] != "done" or row["result"] is None:
            return None
        kept = kept_in(row)
        data = await self._results.get(kept, row["name"])
        if kept.streamed:
            return data
        job = self._registry.get(row["name"])
        return self._loads(row["name"], row["serializer"], data, job.signature.returns if job else Any, "result")

    def _loads(self, name: str, serializer: str, data: bytes, kind: Any, what: str) -> Any:
        known = self._serializers.get(serializer)
        if known is None:
            raise SerializationError(
                f"the {what} of {name} needs the serializer {serializer!r}, which no plugin here provides", job=name
            )
        try:
            return known.loads(data, kind)
        except Exception as error:
            raise SerializationError(
                f"the {what} of {name} cannot be read ({serializer}): {error}", job=name
            ) from error


def _unserved(backlog: Mapping[str, QueueBacklog], workers: Sequence[WorkerStatus]) -> dict[str, int]:
    """The queues in which jobs are due and that no worker serves; nothing where there is no worker."""
    if not workers or any(worker["queues"] is None for worker in workers):
        return {}
    served = {queue for worker in workers for queue in worker["queues"] or ()}
    return {queue: each["waiting"] for queue, each in backlog.items() if each["waiting"] and queue not in served}


def _cancelled(reason: str | None) -> str | None:
    """The error that a job which was cancelled from outside is kept with; None without a reason."""
    return error_json("JobCancelled", str(reason), None) if reason else None


def error_json(kind: str, message: str, traceback: str | None) -> str:
    """An error as it is kept in a row: without what PostgreSQL's JSON cannot hold."""
    fields = {"type": kind, "message": message, "traceback": traceback}
    clean = {
        name: value and value.replace("\0", "").encode("utf-8", "backslashreplace").decode()
        for name, value in fields.items()
    }
    return msgspec.json.encode(clean).decode()


def _status(row: asyncpg.Record, result: Any) -> JobStatus:
    return {
        "job_id": str(row["id"]),
        "job_name": row["name"],
        "status": row["status"],
        "result": result,
        "error": msgspec.json.decode(row["error"]) if row["error"] else None,
        "queue": row["queue"],
        "priority": row["priority"],
        "attempt": row["attempt"],
        "max_attempts": row["max_attempts"],
        "created_at": row["created_at"],
        "scheduled_at": row["scheduled_at"],
        "started_at": row["started_at"],
        "finished_at": row["finished_at"],
        "worker_id": str(row["worker_id"]) if row["worker_id"] else None,
        "tags": list(row["tags"] or ()),
        "progress": msgspec.json.decode(row["progress"]) if row["progress"] else None,
    }


def _no_result(row: asyncpg.Record) -> JobFailed | JobCancelled:
    error: dict[str, Any] = msgspec.json.decode(row["error"]) if row["error"] else {}
    job_id = str(row["id"])
    if row["status"] == "cancelled":
        return JobCancelled(job_id, error.get("message"))
    return JobFailed(job_id, error.get("type", "Unknown"), error.get("message", ""), error.get("traceback"))
