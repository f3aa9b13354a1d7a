"""Creating the database itself, which has to be there before anything else."""

from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from soniq.errors import ConfigurationError, DatabaseError, DatabaseUnavailable
from soniq.postgres.connections import close_quietly
from soniq.postgres.database import Database
from soniq.postgres.driver_errors import CONNECTION_ERRORS, words
from soniq.postgres.sql import quote
from soniq.settings import Settings

MAINTENANCE = "postgres"
"""The database that is there on every server, from which others are created."""


async def create_database(url: str, settings: Settings) -> str | None:
    """Create the database that a URL leads to; its name, or None where it was there.

    Raises `ConfigurationError`, `DatabaseError` or `DatabaseUnavailable`.
    """
    database = Database(url, settings)
    try:
        await close_quietly(await database.connect())
        return None
    except DatabaseError as error:
        if not isinstance(error.__cause__, asyncpg.InvalidCatalogNameError):
            raise

    name = _name(database.url)
    try:
        connection = await asyncpg.connect(
            database.url, database=MAINTENANCE, timeout=settings.connect_timeout
        )
    except (*CONNECTION_ERRORS, asyncpg.PostgresError) as error:
        raise DatabaseUnavailable(
            f"cannot connect to the database {MAINTENANCE!r} of that server,"
            f" to create {name!r}: {words(error)}"
        ) from error

    try:
        await connection.execute(f"create database {quote(name)}")
    except asyncpg.DuplicateDatabaseError:
        return None  # another process was faster
    except asyncpg.PostgresError as error:
        raise DatabaseError(f"the database {name!r} cannot be created: {words(error)}") from error
    finally:
        await close_quietly(connection)
    return name


def _name(url: str) -> str:
    parts = urlsplit(url)
    given = parse_qs(parts.query)
    by_option = given.get("dbname", given.get("database", [""]))[0]
    name = unquote(parts.path.lstrip("/")) or by_option
    if not name:
        raise ConfigurationError(
            "the database URL names no database; add one: postgresql://host/database"
        )
    return name
