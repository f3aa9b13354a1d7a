"""Schemas that tests hand on: making the tables takes longer than most tests do."""

import asyncio
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from soniq import Soniq

LARGEST = 500_000
"""Bytes beyond which a schema is dropped, since what was deleted would slow the next test."""

CATALOG: LiteralString = """
with class as (
    select oid, relpages, reltuples, xmin from pg_class where relnamespace = to_regnamespace(%(name)s)
)
select (select xmin::text from pg_namespace where nspname = %(name)s),
    (select (count(*), sum(xmin::text::bigint), sum(relpages), sum(reltuples))::text from class),
    (select (count(*), sum(a.xmin::text::bigint))::text from pg_attribute a join class on attrelid = class.oid),
    (select (count(*), sum(c.xmin::text::bigint))::text from pg_constraint c join class on conrelid = class.oid),
    (select (count(*), sum(t.xmin::text::bigint))::text from pg_trigger t join class on tgrelid = class.oid),
    (select (count(*), sum(i.xmin::text::bigint))::text from pg_inherits i join class on inhrelid = class.oid),
    (select (count(*), sum(p.xmin::text::bigint))::text from pg_proc p where pronamespace = to_regnamespace(%(name)s))
"""
"""What changes with whatever DDL, with rights, and with what VACUUM or ANALYZE found."""

KEPT: LiteralString = """
select (select array_agg(m order by namespace, version) from {name}.migration m)::text,
    (select array_agg(r) from {name}.retention r)::text
"""
"""What is in a new schema."""

EMPTY: LiteralString = """
delete from {name}.job;
delete from {name}.history;
delete from {name}.worker;
delete from {name}.paused_queue;
delete from {name}.election;
delete from {name}.owed;
delete from {name}.migration where namespace <> 'soniq'
"""

SIZE: LiteralString = """
select sum(pg_relation_size(oid) + coalesce(pg_relation_size(nullif(reltoastrelid, 0)), 0)) from pg_class
where relnamespace = to_regnamespace(%(name)s) and relkind = 'r'
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
    where c.relnamespace = to_regnamespace(%(name)s) and l.pid <> pg_backend_pid()
)
"""
"""Whether another session is still at work in a schema."""


class Schemas:
    """Schemas on a server, each for one test at a time, with the tables as a first start makes
    them and nothing in them. What a test left otherwise is dropped.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: psycopg.Connection[tuple[Any, ...]] | None = None
        self._free: list[str] = []
        self._made: dict[str, _Made] = {}

    def take(self) -> str:
        """The name of a schema that has Soniq's tables, all empty."""
        return self._free.pop() if self._free else self._make()

    def give_back(self, name: str) -> None:
        """Empty a schema for the next test, or drop it; those of plugins beside it are dropped."""
        made = self._made[name]
        if (
            self._fetch(CATALOG, name=name) == made.catalog
            and not self._fetch(LOCKED, name=name)[0][0]
        ):
            self.drop(f"{name}_")
            self._run_in(name, EMPTY)
            small = self._fetch(SIZE, name=name)[0][0] < LARGEST
            if small and self._run_in(name, KEPT).fetchall() == made.kept:
                self._free.append(name)
                return
        del self._made[name]
        self.drop(name)

    def drop(self, beginning: str) -> None:
        """Drop the schemas whose names begin so: one, and those of plugins beside it."""
        names = "select nspname from pg_namespace where starts_with(nspname, %(name)s)"
        for (found,) in self._fetch(names, name=beginning):
            self._run_in(found, "drop schema {name} cascade")

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
        for name in self._free:
            self.drop(name)
        if self._session is not None:
            self._session.close()

    def _make(self) -> str:
        name = new_name()

        async def make() -> None:
            async with Soniq(database_url=self._url, schema=name, discover=False):
                pass

        with ThreadPoolExecutor(1) as thread:  # the test may have a loop in this one
            thread.submit(asyncio.run, make()).result()
        self._made[name] = _Made(
            self._fetch(CATALOG, name=name), self._run_in(name, KEPT).fetchall()
        )
        return name

    def _fetch(self, text: LiteralString, **arguments: object) -> list[tuple[Any, ...]]:
        return self._run(text, arguments or None).fetchall()

    def _run_in(self, name: str, text: LiteralString) -> "psycopg.Cursor[tuple[Any, ...]]":
        """Run statements in which `{name}` is that of a schema."""
        return self._run(sql.SQL(text).format(name=sql.Identifier(name)))

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


class _Made(NamedTuple):
    """A schema as it was made."""

    catalog: list[tuple[Any, ...]]
    kept: list[tuple[Any, ...]]


def new_name() -> str:
    """A name that no schema has."""
    return f"test_{uuid.uuid4().hex[:12]}"
