"""Searching jobs: pages that follow each other without a gap, each bounded in rows and time."""

import asyncio
import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import msgspec

from soniq.checks import check_integer, check_seconds
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


async def search(
    reading: Reading, search: Search, cursor: str | None, size: int, rows: int, seconds: float
) -> Page:
    """The page of what a search finds that begins at the cursor."""
    check_search(search)
    check_integer("limit", size, 1, 1_000)
    check_integer("rows", rows, 1, MOST_ROWS)
    check_seconds("seconds", seconds)
    begin = None if cursor is None else _place(cursor, search)

    async with reading.snapshot(max(seconds, PATIENCE)) as connection:
        found = await walks(connection, search, quote(reading.database.settings.schema))
        for walk in found:
            walk.place = begin
        await _go(connection, found, size + 1, rows, seconds)
    return _page(search, found, size)


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


def _place(cursor: object, search: Search) -> Place:
    """The place that a cursor stands for. Raises `InvalidOption`."""
    kinds: Any = tuple[str, UUID] if search.order == "newest" else tuple[str, datetime, UUID]
    try:
        text = str(cursor) + "=" * (-len(str(cursor)) % 4)
        order, *place = msgspec.json.decode(base64.urlsafe_b64decode(text), type=kinds)
    except (ValueError, msgspec.MsgspecError):
        order, place = None, []
    if order != search.order:
        raise InvalidOption(
            f"cursor= is the `next` of a page of the same search; got {cursor!s:.100}",
            option="cursor",
        )
    return tuple(place)
