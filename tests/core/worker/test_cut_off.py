"""A worker that is frozen, or a database that goes away, in the middle of a transaction that
completes a job.
"""

import asyncio
import logging
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from soniq import DatabaseUnavailable, Soniq, hookimpl
from soniq.job import JobContext
from tests.conftest import MakeApp
from tests.core.worker.conftest import StartWorker
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import eventually, in_time

Connection = asyncpg.Connection  # the class itself: that is how a handler asks for one

FROZEN = """
from contextlib import asynccontextmanager
import asyncpg
from soniq import hookimpl

class Thing: ...

class Slow:
    name = "slow"

    @hookimpl
    def provide(self, annotation, job):
        return self.thing if annotation is Thing else None

    @asynccontextmanager
    async def thing(self, ctx):
        connection = await asyncpg.connect(os.environ["SONIQ_DATABASE_URL"])
        async with connection.transaction():
            ctx.complete_in(connection)
            yield Thing()
            say("settled, and not committed")
            await asyncio.sleep(60)

app._plugins = (Slow(),)

@app.job(name="frozen", priority=1)
async def frozen(thing: Thing): ...

@app.job(name="neighbour", priority=2)
async def neighbour():
    say("neighbour")
    await asyncio.sleep(60)
"""


@pytest.fixture
def watchful(make_app: MakeApp) -> Soniq:
    """An app whose workers look often for others that are lost: three times within their lease."""
    return make_app(lease=6)


async def test_the_jobs_of_a_worker_that_is_frozen_before_a_commit_are_taken_over(
    watchful: Soniq, start_worker: StartWorker
) -> None:
    app = watchful
    runs: list[str] = []

    @app.job(name="frozen")
    async def frozen() -> None:
        runs.append("frozen")

    @app.job(name="neighbour")
    async def neighbour() -> None:
        runs.append("neighbour")

    ids = [await app.enqueue(neighbour), await app.enqueue(frozen)]
    process = start_worker(FROZEN, lease=2, concurrency=4)
    await process.says("neighbour")
    await process.says("settled, and not committed")
    process.send(signal.SIGSTOP)
    async with working(app):
        statuses = [await finished(app, each, 30) for each in ids]
    assert [each["status"] for each in statuses] == ["done", "done"]
    assert sorted(runs) == ["frozen", "neighbour"]
    process.send(signal.SIGCONT)


async def test_a_frozen_settlement_with_children_holds_up_nobody(
    watchful: Soniq, start_worker: StartWorker
) -> None:
    """The worker is frozen inside a `settle_tx`, between the settlement and the commit."""
    app = watchful
    code = """
    from soniq import hookimpl

    class Slow:
        name = "slow"

        @hookimpl
        async def settle_tx(self, tx, outcomes):
            say("settled, and not committed")
            time.sleep(60)

    app._plugins = (Slow(),)

    @app.job(name="frozen")
    async def frozen(): ...
    """

    @app.job(name="frozen")
    async def frozen() -> None: ...

    job_id = await app.enqueue(frozen)
    process = start_worker(code, lease=2)
    await process.says("settled, and not committed")
    process.send(signal.SIGSTOP)
    async with working(app):
        assert (await finished(app, job_id, 30))["status"] == "done"
    process.send(signal.SIGCONT)


async def test_the_error_of_a_connection_that_was_idle_for_too_long_says_what_ends_it(
    app: Soniq,
) -> None:
    @app.job(max_attempts=1)
    async def one(connection: Connection) -> None:
        await connection.execute("set local idle_in_transaction_session_timeout = '100ms'")
        await asyncio.sleep(1)
        await connection.execute("select 1")

    job_id = await app.enqueue(one)
    await app.run_worker(run_once=True)
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"]) == ("queued", 0)
    assert status["error"] is not None
    assert status["error"]["type"] == "soniq.errors.DatabaseUnavailable"
    assert "idle_in_transaction_session_timeout" in status["error"]["message"]


async def test_an_attempt_whose_connection_is_ended_is_not_charged(app: Soniq, schema: str) -> None:
    runs: list[int] = []
    began = asyncio.Event()

    @app.job(max_attempts=1)
    async def one(ctx: JobContext, connection: Connection) -> str:
        runs.append(ctx.attempt)
        if len(runs) == 1:
            began.set()
            try:
                await connection.execute("select pg_sleep(30)")
            except asyncpg.PostgresError as error:
                raise LookupError("the handler's own word for it") from error
        return "fine"

    job_id = await app.enqueue(one)
    async with working(app):
        await in_time(began.wait())
        async with app.connection() as other:

            async def end() -> Any:
                return await other.fetchval(
                    "select bool_or(pg_terminate_backend(pid)) from pg_stat_activity where query"
                    " like '%pg_sleep(30)%' and pid <> pg_backend_pid()"
                )

            await eventually(end)
        status = await finished(app, job_id)
    assert (status["status"], status["attempt"], status["result"], runs) == (
        "done",
        1,
        "fine",
        [1, 1],
    )


async def test_a_handler_that_ends_its_own_connection_each_time_is_charged_in_the_end(
    app: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.worker.attempt.CUT_OFF_FOR", 2.0)
    runs: list[int] = []

    @app.job(max_attempts=1)
    async def one(connection: Connection) -> None:
        runs.append(1)
        await connection.execute("select pg_terminate_backend(pg_backend_pid())")

    async with working(app):
        status = await finished(app, await app.enqueue(one), 30)
    assert (status["status"], status["attempt"]) == ("dead", 1)
    assert 2 <= len(runs) <= 6


class Thing:
    """What the provider below gives."""


class Providing:
    """A provider whose service is away for a while."""

    name = "providing"

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.asked = 0

    @hookimpl
    def provide(self, annotation: object, job: object) -> object:
        return self.thing if annotation is Thing else None

    @asynccontextmanager
    async def thing(self, ctx: JobContext) -> AsyncIterator[Thing]:
        self.asked += 1
        if self.asked <= 2:
            raise self.error
        yield Thing()


@pytest.mark.parametrize(
    "error", [DatabaseUnavailable("away"), ConnectionRefusedError("away")], ids=["ours", "any"]
)
async def test_what_never_began_because_a_provider_was_cut_off_is_not_charged(
    make_app: MakeApp, error: BaseException
) -> None:
    app, runs = make_app(plugins=[Providing(error)]), []

    @app.job(max_attempts=1)
    async def one(thing: Thing) -> None:
        runs.append(1)

    async with working(app):
        status = await finished(app, await app.enqueue(one), 30)
    assert (status["status"], status["attempt"], len(runs)) == ("done", 1, 1)


async def test_another_error_of_a_provider_is_charged(make_app: MakeApp) -> None:
    app = make_app(plugins=[Providing(LookupError("no such thing"))])

    @app.job(max_attempts=1)
    async def one(thing: Thing) -> None: ...

    async with working(app):
        status = await finished(app, await app.enqueue(one), 30)
    assert (status["status"], status["attempt"]) == ("dead", 1)


async def test_an_error_of_a_handler_with_two_providers_is_its_own(make_app: MakeApp) -> None:
    providing = Providing(LookupError("no such thing"))
    providing.asked = 2
    app = make_app(plugins=[providing])

    @app.job(max_attempts=1)
    async def one(thing: Thing, connection: Connection) -> None:
        raise KeyError("its own")

    async with working(app):
        status = await finished(app, await app.enqueue(one), 30)
    assert (status["status"], status["attempt"]) == ("dead", 1)
    assert status["error"] is not None
    assert status["error"]["type"] == "KeyError"


@pytest.mark.new_schema
async def test_jobs_that_find_too_many_connections_are_put_off_and_not_charged(
    make_app: MakeApp, connection: "asyncpg.Connection[Any]", database_url: str
) -> None:
    role = f"few_{uuid.uuid4().hex[:8]}"
    await connection.execute(f"create role {role} login password 'x' connection limit 9")
    database = await connection.fetchval("select current_database()")
    await connection.execute(f"grant create on database {database} to {role}")
    url = await _as_role(database_url, role)
    app = make_app(database_url=url, pool_size=2)
    try:

        @app.job(max_attempts=1)
        async def one(connection: Connection) -> int:
            await asyncio.sleep(0.1)
            return int(await connection.fetchval("select 1"))

        async with working(app, concurrency=5):
            ids = await app.enqueue_many(one, [{} for _ in range(10)])
            statuses = [await finished(app, each, 40) for each in ids]
        assert {(each["status"], each["attempt"]) for each in statuses} == {("done", 1)}
    finally:
        await app.close()
        await connection.execute(f"drop owned by {role} cascade; drop role {role}")


@pytest.mark.new_schema
async def test_a_worker_with_too_few_connections_says_so_once(
    make_app: MakeApp,
    connection: "asyncpg.Connection[Any]",
    database_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    role = f"few_{uuid.uuid4().hex[:8]}"
    await connection.execute(f"create role {role} login password 'x' connection limit 3")
    database = await connection.fetchval("select current_database()")
    await connection.execute(f"grant create on database {database} to {role}")
    app = make_app(database_url=await _as_role(database_url, role), pool_size=2, poll_interval=0.1)
    try:
        app.job(name="one")(_nothing)
        async with working(app):
            await asyncio.sleep(4)
        warnings = [
            record.getMessage()
            for record in caplog.records
            if record.name == "soniq.database" and record.levelno >= logging.WARNING
        ]
        assert sum("takes no more connections: too many" in each for each in warnings) == 1
        assert sum("too many" in each for each in warnings) == 1
    finally:
        await app.close()
        await connection.execute(f"drop owned by {role} cascade; drop role {role}")


async def _nothing() -> None: ...


async def _as_role(url: str, role: str) -> str:
    """The URL, for another role."""
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:x@{host}"))


async def test_times_in_history_are_those_of_the_attempt_and_not_of_its_transaction(
    app: Soniq, schema: str
) -> None:
    @app.job()
    async def one(connection: Connection) -> None:
        await asyncio.sleep(1.0)

    job_id = await app.enqueue(one)
    await app.run_worker(run_once=True)
    status = await status_of(app, job_id)
    started, ended = status["started_at"], status["finished_at"]
    assert started is not None
    assert ended is not None
    assert status["created_at"] <= started
    assert 0.9 < (ended - started).total_seconds() < 10
    async with app.connection() as connection:
        kept = await connection.fetchval(
            "select extract(epoch from forget_at - finished_at - make_interval(secs => keep)) from"
            f" {schema}.history where id = $1 and forget_at <> 'infinity'",
            UUID(job_id),
        )
    assert kept in (None, 0)
