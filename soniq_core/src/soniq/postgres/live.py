"""What is alive, by queue: all of it counted where that is little, else each count to a bound."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from soniq.postgres.sql import Statements
from soniq.status import Count, Status

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

FEW = 10_000
"""Where no more jobs are alive, all of them are counted."""
OF_LANES = 20_000
"""The most jobs of all lanes that are counted, of those due and of those that are due later."""
IN_FRONT = 2_000
"""The most jobs of all lanes whose names are looked at: those that no worker knows gather there."""


@dataclass(slots=True)
class LiveQueue:
    """What a queue holds that is not finished."""

    waiting: int = 0
    scheduled: int = 0
    running: int = 0
    held: int = 0
    oldest_waiting: float = 0.0
    """Seconds."""
    at_least: set[str] = field(default_factory=set)
    """Which of these counts, and of `queued`, all that waits or is scheduled, are not of all jobs:
    there may be more.
    """


Counted = tuple[str, Status, Count]
"""A queue, a status, and how many jobs of both there are."""


class Live(NamedTuple):
    """What is alive."""

    queues: Mapping[str, LiveQueue]
    names: Mapping[str, int]
    """How many jobs of each name are queued or held; where more than `FEW` jobs are alive, only
    those in front of each lane, and those held that are among the oldest.
    """
    held: bool
    """Whether any of the oldest is held."""
    marked: bool
    """Whether any of the oldest is marked for a plugin."""


def by_queue(rows: Sequence[asyncpg.Record]) -> dict[str, LiveQueue]:
    """What each queue holds, from counts by queue and status."""
    queues: dict[str, LiveQueue] = defaultdict(LiveQueue)
    for row in rows:
        queue = queues[row["queue"]]
        if row["status"] == "queued":
            queue.waiting += row["due"]
            queue.scheduled += row["jobs"] - row["due"]
            queue.oldest_waiting = max(queue.oldest_waiting, row["waiting"])
        elif row["status"] == "running":
            queue.running += row["jobs"]
        else:
            queue.held += row["jobs"]
    return queues


def counted(queues: Mapping[str, LiveQueue]) -> Iterator[Counted]:
    """How many jobs there are of each queue and status."""
    for name, queue in queues.items():
        counts: dict[Status, int] = {
            "queued": queue.waiting + queue.scheduled,
            "running": queue.running,
            "held": queue.held,
        }
        for status, jobs in counts.items():
            if jobs:
                yield name, status, Count(value=jobs, exact=status not in queue.at_least)


async def live(sql: Statements, connection: "Connection", *, names: bool = True) -> Live:
    """What is alive, as a connection's transaction sees it; `names`: also by name."""
    rows = await connection.fetch(sql["oldest_live"], FEW)
    oldest = [row for row in rows if row["queue"] is not None]
    queues = by_queue(oldest)
    held = any(row["status"] == "held" for row in oldest)
    marked = any(row["marked"] for row in oldest)
    if not rows[0]["many"]:
        return Live(queues, _names(oldest, ("queued", "held")), held, marked)

    of_names = _names(oldest, ("held",))
    rows = await connection.fetch(sql["live_lanes"], OF_LANES, IN_FRONT if names else 0, FEW)
    lanes = [row for row in rows if row["priority"] is not None]
    queues = by_queue([row for row in oldest if row["status"] != "queued"])
    for lane in lanes:
        _add_lane(queues[lane["queue"]], lane)
        of_names.update(dict(zip(lane["names"] or (), lane["of_names"] or (), strict=True)))
    for row in rows:
        queue = queues[row["queue"]]
        queue.running = max(queue.running, row["running"])
    for queue in queues.values():
        queue.at_least |= {"running", "held"}
    return Live(queues, of_names, held, marked)


def _add_lane(queue: LiveQueue, lane: asyncpg.Record) -> None:
    queue.waiting += lane["waiting"]
    queue.scheduled += lane["scheduled"]
    queue.oldest_waiting = max(queue.oldest_waiting, lane["oldest"])
    bounded = {each for each in ("waiting", "scheduled") if lane[each] >= lane["bound"]}
    queue.at_least |= bounded and {"queued", *bounded}


def _names(rows: Sequence[asyncpg.Record], statuses: Sequence[str]) -> Counter[str]:
    names = Counter[str]()
    for row in rows:
        if row["status"] in statuses:
            names[row["name"]] += row["jobs"]
    return names
