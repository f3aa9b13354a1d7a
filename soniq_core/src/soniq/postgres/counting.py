"""Counting jobs without reading all of them: exactly where there are few, and else so far, or by
what the planner knows.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from soniq.checks import check_integer, check_limit
from soniq.postgres.live import OF_LANES, Counted, counted, live
from soniq.postgres.reading import TIME_LIMIT, Reading, limit
from soniq.postgres.sql import Statements, quote
from soniq.postgres.walking import FIRST, GROWTH, walks
from soniq.search import Search, check_search
from soniq.status import Count, LaneStatus, QueueStatus, Status

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

FEW = 10_000
"""Where no more jobs are finished, all of them are counted."""
OF_A_STATUS = 10_000
"""The most dead, and the most cancelled jobs that are counted."""
BY_INDEX = 50_000
"""The rows that are looked at before an index of what is searched for is asked."""
ROWS_A_PAGE = 20
"""Of tables that PostgreSQL has not looked at yet."""


async def count(reading: Reading, search: Search, most: int, seconds: float | timedelta) -> Count:
    """How many jobs a search finds: `most` at most, and within the time."""
    check_search(search)
    check_integer("limit", most, 1, 1_000_000)
    seconds = check_limit("seconds", seconds)
    loop = asyncio.get_running_loop()
    ends, total, length = loop.time() + seconds, 0, FIRST

    async with reading.snapshot(seconds) as connection:
        try:
            found = await walks(connection, search, quote(reading.database.settings.schema))
            while going := [walk for walk in found if not walk.ended]:
                for walk in going:
                    by_index = length > BY_INDEX and walk.has_index
                    step = walk.count_by_index if by_index else walk.count
                    total += await step(connection, length, most + 1 - total)
                    if total > most:
                        return Count(value=most, exact=False)
                if loop.time() >= ends:
                    return Count(value=total, exact=False)
                length *= GROWTH
                await limit(connection, ends - loop.time())
        except asyncpg.QueryCanceledError:
            return Count(value=total, exact=False)
    return Count(value=total, exact=True)


async def counts(reading: Reading) -> dict[str, dict[Status, Count]]:
    """How many jobs there are of each queue and status."""
    async with reading.snapshot(TIME_LIMIT) as connection:
        alive = await live(reading.database.sql, connection)
        found = [*counted(alive.queues), *await finished(reading.database.sql, connection)]
    result: dict[str, dict[Status, Count]] = {}
    for queue, status, jobs in sorted(found, key=lambda each: each[:2]):
        if jobs.value or not jobs.exact:
            result.setdefault(queue, {})[status] = jobs
    return result


async def finished(sql: Statements, connection: "Connection") -> list[Counted]:
    """How many finished jobs there are of each queue and status."""
    newest = await connection.fetch(sql["newest_finished"], FEW)
    if sum(row["jobs"] for row in newest) < FEW:
        return [
            (row["queue"], row["status"], Count(value=row["jobs"], exact=True)) for row in newest
        ]

    ended = await connection.fetch(sql["ended"], OF_A_STATUS)
    seen = Counter[str]()
    for row in ended:
        seen[row["status"]] += row["jobs"]
    found = [
        (
            row["queue"],
            row["status"],
            Count(value=row["jobs"], exact=seen[row["status"]] < OF_A_STATUS),
        )
        for row in ended
    ]
    done = _estimated(await connection.fetch(sql["history_sizes"]), newest)
    for row in ended:
        done[row["queue"]] -= row["jobs"]
    return [
        *found,
        *(
            (queue, "done", Count(value=max(0, round(jobs)), exact=False))
            for queue, jobs in done.items()
        ),
    ]


def _estimated(
    partitions: Sequence[asyncpg.Record], newest: Sequence[asyncpg.Record]
) -> defaultdict[str, float]:
    """About how many finished jobs there are of each queue: where PostgreSQL has looked at a
    partition by what it saw, else as among the newest.
    """
    density = _rows_a_page(partitions)
    of_newest = Counter[str]()
    for row in newest:
        of_newest[row["queue"]] += row["jobs"]
    shares = {queue: jobs / of_newest.total() for queue, jobs in of_newest.items()}

    jobs: defaultdict[str, float] = defaultdict(float)
    for each in partitions:
        seen = _is_known(each)
        total = each["pages_now"] * (each["rows"] / each["pages"] if seen else density)
        of_queues = zip(each["queues"] or (), each["shares"] or (), strict=True)
        for queue, share in dict(of_queues if seen and each["queues"] else shares).items():
            jobs[queue] += total * share
    return jobs


def _rows_a_page(partitions: Sequence[asyncpg.Record]) -> float:
    """How many rows a page has where PostgreSQL has looked."""
    known = [each for each in partitions if _is_known(each)]
    rows, pages = (sum(each[what] for each in known) for what in ("rows", "pages"))
    return rows / pages if pages else ROWS_A_PAGE


def _is_known(partition: asyncpg.Record) -> bool:
    """Whether PostgreSQL has looked at a partition that was not empty."""
    return bool(partition["pages"] > 0 and partition["rows"] > 0)


async def queues(reading: Reading) -> list[QueueStatus]:
    """How each queue is: of those that hold queued jobs, are served by name, or are paused."""
    sql = reading.database.sql
    async with reading.snapshot(TIME_LIMIT) as connection:
        lanes = await connection.fetch(sql["lane_counts"], OF_LANES)
        workers = await connection.fetch(sql["workers"])
        paused = {row["queue"]: row for row in await connection.fetch(sql["paused"])}
    for_all = sum(row["queues"] is None for row in workers)
    named = Counter(queue for row in workers for queue in row["queues"] or ())
    return [
        _queue(queue, lanes, for_all + named[queue], paused.get(queue))
        for queue in sorted({*(lane["queue"] for lane in lanes), *named, *paused})
    ]


def _queue(
    queue: str, lanes: Sequence[asyncpg.Record], workers: int, pause: asyncpg.Record | None
) -> QueueStatus:
    own = [
        LaneStatus(
            priority=lane["priority"],
            waiting=_of_lane(lane, "waiting"),
            scheduled=_of_lane(lane, "scheduled"),
            oldest_waiting=lane["oldest"],
        )
        for lane in lanes
        if lane["queue"] == queue
    ]
    return QueueStatus(
        queue=queue,
        waiting=_sum([lane.waiting for lane in own]),
        scheduled=_sum([lane.scheduled for lane in own]),
        oldest_waiting=max((lane.oldest_waiting for lane in own), default=0.0),
        lanes=own,
        workers=workers,
        paused_since=pause["paused_at"] if pause else None,
        paused_by=pause["paused_by"] if pause else None,
        pause_reason=pause["reason"] if pause else None,
    )


def _of_lane(lane: asyncpg.Record, which: str) -> Count:
    return Count(value=lane[which], exact=lane[which] < lane["bound"])


def _sum(counts: Sequence[Count]) -> Count:
    return Count(value=sum(each.value for each in counts), exact=all(each.exact for each in counts))
