"""Statements of Soniq's on a connection of the caller's: with a limit, and errors that say where it
leads.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from soniq.errors import DatabaseError, DatabaseUnavailable
from soniq.postgres.database import Database
from soniq.postgres.driver_errors import TABLES_MISSING
from soniq.transaction import TransactionConnection

MISSING = frozenset(kind.sqlstate for kind in TABLES_MISSING)
"""What a statement meets in a database that is not the app's, by the driver of the caller's."""


@asynccontextmanager
async def command_timeout(database: Database, failed: str) -> AsyncIterator[None]:
    """Ends a statement that has no limit: on a connection of the caller's, or a COPY; `failed` says
    what did not happen then.
    """
    limit = database.settings.command_timeout
    timer = asyncio.timeout(limit)
    try:
        async with timer:
            yield
    except TimeoutError as error:
        if not timer.expired():
            raise

        database.drop_idle()
        raise DatabaseUnavailable(f"{failed}: no answer within {limit:g} s") from error


@asynccontextmanager
async def in_theirs(database: Database) -> AsyncIterator[None]:
    """Translates the error of a connection that leads to a database without Soniq's tables."""
    try:
        yield
    except Exception as error:
        if getattr(error, "sqlstate", None) not in MISSING:
            raise
        where = f"a database without Soniq's tables in schema {database.settings.schema!r}"
        raise elsewhere(database, where) from error


async def fetch_in_theirs(
    database: Database, tx: TransactionConnection, failed: str, query: str, *values: object
) -> Sequence[Any]:
    """The rows of one of Soniq's statements in the caller's transaction."""
    async with in_theirs(database), command_timeout(database, failed):
        return await tx.fetch(database.sql[query], *values)


def elsewhere(database: Database, where: str) -> DatabaseError:
    """What is raised where the caller's connection leads somewhere else."""
    return DatabaseError(
        f"connection= leads to {where}; it must lead to that of the app, {database.place}"
    )
