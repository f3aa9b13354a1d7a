"""What PostgreSQL ends a session with, or refuses it for: the session is given up, and what was asked
is tried again on a new one, or told in Soniq's words.
"""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from soniq import DatabaseUnavailable, Soniq
from soniq_embedded import EmbeddedServer
from tests.conftest import MakeApp
from tests.support.jobs import finished, status_of, working
from tests.support.proxy import Proxy
from tests.support.waiting import in_time

STATES = ["57P01", "57P02", "57P03", "57P04", "57P05", "08P01", "08006", "25P03", "25006"]
"""Shut down by an administrator, after a crash, not yet up, dropped, idle, not the protocol,
connection lost, idle in a transaction, read-only.
"""


async def raise_once(
    connection: "asyncpg.Connection[asyncpg.Record]", schema: str, state: str, event: str
) -> None:
    """Have the next statement that does this to a job end with this SQLSTATE, and no other."""
    await connection.execute(
        f"""
        create sequence {schema}.trap;
        create function {schema}.trap() returns trigger language plpgsql as $$ begin
            if nextval('{schema}.trap') = 1 then
                raise exception using errcode = '{state}', message = 'a trap';
            end if;
            return null;
        end $$;
        create trigger trap after {event} on {schema}.job
            for each statement execute function {schema}.trap();
        """
    )


@pytest.mark.parametrize("state", STATES)
async def test_an_enqueue_is_tried_again_on_another_session(
    state: str,
    app: Soniq,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
) -> None:
    app.job(name="nothing")(_nothing)
    await app.start()
    async with app._database.acquire() as own:
        before = own.get_server_pid()
    await raise_once(connection, schema, state, "insert")
    job_id = await app.enqueue("nothing")
    assert (await status_of(app, job_id))["status"] == "queued"
    async with app._database.acquire() as own:
        assert own.get_server_pid() != before
    assert await connection.fetchval(f"select last_value from {schema}.trap") == 2


@pytest.mark.parametrize("state", STATES)
async def test_an_outcome_is_written_again_on_another_session(
    state: str,
    app: Soniq,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
) -> None:
    ran = 0

    @app.job(name="count", max_attempts=1)
    async def count() -> None:
        nonlocal ran
        ran += 1
        await raise_once(connection, schema, state, "delete")

    async with working(app):
        status = await finished(app, await app.enqueue(count))
    assert status["status"] == "done"
    assert ran == 1
    assert await connection.fetchval(f"select is_called from {schema}.trap")


@pytest.mark.parametrize("state", STATES)
async def test_a_session_of_the_application_that_broke_is_not_pooled(
    state: str, make_app: MakeApp
) -> None:
    app = make_app(pool_size=1)
    await app.start()
    async with app.connection() as session:
        before = session.get_server_pid()

    async def break_it() -> None:
        async with app.connection() as session:
            assert session.get_server_pid() == before
            await session.execute(
                f"do $$ begin raise exception using errcode = '{state}', message = 'a trap'; end $$"
            )

    with pytest.raises(asyncpg.PostgresError, match="a trap"):
        await break_it()
    async with app.connection() as session:
        assert session.get_server_pid() != before


@pytest.mark.parametrize(
    ("setting", "transaction"),
    [("idle_session_timeout", False), ("idle_in_transaction_session_timeout", True)],
)
async def test_a_session_that_the_server_ends_while_it_is_idle_is_replaced(
    setting: str, transaction: bool, make_app: MakeApp
) -> None:
    app = make_app(pool_size=1)
    await app.start()

    async def idle() -> None:
        async with app.connection() as session:
            await session.execute(f"set {setting} = 100")
            if transaction:
                await session.execute("begin")
            await asyncio.sleep(0.5)
            await session.execute("select 1")

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await idle()
    async with app.connection() as session:
        assert await session.fetchval("select 1") == 1


async def test_a_session_whose_plans_know_tables_of_before_is_replaced(
    make_app: MakeApp, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    app = make_app(pool_size=1)
    await app.start()
    await connection.execute(f"create table {schema}.changing (a integer)")
    look = f"select * from {schema}.changing"
    async with app.connection() as session:
        before = session.get_server_pid()
        await session.fetch(look)
    await connection.execute(f"alter table {schema}.changing add column b integer")
    with pytest.raises(asyncpg.InvalidCachedStatementError):
        async with app.connection() as session, session.transaction():
            await session.fetch(look)
    async with app.connection() as session, session.transaction():
        assert session.get_server_pid() != before
        await session.fetch(look)


@pytest.fixture
def two_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URLs of two servers of their own."""
    folders = [tmp_path_factory.mktemp("server") for _ in range(2)]
    with EmbeddedServer(folders[0]) as one, EmbeddedServer(folders[1]) as two:
        yield one.start(), two.start()


async def test_a_primary_that_is_demoted_without_a_restart_is_left_for_the_other_one(
    two_servers: tuple[str, str],
) -> None:
    first, second = two_servers
    async with Soniq(second, discover=False):
        pass  # has the tables there, too, as a standby would
    with Proxy.to(first) as one, Proxy.to(second) as two:
        parts = urlsplit(one.url(first))
        url = parts._replace(
            netloc=f"{parts.netloc},127.0.0.1:{two.port}",
            query=f"{parts.query}&target_session_attrs=read-write".lstrip("&"),
        ).geturl()
        async with Soniq(url, discover=False, poll_interval=0.1, lease=3) as app:
            app.job(name="nothing")(_nothing)
            async with working(app):
                await finished(app, await app.enqueue("nothing"))
                demoted = await asyncpg.connect(first)
                await demoted.execute("alter system set default_transaction_read_only = on")
                await demoted.execute("select pg_reload_conf()")
                await in_time(_read_only(demoted))
                job_id = await in_time(_until_taken(app))
                assert (await finished(app, job_id))["status"] == "done"
            await demoted.close()
    promoted = await asyncpg.connect(second)
    assert await promoted.fetchval("select count(*) from soniq.history where name = 'nothing'") == 1
    await promoted.close()


async def _read_only(server: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Wait until the sessions of a server have its new settings."""
    while await server.fetchval("show default_transaction_read_only") != "on":
        await asyncio.sleep(0.01)


async def _until_taken(app: Soniq) -> str:
    while True:
        try:
            return await app.enqueue("nothing")
        except DatabaseUnavailable:
            await asyncio.sleep(0.05)


async def _nothing() -> None: ...
