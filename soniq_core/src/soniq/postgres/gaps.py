"""Gaps in the partitions of history, as a clock leaves them that was ahead for a while: seen where
a job cannot be finished, and filled.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from soniq.errors import DatabaseError
from soniq.postgres.away import causes
from soniq.postgres.database import Database
from soniq.postgres.driver_errors import CONNECTION_ERRORS
from soniq.postgres.partitions import ensure_partitions

log = logging.getLogger("soniq.database")

T = TypeVar("T")

CHECK_VIOLATION = "23514"
"""The SQLSTATE of a row that no partition takes, and of a constraint that has a name."""


def is_gap(error: BaseException, schema: str) -> bool:
    """Whether an error, of whichever driver, says that no partition of history takes a row.

    By its fields: the language of the text is the server's to choose.
    """
    return any(_says_so(each, schema) for each in causes(error))


def _says_so(error: BaseException, schema: str) -> bool:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)  # psycopg2's
    fields = getattr(error, "diag", error)  # psycopg's
    return (
        state == CHECK_VIOLATION
        and getattr(fields, "schema_name", None) == schema
        and getattr(fields, "table_name", None) == "history"
        and getattr(fields, "constraint_name", None) is None
    )


async def fill_gaps(database: Database) -> None:
    """Make the partitions of history that are missing, where this role may, and nobody else has
    just made them. Never raises for what the database says; that is logged.
    """
    settings = database.settings
    try:
        async with database.apart() as connection:
            await ensure_partitions(connection, settings.schema, settings.keep)
    except (asyncpg.PostgresError, DatabaseError, *CONNECTION_ERRORS) as error:
        log.warning(
            "a partition of history is missing and cannot be created here: %s",
            database.reason(error),
        )


async def over_gaps(database: Database, work: Callable[[], Awaitable[T]]) -> T:
    """Do a piece of work in a transaction of its own; where it meets a gap, once more after that
    was filled.
    """
    try:
        return await work()
    except (asyncpg.PostgresError, DatabaseError) as error:
        if not is_gap(error, database.settings.schema):
            raise

    await fill_gaps(database)
    return await work()
