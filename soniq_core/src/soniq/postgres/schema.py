"""The tables: made at first use, brought up to date under a lock, and checked against what this code can work with.

Each migration's first line says the oldest code that can live with it (`-- oldest: N`, in migrations known), so that an
older worker goes on through a rolling deploy, and code that is too old says so.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from soniq.errors import DatabaseError, DatabaseUnavailable, PluginError, SchemaMissing, SchemaTooNew
from soniq.hooks.values import Migration
from soniq.postgres.connections import Database
from soniq.postgres.sql import core_migrations, quote

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

CORE = "soniq"

PARTITIONS_AHEAD = 10
LONGEST_NAME = 63
"""Bytes of a name that PostgreSQL keeps."""


class Schema:
    """What an app needs in the database, and the steps that lead there."""

    def __init__(self, database: Database, plugins: Mapping[str, Sequence[Migration]]) -> None:
        self._database = database
        self._name = database.settings.schema
        self._steps: dict[str, list[tuple[int, str]]] = {CORE: core_migrations()}
        for plugin, migrations in plugins.items():
            steps = [(each.version, each.sql) for each in migrations]
            if [version for version, _ in steps] != list(range(1, len(steps) + 1)):
                raise PluginError(f"the plugin {plugin!r}: its migrations must be numbered 1, 2, 3 ...", plugin=plugin)
            self._steps[plugin] = steps

    @property
    def known(self) -> int:
        """The newest of the core's migrations that this code knows."""
        return self._steps[CORE][-1][0]

    async def ensure(self) -> None:
        """Check the tables, and make or update them unless the settings forbid it.

        Raises `SchemaMissing` or `SchemaTooNew`. Where all is current no right to create anything is needed.
        """
        async with self._database.acquire() as connection:
            if not await self._missing(connection):
                return
            if not self._database.settings.setup:
                raise SchemaMissing(self._advice("are missing or older than this code, and are not made here"))
            try:
                await self._migrate(connection)
            except asyncpg.InsufficientPrivilegeError as error:
                raise SchemaMissing(self._advice(f"cannot be made by this role ({error})")) from error
            except asyncpg.LockNotAvailableError as error:
                raise DatabaseUnavailable(self._advice("are being made or changed by others for too long")) from error
            except asyncpg.PostgresError as error:
                raise DatabaseError(self._advice(f"cannot be made: {error}")) from error

    async def _missing(self, connection: "Connection") -> list[tuple[str, int, str]]:
        """The steps that have not been taken, as (whose, version, SQL). Raises `SchemaTooNew`."""
        applied = await self._applied(connection)
        oldest = max((row["oldest"] for row in applied if row["namespace"] == CORE), default=0)
        if oldest > self.known:
            newest = max(row["version"] for row in applied if row["namespace"] == CORE)
            raise SchemaTooNew(
                f"the tables in schema {self._name!r} of {self._database.place} are of version {newest} and need code "
                f"that knows version {oldest}; this Soniq knows {self.known}. Upgrade soniq-core"
            )
        done = {(row["namespace"], row["version"]) for row in applied}
        return [
            (owner, version, text)
            for owner, steps in self._steps.items()
            for version, text in steps
            if (owner, version) not in done
        ]

    async def _applied(self, connection: "Connection") -> Sequence[asyncpg.Record]:
        try:
            return await connection.fetch(f"select namespace, version, oldest from {quote(self._name)}.migration")
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            return []
        except asyncpg.InsufficientPrivilegeError as error:
            raise SchemaMissing(self._advice(f"cannot be read by this role ({error})")) from error

    async def _migrate(self, connection: "Connection") -> None:
        own = quote(self._name)
        async with connection.transaction(isolation="read_committed"):
            await connection.execute("set local lock_timeout = '30s'")
            await connection.execute("select pg_advisory_xact_lock(hashtextextended($1, 0))", f"soniq.{self._name}")
            if not await connection.fetchval("select to_regnamespace($1) is not null", own):
                await connection.execute(f"create schema {own}")
            await connection.execute(
                f"create table if not exists {own}.migration (namespace text, version integer, "
                "oldest integer not null, applied_at timestamptz not null default now(), "
                "primary key (namespace, version))"
            )
            for owner, version, text in await self._missing(connection):
                space = own
                if owner != CORE:
                    if len(name := plugin_schema(self._name, owner)) > LONGEST_NAME:
                        raise PluginError(f"the schema name {name!r} of the plugin is too long", plugin=owner)
                    space = quote(name)
                    await connection.execute(f"create schema if not exists {space}")
                try:
                    await connection.execute(text.replace("{schema}", space).replace("{soniq}", own))
                except asyncpg.InsufficientPrivilegeError:
                    raise
                except asyncpg.PostgresError as error:
                    if owner == CORE:
                        raise
                    raise PluginError(
                        f"migration {version} of the plugin {owner!r} failed, and nothing was changed: {error}",
                        plugin=owner,
                    ) from error
                oldest = re.match(r"-- oldest: (\d+)", text)
                await connection.execute(
                    f"insert into {own}.migration (namespace, version, oldest) values ($1, $2, $3)",
                    owner,
                    version,
                    int(oldest[1]) if oldest else 1,
                )
            await ensure_partitions(connection, self._name, self._database.settings.keep)

    def _advice(self, what: str) -> str:
        return (
            f"Soniq's tables in schema {self._name!r} of {self._database.place} {what}. "
            "Start a worker, or run `soniq setup`, as a role that may create them"
        )


def plugin_schema(schema: str, plugin: str) -> str:
    """The name of the schema that holds a plugin's own tables."""
    return f"{schema}_{plugin}"


async def ensure_partitions(connection: "Connection", schema: str, keep: float) -> None:
    """Make the partitions of history for what is forgotten until `keep` seconds from now and a few days more.

    Each is made beside the table and then attached, which does not hold up inserts.
    """
    own = quote(schema)
    row = await connection.fetchrow(f"select bound, now() as now from {own}.retention")
    assert row is not None
    bound, now = row["bound"], row["now"]
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    width = timedelta(days=max(1, round(keep / 86_400 / PARTITIONS_AHEAD)))
    start = max(bound, today)
    while start < now + timedelta(seconds=min(keep, 3_650 * 86_400)) + 2 * width:
        table = f"{own}.{quote(f'history_{start:%Y%m%d}')}"
        end = start + width
        async with connection.transaction(isolation="read_committed"):
            await connection.execute("set local lock_timeout = '5s'")
            await connection.execute(f"create table {table} (like {own}.history including all)")
            await connection.execute(
                f"alter table {own}.history attach partition {table} for values from ('{start}') to ('{end}')"
            )
            await connection.execute(f"update {own}.retention set bound = $1", end)
        start = end


async def past_partitions(connection: "Connection", schema: str) -> list[str]:
    """The partitions of history whose time is past, first those that were half detached, or detached and not dropped.

    A partition that is half detached lets no other be detached.
    """
    rows = await connection.fetch(
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
