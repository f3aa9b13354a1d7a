"""Whose operators and functions run: PostgreSQL's own, whatever others have put where a search may
come by.
"""

import uuid
from typing import TYPE_CHECKING

import asyncpg
import pytest

from soniq import DatabaseUnavailable, Soniq, SoniqError, hookimpl
from soniq.plugin import Migration
from tests.conftest import MakeApp
from tests.support.jobs import status_of, working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

TRAP = """
create table public.caught (by text);
grant all on public.caught to public;
create function public.trap(a integer, b integer) returns float8 language plpgsql as
    'begin insert into public.caught values (current_user); return 1; end';
create operator public.^ (leftarg = integer, rightarg = integer, function = public.trap);
"""
"""An operator that fits better than PostgreSQL's own where an integer is raised to the power of
another.
"""


async def test_an_operator_that_somebody_makes_in_public_is_not_run_by_a_worker(
    own_database_url: str,
) -> None:
    connection = await asyncpg.connect(own_database_url)
    await connection.execute(TRAP)
    async with Soniq(
        own_database_url, discover=False, poll_interval=0.1, unknown_jobs="allow"
    ) as app:
        await app.enqueue("unknown")

        async def deferred() -> bool:
            return bool(await connection.fetchval("select deferrals from soniq.job"))

        async with working(app):
            await eventually(deferred)
    assert await connection.fetch("select * from public.caught") == []
    assert await connection.fetchval("select 2 ^ 1") == 1  # it is one that would have been run
    await connection.close()


async def test_each_function_says_where_it_searches_or_is_bound_when_it_is_made(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    await make_app().start()
    rows = await connection.fetch(
        "select proname, proconfig, prosqlbody is not null as bound from pg_proc "
        "where pronamespace = to_regnamespace($1)",
        schema,
    )
    assert len(rows) > 20
    loose = [
        row["proname"]
        for row in rows
        if not row["bound"] and "search_path=pg_catalog, pg_temp" not in (row["proconfig"] or [])
    ]
    assert loose == ["job_is_sound_1"]  # which the next test is about


FITTING = """
create table public.caught (by text);
create function public.trap(a anyelement, b integer) returns boolean language plpgsql as
    'begin insert into public.caught values (b::text); return true; end';
create function public.trap_of(a text[]) returns integer language plpgsql as
    'begin insert into public.caught values (''array''); return 1; end';
create function public.at_least(a float8, b integer) returns boolean language sql as 'select public.trap(a, b)';
create function public.at_least(a timestamptz, b text) returns boolean language sql as 'select public.trap(a, 0)';
create function public.differs(a text[], b text[]) returns boolean language sql as 'select public.trap(a, 0)';
create operator public.>= (leftarg = float8, rightarg = integer, function = public.at_least);
create operator public.> (leftarg = float8, rightarg = integer, function = public.at_least);
create operator public.>= (leftarg = timestamptz, rightarg = text, function = public.at_least);
create operator public.<> (leftarg = text[], rightarg = text[], function = public.differs);
create function public.array_ndims(a text[]) returns integer language sql as 'select public.trap_of(a)';
create function public.cardinality(a text[]) returns integer language sql as 'select public.trap_of(a)';
create function public.array_position(a text[], b text) returns integer language sql as 'select public.trap_of(a)';
"""
"""Operators and functions that fit better than PostgreSQL's own what a condition of a row could say
carelessly.
"""


async def test_no_condition_of_a_row_runs_what_somebody_makes_in_public(
    own_database_url: str,
) -> None:
    connection = await asyncpg.connect(own_database_url)
    await connection.execute(FITTING)
    async with Soniq(own_database_url, discover=False) as app:
        app.job(name="nothing")(_nothing)
        async with connection.transaction():
            await app.enqueue("nothing", connection=connection)
        await connection.execute(
            "update soniq.job set status = 'held', held_by = '{a}', holders = '{a}', marks = '{a}',"
            " timeout = 1, dedup_scope = 'queued', expires_at = now()"
        )
    assert await connection.fetch("select * from public.caught") == []
    assert await connection.fetchval("select array_ndims('{a}'::text[])") == 1  # one of them runs
    assert await connection.fetch("select * from public.caught") != []
    await connection.close()


async def test_soniqs_own_sessions_search_nowhere_else(make_app: MakeApp) -> None:
    app = make_app()
    await app.start()
    async with app._database.acquire() as pooled, app._database.apart() as own:
        for session in (pooled, own):
            assert await session.fetchval("show search_path") == "pg_catalog, pg_temp"


async def test_a_handlers_session_searches_where_its_role_does(
    make_app: MakeApp, connection: "Connection"
) -> None:
    app = make_app()

    @app.job(name="path")
    async def path(session: asyncpg.Connection) -> str:
        found = await session.fetchval("show search_path")
        return str(found)

    job_id = await app.enqueue(path)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == await connection.fetchval("show search_path")


async def test_an_applications_own_statements_search_where_its_role_does(
    make_app: MakeApp, own_database_url: str
) -> None:
    app = make_app(database_url=own_database_url)
    app.job(name="nothing")(_nothing)
    await app.start()
    async with app.connection() as session, session.transaction():
        await session.execute("create table own_order (id integer)")
        await session.execute("insert into own_order values (1)")
        job_id = await app.enqueue("nothing", connection=session)
    async with app.connection() as session:
        assert await session.fetchval("select count(*) from own_order") == 1
    assert (await status_of(app, job_id))["status"] == "queued"


async def test_what_an_application_sets_in_a_session_is_undone(make_app: MakeApp) -> None:
    app = make_app(pool_size=1)
    await app.start()
    async with app.connection() as session:
        pid = session.get_server_pid()
        path = await session.fetchval("show search_path")
        await session.execute("set search_path = nowhere; set work_mem = '77kB'")
    async with app.connection() as session:
        assert session.get_server_pid() == pid
        assert await session.fetchval("show search_path") == path
        assert await session.fetchval("show work_mem") != "77kB"
    async with app._database.acquire() as own:
        assert own.get_server_pid() != pid


async def test_a_session_of_the_application_is_bounded_and_ends_with_the_app(
    make_app: MakeApp, connection: "Connection"
) -> None:
    app = make_app(pool_size=1, connect_timeout=0.2)
    await app.start()
    async with app.connection() as session:
        pid = session.get_server_pid()
        assert await session.fetchval("show idle_in_transaction_session_timeout") != "0"
        with pytest.raises(DatabaseUnavailable, match="of 1 in the pool"):
            async with app.connection():
                pass
        await app.jobs()  # Soniq's own pool is another
    app._database.drop_idle()

    async def ended() -> bool:
        found = await connection.fetchval("select 1 from pg_stat_activity where pid = $1", pid)
        return found is None

    await eventually(ended)
    async with app.connection() as session:
        pid = session.get_server_pid()
    await app.close()
    await eventually(ended)
    with pytest.raises(SoniqError):
        async with app.connection():
            pass


async def _nothing() -> None: ...


class Loose:
    """A plugin with a migration that names no schema for what it makes."""

    @hookimpl
    def migrations(self) -> list[Migration]:
        return [Migration(version=1, sql=f"create table loose_{uuid.uuid4().hex} (n integer)")]


async def test_a_plugins_migration_that_names_no_schema_makes_nothing_in_public(
    make_app: MakeApp, connection: "Connection"
) -> None:
    with pytest.raises(SoniqError, match=r"pg_catalog"):
        await make_app(plugins=[Loose()]).start()
    assert not await connection.fetchval(
        "select exists (select from pg_class where relname like 'loose\\_%')"
    )
