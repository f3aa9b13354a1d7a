"""The tables: how they are made and checked, what a role needs, and how history's partitions come
and go.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest

from soniq import DatabaseError, Soniq
from soniq.errors import SchemaMissing, SchemaTooNew
from soniq.postgres.partitions import drop_partitions, ensure_partitions, past_partitions
from soniq.postgres.sql import core_migrations
from tests.conftest import MakeApp
from tests.core.postgres.support import Exchanger, documented_rights
from tests.support.jobs import working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

NEWEST = core_migrations()[-1][0]
"""The newest of the core's migrations."""


class Role(NamedTuple):
    """A role that may log in, and the URL with which it does, to a database of the test's own."""

    name: str
    url: str


@pytest.fixture
async def role(own_database_url: str) -> AsyncIterator[Role]:
    """A role without rights of any kind."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    owner = await asyncpg.connect(own_database_url)
    await owner.execute(f"create role {name} login password 'test'")
    parts = urlsplit(own_database_url)
    yield Role(
        name, parts._replace(netloc=f"{name}:test@{parts.netloc.rpartition('@')[2]}").geturl()
    )
    await owner.execute(f"drop owned by {name} cascade")
    await owner.execute(f"drop role {name}")
    await owner.close()


@pytest.fixture
async def owner(own_database_url: str) -> "AsyncIterator[Connection]":
    """A plain connection to the test's own database, as the one who owns it."""
    connection = await asyncpg.connect(own_database_url)
    yield connection
    await connection.close()


# --- making and checking -------------------------------------------------------------------------


def test_each_number_of_a_migration_is_there_once() -> None:
    numbers = [number for number, *_ in core_migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_second_start_changes_nothing(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    await make_app().start()
    before = await _objects(connection, schema)
    await make_app().start()
    assert await _objects(connection, schema) == before


async def test_ten_apps_at_once_make_the_tables_once(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    apps = [make_app() for _ in range(10)]
    await asyncio.gather(*(app.start() for app in apps))
    assert [tuple(row) for row in await _migrations(connection, schema)] == [
        ("soniq", version, 1) for version in range(1, NEWEST + 1)
    ]


@pytest.mark.parametrize("version", range(4, NEWEST))
async def test_tables_of_an_older_release_are_brought_up_with_the_jobs_in_them(
    make_app: MakeApp,
    connection: "Connection",
    schema: str,
    version: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as before:
        before.setattr("soniq.postgres.schema.core_migrations", lambda: core_migrations()[:version])
        await make_app().start()
    dead = uuid.uuid4()
    await connection.execute(
        f"insert into {schema}.history (id, forget_at, created_at, scheduled_at, finished_at,"
        " claim, keep, priority, attempt, max_attempts, name, queue, status, serializer, args)"
        " values ($1, 'infinity', now(), now(), now(), 1, 60, 0, 1, 5, 'job', 'default', 'dead',"
        " 'json', '{\"number\": 1}')",
        dead,
    )
    await connection.execute(
        f"select {schema}.enqueue('job', jsonb_build_object('number', number))"
        " from generate_series(2, 3) number"
    )
    app = make_app()
    ran = []

    @app.job(name="job", retry=0)
    async def job(number: int) -> None:
        ran.append(number)
        if number not in ran[:-1]:
            raise ValueError("once")

    await app.retry(str(dead))
    assert await app.run_worker(run_once=True) == 6
    assert sorted(ran) == [1, 1, 2, 2, 3, 3]
    assert [each["status"] for each in await app.jobs()] == ["done"] * 3


async def test_setting_up_waits_for_another_that_sets_up(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(
        "select pg_advisory_xact_lock(hashtextextended($1, 0))", f"soniq.{schema}"
    )
    starting = asyncio.create_task(make_app().start())
    waiting = "select exists (select from pg_locks where $1 = any(pg_blocking_pids(pid)))"
    await eventually(lambda: connection.fetchval(waiting, connection.get_server_pid()))
    assert not await connection.fetchval(
        "select exists (select from pg_namespace where nspname = $1)", schema
    )
    await transaction.commit()
    await starting


async def test_what_fails_on_the_way_leaves_nothing_behind(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    await connection.execute(f"create schema {schema} create table election (mine text)")
    with pytest.raises(DatabaseError, match="election"):
        await make_app().start()
    tables = await connection.fetch(
        "select relname from pg_class where relnamespace = to_regnamespace($1)", schema
    )
    assert [row["relname"] for row in tables] == ["election"]


async def test_without_setup_missing_tables_are_an_error_and_current_ones_are_not(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    with pytest.raises(SchemaMissing, match=f"{schema}.*setup"):
        await make_app(setup=False).start()
    assert not await connection.fetchval(
        "select exists (select from pg_namespace where nspname = $1)", schema
    )
    await make_app().start()
    await make_app(setup=False).start()


async def test_tables_of_a_newer_soniq_are_used_as_long_as_it_allows_this_code(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    await make_app().start()
    await connection.execute(
        f"insert into {schema}.migration (namespace, version, oldest) values ('soniq', $1, 1)",
        NEWEST + 1,
    )
    app = make_app()
    ran = []

    @app.job(name="job")
    async def job(number: int) -> None:
        ran.append(number)

    await app.enqueue(job, number=1)
    await app.run_worker(run_once=True)
    assert ran == [1]


@pytest.mark.parametrize("setup", [True, False])
async def test_tables_that_need_newer_code_are_refused(
    make_app: MakeApp, connection: "Connection", schema: str, setup: bool
) -> None:
    await make_app().start()
    await connection.execute(
        f"insert into {schema}.migration (namespace, version, oldest) values ('soniq', $1, 1),"
        " ('soniq', $1 + 1, $1)",
        NEWEST + 1,
    )
    with pytest.raises(
        SchemaTooNew,
        match=f"of version {NEWEST + 2} and need code that knows version {NEWEST + 1}; this Soniq"
        f" knows {NEWEST}",
    ):
        await make_app(setup=setup).start()


@pytest.mark.parametrize("name", ["user", "select", "_", "a" * 40, "public"])
async def test_schema_names_that_need_care(
    own_database_url: str, owner: "Connection", name: str
) -> None:
    app = Soniq(own_database_url, schema=name, discover=False)
    ran = asyncio.Event()

    @app.job(name="job", unique=True)
    async def job(number: int) -> None:
        ran.set()

    await app.start()
    async with working(app):
        await app.enqueue(job, number=1)
        await asyncio.wait_for(ran.wait(), 10)
    assert await owner.fetchval(f'select count(*) from "{name}".history') == 1


async def test_a_schema_name_that_postgresql_keeps_for_itself_is_refused(
    own_database_url: str,
) -> None:
    with pytest.raises(DatabaseError, match="pg_soniq"):
        await Soniq(own_database_url, schema="pg_soniq", discover=False).start()


async def test_a_schema_beside_it_is_not_touched(
    own_database_url: str, owner: "Connection"
) -> None:
    one, two = (Soniq(own_database_url, schema=name, discover=False) for name in ("one", "two"))
    ran = []

    async def job(number: int) -> None:
        ran.append(number)

    for app in (one, two):
        app.job(name="job", unique=True)(job)
        await app.enqueue("job", number=1)
    before = await _objects(owner, "two"), await owner.fetch("select * from two.job")
    await one.run_worker(run_once=True)
    assert ran == [1]
    assert (await _objects(owner, "two"), await owner.fetch("select * from two.job")) == before
    await one.close()
    await two.close()


# --- roles and their settings --------------------------------------------------------------------


async def test_a_role_with_only_the_rights_that_are_needed_does_all_that_users_do(
    own_database_url: str, owner: "Connection", role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    await _grant_rights(own_database_url, owner, role)
    app = Soniq(role.url, discover=False, poll_interval=0.1, lease=1)
    await _all_that_users_do(app, role)
    assert "permission denied" not in caplog.text


async def test_a_role_that_does_not_own_the_tables_works_on_without_new_partitions(
    own_database_url: str, owner: "Connection", role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    await _grant_rights(own_database_url, owner, role)
    times = "select relname from pg_class where relname ~ '^history_[0-9]{8}$' and relkind = 'r'"
    for row in await owner.fetch(times):
        await owner.execute(f"drop table soniq.{row['relname']}")
    await owner.execute("update soniq.retention set bound = now() - interval '1 day'")
    app = Soniq(role.url, discover=False, lease=1)
    app.job(name="job")(_nothing)
    async with working(app):

        async def told() -> bool:
            return (
                "partitions cannot be created or dropped: this role does not own the tables"
                in caplog.text
            )

        await eventually(told)
        await app.wait_for(await app.enqueue("job", number=1), 10)
    assert caplog.text.count("permission denied") == 1
    assert await owner.fetchval("select count(*) from soniq.history_forever") == 1
    await app.close()


async def test_a_role_that_may_not_read_the_tables_is_told_so(
    own_database_url: str, role: Role
) -> None:
    setup = Soniq(own_database_url, discover=False)
    await setup.start()
    await setup.close()
    with pytest.raises(SchemaMissing, match="permission denied"):
        await Soniq(role.url, discover=False).start()


async def test_a_role_that_may_not_make_the_tables_is_told_so(role: Role) -> None:
    with pytest.raises(SchemaMissing, match=r"(?s)permission denied.*soniq setup"):
        await Soniq(role.url, discover=False).start()


@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_isolation = 'repeatable read'",
        "default_transaction_isolation = 'serializable'",
        "lock_timeout = '1ms'",
        "datestyle = 'SQL, DMY'",
        "timezone = 'Asia/Kathmandu'",
        "timezone = 'UTC+25'",
        "plpgsql.extra_errors = 'all'",
        "search_path = ''",
        "plan_cache_mode = force_custom_plan",
    ],
)
async def test_what_is_set_for_the_role_does_not_break_its_work(
    own_database_url: str, owner: "Connection", role: Role, setting: str
) -> None:
    await owner.execute(
        f"grant create on database {urlsplit(own_database_url).path[1:]} to {role.name}"
    )
    await owner.execute(f"alter role {role.name} set {setting}")
    app = Soniq(role.url, discover=False, poll_interval=0.1, lease=1)
    await _all_that_users_do(app, role)


async def test_a_statement_timeout_of_the_role_does_not_end_what_the_worker_itself_sends(
    own_database_url: str, owner: "Connection", role: Role
) -> None:
    await owner.execute(
        f"grant create on database {urlsplit(own_database_url).path[1:]} to {role.name}"
    )
    await owner.execute(f"alter role {role.name} set statement_timeout = '1ms'")
    app = Soniq(role.url, discover=False)
    app.job(name="job", unique=True)(_nothing)
    await app.enqueue_many("job", [{"number": number} for number in range(2_000)])
    assert await app.run_worker(run_once=True) == 2_000
    assert (await app.overview())["queues"]["default"] == {"done": 2_000}
    await app.close()


async def test_a_settlement_outwaits_a_lock_whatever_the_lock_timeout_of_the_role(
    own_database_url: str, owner: "Connection", role: Role
) -> None:
    await owner.execute(
        f"grant create on database {urlsplit(own_database_url).path[1:]} to {role.name}"
    )
    await owner.execute(f"alter role {role.name} set lock_timeout = '1ms'")
    app = Soniq(role.url, discover=False)
    app.job(name="job")(_nothing)
    await app.enqueue("job", number=1)
    worker = Exchanger(app)
    await worker.register()
    (claimed,) = await worker.claim()
    async with owner.transaction():
        await owner.execute("select from soniq.job for update")
        settling = asyncio.create_task(worker.claim(worker.done(claimed)))
        waiting = "select exists (select from pg_locks where $1 = any(pg_blocking_pids(pid)))"
        await eventually(lambda: owner.fetchval(waiting, owner.get_server_pid()))
    await settling
    assert await owner.fetchval("select count(*) from soniq.history") == 1
    await worker.close()
    await app.close()


async def test_handlers_keep_the_settings_of_the_role(
    own_database_url: str, owner: "Connection", role: Role
) -> None:
    await owner.execute(
        f"grant create on database {urlsplit(own_database_url).path[1:]} to {role.name}"
    )
    await owner.execute(f"alter role {role.name} set statement_timeout = '7s'")
    app = Soniq(role.url, discover=False)

    @app.job(name="job")
    async def job(connection: asyncpg.Connection) -> str:
        return str(await connection.fetchval("show statement_timeout"))

    job_id = await app.enqueue(job)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == "7s"
    await app.close()


# --- partitions ----------------------------------------------------------------------------------


async def test_new_partitions_do_not_wait_for_an_open_insert_nor_hold_one_up(
    make_app: MakeApp, connection: "Connection", other_connection: "Connection", schema: str
) -> None:
    app = make_app(keep=86_400)
    app.job(name="job")(_nothing)
    await app.start()
    before = await _partitions(connection, schema)
    inserting = other_connection.transaction()
    await inserting.start()
    await other_connection.execute(_finish(schema))
    await asyncio.wait_for(ensure_partitions(connection, schema, 30 * 86_400), 20)
    await connection.execute(_finish(schema))
    await inserting.commit()
    assert set(await _partitions(connection, schema)) > set(before)
    assert await connection.fetchval(f"select count(*) from {schema}.history") == 2


async def test_dropping_a_partition_waits_for_an_open_insert_and_holds_up_no_other(
    make_app: MakeApp,
    connection: "Connection",
    other_connection: "Connection",
    database_url: str,
    schema: str,
) -> None:
    await make_app().start()
    await _add_past(connection, schema, 2001)
    inserting = other_connection.transaction()
    await inserting.start()
    await other_connection.execute(_finish(schema))
    dropping_connection = await asyncpg.connect(database_url)
    dropping = asyncio.create_task(
        drop_partitions(dropping_connection, schema, ["history_20010101"])
    )
    pid = other_connection.get_server_pid()
    waiting = "select exists (select from pg_locks where $1 = any(pg_blocking_pids(pid)))"
    await eventually(lambda: connection.fetchval(waiting, pid))
    await connection.execute("set lock_timeout = '5s'")
    await connection.execute(_finish(schema))
    assert await connection.fetchval(f"select count(*) from {schema}.history") == 1
    await inserting.commit()
    await asyncio.wait_for(dropping, 20)
    await dropping_connection.close()
    assert "history_20010101" not in await _partitions(connection, schema)


async def test_a_detaching_that_was_broken_off_is_finished_before_others_are_detached(
    make_app: MakeApp, connection: "Connection", other_connection: "Connection", schema: str
) -> None:
    app = make_app()
    await app.start()
    for year in (2001, 2002, 2003):
        await _add_past(connection, schema, year)
    reading = other_connection.transaction()
    await reading.start()
    await other_connection.execute(f"select from {schema}.history")
    await connection.execute("set statement_timeout = '200ms'")
    with pytest.raises(asyncpg.QueryCanceledError):
        await connection.execute(
            f"alter table {schema}.history detach partition {schema}.history_20020101 concurrently"
        )
    await connection.execute("reset statement_timeout")
    await reading.rollback()
    past = await past_partitions(connection, schema)
    assert past == ["history_20020101", "history_20010101", "history_20030101"]
    await drop_partitions(connection, schema, past)
    assert await past_partitions(connection, schema) == []


async def test_a_partition_that_was_detached_and_not_dropped_is_dropped(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    await make_app().start()
    await _add_past(connection, schema, 2001)
    await connection.execute(
        f"alter table {schema}.history detach partition {schema}.history_20010101"
    )
    await connection.execute(f"create table {schema}.history_of_mine (number integer)")
    assert await past_partitions(connection, schema) == ["history_20010101"]
    await drop_partitions(connection, schema, ["history_20010101"])
    assert not await connection.fetchval("select to_regclass($1)", f"{schema}.history_20010101")


async def test_a_worker_makes_partitions_ahead_and_drops_past_ones(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    app = make_app(lease=1)
    await app.start()
    ahead = await _partitions(connection, schema)
    await _add_past(connection, schema, 2001)
    last = ahead[-1]
    await connection.execute(f"drop table {schema}.{last}")
    await connection.execute(f"update {schema}.retention set bound = bound - interval '1 day'")
    async with working(app):

        async def as_before() -> bool:
            return await _partitions(connection, schema) == ahead

        await eventually(as_before)


# --- helpers -------------------------------------------------------------------------------------


async def _grant_rights(url: str, owner: "Connection", role: Role) -> None:
    """Make the tables as the owner, and grant the role what a worker needs, as the documentation
    has it.
    """
    async with Soniq(url, discover=False):
        await owner.execute(documented_rights("soniq_worker", role.name))


async def _all_that_users_do(app: Soniq, role: Role) -> None:
    """Everything that a user does with an app, with each statement of the code, rescue and
    retention included.
    """

    @app.job(name="job", unique=True, retry=0, max_attempts=2)
    async def job(number: int, connection: asyncpg.Connection) -> int:
        if number == 0:
            raise LookupError("no such number")
        return number

    app.job(name="plain")(_nothing)
    app.job(name="slow")(asyncio.sleep)
    await app.start()
    ids = [await app.enqueue(job, number=number) for number in range(3)]
    assert not (await app.enqueue(job, number=2)).inserted
    await app.enqueue_many("plain", [{"number": number} for number in range(200)])
    waiting = await app.enqueue("plain", number=1, delay=60)
    assert await app.cancel(waiting)
    caller = await asyncpg.connect(role.url)
    async with caller.transaction(isolation="read_committed"):
        ids.append(await app.enqueue(job, number=3, connection=caller))
        ids.append(await app.enqueue("plain", number=4, connection=caller))
    await caller.close()
    dead_worker = Exchanger(app)  # claims, and is never heard of again
    await dead_worker.register(lease=0.1)
    assert await dead_worker.claim(limit=1)
    await dead_worker.close()
    async with working(app):

        async def all_ended() -> bool:
            return not [
                job for job in await app.jobs(limit=1000) if job["status"] in ("queued", "running")
            ]

        await eventually(all_ended)
    assert [await app.get_result(job_id) for job_id in ids] == [None, 1, 2, 3, None]
    status = await app.get_job_status(ids[0])
    assert status is not None
    assert status["status"] == "dead"
    await app.retry(ids[0])
    assert await app.run_worker(run_once=True) == 2
    overview = await app.overview()
    assert overview["queues"]["default"] == {"cancelled": 1, "dead": 1, "done": 204}
    assert await app.prune(older_than=0) == 205
    assert await app.prune(older_than=0, status="dead") == 1
    await app.close()


async def _objects(connection: "Connection", schema: str) -> list[asyncpg.Record]:
    return await connection.fetch(
        "select oid, relname, relfilenode, xmin from pg_class where relnamespace ="
        " to_regnamespace($1) order by oid",
        f'"{schema}"',
    )


async def _migrations(connection: "Connection", schema: str) -> list[asyncpg.Record]:
    return await connection.fetch(
        f"select namespace, version, oldest from {schema}.migration order by 1, 2"
    )


async def _partitions(connection: "Connection", schema: str) -> list[str]:
    rows = await connection.fetch(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid "
        "where i.inhparent = to_regclass($1) and c.relname <> 'history_forever' order by 1",
        f"{schema}.history",
    )
    return [row["relname"] for row in rows]


async def _add_past(connection: "Connection", schema: str, year: int) -> None:
    """A partition whose time is past."""
    await connection.execute(
        f"create table {schema}.history_{year}0101 partition of {schema}.history "
        f"for values from ('{year}-01-01') to ('{year}-02-01')"
    )


def _finish(schema: str) -> str:
    """A job that is finished now."""
    return (
        f"insert into {schema}.history (id, forget_at, created_at, scheduled_at, finished_at,"
        " claim, keep, priority, attempt, max_attempts, name, queue, status, serializer, args)"
        " select gen_random_uuid(), now(), now(), now(), now(), 1, 0, 0, 1, 1, 'job', 'default',"
        " 'done', 'json', '{}'"
    )


async def _nothing(number: int) -> None: ...
