"""Walks through the tables of jobs: along an index, stretch by stretch, so that each step is
bounded whatever is kept.

A stretch begins where the one before ended, and ends so many rows later, at a place that is looked
up first. What matches is then read between these two places. So a walk can be left at any time, and
be taken up again by anybody who knows the place.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from uuid import UUID

import asyncpg

from soniq.errors import DatabaseError
from soniq.postgres.matching import Values, between, conditions
from soniq.search import ORDERED, Search
from soniq.status import FINISHED, Status

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

T = TypeVar("T")

Place = tuple[Any, ...]
"""Where a walk is: the values of the columns that it is ordered by."""
Tally = Counter[tuple[str, ...]]
"""How many jobs there are of each combination of some columns' values."""

KINDS = {
    "id": "uuid",
    "finished_at": "timestamptz",
    "scheduled_at": "timestamptz",
}
KEYS = {
    "newest": ("id",),
    "finished": ("finished_at", "id"),
    "due": ("scheduled_at", "id"),
    "started": ("id",),
}
"""The columns along which the walks of each order go; ids rise with the time of the enqueue. What
runs has no index of its start: all that is alive is walked through, and sorted where it is found.
"""
LAST_FIRST = ("newest", "finished")


def _place_in(columns: Sequence[str]) -> "Callable[[asyncpg.Record], Place]":
    """What reads a place in a row: it is asked of each row of a page."""
    read = itemgetter(*columns)
    return read if len(columns) > 1 else lambda row: (read(row),)


PLACES = {order: _place_in(columns) for order, columns in KEYS.items()}
TIMES = {"finished": "finished", "due": "scheduled"}
"""The range of a search that bounds the walk of an order: that of its first column."""

BY_INDEX = (
    "set local enable_bitmapscan = on; set local enable_indexscan = off;"
    " set local enable_indexonlyscan = off"
)
"""For plans that find rows by what is searched for, and sort them."""
ALONG_INDEXES = (
    "set local enable_bitmapscan = off; set local enable_indexscan = on;"
    " set local enable_indexonlyscan = on"
)
"""For plans that go along the index of the order."""

AS_JSON = "convert_from(args, 'UTF8')::jsonb"
"""Arguments as JSON: an error where they are none that PostgreSQL knows, as with a NUL in a text.
The function that finds none instead takes more than twice as long: called where this met such.
"""

FIRST = 100
"""The rows of the first stretch of each walk."""
GROWTH = 5
"""How many times as long the next stretch is."""

CLOCKS = timedelta(hours=1)
"""By how much the clocks of those who make ids may differ from the database's."""
LANES = 1_000
"""The most lanes (queue and priority) that are walked at once."""

COLUMNS = """
    id, name, status, queue, priority, {attempt} as attempt, max_attempts, created_at,
    scheduled_at, started_at, {finished_at} as finished_at, worker_id, tags, {held_by} as held_by,
    left(error ->> 'type', 300) as error_type, left(error ->> 'message', 300) as error_message
"""
OF_JOB = COLUMNS.format(
    attempt="attempt + (status = 'running')::int",
    finished_at="null::timestamptz",
    held_by="held_by",
)
OF_HISTORY = COLUMNS.format(
    attempt="attempt::int", finished_at="finished_at", held_by="null::text[]"
)


@dataclass
class Walk:
    """A walk through the rows of one table that may match, in the order of the search."""

    search: Search
    schema: str
    """Quoted."""
    table: Literal["job", "history"]
    statuses: tuple[Status, ...]
    """Those that are looked for in this table."""
    only: str | None = None
    """What bounds the walk itself, of which there is an index."""
    lanes: "Sequence[asyncpg.Record] | None" = None
    """The lanes along which it goes at once, where it is one of what is due."""
    place: Place | None = None
    """How far it has come; None at the beginning."""
    at: bool = False
    """Whether what is at its place itself is still to be looked at."""
    back: bool = False
    """Whether it goes the other way around, towards what comes first."""
    careful: bool = False
    """Whether arguments may be no JSON."""
    ended: bool = False
    """Whether there is nothing behind its place."""
    found: "list[asyncpg.Record]" = field(default_factory=list)

    async def tally(
        self, connection: "Connection", length: int, most: int, of: Sequence[str]
    ) -> Tally:
        """Go on by a stretch of so many rows; how many of them match, `most` at most, by the values
        of some columns.
        """
        end = await self._end(connection, length)
        # Where nothing bounds a stretch, only its order leads to an index: PostgreSQL before 18
        # would take any plan then
        unbounded = end is None and self.place is None and self.lanes is None
        order = f" order by {self._order}" if unbounded else ""
        return await self._tally(connection, end, length, most, of, order)

    async def tally_by_index(
        self, connection: "Connection", _: int, most: int, of: Sequence[str]
    ) -> Tally:
        """How many others match, `most` at most, through an index of what is searched for."""
        await connection.execute(BY_INDEX)
        found = await self._tally(connection, None, 0, most, of)
        await connection.execute(ALONG_INDEXES)
        return found

    async def _tally(
        self,
        connection: "Connection",
        end: Place | None,
        length: int,
        most: int,
        of: Sequence[str],
        order: str = "",
    ) -> Tally:
        values, columns = Values(), ", ".join(of)
        stretch = self._stretch(end, length, values)
        matching = f"select {columns} from {stretch}{order} limit {most}"
        by = f" group by {columns}" if of else ""
        rows = await connection.fetch(
            f"select count(*), {columns or 'null'} from ({matching}) as matching{by}", *values.all
        )
        self._arrive(end)
        return Counter({tuple(row)[1:]: row["count"] for row in rows})

    async def look(self, connection: "Connection", length: int, most: int) -> None:
        """Go on by a stretch of so many rows, and find what matches there, until so many are
        found.
        """
        wanted, end = most - len(self.found), await self._end(connection, length)
        rows = await self._matching(connection, end, length, wanted)
        self._keep(rows, wanted, end)

    async def look_by_index(self, connection: "Connection", most: int) -> None:
        """Find all else that matches, through an index of what is searched for."""
        wanted = most - len(self.found)
        await connection.execute(BY_INDEX)
        rows = await self._matching(connection, None, 0, wanted)
        self._keep(rows, wanted, None)

    @property
    def has_index(self) -> bool:
        """Whether what is searched for, other than by its place, has an index in this table."""
        search = self.search
        if search.order != "newest" or self.only is not None:
            return False
        of_history = search.names is not None or search.queues is not None
        return bool(search.tags) or (self.table == "history" and of_history)

    def key(self, row: "asyncpg.Record") -> Place:
        """The place of a row."""
        return PLACES[self.search.order](row)

    @property
    def descends(self) -> bool:
        """Whether what comes later has a lower place."""
        return (self.search.order in LAST_FIRST) != self.back

    def _keep(self, rows: "list[asyncpg.Record]", wanted: int, end: Place | None) -> None:
        """Keep what a stretch has found: where that is all that was wanted, it ended there."""
        self.found += rows
        if len(rows) == wanted:
            self.place, self.at = self.key(rows[-1]), False
        else:
            self._arrive(end)

    def _arrive(self, end: Place | None) -> None:
        if end is None:
            self.ended = True
        else:
            self.place, self.at = end, False

    # --- SQL -------------------------------------------------------------------------------------

    async def _end(self, connection: "Connection", length: int) -> Place | None:
        """The place where a stretch of so many rows ends; None where there are not so many."""
        values = Values()
        query = (
            f"select {', '.join(self._columns)} from {self._table} where {self._within(values)}"
            f" order by {self._order} offset {length - 1} limit 1"
        )
        if self.lanes is not None:
            query = (
                f"select ends.* from {self._of_lanes(values)} cross join lateral ({query}) as ends"
                f" order by {self._order} limit 1"
            )
        row = await connection.fetchrow(query, *values.all)
        return None if row is None else self.key(row)

    async def _matching(
        self, connection: "Connection", end: Place | None, length: int, most: int
    ) -> "list[asyncpg.Record]":
        values, columns = Values(), OF_JOB if self.table == "job" else OF_HISTORY
        return await connection.fetch(
            f"select {columns} from {self._stretch(end, length, values)}"
            f" order by {self._order} limit {most}",
            *values.all,
        )

    def _stretch(self, end: Place | None, length: int, values: Values) -> str:
        """What matches up to a place: the text behind `from`."""
        until = [] if end is None else [self._compare(">=" if self.descends else "<=", end, values)]
        args = f"{self.schema}.jsonb_1(args)" if self.careful else AS_JSON
        matches = conditions(self.search, self.statuses, self.table, args, values)
        if self.lanes is None:
            return f"{self._table} where {_all([self._bounds(values), *until, *matches])}"
        lane = (
            f"select * from {self._table} where {_all([self._within(values), *until])}"
            f" order by {self._order} limit {length}"
        )
        return f"{self._of_lanes(values)} cross join lateral ({lane}) as job where {_all(matches)}"

    def _bounds(self, values: Values) -> str:
        """What bounds the rest of the walk."""
        found = [] if self.only is None else [self.only]
        if self.lanes is not None:
            found.append("job.queue = lane.in_queue and job.priority = lane.of_priority")
        if self.place is not None:
            how = ("<" if self.descends else ">") + ("=" if self.at else "")
            found.append(self._compare(how, self.place, values))
        if self.search.order == "newest":
            since, before = self.search.created or (None, None)
            if since is not None:
                found.append(f"id >= {values(_first_id(since - CLOCKS), 'uuid')}")
            if before is not None:
                found.append(f"id < {values(_first_id(before + CLOCKS), 'uuid')}")
        return _all(found)

    def _within(self, values: Values) -> str:
        """The same, and what bounds it by the times that are searched for."""
        times = TIMES.get(self.search.order)
        among = None if times is None else getattr(self.search, times)
        return _all([self._bounds(values), *between(self._columns[0], among, values)])

    def _compare(self, how: str, place: Place, values: Values) -> str:
        marks = [
            values(value, KINDS[column]) for column, value in zip(self._columns, place, strict=True)
        ]
        return f"({', '.join(self._columns)}) {how} ({', '.join(marks)})"

    def _of_lanes(self, values: Values) -> str:
        lanes = self.lanes or ()
        queues = values([lane["queue"] for lane in lanes], "text[]")
        priorities = values([lane["priority"] for lane in lanes], "smallint[]")
        return f"unnest({queues}, {priorities}) as lane (in_queue, of_priority)"

    @property
    def _table(self) -> str:
        return f"{self.schema}.{self.table}"

    @property
    def _columns(self) -> tuple[str, ...]:
        return KEYS[self.search.order]

    @property
    def _order(self) -> str:
        how = " desc" if self.descends else ""
        return ", ".join(f"{column}{how}" for column in self._columns)


async def careful_if_need_be(look: Callable[[bool], Awaitable[T]]) -> T:
    """What is found without care, or, where arguments were met that are no JSON, with."""
    try:
        return await look(False)
    except DatabaseError as error:
        if not isinstance(error.__cause__, asyncpg.DataError):
            raise
    return await look(True)


async def walks(connection: "Connection", search: Search, schema: str) -> list[Walk]:
    """The walks of a search, none through a table in which nothing can match."""
    chosen = tuple(
        status
        for status in ORDERED[search.order]
        if search.statuses is None or status in search.statuses
    )
    live = tuple(status for status in chosen if status not in FINISHED)
    if search.finished not in (None, (None, None)):
        live = ()
    finished = tuple(status for status in chosen if status in FINISHED)

    if search.order == "newest":
        return _newest(search, schema, live, finished)
    if search.order == "finished":
        return [Walk(search, schema, "history", finished, "status <> 'done'")] if finished else []
    if not live:
        return []
    if search.order == "started":
        return [Walk(search, schema, "job", live)]
    lanes = await _lanes(connection, search, schema)
    return [Walk(search, schema, "job", live, "status = 'queued'", lanes)] if lanes else []


def _newest(
    search: Search, schema: str, live: tuple[Status, ...], finished: tuple[Status, ...]
) -> list[Walk]:
    """The walks by creation: of each status that ends badly one of its own, which has an index."""
    found = []
    if live:
        found.append(Walk(search, schema, "job", live))
    if "done" in finished:
        found.append(Walk(search, schema, "history", finished))
    else:
        found += [
            Walk(search, schema, "history", (status,), f"status = '{status}' and status <> 'done'")
            for status in finished
        ]
    return found


async def _lanes(connection: "Connection", search: Search, schema: str) -> "list[asyncpg.Record]":
    """The lanes that hold what may match."""
    rows = await connection.fetch(
        f"select queue, priority from {schema}.lanes_1('', -32769, {LANES})"
        " where priority is not null"
    )
    return [
        row
        for row in rows
        if (search.queues is None or row["queue"] in search.queues)
        and (search.priorities is None or row["priority"] in search.priorities)
    ]


def _first_id(time: datetime) -> UUID:
    """The lowest id that is made in the millisecond of a time."""
    return UUID(int=max(0, round(time.timestamp() * 1000)) << 80)


def _all(found: Sequence[str]) -> str:
    return " and ".join(f"({each})" for each in found) or "true"
