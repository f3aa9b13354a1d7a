"""What PostgreSQL tells of itself, and of the tables."""

from collections.abc import Sequence

import asyncpg
import msgspec

from soniq import Soniq

from .database import session, statement

LONGEST = 1_000
"""Milliseconds that a statement may take."""
CORE = "soniq"
"""Under which the core's migrations are written down."""


class Catalog(msgspec.Struct, frozen=True):
    """What was read; each part is None where that took too long."""

    server: asyncpg.Record | None
    migrated: Sequence[asyncpg.Record] | None
    relations: Sequence[asyncpg.Record] | None


async def read_catalog(app: Soniq) -> Catalog:
    """Read it, in three statements that are bounded in time. Raises `DatabaseError`."""
    schema = f'"{app.settings.schema}"'
    async with session(app) as connection:
        server = await _rows(connection, statement(schema, "server"))
        migrated = await _rows(connection, statement(schema, "migrated"))
        owners = [each["owner"] for each in migrated or () if each["owner"] != CORE]
        schemas = [schema, *map(app.plugin_schema, owners)]
        relations = await _rows(connection, statement(schema, "relations"), schemas)
    return Catalog(server[0] if server else None, migrated, relations)


async def _rows(
    connection: "asyncpg.Connection[asyncpg.Record]", text: str, *values: object
) -> Sequence[asyncpg.Record] | None:
    try:
        async with connection.transaction(readonly=True):
            await connection.execute(f"set local statement_timeout = {LONGEST}")
            return await connection.fetch(text, *values)
    except asyncpg.QueryCanceledError:
        return None
