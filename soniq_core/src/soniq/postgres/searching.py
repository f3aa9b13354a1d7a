"""Searching jobs: pages that follow each other without a gap, each bounded in rows and time."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from soniq.checks import check_integer, check_limit
from soniq.errors import DatabaseError, InvalidOption
from soniq.postgres.reading import Reading, limit
from soniq.postgres.sql import quote
from soniq.postgres.walking import FIRST, GROWTH, LAST_FIRST, Place, Walk, careful_if_need_be, walks
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


class Cursor(NamedTuple):
    """Where a page begins, and which way it goes on from there."""

    place: Place
    back: bool = False
    """Whether it is the page before this place."""
    at: bool = False
    """Whether what is at the place itself is part of it."""

    @property
    def turned(self) -> "Cursor":
        """The other way around: of all that this page and those behind it leave out."""
        return self._replace(back=not self.back, at=not self.at)


MARKS = {(False, False): "", (False, True): "=", (True, False): "<", (True, True): "<="}
"""How a cursor says behind its order which way it goes, and whether from the place itself."""


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
        return await careful_if_need_be(
            lambda careful: _running(reading, search, cursor, size, seconds, careful)
        )
    kind: Any = tuple[str, UUID] if search.order == "newest" else tuple[str, datetime, UUID]
    begin = None if cursor is None else _decoded(cursor, search, kind)

    async def look(careful: bool) -> Page:
        async with reading.snapshot(max(seconds, PATIENCE)) as connection:
            found = await walks(connection, search, quote(reading.database.settings.schema))
            for walk in found:
                walk.careful = careful
                if begin is not None:
                    walk.place, walk.back, walk.at = begin
            await _go(connection, found, size + 1, rows, seconds)
        return _page(search, found, size, begin)

    return await careful_if_need_be(look)


async def _running(
    reading: Reading, search: Search, cursor: str | None, size: int, seconds: float, careful: bool
) -> Page:
    """The page of those that have run for the longest time: all that is alive is looked through for
    each page. Where the time ends first, the page is of what was found, and those behind it go on
    by creation.
    """
    begin = Cursor((None, None))
    if cursor is not None:
        begin = _decoded(cursor, search, tuple[str, UUID | None, Start | None])
        if begin.back and (begin.place[0] is not None or begin.place[1] is None):
            raise _no_cursor(cursor)

    async with reading.snapshot(max(seconds, PATIENCE)) as connection:
        found = await walks(connection, search, quote(reading.database.settings.schema))
        for walk in found:
            walk.careful = careful
            walk.place = None if begin.place[0] is None else (begin.place[0],)
        await _go(connection, found, MOST_RUNNING, MOST_ROWS, seconds)
    rows, end = [row for walk in found for row in walk.found], _end(found, descends=False)
    if begin.back:
        return _page_before_start(search, rows, size, begin, whole=end is None)
    return _page_by_start(search, rows, size, begin, end)


def _page_by_start(
    search: Search,
    rows: list[asyncpg.Record],
    size: int,
    begin: Cursor,
    end: Place | None,
) -> Page:
    """The page of those found, which are in the order of their creation, as far as `end`."""
    walked, after = begin.place
    rows = _from(rows, begin)
    whole = walked is None and end is None
    page = sorted(rows, key=_start)[:size] if whole else sorted(rows[:size], key=_start)

    following: Place | None = None
    if len(rows) > size:
        following = (None, _start(page[-1])) if whole else (rows[size - 1]["id"], after)
    elif end is not None:
        following = (*end, after)
    on = None if following is None else Cursor(following)
    return Page(
        jobs=[_found(row) for row in page],
        **_leading(search, None if walked or after is None else begin, on),
        complete=whole or following is None,
        looked_back_to=None if following is None else _reached(*following),
    )


def _page_before_start(
    search: Search, rows: list[asyncpg.Record], size: int, begin: Cursor, *, whole: bool
) -> Page:
    """The page of those found that started before a place. Where not all were found, none leads on
    from it.
    """
    before = sorted(_from(rows, begin), key=_start)
    page = before[-size:]
    more = whole and len(before) > size
    return Page(
        jobs=[_found(row) for row in page],
        **_leading(search, begin, Cursor((None, _start(page[0])), back=True) if more else None),
        complete=whole,
        looked_back_to=_start(page[0])[0] if more else None,
    )


def _from(rows: list[asyncpg.Record], begin: Cursor) -> list[asyncpg.Record]:
    """Those to which the cursor of a page leads."""
    after = begin.place[1]
    if after is None:
        return rows
    return [
        row
        for row in rows
        if (_start(row) < after if begin.back else _start(row) > after)
        or (begin.at and _start(row) == after)
    ]


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


def _page(search: Search, found: list[Walk], size: int, begin: Cursor | None) -> Page:
    """What all walks have come past, in order."""
    back = begin is not None and begin.back
    descends = (search.order in LAST_FIRST) != back
    rows = sorted(
        ((walk.key(row), row) for walk in found for row in walk.found),
        key=lambda each: each[0],
        reverse=descends,
    )
    end = _end(found, descends)
    if end is not None:
        rows = [each for each in rows if (each[0] >= end if descends else each[0] <= end)]

    complete = end is None or len(rows) >= size
    if len(rows) > size:
        rows = rows[:size]
        end = rows[-1][0]
    return Page(
        jobs=[_found(row) for _, row in (reversed(rows) if back else rows)],
        **_leading(search, begin, None if end is None else Cursor(end, back)),
        complete=complete,
        looked_back_to=None if end is None else _time(end),
    )


def _leading(search: Search, begin: Cursor | None, on: Cursor | None) -> dict[str, str | None]:
    """The cursors of a page that begins somewhere, and goes on somewhere."""
    away = None if begin is None else begin.turned
    ways = [None if each is None else _cursor(search, each) for each in (on, away)]
    if begin is not None and begin.back:
        ways.reverse()
    return dict(zip(("next", "previous"), ways, strict=True))


def _end(found: list[Walk], descends: bool) -> Place | None:
    """How far all walks have come; None where they are at their ends."""
    places = [walk.place for walk in found if not walk.ended and walk.place is not None]
    if not places:
        return None
    return max(places) if descends else min(places)


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


def _cursor(search: Search, cursor: Cursor) -> str:
    """A cursor as text that callers only hand back."""
    how = search.order + MARKS[cursor.back, cursor.at]
    written = msgspec.json.encode([how, *cursor.place])
    return base64.urlsafe_b64encode(written).decode().rstrip("=")


def _decoded(cursor: object, search: Search, kind: Any) -> Cursor:
    """What a text stands for. Raises `InvalidOption`."""
    try:
        text = str(cursor) + "=" * (-len(str(cursor)) % 4)
        how, *place = msgspec.json.decode(base64.urlsafe_b64decode(text), type=kind)
    except (ValueError, msgspec.MsgspecError):
        raise _no_cursor(cursor) from None
    for (back, at), mark in MARKS.items():
        if how == search.order + mark:
            return Cursor(tuple(place), back, at)
    raise _no_cursor(cursor)


def _no_cursor(cursor: object) -> InvalidOption:
    return InvalidOption(
        "cursor= is the `next` or the `previous` of a page of the same search; got"
        f" {cursor!s:.100}",
        option="cursor",
    )
