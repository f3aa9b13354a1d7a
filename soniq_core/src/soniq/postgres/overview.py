"""The state of the queues and workers, as one snapshot."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal, NamedTuple, TypedDict

import asyncpg
import msgspec

from soniq.postgres import counting
from soniq.postgres.database import Database
from soniq.postgres.live import FEW, Counted, Live, LiveQueue, by_queue, counted, live
from soniq.postgres.reading import TIME_LIMIT, Reading
from soniq.status import HeldJob, OldestJob, Owed, Pause, QueueBacklog, WorkerStatus


class Overview(TypedDict):
    """The state of the queues: counts by queue and status, workers, and what may need attention."""

    queues: dict[str, dict[str, int]]
    """How many jobs there are, by queue and status."""
    exact: bool
    """Whether the jobs that are done were counted: where many are kept, their number is an
    estimate.
    """
    at_least: dict[str, list[str]]
    """By queue, which of its counts in `queues` and `backlog` ended at their bound: there are at
    least so many. Empty where all were counted; else `held_by`, `missing_plugins` and
    `unknown_names` may be of at least so many, too.
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


OF_THE_OLDEST = ("held", "marked")
"""Statements that look at the oldest of what is alive."""
OF_ALL = ("oldest", "owed", "workers", "paused")


class Snapshot(NamedTuple):
    """What an overview is made of."""

    alive: Live
    finished: list[Counted]
    rows: Mapping[str, list[asyncpg.Record]]
    """What each statement found."""


async def overview(reading: Reading) -> Overview:
    """Counts by queue and status, the live workers, and what may need attention: of one moment, so
    that a job which is settled meanwhile is counted once.
    """
    alive, finished, rows = await _snapshot(reading)
    workers = [_worker(row) for row in rows["workers"]]
    backlog = _backlog(alive.queues)
    return {
        "queues": _queues(alive.queues, finished),
        "exact": all(jobs.exact for _, status, jobs in finished if status == "done"),
        "at_least": _at_least(alive.queues, finished),
        "backlog": backlog,
        "workers": workers,
        "oldest_waiting": _oldest(rows["oldest"][0]) if rows["oldest"] else None,
        "oldest_held": _oldest_held(rows["held"]),
        "held_by": {
            row["holder"]: row["jobs"] for row in rows["held"] if row["holder"] is not None
        },
        "owed": {
            row["plugin"]: {"events": row["events"], "waiting": max(0.0, row["waiting"])}
            for row in rows["owed"]
        },
        "missing_plugins": _unknown(
            {row["mark"]: row["jobs"] for row in rows["marked"]}, workers, "plugins"
        ),
        "unknown_names": _unknown(alive.names, workers, "names"),
        "unserved_queues": _unserved(backlog, workers),
        "paused": {
            row["queue"]: {
                "since": row["paused_at"],
                "by": row["paused_by"],
                "reason": row["reason"],
            }
            for row in rows["paused"]
        },
    }


async def _snapshot(reading: Reading) -> Snapshot:
    """What there is at one moment."""
    sql = reading.database.sql
    async with reading.snapshot(TIME_LIMIT) as connection:
        alive = await live(sql, connection)
        finished = await counting.finished(sql, connection)
        rows = {each: await connection.fetch(sql[each], FEW) for each in OF_THE_OLDEST}
        rows |= {each: await connection.fetch(sql[each]) for each in OF_ALL}
    return Snapshot(alive, finished, rows)


def _queues(
    alive: Mapping[str, LiveQueue], finished: Sequence[Counted]
) -> dict[str, dict[str, int]]:
    queues: dict[str, dict[str, int]] = {}
    for queue, status, jobs in sorted([*counted(alive), *finished], key=lambda each: each[:2]):
        if jobs.value:
            queues.setdefault(queue, {})[status] = jobs.value
    return queues


def _at_least(alive: Mapping[str, LiveQueue], finished: Sequence[Counted]) -> dict[str, list[str]]:
    found = {name: set(queue.at_least) for name, queue in alive.items()}
    for queue, status, jobs in finished:
        if status != "done" and not jobs.exact:
            found.setdefault(queue, set()).add(status)
    return {queue: sorted(counts) for queue, counts in sorted(found.items()) if counts}


async def backlog(database: Database) -> dict[str, QueueBacklog]:
    """What each queue holds that is not finished. Reads the live jobs only, whatever is
    kept.
    """
    return _backlog(by_queue(await database.fetch("backlog")))


def _backlog(alive: Mapping[str, LiveQueue]) -> dict[str, QueueBacklog]:
    return {
        name: {
            "waiting": queue.waiting,
            "scheduled": queue.scheduled,
            "running": queue.running,
            "held": queue.held,
            "oldest_waiting": queue.oldest_waiting,
        }
        for name, queue in sorted(alive.items())
    }


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


def _unknown(
    jobs: Mapping[str, int], workers: Sequence[WorkerStatus], what: Literal["names", "plugins"]
) -> dict[str, int]:
    """Of jobs by name, or by plugin, those that no live worker has; nothing where there is no
    worker.
    """
    known = {each for worker in workers for each in worker[what]}
    return {each: count for each, count in sorted(jobs.items()) if workers and each not in known}


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
