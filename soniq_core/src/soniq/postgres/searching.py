"""Searching jobs: pages that follow each other without a gap, each bounded in rows and time."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import msgspec

from soniq.checks import check_integer, check_limit
from soniq.errors import DatabaseError, InvalidOption
from soniq.postgres.reading import Reading, limit
from soniq.postgres.sql import quote
from soniq.postgres.walking import FIRST, GROWTH, LAST_FIRST, Place, Walk, walks
from soniq.search import FoundJob, Page, Search, check_search

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

PATIENCE = 5.0
"""Seconds for a statement of the first stretch of each walk, at least: it is taken to its end, so
that each page leads on.
"""
MOST_ROWS = 10_000_000
MOST_RUNNING = 10_000
"""The most jobs that are sorted by their start."""

Start = tuple[datetime, UUID]
"""The place of a job among those that run: when it started, and its id."""


async def search(
    reading: Reading,
    search: Search,
    cursor: str | None,
    size: int,
    rows: int,
    seconds: float | timedelta,
) -> Page:
    """The page of what a search finds that begins at the cursor."""
    check_search(search)
    check_integer("limit", size, 1, 1_000)
    check_integer("rows", rows, 1, MOST_ROWS)
    seconds = check_limit("seconds", seconds)
    if search.order == "started":
        return await _running(reading, search, cursor, size, seconds)
    kind: Any = tuple[str, UUID] if search.order == "newest" else tuple[str, datetime, UUID]
    begin = None if cursor is None else _decoded(cursor, search, kind)

    async with reading.snapshot(max(seconds, PATIENCE)) as connection:
        found = await walks(connection, search, quote(reading.database.settings.schema))
        for walk in found:
            walk.place = begin
        await _go(connection, found, size + 1, rows, seconds)
    return _page(search, found, size)


async def _running(
    reading: Reading, search: Search, cursor: str | None, size: int, seconds: float
) -> Page:
    """The page of those that have run for the longest time: all that is alive is looked through for
    each page. Where the time ends first, the page is of what was found, and those behind it go on
    by creation.
    """
    begin: tuple[UUID | None, Start | None] = (None, None)
    if cursor is not None:
        begin = _decoded(cursor, search, tuple[str, UUID | None, Start | None])

    async with reading.snapshot(max(seconds, PATIENCE)) as connection:
        found = await walks(connection, search, quote(reading.database.settings.schema))
        for walk in found:
            walk.place = None if begin[0] is None else (begin[0],)
        await _go(connection, found, MOST_RUNNING, MOST_ROWS, seconds)
    rows = [row for walk in found for row in walk.found]
    return _page_by_start(search, rows, size, begin, _end(found, last_first=False))


def _page_by_start(
    search: Search,
    rows: list[asyncpg.Record],
    size: int,
    begin: tuple[UUID | None, Start | None],
    end: Place | None,
) -> Page:
    """The page of those found, which are in the order of their creation, as far as `end`."""
    walked, after = begin
    if after is not None:
        rows = [row for row in rows if _start(row) > after]
    whole = walked is None and end is None
    page = sorted(rows, key=_start)[:size] if whole else sorted(rows[:size], key=_start)

    following: Place | None = None
    if len(rows) > size:
        following = (None, _start(page[-1])) if whole else (rows[size - 1]["id"], after)
    elif end is not None:
        following = (*end, after)
    return Page(
        jobs=[_found(row) for row in page],
        next=None if following is None else _cursor(search, following),
        complete=whole or following is None,
        looked_back_to=None if following is None else _reached(*following),
    )


def _reached(walked: UUID | None, start: Start | None) -> datetime:
    return _time((walked,) if start is None or walked is not None else start)


def _start(row: asyncpg.Record) -> Start:
    return row["started_at"], row["id"]


async def _go(
    connection: "Connection", found: list[Walk], wanted: int, rows: int, seconds: float
) -> None:
    """Walk until the page is full, or the rows or the time are used up."""
    loop = asyncio.get_running_loop()
    ends, length, first = loop.time() + seconds, min(FIRST, rows), True
    try:
        while going := [walk for walk in found if not walk.ended and len(walk.found) < wanted]:
            for walk in going:
                await walk.look(connection, length, wanted)
            rows, first = rows - length, False
            length = min(length * GROWTH, rows)
            if loop.time() >= ends:
                return
            await limit(connection, ends - loop.time())
            if rows == 0:
                for walk in going:
                    if walk.has_index and not walk.ended and len(walk.found) < wanted:
                        await walk.look_by_index(connection, wanted)
                return
    except asyncpg.QueryCanceledError as error:
        if first:
            raise DatabaseError(
                f"the first {length} jobs could not be looked at within"
                f" {max(seconds, PATIENCE):g} s"
            ) from error


def _page(search: Search, found: list[Walk], size: int) -> Page:
    """What all walks have come past, in order."""
    last_first = search.order in LAST_FIRST
    rows = sorted(
        ((walk.key(row), row) for walk in found for row in walk.found),
        key=lambda each: each[0],
        reverse=last_first,
    )
    end = _end(found, last_first)
    if end is not None:
        rows = [each for each in rows if (each[0] >= end if last_first else each[0] <= end)]

    complete = end is None or len(rows) >= size
    if len(rows) > size:
        rows = rows[:size]
        end = rows[-1][0]
    return Page(
        jobs=[_found(row) for _, row in rows],
        next=None if end is None else _cursor(search, end),
        complete=complete,
        looked_back_to=None if end is None else _time(end),
    )


def _end(found: list[Walk], last_first: bool) -> Place | None:
    """How far all walks have come; None where they are at their ends."""
    places = [walk.place for walk in found if not walk.ended and walk.place is not None]
    if not places:
        return None
    return max(places) if last_first else min(places)


def _found(row: asyncpg.Record) -> FoundJob:
    return FoundJob(
        job_id=str(row["id"]),
        job_name=row["name"],
        status=row["status"],
        queue=row["queue"],
        priority=row["priority"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        created_at=row["created_at"],
        scheduled_at=row["scheduled_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        worker_id=str(row["worker_id"]) if row["worker_id"] else None,
        tags=list(row["tags"] or ()),
        held_by=list(row["held_by"] or ()),
        error_type=row["error_type"],
        error_message=row["error_message"],
    )


def _time(place: Place) -> datetime:
    """The time of a place: of an id, when it was made."""
    if isinstance(place[0], datetime):
        return place[0]
    milliseconds = min(place[0].int >> 80, 253_402_300_799_000)  # of any UUID, also a random one
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _cursor(search: Search, place: Place) -> str:
    """A place as text that callers only hand back."""
    return (
        base64.urlsafe_b64encode(msgspec.json.encode([search.order, *place])).decode().rstrip("=")
    )


def _decoded(cursor: object, search: Search, kind: Any) -> Place:
    """The place that a cursor stands for. Raises `InvalidOption`."""
    try:
        text = str(cursor) + "=" * (-len(str(cursor)) % 4)
        order, *place = msgspec.json.decode(base64.urlsafe_b64decode(text), type=kind)
    except (ValueError, msgspec.MsgspecError):
        order, place = None, []
    if order != search.order:
        raise InvalidOption(
            f"cursor= is the `next` of a page of the same search; got {cursor!s:.100}",
            option="cursor",
        )
    return tuple(place)
