"""The state of the queues and workers, as one snapshot."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, TypedDict

import msgspec

from soniq.postgres import counting
from soniq.postgres.database import Database
from soniq.postgres.live import FEW, Counted, LiveQueue, by_queue, counted, live
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


class OfWorker(msgspec.Struct):
    """A worker, as the database has it."""

    worker_id: str
    hostname: str
    pid: int
    version: str
    queues: list[str] | None
    concurrency: int
    started_at: datetime
    seen_at: datetime
    names: list[str]
    plugins: list[str]
    running: int
    running_jobs: list[tuple[str, str, float]]
    """Id, name, and the seconds for which it had run when the worker was last seen."""


class Situation(msgspec.Struct):
    """What may need an operator."""

    oldest_waiting: OldestJob | None
    oldest_held: HeldJob | None
    held_by: dict[str, int]
    marks: dict[str, int]
    owed: dict[str, Owed]
    workers: list[OfWorker]
    paused: dict[str, Pause]


async def overview(reading: Reading) -> Overview:
    """Counts by queue and status, the live workers, and what may need attention: of one moment, so
    that a job which is settled meanwhile is counted once.
    """
    sql = reading.database.sql
    async with reading.snapshot(TIME_LIMIT, planned_once=True) as connection:
        alive = await live(sql, connection)
        finished = await counting.finished(sql, connection)
        text = await connection.fetchval(sql["situation"], FEW, alive.held, alive.marked)

    situation = msgspec.json.decode(text, type=Situation)
    workers = [_worker(each) for each in situation.workers]
    backlog = _backlog(alive.queues)
    return {
        "queues": _queues(alive.queues, finished),
        "exact": all(jobs.exact for _, status, jobs in finished if status == "done"),
        "at_least": _at_least(alive.queues, finished),
        "backlog": backlog,
        "workers": workers,
        "oldest_waiting": situation.oldest_waiting,
        "oldest_held": situation.oldest_held,
        "held_by": situation.held_by,
        "owed": situation.owed,
        "missing_plugins": _unknown(situation.marks, workers, "plugins"),
        "unknown_names": _unknown(alive.names, workers, "names"),
        "unserved_queues": _unserved(backlog, workers),
        "paused": situation.paused,
    }


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


def worker_status(text: str) -> WorkerStatus:
    """A worker of which the database tells in JSON."""
    return _worker(msgspec.json.decode(text, type=OfWorker))


def _worker(seen: OfWorker) -> WorkerStatus:
    return {
        "worker_id": seen.worker_id,
        "hostname": seen.hostname,
        "pid": seen.pid,
        "version": seen.version,
        "queues": seen.queues,
        "concurrency": seen.concurrency,
        "started_at": seen.started_at,
        "seen_at": seen.seen_at,
        "names": seen.names,
        "plugins": seen.plugins,
        "running": seen.running,
        "running_jobs": [
            {
                "job_id": job_id,
                "job_name": name,
                "started_at": seen.seen_at - timedelta(seconds=seconds),
            }
            for job_id, name, seconds in seen.running_jobs
        ],
    }


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
