"""The tables: made at first use, brought up to date under a lock, and checked against what this code can work with.

Each migration's first line says the oldest code that can live with it (`-- oldest: N`, in migrations known), so that an
older worker goes on through a rolling deploy, and code that is too old says so.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from soniq.errors import DatabaseError, DatabaseUnavailable, PluginError, SchemaMissing, SchemaTooNew
from soniq.hooks.values import Migration
from soniq.postgres.connections import Database
from soniq.postgres.sql import core_migrations, literal, quote

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

CORE = "soniq"

PARTITIONS_AHEAD = 10
LONGEST_NAME = 63
"""Bytes of a name that PostgreSQL keeps."""
FURTHEST = 3_650 * 86_400.0
"""Seconds ahead for which partitions are made at most; what is kept longer lies beyond them."""


class Step(NamedTuple):
    """One migration: whose, its number, and its SQL with the schema's name still to be put in."""

    owner: str
    version: int
    text: str


class Partition(NamedTuple):
    """A partition of history, for the jobs that are forgotten between two times."""

    name: str
    start: datetime
    end: datetime


class Schema:
    """What an app needs in the database, and the steps that lead there."""

    def __init__(self, database: Database, plugins: Mapping[str, Sequence[Migration]]) -> None:
        self._database = database
        self.name = database.settings.schema
        self.place = database.place
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
        if not await self.missing():
            return
        if not self._database.settings.setup:
            raise SchemaMissing(self._advice("are missing or older than this code, and are not made here"))
        await self.make()

    async def missing(self) -> list[Step]:
        """The steps that have not been taken. Raises `SchemaTooNew`, and `SchemaMissing` where none can be read."""
        async with self._database.acquire() as connection:
            return await self._missing(connection)

    async def make(self) -> list[Step]:
        """Take the steps that are missing, in one transaction; which those were. Raises as `ensure` does."""
        async with self._database.acquire() as connection:
            try:
                return await self._migrate(connection)
            except asyncpg.InsufficientPrivilegeError as error:
                raise SchemaMissing(self._advice(f"cannot be made by this role ({error})")) from error
            except asyncpg.LockNotAvailableError as error:
                raise DatabaseUnavailable(self._advice("are being made or changed by others for too long")) from error
            except asyncpg.PostgresError as error:
                raise DatabaseError(self._advice(f"cannot be made: {error}")) from error

    async def make_partitions(self) -> list[str] | None:
        """Make the partitions of history that are missing ahead; their names. None: this role may not."""
        async with self._database.acquire() as connection:
            try:
                return await ensure_partitions(connection, self.name, self._database.settings.keep)
            except asyncpg.InsufficientPrivilegeError:
                return None

    async def partitions_end(self) -> datetime | None:
        """When the partitions of history end, if a job that finishes now is to be kept for longer than that."""
        keep = min(self._database.settings.keep, FURTHEST)
        async with self._database.acquire() as connection:
            end: datetime | None = await connection.fetchval(
                f"select bound from {quote(self.name)}.retention where bound < now() + make_interval(secs => $1)", keep
            )
        return end

    async def script(self) -> str:
        """The SQL that `make` and `make_partitions` would run now, as one transaction; empty where all is there."""
        async with self._database.acquire() as connection:
            missing = await self._missing(connection)
            schemas = await self._schemas(connection)
            begun = bool(await self._applied(connection))
            now: datetime = await connection.fetchval("select now()")
            retention = f"select bound from {quote(self.name)}.retention"
            bound: datetime = await connection.fetchval(retention) if begun else now - timedelta(days=1)
        partitions = missing_partitions(bound, now, self._database.settings.keep)
        if not missing and not partitions:
            return ""
        statements = ["begin isolation level read committed;", *self._locking()]
        if missing:
            statements += self._beginning(schemas)
            statements += [statement for _, statement in self._taking(missing, schemas)]
        for partition in partitions:
            statements += partition_sql(self.name, partition)
        return "\n\n".join([*statements, "commit;"])

    async def _missing(self, connection: "Connection") -> list[Step]:
        applied = await self._applied(connection)
        oldest = max((row["oldest"] for row in applied if row["namespace"] == CORE), default=0)
        if oldest > self.known:
            newest = max(row["version"] for row in applied if row["namespace"] == CORE)
            raise SchemaTooNew(
                f"the tables in schema {self.name!r} of {self.place} are of version {newest} and need code "
                f"that knows version {oldest}; this Soniq knows {self.known}. Upgrade soniq-core"
            )
        done = {(row["namespace"], row["version"]) for row in applied}
        return [
            Step(owner, version, text)
            for owner, steps in self._steps.items()
            for version, text in steps
            if (owner, version) not in done
        ]

    async def _applied(self, connection: "Connection") -> Sequence[asyncpg.Record]:
        try:
            return await connection.fetch(f"select namespace, version, oldest from {quote(self.name)}.migration")
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            return []
        except asyncpg.InsufficientPrivilegeError as error:
            raise SchemaMissing(self._advice(f"cannot be read by this role ({error})")) from error

    async def _schemas(self, connection: "Connection") -> set[str]:
        """Which of the schemas that the steps need are there: who need not make one may lack the right to."""
        needed = [self.name, *(plugin_schema(self.name, owner) for owner in self._steps if owner != CORE)]
        rows = await connection.fetch("select nspname from pg_namespace where nspname = any($1)", needed)
        return {row["nspname"] for row in rows}

    async def _migrate(self, connection: "Connection") -> list[Step]:
        async with connection.transaction(isolation="read_committed"):
            for statement in self._locking():
                await connection.execute(statement)
            schemas = await self._schemas(connection)
            for statement in self._beginning(schemas):
                await connection.execute(statement)
            missing = await self._missing(connection)
            for step, statement in self._taking(missing, schemas):
                try:
                    await connection.execute(statement)
                except asyncpg.InsufficientPrivilegeError:
                    raise
                except asyncpg.PostgresError as error:
                    if step.owner == CORE:
                        raise
                    raise PluginError(
                        f"migration {step.version} of the plugin {step.owner!r} failed, and nothing was changed: "
                        f"{error}",
                        plugin=step.owner,
                    ) from error
            await ensure_partitions(connection, self.name, self._database.settings.keep)
        return missing

    def _locking(self) -> list[str]:
        """The statements that let one at a time change the tables."""
        key = literal(f"soniq.{self.name}")
        return ["set local lock_timeout = '30s';", f"select pg_advisory_xact_lock(hashtextextended({key}, 0));"]

    def _beginning(self, schemas: Collection[str]) -> list[str]:
        """The statements that make what the steps are written down in; `schemas` are there."""
        own = quote(self.name)
        table = (
            f"create table if not exists {own}.migration (namespace text, version integer, oldest integer not null, "
            "applied_at timestamptz not null default now(), primary key (namespace, version));"
        )
        return [table] if self.name in schemas else [f"create schema {own};", table]

    def _taking(self, steps: Sequence[Step], schemas: Collection[str]) -> Iterator[tuple[Step, str]]:
        """The statements of steps, each with its step; `schemas` are there."""
        own, there = quote(self.name), {self.name, *schemas}
        for step in steps:
            name = self.name if step.owner == CORE else plugin_schema(self.name, step.owner)
            if len(name) > LONGEST_NAME:
                raise PluginError(f"the schema name {name!r} of the plugin is too long", plugin=step.owner)
            if name not in there:
                there.add(name)
                yield step, f"create schema {quote(name)};"
            yield step, _closed(step.text.replace("{schema}", quote(name)).replace("{soniq}", own))
            oldest = re.match(r"-- oldest: (\d+)", step.text)
            yield (
                step,
                f"insert into {own}.migration (namespace, version, oldest) "
                f"values ({literal(step.owner)}, {step.version}, {oldest[1] if oldest else 1});",
            )

    def _advice(self, what: str) -> str:
        return (
            f"Soniq's tables in schema {self.name!r} of {self.place} {what}. "
            "Start a worker, or run `soniq setup`, as a role that may create them"
        )


def plugin_schema(schema: str, plugin: str) -> str:
    """The name of the schema that holds a plugin's own tables."""
    return f"{schema}_{plugin}"


async def ensure_partitions(connection: "Connection", schema: str, keep: float) -> list[str]:
    """Make the partitions of history that are missing for what is forgotten until `keep` seconds from now, and later.

    Each is made beside the table and then attached, which does not hold up inserts. Their names.
    """
    row = await connection.fetchrow(f"select bound, now() as now from {quote(schema)}.retention")
    assert row is not None
    partitions = missing_partitions(row["bound"], row["now"], keep)
    for partition in partitions:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute("set local lock_timeout = '5s'")
            for statement in partition_sql(schema, partition):
                await connection.execute(statement)
    return [partition.name for partition in partitions]


def missing_partitions(bound: datetime, now: datetime, keep: float) -> list[Partition]:
    """The partitions from where they end, or from today, until what is kept now is forgotten, and a few days more."""
    width = timedelta(days=max(1, round(keep / 86_400 / PARTITIONS_AHEAD)))
    start = max(bound, now.replace(hour=0, minute=0, second=0, microsecond=0))
    partitions = []
    while start < now + timedelta(seconds=min(keep, FURTHEST)) + 2 * width:
        partitions.append(Partition(f"history_{start:%Y%m%d}", start, start + width))
        start += width
    return partitions


def partition_sql(schema: str, partition: Partition) -> list[str]:
    """The statements that make a partition."""
    own, table = quote(schema), f"{quote(schema)}.{quote(partition.name)}"
    return [
        f"create table {table} (like {own}.history including all);",
        f"alter table {own}.history attach partition {table} "
        f"for values from ('{partition.start}') to ('{partition.end}');",
        f"update {own}.retention set bound = '{partition.end}';",
    ]


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


def _closed(text: str) -> str:
    """Statements that end with a semicolon."""
    text = text.strip()
    return text if text.endswith(";") and "--" not in text.rpartition("\n")[2] else f"{text}\n;"
