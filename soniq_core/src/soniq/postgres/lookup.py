"""Reading jobs that exist: status, result, arguments, lists; and waiting for a result."""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import asyncpg
import msgspec

from soniq.checks import LONGEST, check_integer, check_text, check_time
from soniq.errors import (
    InvalidOption,
    JobCancelled,
    JobFailed,
    JobNotFound,
    SerializationError,
    WaitTimeout,
)
from soniq.hooks.values import ROW, Serializer, bound
from soniq.ids import parse_id
from soniq.postgres.database import Database
from soniq.postgres.results import Results, stored_result
from soniq.registry import Registry
from soniq.status import FINISHED, STATUSES, Attempt, JobDetail, JobStatus, Status
from soniq.text import shown

LARGEST = 1_000_000_000
"""Bytes of a value that PostgreSQL can hold, about."""
LOOKUP_TIMEOUT = 1.0
"""Seconds that one look-up may take where its caller waits for less."""


class Lookup:
    """Reads jobs that exist."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        serializers: Mapping[str, Serializer],
        results: Results,
    ) -> None:
        self._database = database
        self._registry = registry
        self._serializers = serializers
        self._results = results

    async def row(self, job_id: object) -> asyncpg.Record | None:
        """The job as it is stored; None where it does not exist."""
        rows = await self._database.fetch("job", parse_id(job_id))
        return rows[0] if rows else None

    async def status(self, job_id: object, result: bool = True) -> JobStatus | None:
        """The job, with its result unless `result` is False; None where it does not exist or was
        forgotten.
        """
        row = await self.row(job_id)
        return None if row is None else _status(row, await self._result(row) if result else None)

    async def detail(self, job_id: object, largest: int) -> JobDetail | None:
        """All that is kept of the job, with arguments and result of so many bytes at most; None
        where it does not exist or was forgotten.
        """
        check_integer("largest", largest, 0, LARGEST)
        rows = await self._database.fetch("detail", parse_id(job_id), largest)
        if not rows:
            return None

        row = rows[0]
        in_row = row["result_store"] == ROW
        return {
            **_status(row, self._plain(row, row["result"] if in_row else None, "result")),
            "args": self._plain(row, row["args"], "arguments"),
            "args_size": row["args_size"],
            "result_size": row["result_size"],
            "result_store": row["result_store"],
            "headers": msgspec.json.decode(row["headers"]) if row["headers"] else {},
            "headers_size": len((row["headers"] or "").encode()),
            "serializer": row["serializer"],
            "dedup_label": row["dedup_label"],
            "timeout": row["timeout"],
            "expires_at": row["expires_at"],
            "keep": row["keep"],
            "keep_dead": row["keep_dead"],
            "forget_at": row["forget_at"],
            "cancel_requested": row["cancel_requested"],
        }

    async def result(self, job_id: object) -> Any:
        """The result, as the type that the job returns; None while it is not done, or where it does
        not exist.
        """
        row = await self.row(job_id)
        return None if row is None else await self._result(row)

    async def result_stream(self, job_id: object) -> AsyncIterator[bytes] | None:
        """The bytes of the result as they are stored; None while it is not done, or where it does
        not exist.
        """
        row = await self.row(job_id)
        if row is None or row["status"] != "done" or row["result"] is None:
            return None
        return await self._results.get_stream(stored_result(row), row["name"])

    async def arguments(self, job_id: object) -> Any:
        """The arguments of a job as plain values; None where it does not exist. Raises
        `SerializationError`.
        """
        row = await self.row(job_id)
        return None if row is None else self._loads(row, row["args"], Any, "arguments")

    async def wait_for(self, job_id: object, timeout: float | timedelta | None) -> Any:
        """The result once the job is done. Raises `JobFailed`, `JobCancelled`, `JobNotFound`,
        `WaitTimeout` or `InvalidOption`.
        """
        timeout = _limit(timeout)
        hung = asyncio.timeout(None if timeout is None else max(timeout, LOOKUP_TIMEOUT))
        try:
            async with hung:
                return await self._awaited(job_id, timeout)
        except TimeoutError:
            if not hung.expired():
                raise
            raise WaitTimeout(parse_id(job_id), timeout or 0.0) from None

    async def _awaited(self, job_id: object, timeout: float | None) -> Any:
        loop = asyncio.get_running_loop()
        started, pause = loop.time(), 0.01
        while True:
            row = await self.row(job_id)
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
        status: Status | None,
        name: str | None,
        queue: str | None,
        tag: str | None,
        before: object,
        limit: int,
        since: datetime | None = None,
    ) -> list[JobStatus]:
        """The newest jobs that match, without their results."""
        _check_filters(status, name, queue, tag)
        check_integer("limit", limit, 1, 100_000)
        if since is not None:
            check_time("since", since)
        last = None if before is None else parse_id(before)
        rows = await self._database.fetch("jobs", status, name, queue, tag, last, limit, since)
        return [_status(row, None) for row in rows]

    async def ids(
        self,
        status: Status | None,
        name: str | None,
        queue: str | None,
        tag: str | None,
        before: str | None,
        limit: int,
    ) -> list[str]:
        """The ids of the newest jobs that match, and nothing else of them."""
        _check_filters(status, name, queue, tag)
        rows = await self._database.fetch("ids", status, name, queue, tag, before, limit)
        return [str(row["id"]) for row in rows]

    async def states(self, ids: Sequence[str]) -> dict[str, asyncpg.Record]:
        """Status, holders and result store of those of some jobs that exist, by id."""
        rows = await self._database.fetch("states", ids)
        return {str(row["id"]): row for row in rows}

    async def _result(self, row: asyncpg.Record) -> Any:
        if row["status"] != "done" or row["result"] is None:
            return None
        kept = stored_result(row)
        data = await self._results.get(kept, row["name"])
        if kept.streamed:
            return data

        name, job = row["name"], self._registry.get(row["name"])
        if job is None:
            return self._loads(row, data, Any, "result")
        result = self._loads(row, data, job.signature.returns, "result")
        find = job.signature.find_in_result
        if find and (place := find(self._loads(row, data, Any, "result"))):
            raise SerializationError(
                f"the result of {name} has a field that its type does not have here:"
                f" {place.lstrip('.')!r:.200}; other code has stored it",
                job=name,
            )
        return result

    def _plain(
        self, row: asyncpg.Record, data: bytes | None, what: Literal["arguments", "result"]
    ) -> Any:
        """Stored bytes as plain values; None where there are none, or they cannot be read here."""
        if data is None:
            return None
        try:
            return self._loads(row, data, Any, what)
        except SerializationError:
            return None

    def _loads(
        self, row: asyncpg.Record, data: bytes, kind: Any, what: Literal["arguments", "result"]
    ) -> Any:
        name, serializer = row["name"], row["serializer"]
        known = self._serializers.get(serializer)
        if known is None:
            raise SerializationError(
                f"the {what} of {name} needs the serializer {serializer!r}, which no plugin here"
                " provides",
                job=name,
            )

        try:
            return bound(known, name, row["id"], what).loads(data, kind)
        except Exception as error:
            raise SerializationError(
                f"the {what} of {name} cannot be read ({serializer}): {error}", job=name
            ) from error


def _check_filters(
    status: Status | None, name: str | None, queue: str | None, tag: str | None
) -> None:
    """Raise `InvalidOption` where one of them cannot be."""
    if status is not None and status not in STATUSES:
        raise InvalidOption(
            f"status= is one of {', '.join(STATUSES)}; got {status!r}", option="status"
        )
    for option, text in (("name", name), ("queue", queue), ("tag", tag)):
        if text is not None:
            check_text(option, text, 500)


def _limit(timeout: object) -> float | None:
    """Seconds to wait; None for ever. Raises `InvalidOption`."""
    if isinstance(timeout, timedelta):
        return timeout.total_seconds()
    if timeout is None or timeout == math.inf:
        return None
    if isinstance(timeout, int | float) and -LONGEST <= timeout <= LONGEST:
        return float(timeout)
    raise InvalidOption(
        f"timeout= is a number of seconds, a timedelta, or None; got {shown(timeout)}",
        option="timeout",
    )


def _status(row: asyncpg.Record, result: Any) -> JobStatus:
    attempts = row.get("attempts")
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
        "held_by": list(row["held_by"] or ()),
        "attempts": msgspec.json.decode(attempts, type=list[Attempt]) if attempts else [],
    }


def _no_result(row: asyncpg.Record) -> JobFailed | JobCancelled:
    error: dict[str, Any] = msgspec.json.decode(row["error"]) if row["error"] else {}
    job_id = str(row["id"])
    if row["status"] == "cancelled":
        return JobCancelled(job_id, error.get("message"))
    return JobFailed(
        job_id, error.get("type", "Unknown"), error.get("message", ""), error.get("traceback")
    )
