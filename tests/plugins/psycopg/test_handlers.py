"""A handler that asks for a psycopg connection is given one whose commit also completes the job."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from soniq import DatabaseUnavailable, JobContext, Soniq
from soniq.errors import JobDefinitionError
from soniq_psycopg import PsycopgPlugin
from soniq_psycopg.handlers import for_coroutine
from soniq_testing import check_plugin
from tests.conftest import MakeApp
from tests.support.jobs import status_of
from tests.support.orders import Committed, PlainConnection
from tests.support.urls import as_hosters_write


def define(app: Soniq, orders: str) -> None:
    """The jobs `keep` and `keep_in_thread`, which write an order and then do as they are told."""

    def end(how: str) -> None:
        if how == "fail":
            raise ValueError("no")

    @app.job(name="keep", max_attempts=1)
    async def keep(what: str, how: str, connection: "psycopg.AsyncConnection[Any]") -> str:
        await connection.execute(f"insert into {orders} (what) values (%s)", [what])
        end(how)
        return what

    @app.job(name="keep_in_thread", max_attempts=1)
    def keep_in_thread(what: str, how: str, connection: psycopg.Connection) -> str:
        connection.execute(f"insert into {orders} (what) values (%s)", [what])
        end(how)
        return what


@pytest.mark.parametrize("name", ["keep", "keep_in_thread"])
async def test_a_url_as_hosters_write_it_leads_to_a_connection(
    make_app: MakeApp, database_url: str, orders: str, name: str
) -> None:
    app = make_app(database_url=as_hosters_write(database_url), plugins=[PsycopgPlugin()])
    define(app, orders)
    job_id = await app.enqueue(name, "tea", "return")
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == "tea"


@pytest.mark.parametrize("name", ["keep", "keep_in_thread"])
async def test_what_a_handler_writes_is_committed_with_its_completion_or_not_at_all(
    app: Soniq, orders: str, connection: PlainConnection, name: str
) -> None:
    define(app, orders)
    done = await app.enqueue(name, "tea", "return")
    failed = await app.enqueue(name, "coffee", "fail")
    await app.run_worker(run_once=True)
    assert await app.get_result(done) == "tea"
    assert (await status_of(app, failed))["status"] == "dead"
    assert [row["what"] for row in await connection.fetch(f"select what from {orders}")] == ["tea"]


@pytest.mark.parametrize("name", ["keep", "keep_in_thread"])
async def test_a_job_that_was_taken_away_meanwhile_leaves_nothing(
    app: Soniq, orders: str, connection: PlainConnection, schema: str, name: str
) -> None:
    define(app, orders)

    @app.before_job
    async def taken(ctx: JobContext) -> None:
        await connection.execute(
            f"update {schema}.job set claim = claim + 1 where id = $1", ctx.job_id
        )

    job_id = await app.enqueue(name, "tea", "return")
    await app.run_worker(run_once=True)
    assert await connection.fetch(f"select what from {orders}") == []
    assert (await status_of(app, job_id))["status"] != "done"


async def test_commit_in_a_handler_is_refused_and_a_savepoint_is_not(
    app: Soniq, committed: Committed
) -> None:
    @app.job(name="commit", max_attempts=1)
    async def commit(connection: "psycopg.AsyncConnection[Any]") -> str:
        async with connection.transaction():
            await connection.execute("select 1")
        with pytest.raises(psycopg.ProgrammingError):
            await connection.commit()
        return "refused"

    job_id = await app.enqueue(commit)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == "refused"


async def test_several_attempts_have_connections_of_their_own(app: Soniq) -> None:
    together = asyncio.Barrier(5)

    @app.job(name="pid", max_attempts=1)
    async def pid(connection: "psycopg.AsyncConnection[Any]") -> int:
        await together.wait()
        return connection.info.backend_pid

    ids = await app.enqueue_many(pid, [{}] * 5)
    await asyncio.wait_for(app.run_worker(run_once=True), 30)
    assert len({await app.get_result(id_) for id_ in ids}) == 5


async def test_a_connection_of_the_other_kind_is_an_error_at_the_start(make_app: MakeApp) -> None:
    app = make_app(plugins=[PsycopgPlugin()])

    @app.job(name="wrong")
    async def wrong(connection: psycopg.Connection) -> None: ...

    with pytest.raises(JobDefinitionError, match=r"psycopg\.Connection is for the other"):
        await app.start()


async def test_the_plugin_keeps_to_the_contract(database_url: str) -> None:
    await check_plugin(PsycopgPlugin(), database_url=database_url)


async def test_a_database_that_cannot_be_reached_is_told_without_the_drivers_frames(
    app: Soniq,
) -> None:
    async with app:
        parts = urlsplit(app.database_url)
        app._database.url = parts._replace(path="/nowhere").geturl()  # type: ignore[assignment]
        context = JobContext(job_id="1", job_name="keep")
        with pytest.raises(
            DatabaseUnavailable, match='database "nowhere" does not exist'
        ) as raised:
            async with for_coroutine(app, context):
                raise AssertionError
        cause = raised.value.__cause__
        assert isinstance(cause, psycopg.OperationalError)
        assert cause.__traceback__ is None
