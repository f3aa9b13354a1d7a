"""Schemas that tests hand on: making the tables takes longer than most tests do."""

import asyncio
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from soniq import Soniq

LARGEST = 500_000
"""Bytes beyond which a schema is dropped, since what was deleted would slow the next test."""

CATALOG: LiteralString = """
with space as (
    select oid, xmin from pg_namespace where nspname = any(%(names)s)
), class as (
    select oid, relpages, reltuples, xmin from pg_class where relnamespace in (select oid from space)
)
select (select (count(*), sum(xmin::text::bigint))::text from space),
    (select (count(*), sum(xmin::text::bigint), sum(relpages), sum(reltuples))::text from class),
    (select (count(*), sum(a.xmin::text::bigint))::text from pg_attribute a join class on attrelid = class.oid),
    (select (count(*), sum(c.xmin::text::bigint))::text from pg_constraint c join class on conrelid = class.oid),
    (select (count(*), sum(t.xmin::text::bigint))::text from pg_trigger t join class on tgrelid = class.oid),
    (select (count(*), sum(i.xmin::text::bigint))::text from pg_inherits i join class on inhrelid = class.oid),
    (select (count(*), sum(p.xmin::text::bigint))::text
        from pg_proc p where pronamespace in (select oid from space))
"""
"""What changes with whatever DDL, with rights, and with what VACUUM or ANALYZE found."""

TABLES: LiteralString = """
select nspname, relname, relkind = 'S' from pg_class join pg_namespace n on n.oid = relnamespace
where nspname = any(%(names)s) and relkind in ('r', 'p', 'S') and not relispartition order by 1, 2
"""

SIZE: LiteralString = """
select sum(pg_relation_size(oid) + coalesce(pg_relation_size(nullif(reltoastrelid, 0)), 0)) from pg_class
where relnamespace in (select oid from pg_namespace where nspname = any(%(names)s)) and relkind = 'r'
"""
"""Of rows, also of those that were deleted; to ask for indexes, too, takes five times as long."""

RUNNING: LiteralString = """
select pid, query from pg_stat_activity
where datname = current_database() and state = 'active' and pid <> pg_backend_pid()
    and backend_type = 'client backend'
"""

LOCKED: LiteralString = """
select exists(
    select from pg_locks l join pg_class c on l.relation = c.oid
    where c.relnamespace in (select oid from pg_namespace where nspname = any(%(names)s))
        and l.pid <> pg_backend_pid()
)
"""
"""Whether another session is still at work in a schema."""


Plugins = tuple[Callable[[], object], ...]
"""What makes the plugins of which a schema has the tables as well."""


class Schemas:
    """Schemas on a server, each for one test at a time, with the tables as a first start makes
    them and nothing in them, and beside each those of plugins. What a test left otherwise is
    dropped.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: psycopg.Connection[tuple[Any, ...]] | None = None
        self._free: dict[Plugins, list[str]] = defaultdict(list)
        self._made: dict[str, _Made] = {}

    def take(self, plugins: Plugins = ()) -> str:
        """The name of a schema that has Soniq's tables, all empty, and beside which are those of
        plugins.
        """
        return self._free[plugins].pop() if self._free[plugins] else self._make(plugins)

    def give_back(self, name: str) -> None:
        """Empty a schema for the next test, or drop it; what is beside it and was not there at the
        beginning is dropped.
        """
        made = self._made[name]
        if (
            self._fetch(CATALOG, names=made.names) == made.catalog
            and not self._fetch(LOCKED, names=made.names)[0][0]
        ):
            self.drop(f"{name}_", but=made.names)
            self._run(made.empty)
            small = self._fetch(SIZE, names=made.names)[0][0] < LARGEST
            if small and self._run(made.keeps).fetchall() == made.kept:
                self._free[made.plugins].append(name)
                return
        del self._made[name]
        self.drop(name)

    def drop(self, beginning: str, *, but: Sequence[str] = ()) -> None:
        """Drop the schemas whose names begin so: one, and those of plugins beside it."""
        names = "select nspname from pg_namespace where starts_with(nspname, %(name)s)"
        for (found,) in self._fetch(names, name=beginning):
            if found not in but:
                self._run(sql.SQL("drop schema {} cascade").format(sql.Identifier(found)))

    def end_statements(self, patience: float = 2.0) -> list[str]:
        """End the statements that other sessions run, whose snapshots would hold up the vacuum and
        the partitions of later tests; those that had to be ended after `patience` seconds.
        """
        ends = time.monotonic() + patience
        while True:
            running = self._fetch(RUNNING)
            if not running or time.monotonic() > ends:
                break
            time.sleep(0.02)

        for pid, _ in running:
            self._fetch("select pg_terminate_backend(%(pid)s)", pid=pid)
        return [query for _, query in running]

    def close(self) -> None:
        """Drop those that are left, and leave the server."""
        for name in self._made:
            self.drop(name)
        if self._session is not None:
            self._session.close()

    def _make(self, plugins: Plugins) -> str:
        name = new_name()

        async def make() -> None:
            parts = [each() for each in plugins]
            async with Soniq(self._url, schema=name, discover=False, plugins=parts):
                pass

        with ThreadPoolExecutor(1) as thread:  # the test may have a loop in this one
            thread.submit(asyncio.run, make()).result()
        names = "select nspname from pg_namespace where starts_with(nspname, %(name)s)"
        names_of = [found for (found,) in self._fetch(names, name=name)]
        self._made[name] = self._as_made(plugins, names_of)
        return name

    def _as_made(self, plugins: Plugins, names: Sequence[str]) -> "_Made":
        """What there is in new schemas, and how they are made so again."""
        delete = sql.SQL("delete from {}")
        keeps, empty = [], []
        for schema, table, is_sequence in self._fetch(TABLES, names=names):
            which = sql.Identifier(schema, table)
            if is_sequence:
                again = sql.SQL("select setval({}::regclass, 1, false)")
                empty.append(again.format(sql.Literal(which.as_string())))
                continue
            rows = sql.SQL("(select array_agg(t::text order by t::text) from {} t)").format(which)
            [(found,)] = self._run(sql.SQL("select {}").format(rows)).fetchall()
            added = sql.SQL("delete from {} t where (t::text = any({})) is not true")
            empty.append(added.format(which, sql.Literal(found)) if found else delete.format(which))
            if found:
                keeps.append(rows)

        kept = sql.SQL("select {}").format(sql.SQL(", ").join(keeps))
        return _Made(
            plugins=plugins,
            names=names,
            catalog=self._fetch(CATALOG, names=names),
            empty=sql.SQL("; ").join(empty),
            keeps=kept,
            kept=self._run(kept).fetchall(),
        )

    def _fetch(self, text: LiteralString, **arguments: object) -> list[tuple[Any, ...]]:
        return self._run(text, arguments or None).fetchall()

    def _run(
        self, statement: LiteralString | sql.Composed, arguments: Mapping[str, object] | None = None
    ) -> "psycopg.Cursor[tuple[Any, ...]]":
        try:
            return self._connected().execute(statement, arguments)
        except psycopg.OperationalError:
            if self._session is not None and not self._session.closed:
                raise
            # A test has ended all sessions
            return self._connected().execute(statement, arguments)

    def _connected(self) -> "psycopg.Connection[tuple[Any, ...]]":
        if self._session is None or self._session.closed:
            self._session = psycopg.connect(self._url, autocommit=True)
            self._session.execute("set lock_timeout = '10s'")
        return self._session


@dataclass(frozen=True)
class _Made:
    """A schema as it was made, with those beside it."""

    plugins: Plugins
    names: Sequence[str]
    catalog: list[tuple[Any, ...]]
    empty: sql.Composed
    """Deletes what was not there."""
    keeps: sql.Composed
    """Finds what is in the tables that were not empty."""
    kept: list[tuple[Any, ...]]


def new_name() -> str:
    """A name that no schema has."""
    return f"test_{uuid.uuid4().hex[:12]}"
