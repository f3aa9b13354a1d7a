"""The index of history that is made while history is in use, where there was one without it.

It is made for each partition beside all that is going on (`concurrently`), and then attached. What
was left half done, at whichever step, is found by the next who looks, and taken up from there.
"""

from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from soniq.postgres.connections import transaction
from soniq.postgres.database import Database
from soniq.postgres.sql import quote

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

INDEX = "history_ended"
ENDED = "(finished_at, id) where status <> 'done'"
"""What is in it, as in 0007_search."""
LIMIT = 3600.0
"""Seconds for one partition: it waits for all transactions that are older than it is."""


class Lacking(NamedTuple):
    """A partition without the index, and what there is of it."""

    partition: str
    valid: bool | None
    """Whether an index of its own is complete; None where there is none."""
    in_work: bool
    """Whether some session makes it now."""


async def make_indexes(database: Database) -> bool:
    """Make what is missing; False where somebody else is at it. Raises one of `UNFINISHED` where
    it is to be tried again, and `InsufficientPrivilegeError` where this role may not.
    """
    schema = database.settings.schema
    async with database.acquire() as connection:
        if not await lacking(connection, schema):
            return True
    async with database.apart() as connection:
        if not database.settings.pgbouncer:  # where sessions have no limit of ours
            await connection.execute("set statement_timeout = 0")
        await _shortly(
            connection,
            f"create index if not exists {INDEX} on only {quote(schema)}.history {ENDED}",
        )
        lacks = await lacking(connection, schema)
        if any(each.in_work for each in lacks):
            return False
        for each in lacks:
            await _make(connection, schema, each)
    return True


async def lacking(connection: "Connection", schema: str) -> list[Lacking]:
    """The partitions of history that lack the index."""
    rows = await connection.fetch(
        """
        select part.relname as partition, made.indisvalid as valid, exists (
            select from pg_stat_progress_create_index where index_relid = made.indexrelid
        ) as in_work
        from pg_inherits h
        join pg_class part on part.oid = h.inhrelid
        left join (pg_class own join pg_index made on made.indexrelid = own.oid)
            on made.indrelid = part.oid and own.relname = left(part.relname, 50) || '_ended'
        where h.inhparent = to_regclass($1 || '.history') and not h.inhdetachpending
            and not exists (
                select from pg_index child join pg_inherits up on up.inhrelid = child.indexrelid
                where child.indrelid = part.oid and up.inhparent = to_regclass($1 || '.' || $2)
            )
        order by part.relname
        """,
        quote(schema),
        INDEX,
    )
    return [Lacking(row["partition"], row["valid"], row["in_work"]) for row in rows]


async def _make(connection: "Connection", schema: str, lacks: Lacking) -> None:
    """Make the index of one partition, and attach it."""
    own = quote(schema)
    name = quote(f"{lacks.partition[:50]}_ended")
    if lacks.valid is False:  # its making was cut off
        await connection.execute(f"drop index concurrently if exists {own}.{name}", timeout=LIMIT)
    if not lacks.valid:
        await connection.execute(
            f"create index concurrently {name} on {own}.{quote(lacks.partition)} {ENDED}",
            timeout=LIMIT,
        )
    await _shortly(connection, f"alter index {own}.{INDEX} attach partition {own}.{name}")


async def _shortly(connection: "Connection", statement: str) -> None:
    """Run a statement whose lock others would queue up behind."""
    async with transaction(connection):
        await connection.execute("set local lock_timeout = '200ms'")
        await connection.execute(statement)


UNFINISHED = (
    asyncpg.LockNotAvailableError,
    asyncpg.DuplicateTableError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedObjectError,
    asyncpg.DependentObjectsStillExistError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)
"""What is raised where another makes the same, or a partition is dropped meanwhile: it is tried
again.
"""
