"""The tables: made at first use, brought up to date under a lock, and checked against this code.

Each migration's first line says the oldest code that can live with it (`-- oldest: N`, in
migrations known). So an older worker goes on through a rolling deploy, and code that is too old
says so.
"""

import re
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from soniq.errors import (
    DatabaseError,
    DatabaseUnavailable,
    PluginError,
    SchemaMissing,
    SchemaTooNew,
)
from soniq.hooks.values import Migration
from soniq.postgres.connections import transaction
from soniq.postgres.database import Database
from soniq.postgres.driver_errors import CONNECTION_ERRORS
from soniq.postgres.indexes import UNFINISHED, make_indexes
from soniq.postgres.partitions import (
    FURTHEST,
    ensure_partitions,
    missing_partitions,
    partition_sql,
    partition_times,
)
from soniq.postgres.sql import core_migrations, literal, quote

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

CORE = "soniq"

LONGEST_NAME = 63
"""Bytes of a name that PostgreSQL keeps."""


class Step(NamedTuple):
    """One migration: whose, its number, and its SQL with the schema's name still to be put in."""

    owner: str
    version: int
    text: str


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
                raise PluginError(
                    f"the plugin {plugin!r}: its migrations must be numbered 1, 2, 3 ...",
                    plugin=plugin,
                )
            self._steps[plugin] = steps

    @property
    def known(self) -> int:
        """The newest of the core's migrations that this code knows."""
        return self._steps[CORE][-1][0]

    async def ensure(self) -> None:
        """Check the tables, and make or update them unless the settings forbid it.

        Raises `SchemaMissing` or `SchemaTooNew`. Where all is current no right to create anything
        is needed.
        """
        missing = await self.missing()
        if not missing:
            return
        if not self._database.settings.setup:
            steps = ", ".join(f"{each.owner} {each.version}" for each in missing)
            raise SchemaMissing(
                self._advice(
                    "are missing or older than this code, and are not made by this command, or"
                    f" because SONIQ_SETUP is off; the steps that are missing: {steps}"
                )
            )
        await self.make()

    async def missing(self) -> list[Step]:
        """The steps that have not been taken.

        Raises `SchemaTooNew`, and `SchemaMissing` where they cannot be read.
        """
        async with self._acquire() as connection:
            return await self._missing(connection)

    async def make(self) -> list[Step]:
        """Take the missing steps in one transaction; which those were. Raises as `ensure` does."""
        async with self._acquire() as connection:
            try:
                return await self._migrate(connection)
            except asyncpg.InsufficientPrivilegeError as error:
                advice = self._advice(f"cannot be created by this role ({error})")
                raise SchemaMissing(advice) from error
            except asyncpg.LockNotAvailableError as error:
                advice = self._advice("are locked by another session (lock timeout)")
                raise DatabaseUnavailable(advice) from error
            except CONNECTION_ERRORS:
                raise
            except asyncpg.PostgresError as error:
                raise DatabaseError(self._advice(f"cannot be created: {error}")) from error

    async def make_partitions(self) -> list[str] | None:
        """Make the partitions of history that are missing ahead; their names.

        None: this role may not.
        """
        async with self._acquire() as connection:
            try:
                return await ensure_partitions(connection, self.name, self._database.settings.keep)
            except asyncpg.InsufficientPrivilegeError:
                return None

    async def make_indexes(self) -> bool:
        """Make the indexes that history lacks; False where that is for somebody else to finish."""
        with self._database.guarding():
            try:
                return await make_indexes(self._database)
            except (*UNFINISHED, asyncpg.InsufficientPrivilegeError):
                return False

    async def partitions_end(self) -> datetime | None:
        """When the partitions of history end, if a job that finishes now is kept for longer."""
        keep = min(self._database.settings.keep, FURTHEST)
        async with self._acquire() as connection:
            end: datetime | None = await connection.fetchval(
                f"select bound from {quote(self.name)}.retention"
                " where bound < now() + make_interval(secs => $1)",
                keep,
            )
        return end

    async def script(self) -> str:
        """The SQL that `make` and `make_partitions` would run now, as one transaction.

        Empty where nothing is missing.
        """
        async with self._acquire() as connection:
            missing = await self._missing(connection)
            schemas = await self._schemas(connection)
            begun = bool(await self._applied(connection))
            now: datetime = await connection.fetchval("select now()")
            bound, there = now - timedelta(days=1), []
            if begun:
                bound = await connection.fetchval(f"select bound from {quote(self.name)}.retention")
                there = await partition_times(connection, self.name)

        partitions = missing_partitions(bound, now, self._database.settings.keep, there)
        if not missing and not partitions:
            return ""

        statements = ["begin isolation level read committed;", *self._locking()]
        if missing:
            statements += self._beginning(schemas)
            statements += [statement for _, statement in self._taking(missing, schemas)]
        for partition in partitions:
            statements += partition_sql(self.name, partition)
        return "\n\n".join([*statements, "commit;"])

    @asynccontextmanager
    async def _acquire(self) -> "AsyncIterator[Connection]":
        with self._database.guarding():
            async with self._database.acquire() as connection:
                yield connection

    async def _missing(self, connection: "Connection") -> list[Step]:
        applied = await self._applied(connection)
        oldest = max((row["oldest"] for row in applied if row["namespace"] == CORE), default=0)
        if oldest > self.known:
            newest = max(row["version"] for row in applied if row["namespace"] == CORE)
            raise SchemaTooNew(
                f"the tables in schema {self.name!r} of {self.place} are of version {newest} and"
                f" need code that knows version {oldest}; this Soniq knows {self.known}."
                " Upgrade soniq-core"
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
            return await connection.fetch(
                f"select namespace, version, oldest from {quote(self.name)}.migration"
            )
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            return []
        except asyncpg.InsufficientPrivilegeError as error:
            raise SchemaMissing(self._advice(f"cannot be read by this role ({error})")) from error

    async def _schemas(self, connection: "Connection") -> set[str]:
        """Those of the steps' schemas that are there: not every role has the right to make them."""
        plugins = (plugin_schema(self.name, owner) for owner in self._steps if owner != CORE)
        rows = await connection.fetch(
            "select nspname from pg_namespace where nspname = any($1)", [self.name, *plugins]
        )
        return {row["nspname"] for row in rows}

    async def _migrate(self, connection: "Connection") -> list[Step]:
        async with transaction(connection):
            for statement in self._locking():
                await connection.execute(statement)
            schemas = await self._schemas(connection)
            for statement in self._beginning(schemas):
                await connection.execute(statement)

            missing = await self._missing(connection)
            for step, statement in self._taking(missing, schemas):
                try:
                    await connection.execute(_without_first_comments(statement))
                except asyncpg.InsufficientPrivilegeError:
                    raise
                except asyncpg.PostgresError as error:
                    if step.owner == CORE:
                        raise
                    raise PluginError(
                        f"migration {step.version} of the plugin {step.owner!r} failed, and nothing"
                        f" was changed: {error}",
                        plugin=step.owner,
                    ) from error

            await ensure_partitions(connection, self.name, self._database.settings.keep)
        return missing

    def _locking(self) -> list[str]:
        """The statements that let one at a time change the tables."""
        key = literal(f"soniq.{self.name}")
        return [
            "set local lock_timeout = '30s';",
            # A step names its schema, and nobody else can slip in
            "set local search_path = pg_catalog, pg_temp;",
            # What a role or a database wants to be told of its own functions
            "set local plpgsql.extra_errors = 'none';",
            f"select pg_advisory_xact_lock(hashtextextended({key}, 0));",
        ]

    def _beginning(self, schemas: Collection[str]) -> list[str]:
        """The statements that make what the steps are written down in; `schemas` are there."""
        own = quote(self.name)
        table = (
            f"create table if not exists {own}.migration (namespace text, version integer,"
            " oldest integer not null, applied_at timestamptz not null default now(),"
            " primary key (namespace, version));"
        )
        return [table] if self.name in schemas else [f"create schema {own};", table]

    def _taking(
        self, steps: Sequence[Step], schemas: Collection[str]
    ) -> Iterator[tuple[Step, str]]:
        """The statements of steps, each with its step; `schemas` are there."""
        own, there = quote(self.name), {self.name, *schemas}
        for step in steps:
            name = self.name if step.owner == CORE else plugin_schema(self.name, step.owner)
            if len(name) > LONGEST_NAME:
                raise PluginError(
                    f"the schema name {name!r} of the plugin is too long", plugin=step.owner
                )

            if name not in there:
                there.add(name)
                yield step, f"create schema {quote(name)};"
            yield step, _closed(step.text.replace("{schema}", quote(name)).replace("{soniq}", own))

            oldest = re.match(r"-- oldest: (\d+)", step.text)
            row = f"{literal(step.owner)}, {step.version}, {oldest[1] if oldest else 1}"
            written = f"insert into {own}.migration (namespace, version, oldest) values ({row});"
            yield step, written

    def _advice(self, what: str) -> str:
        return (
            f"Soniq's tables in schema {self.name!r} of {self.place} {what}. "
            "Start a worker, or run `soniq setup`, as a role that may create them"
        )


def _without_first_comments(statement: str) -> str:
    """A statement from its first word on, by which tracers and the server's views name it."""
    lines = statement.split("\n")
    first = next((place for place, line in enumerate(lines) if not _is_comment(line)), 0)
    return "\n".join(lines[first:])


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("--")


def plugin_schema(schema: str, plugin: str) -> str:
    """The name of the schema that holds a plugin's own tables."""
    return f"{schema}_{plugin}"


def plugin_function(schema: str, plugin: str, function: str) -> str:
    """A function in a plugin's schema, as a statement names it."""
    return f"{quote(plugin_schema(schema, plugin))}.{quote(function)}"


def _closed(text: str) -> str:
    """Statements that end with a semicolon."""
    text = text.strip()
    return text if text.endswith(";") and "--" not in text.rpartition("\n")[2] else f"{text}\n;"
