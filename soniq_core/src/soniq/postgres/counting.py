"""Counting jobs without reading all of them: exactly where there are few, and else so far, or by
what the planner knows.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta
from operator import itemgetter
from typing import TYPE_CHECKING

import asyncpg

from soniq.checks import check_integer, check_limit
from soniq.postgres.live import OF_LANES, Counted, counted, live
from soniq.postgres.reading import TIME_LIMIT, Reading, limit
from soniq.postgres.sql import Statements, quote
from soniq.postgres.walking import GROWTH, careful_if_need_be, walks
from soniq.search import Search, check_search
from soniq.status import Count, Facets, LaneStatus, QueueStatus, Status

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

FEW = 10_000
"""Where no more jobs are finished, all of them are counted."""
OF_A_STATUS = 10_000
"""The most dead, and the most cancelled jobs that are counted."""
FIRST, FIRST_OF_VALUES = 2_500, 100
"""The rows of the first stretch of each walk: no more than these are counted in one go. Fewer where
each row's arguments, headers or messages are looked into.
"""
BY_INDEX = 50_000
"""The rows that are looked at before an index of what is searched for is asked."""
FACETS = ("status", "name", "queue")
"""The columns by which what a search finds is told apart."""
ROWS_A_PAGE = 20
"""Of tables that PostgreSQL has not looked at yet."""


async def count(reading: Reading, search: Search, most: int, seconds: float | timedelta) -> Count:
    """How many jobs a search finds: `most` at most, and within the time."""
    found, exact = await _tallied(reading, search, most, seconds, ())
    return Count(value=min(found.total(), most), exact=exact)


async def facets(reading: Reading, search: Search, most: int, seconds: float | timedelta) -> Facets:
    """How many jobs of each status, name and queue a search finds, of `most` at most."""
    found, exact = await _tallied(reading, search, most, seconds, FACETS)
    of: dict[str, Counter[str]] = {each: Counter() for each in FACETS}
    for row, jobs in found.items():
        for facet, value in zip(FACETS, row, strict=True):
            of[facet][value] += jobs
    statuses, names, queues = (dict(of[each].most_common()) for each in FACETS)
    return Facets(statuses=statuses, names=names, queues=queues, exact=exact)


async def _tallied(
    reading: Reading,
    search: Search,
    most: int,
    seconds: float | timedelta,
    of: Sequence[str],
) -> tuple[Counter[tuple[str, ...]], bool]:
    """How many jobs a search finds by these columns, until there are more than `most`, or the time
    is over; whether these are all.
    """
    check_search(search)
    check_integer("limit", most, 1, 1_000_000)
    seconds = check_limit("seconds", seconds)
    loop = asyncio.get_running_loop()
    looks_into = (search.args, search.args_text, search.headers, search.error_text)
    length = FIRST if all(each is None for each in looks_into) else FIRST_OF_VALUES

    async def look(careful: bool) -> tuple[Counter[tuple[str, ...]], bool]:
        tally, stretch, ends = Counter[tuple[str, ...]](), length, loop.time() + seconds
        async with reading.snapshot(seconds) as connection:
            try:
                found = await walks(connection, search, quote(reading.database.settings.schema))
                while going := [walk for walk in found if not walk.ended]:
                    for walk in going:
                        walk.careful = careful
                        by_index = stretch > BY_INDEX and walk.has_index
                        step = walk.tally_by_index if by_index else walk.tally
                        tally += await step(connection, stretch, most + 1 - tally.total(), of)
                        if tally.total() > most:
                            return tally, False
                    if loop.time() >= ends:
                        return tally, False
                    stretch *= GROWTH
                    await limit(connection, ends - loop.time())
            except asyncpg.QueryCanceledError:
                return tally, False
        return tally, True

    return await careful_if_need_be(look)


async def counts(reading: Reading) -> dict[str, dict[Status, Count]]:
    """How many jobs there are of each queue and status."""
    async with reading.snapshot(TIME_LIMIT, planned_once=True) as connection:
        alive = await live(reading.database.sql, connection, names=False)
        found = [*counted(alive.queues), *await finished(reading.database.sql, connection)]
    result: dict[str, dict[Status, Count]] = {}
    for queue, status, jobs in sorted(found, key=lambda each: each[:2]):
        if jobs.value or not jobs.exact:
            result.setdefault(queue, {})[status] = jobs
    return result


async def finished(sql: Statements, connection: "Connection") -> list[Counted]:
    """How many finished jobs there are of each queue and status."""
    rows = await connection.fetch(sql["finished"], FEW, OF_A_STATUS)
    counted = [row for row in rows if row["status"] is not None]
    partitions = [row for row in rows if row["status"] is None]
    if not partitions:
        return [
            (row["queue"], row["status"], Count(value=row["jobs"], exact=True)) for row in counted
        ]

    seen = Counter[str]()
    for row in counted:
        seen[row["status"]] += row["jobs"]
    found = [
        (
            row["queue"],
            row["status"],
            Count(value=row["jobs"], exact=seen[row["status"]] < OF_A_STATUS),
        )
        for row in counted
    ]
    unknown = any(each["pages_now"] and not _has_shares(each) for each in partitions)
    newest = await connection.fetch(sql["newest_finished"], FEW) if unknown else []
    done = _estimated(partitions, newest)
    for row in counted:
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
        for queue, share in dict(of_queues if _has_shares(each) else shares).items():
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


def _has_shares(partition: asyncpg.Record) -> bool:
    """Whether PostgreSQL knows of which queues the rows of a partition are."""
    return _is_known(partition) and bool(partition["queues"])


async def queues(reading: Reading) -> list[QueueStatus]:
    """How each queue is: of those that hold queued jobs, are served by name, or are paused."""
    sql = reading.database.sql
    async with reading.snapshot(TIME_LIMIT, planned_once=True) as connection:
        lanes = sorted(
            await connection.fetch(sql["live_lanes"], OF_LANES, 0, 0),
            key=itemgetter("queue", "priority"),
        )
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
