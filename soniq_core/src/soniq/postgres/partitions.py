"""The partitions of history, each for the jobs that are forgotten between two times: made ahead,
and dropped when their time is past.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from soniq.postgres.connections import transaction
from soniq.postgres.sql import quote

if TYPE_CHECKING:
    import asyncpg

    from soniq.postgres.connections import Connection

PARTITIONS_AHEAD = 10
"""How many partitions cover the time for which jobs are kept."""
FURTHEST = 3_650 * 86_400.0
"""Seconds ahead for which partitions are made at most; what is kept longer lies beyond them."""


class Partition(NamedTuple):
    """A partition of history, for the jobs that are forgotten between two times."""

    name: str
    start: datetime
    end: datetime


def _furthest(now: datetime, keep: float) -> datetime:
    """How far the partitions reach at least: until what is kept now is forgotten, and a few days
    more.
    """
    return now + timedelta(seconds=min(keep, FURTHEST)) + 2 * _width(keep)


def _width(keep: float) -> timedelta:
    """The time that a partition is for."""
    return timedelta(days=max(1, round(keep / 86_400 / PARTITIONS_AHEAD)))


async def end_too_soon(connection: "Connection", schema: str, keep: float) -> bool:
    """Whether the partitions end before what is kept now is forgotten, with a few days more, so
    that some are to be made: once a day at most.
    """
    bound, now = await _bound(connection, schema)
    return bound < _furthest(now, keep)


async def _bound(connection: "Connection", schema: str) -> tuple[datetime, datetime]:
    """Where the partitions end, and the time now."""
    row = await connection.fetchrow(f"select bound, now() as now from {quote(schema)}.retention")
    assert row is not None
    return row["bound"], row["now"]


async def ensure_partitions(connection: "Connection", schema: str, keep: float) -> list[str]:
    """Make the partitions of history that are missing for the next `keep` seconds and later.
    Returns their names.

    Each is made beside the table and then attached, which does not hold up inserts.
    """
    bound, now = await _bound(connection, schema)
    there = await partition_times(connection, schema)
    partitions = missing_partitions(bound, now, keep, there)
    for partition in partitions:
        async with transaction(connection):
            await connection.execute("set local lock_timeout = '5s'")
            for statement in partition_sql(schema, partition):
                await connection.execute(statement)
    return [partition.name for partition in partitions]


def missing_partitions(
    bound: datetime, now: datetime, keep: float, there: Sequence[tuple[datetime, datetime]] = ()
) -> list[Partition]:
    """The partitions to be made, so that they reach until what is kept now is forgotten, with a
    few days more: from `bound`, where they end, and for gaps between today and `bound`.

    A gap is a time that no partition covers of those that are `there`. It is left where the clock
    of the server was ahead for a while: partitions were made and dropped by it.
    """
    width = _width(keep)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)

    partitions, start = [], today
    for begin, end in [*sorted(there), (bound, bound)]:
        if begin > start:
            partitions.append(Partition(f"history_{start:%Y%m%d}", start, begin))
        start = max(start, end)

    while start < _furthest(now, keep):
        partitions.append(Partition(f"history_{start:%Y%m%d}", start, start + width))
        start += width
    return partitions


async def partition_times(connection: "Connection", schema: str) -> list[tuple[datetime, datetime]]:
    """The beginning and the end of each partition of history that has both: that of dead jobs has
    no end.
    """
    rows = await _fetch(
        connection,
        """
        select bounds[1]::timestamptz as start, bounds[2]::timestamptz as end
        from pg_class c join pg_inherits i on i.inhrelid = c.oid cross join lateral
            regexp_match(pg_get_expr(c.relpartbound, c.oid), $2) as bounds
        where i.inhparent = to_regclass($1 || '.history') and not i.inhdetachpending
            and bounds is not null
        """,
        quote(schema),
        r"FROM \('([^']+)'\) TO \('([^']+)'\)",
    )
    return [(row["start"], row["end"]) for row in rows]


async def _fetch(connection: "Connection", query: str, *values: object) -> "list[asyncpg.Record]":
    """Run a query that reads bounds of partitions as text.

    PostgreSQL writes times as the session's settings say, and reads some of those forms as another
    time, such as zones whose abbreviation two zones have. So they are in ISO form and UTC here.
    """
    async with transaction(connection):
        await connection.execute("set local datestyle = 'ISO'; set local timezone = 'UTC'")
        return await connection.fetch(query, *values)


def partition_sql(schema: str, partition: Partition) -> list[str]:
    """The statements that make a partition."""
    own, table = quote(schema), f"{quote(schema)}.{quote(partition.name)}"
    bounds = f"from ('{partition.start}') to ('{partition.end}')"
    return [
        f"create table {table} (like {own}.history including all);",
        f"alter table {own}.history attach partition {table} for values {bounds};",
        f"update {own}.retention set bound = greatest(bound, '{partition.end}');",
    ]


async def past_partitions(connection: "Connection", schema: str) -> list[str]:
    """The partitions of history whose time is past.

    Those that were half detached, or detached and not dropped, come first: a partition that is
    half detached lets no other be detached.
    """
    rows = await _fetch(
        connection,
        """
        select c.relname from pg_class c left join pg_inherits i on i.inhrelid = c.oid
        where c.relnamespace = to_regnamespace($1) and c.relkind = 'r' and case
            when i.inhparent is null then c.relname ~ '^history_[0-9]{8}$'
            else i.inhparent = to_regclass($1 || '.history') and (i.inhdetachpending
                or (regexp_match(pg_get_expr(c.relpartbound, c.oid), $2))[1]::timestamptz < now())
        end
        order by i.inhdetachpending desc nulls first, c.relname
        """,
        quote(schema),
        r"TO \('([^']+)'\)",
    )
    return [row["relname"] for row in rows]


async def drop_partitions(connection: "Connection", schema: str, names: Sequence[str]) -> None:
    """Drop partitions of history. They are detached first, which does not hold up inserts."""
    own = quote(schema)
    for name in names:
        table = f"{own}.{quote(name)}"
        pending = await connection.fetchval(
            "select inhdetachpending from pg_inherits where inhrelid = to_regclass($1)", table
        )
        if pending is not None:
            how = "finalize" if pending else "concurrently"
            await connection.execute(f"alter table {own}.history detach partition {table} {how}")
        await connection.execute(f"drop table if exists {table}")
