"""The state of the queues and workers, as one snapshot."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TypedDict

import asyncpg
import msgspec

from soniq.postgres.connections import transaction
from soniq.postgres.database import Database
from soniq.status import HeldJob, OldestJob, Owed, Pause, QueueBacklog, WorkerStatus


class Overview(TypedDict):
    """The state of the queues: counts by queue and status, workers, and what may need attention."""

    queues: dict[str, dict[str, int]]
    """How many jobs there are, by queue and status."""
    exact: bool
    """Whether the jobs that are done were counted: where many are kept, their number is an estimate
    from a sample.
    """
    backlog: dict[str, QueueBacklog]
    """What each queue holds that is not finished: of those that are queued, how many are due, and
    since when.
    """
    workers: list[WorkerStatus]
    oldest_waiting: OldestJob | None
    oldest_held: HeldJob | None
    held_by: dict[str, int]
    """How many jobs each holder holds."""
    owed: dict[str, Owed]
    """What each plugin is owed."""
    missing_plugins: dict[str, int]
    """Jobs that are not finished, by the plugin that must hear how they end, where no live worker
    has the plugin.
    """
    unknown_names: dict[str, int]
    """Jobs that wait, by name, where no live worker knows the name."""
    unserved_queues: dict[str, int]
    """Jobs that are due, by queue, where no live worker serves the queue."""
    paused: dict[str, Pause]
    """Queues of which no worker claims."""


async def overview(database: Database) -> Overview:
    """Counts by queue and status, the live workers, and what may need attention: of one moment, so
    that a job which is settled meanwhile is counted once.
    """
    alive, finished, oldest, held, owed, missing, live, paused = await database.guard(
        _snapshot(database)
    )
    queues: dict[str, dict[str, int]] = {}
    for row in sorted(
        [*(row for row in alive if row["queue"] is not None), *finished],
        key=lambda row: (row["queue"], row["status"]),
    ):
        queues.setdefault(row["queue"], {})[row["status"]] = row["jobs"]
    backlog = _backlog(alive)

    workers = [_worker(row) for row in live]
    return {
        "queues": queues,
        "exact": all(row["exact"] for row in finished),
        "backlog": backlog,
        "workers": workers,
        "oldest_waiting": _oldest(oldest[0]) if oldest else None,
        "oldest_held": _oldest_held(held),
        "held_by": {row["holder"]: row["jobs"] for row in held if row["holder"] is not None},
        "owed": {
            row["plugin"]: {"events": row["events"], "waiting": max(0.0, row["waiting"])}
            for row in owed
        },
        "missing_plugins": {row["mark"]: row["jobs"] for row in missing},
        "unknown_names": {row["name"]: row["jobs"] for row in alive if row["queue"] is None},
        "unserved_queues": _unserved(backlog, workers),
        "paused": {
            row["queue"]: {
                "since": row["paused_at"],
                "by": row["paused_by"],
                "reason": row["reason"],
            }
            for row in paused
        },
    }


async def _snapshot(database: Database) -> Sequence[list[asyncpg.Record]]:
    """What the statements of an overview find, all in one snapshot."""
    statements = (
        "overview", "finished", "oldest", "held", "owed", "missing_plugins", "workers", "paused",
    )  # fmt: skip
    async with database.acquire() as connection, transaction(connection, "repeatable_read"):
        return [await connection.fetch(database.sql[each]) for each in statements]


async def backlog(database: Database) -> dict[str, QueueBacklog]:
    """What each queue holds that is not finished. Reads the live jobs only, whatever is
    kept.
    """
    return _backlog(await database.fetch("backlog"))


def _backlog(rows: Sequence[asyncpg.Record]) -> dict[str, QueueBacklog]:
    """What each queue holds that is not finished, from counts by queue and status."""
    backlog: dict[str, QueueBacklog] = {}
    for row in rows:
        if row["queue"] is None:
            continue
        queue = backlog.setdefault(
            row["queue"],
            {"waiting": 0, "scheduled": 0, "running": 0, "held": 0, "oldest_waiting": 0.0},
        )
        if row["status"] == "queued":
            queue["waiting"] = row["due"]
            queue["scheduled"] = row["jobs"] - row["due"]
            queue["oldest_waiting"] = max(0.0, row["waiting"])
        elif row["status"] == "running":
            queue["running"] = row["jobs"]
        else:
            queue["held"] = row["jobs"]
    return backlog


def _worker(row: asyncpg.Record) -> WorkerStatus:
    return {
        "worker_id": str(row["id"]),
        "hostname": row["hostname"],
        "pid": row["pid"],
        "version": row["version"],
        "queues": row["queues"],
        "concurrency": row["concurrency"],
        "started_at": row["started_at"],
        "seen_at": row["seen_at"],
        "names": list(row["names"]),
        "plugins": list(row["plugins"]),
        "running": row["running"],
        "running_jobs": [
            {
                "job_id": job_id,
                "job_name": name,
                "started_at": row["seen_at"] - timedelta(seconds=seconds),
            }
            for job_id, name, seconds in msgspec.json.decode(row["running_jobs"])
        ],
    }


def _oldest(row: asyncpg.Record) -> OldestJob:
    return {
        "job_id": str(row["id"]),
        "job_name": row["name"],
        "queue": row["queue"],
        "scheduled_at": row["scheduled_at"],
        "waiting": row["waiting"],
    }


def _oldest_held(rows: Sequence[asyncpg.Record]) -> HeldJob | None:
    found = [row for row in rows if row["holder"] is None]
    return {**_oldest(found[0]), "held_by": found[0]["held_by"]} if found else None


def _unserved(
    backlog: Mapping[str, QueueBacklog], workers: Sequence[WorkerStatus]
) -> dict[str, int]:
    """The queues in which jobs are due and that no worker serves; nothing where there is no
    worker.
    """
    if not workers or any(worker["queues"] is None for worker in workers):
        return {}
    served = {queue for worker in workers for queue in worker["queues"] or ()}
    return {
        queue: each["waiting"]
        for queue, each in backlog.items()
        if each["waiting"] and queue not in served
    }
