"""settle_tx: what a plugin writes in the transaction that settles is committed with the outcome, or
not at all.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from soniq import Cancel, JobContext, Snooze, Soniq, hookimpl
from soniq.errors import PluginError
from soniq.plugin import Migration, Outcome
from tests.core.hooks.support import MakeApp, Run, Work

Connection = asyncpg.Connection  # the class itself: that is how a handler asks for one


class Ledger:
    """Writes each outcome into a table of its own, and fails as it is told."""

    name = "ledger"

    def __init__(self) -> None:
        self.app: Soniq | None = None
        self.told: list[list[Outcome]] = []
        self.fail: Callable[[Outcome], bool] = lambda outcome: False

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        self.app = app
        yield

    @hookimpl
    def migrations(self) -> list[Migration]:
        sql = "create table {schema}.entry (job_id uuid, status text, kind text, attempt int)"
        return [Migration(version=1, sql=sql)]

    @hookimpl
    async def settle_tx(self, tx: Connection, outcomes: Sequence[Outcome]) -> None:
        self.told.append(list(outcomes))
        await tx.executemany(
            f"insert into {self.table} values ($1, $2, $3, $4)",
            [(each.job_id, each.status, each.kind, each.attempt) for each in outcomes],
        )
        if any(self.fail(each) for each in outcomes):
            raise RuntimeError("the ledger is full")

    @property
    def table(self) -> str:
        assert self.app is not None
        return f"{self.app.plugin_schema(self.name)}.entry"

    async def entries(self) -> list[tuple[str, str, int]]:
        """What is committed, by status, kind and attempt."""
        assert self.app is not None
        async with self.app.connection() as connection:
            rows = await connection.fetch(
                f"select status, kind, attempt from {self.table} order by attempt, kind"
            )
        return [(row["status"], row["kind"], row["attempt"]) for row in rows]


@pytest.fixture
def ledger() -> Ledger:
    """The plugin under test."""
    return Ledger()


@pytest.fixture
def app(make_app: MakeApp, ledger: Ledger) -> Soniq:
    """An app with the ledger."""
    return make_app(plugins=[ledger])


async def test_what_it_writes_is_committed_with_the_outcome(
    app: Soniq, ledger: Ledger, run: Run
) -> None:
    @app.job()
    async def one() -> int:
        return 1

    assert (await run(app, one))["status"] == "done"
    assert await ledger.entries() == [("done", "done", 1)]


async def test_each_attempt_that_counts_is_told_once(app: Soniq, ledger: Ledger, run: Run) -> None:
    @app.job(max_attempts=2, retry=0)
    async def fails() -> None:
        raise ValueError("no")

    await run(app, fails)
    await app.run_worker(run_once=True)
    assert await ledger.entries() == [("queued", "retry", 1), ("dead", "dead", 2)]


@pytest.mark.parametrize(
    ("signal", "entry"),
    [(Snooze(60), ("queued", "snooze")), (Cancel("enough"), ("cancelled", "cancel"))],
)
async def test_signals_are_told(
    app: Soniq, ledger: Ledger, run: Run, signal: Exception, entry: tuple[str, str]
) -> None:
    @app.job()
    async def signals() -> None:
        raise signal

    await run(app, signals)
    assert await ledger.entries() == [(*entry, 1)]


async def test_an_error_fails_the_attempt_and_nothing_of_either_is_committed(
    app: Soniq, ledger: Ledger, run: Run
) -> None:
    ledger.fail = lambda outcome: outcome.status == "done"

    @app.job(max_attempts=1)
    async def one() -> int:
        return 1

    status = await run(app, one)
    assert (status["status"], status["result"]) == ("dead", None)
    assert status["error"] is not None
    assert (
        "settle_tx of ledger failed: RuntimeError: the ledger is full" in status["error"]["message"]
    )
    assert await ledger.entries() == [("dead", "dead", 1)]


async def test_an_error_takes_no_neighbour_with_it(app: Soniq, ledger: Ledger) -> None:
    @app.job(max_attempts=1)
    async def one(number: int) -> int:
        return number

    ids = await app.enqueue_many(one, [{"number": number} for number in range(50)])
    ledger.fail = lambda outcome: outcome.job_id == ids[20] and outcome.status == "done"
    await app.run_worker(run_once=True)
    statuses = {job["job_id"]: job["status"] for job in await app.jobs()}
    assert [id_ for id_ in ids if statuses[id_] != "done"] == [ids[20]]
    assert len(await ledger.entries()) == 50


async def test_an_outcome_that_is_refused_three_times_is_settled_without(
    app: Soniq, ledger: Ledger, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.fail = lambda outcome: True

    @app.job(max_attempts=1)
    async def one() -> int:
        return 1

    assert (await run(app, one))["status"] == "dead"
    assert await ledger.entries() == []
    assert len(ledger.told) == 3
    assert (
        "is settled without the plugin that refuses it: settle_tx of ledger failed" in caplog.text
    )


async def test_a_lock_that_another_transaction_holds_is_no_refusal(
    app: Soniq, ledger: Ledger, run: Run
) -> None:
    refused = 0

    def once(_: Outcome) -> bool:
        nonlocal refused
        refused += 1
        if refused == 1:
            raise asyncpg.DeadlockDetectedError("deadlock detected")
        return False

    ledger.fail = once

    @app.job(max_attempts=1)
    async def one() -> int:
        return 1

    assert (await run(app, one))["status"] == "done"
    assert await ledger.entries() == [("done", "done", 1)]


async def test_one_that_hangs_is_ended_after_the_hooks_time(
    make_app: MakeApp, ledger: Ledger, run: Run
) -> None:
    class Hangs:
        name = "hangs"

        @hookimpl
        async def settle_tx(self, tx: Connection) -> None:
            await tx.execute("select pg_sleep(60)")

    app = make_app(plugins=[ledger, Hangs()], hook_timeout=0.1)

    @app.job(max_attempts=1)
    async def one() -> int:
        return 1

    assert (await run(app, one))["status"] == "dead"
    assert await ledger.entries() == [("dead", "dead", 1)]


async def test_a_completion_in_a_handlers_transaction_is_told_once_inside_it(
    app: Soniq, ledger: Ledger, run: Run
) -> None:
    @app.job()
    async def writes(connection: Connection) -> int:
        return await connection.fetchval("select 1")  # type: ignore[no-any-return]

    assert (await run(app, writes))["status"] == "done"
    assert await ledger.entries() == [("done", "done", 1)]
    assert [len(batch) for batch in ledger.told] == [1]


async def test_an_error_rolls_back_a_handlers_transaction(
    app: Soniq, ledger: Ledger, run: Run, schema: str
) -> None:
    ledger.fail = lambda outcome: outcome.status == "done"

    @app.job(max_attempts=1)
    async def writes(connection: Connection) -> None:
        await connection.execute(f"insert into {schema}.paused_queue values ('effect')")

    assert (await run(app, writes))["status"] == "dead"
    async with app.connection() as connection:
        assert await connection.fetchval(f"select count(*) from {schema}.paused_queue") == 0


async def test_a_job_that_is_cancelled_while_it_waits_is_told(app: Soniq, ledger: Ledger) -> None:
    @app.job()
    async def one() -> None: ...

    job_id = await app.enqueue(one)
    assert await app.cancel(job_id, "not wanted")
    assert await ledger.entries() == [("cancelled", "cancel", 0)]


async def test_an_error_in_a_cancel_goes_to_whoever_cancels_and_nothing_is_cancelled(
    app: Soniq, ledger: Ledger
) -> None:
    @app.job()
    async def one() -> None: ...

    job_id = await app.enqueue(one)
    ledger.fail = lambda outcome: True
    with pytest.raises(PluginError, match="the ledger is full"):
        await app.cancel(job_id)
    status = await app.get_job_status(job_id)
    assert status is not None
    assert status["status"] == "queued"
    assert await ledger.entries() == []


@pytest.fixture
async def orphans(app: Soniq, schema: str) -> Callable[[int], Awaitable[list[str]]]:
    """Makes jobs that a worker which is no more had started and written down, with one attempt
    each.
    """

    @app.job(max_attempts=1, name="orphan")
    async def orphan() -> None: ...

    async def make(count: int) -> list[str]:
        ids = [await app.enqueue(orphan) for _ in range(count)]
        async with app.connection() as connection:
            await connection.execute(
                f"update {schema}.job set status = 'running', suspect = true, started = true, claim"
                " = 1, worker_id = gen_random_uuid(), started_at = now()"
            )
            # A worker that was silent for too long: looked at on the first rescue
            await connection.execute(
                f"insert into {schema}.worker (id, lease, concurrency, pid, hostname, version,"
                " names, seen_at) values (gen_random_uuid(), 1, 1, 1, 'host', '0', '{}', now() -"
                " interval '1 hour')"
            )
        return [str(id_) for id_ in ids]

    return make


async def until_finished(app: Soniq, ids: Sequence[str]) -> list[str]:
    """How the jobs stand once all are finished."""
    async with asyncio.timeout(20):
        while True:
            found = [await app.get_job_status(id_) for id_ in ids]
            statuses: list[str] = [each["status"] for each in found if each is not None]
            if not {"queued", "running"} & set(statuses):
                return statuses
            await asyncio.sleep(0.05)


async def test_the_jobs_of_a_dead_worker_are_told_in_the_rescue(
    app: Soniq, ledger: Ledger, orphans: Callable[[int], Awaitable[list[str]]], work: Work
) -> None:
    ids = await orphans(3)
    async with work(app):
        assert await until_finished(app, ids) == ["dead"] * 3
    assert await ledger.entries() == [("dead", "lost", 1)] * 3


async def test_an_error_in_the_rescue_takes_no_neighbour_with_it(
    app: Soniq,
    ledger: Ledger,
    orphans: Callable[[int], Awaitable[list[str]]],
    work: Work,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ids = await orphans(3)
    ledger.fail = lambda outcome: outcome.job_id == ids[1]
    async with work(app):
        assert await until_finished(app, ids) == ["dead"] * 3
    assert await ledger.entries() == [("dead", "lost", 1)] * 2
    assert (
        f"job {ids[1]} is rescued without the plugin that refuses it: settle_tx of ledger failed"
        in caplog.text
    )


async def test_a_plugin_that_refuses_takes_no_other_plugins_write_with_it(
    make_app: MakeApp, ledger: Ledger, run: Run
) -> None:
    class Refuses:
        name = "refuses"

        @hookimpl
        async def settle_tx(self, tx: Connection) -> None:
            raise RuntimeError("never")

    app = make_app(plugins=[Refuses(), ledger])

    @app.job(max_attempts=1)
    async def one() -> int:
        return 1

    assert (await run(app, one))["status"] == "dead"
    assert await ledger.entries() == [("dead", "dead", 1)]


@pytest.mark.parametrize(
    "mistake", ["select $1::int", "select * from no_such_table where $1 = $2", "select 1/0, $1, $2"]
)
async def test_a_mistake_in_it_is_a_refusal_and_stops_no_other_job(
    make_app: MakeApp, ledger: Ledger, mistake: str
) -> None:
    class Mistaken:
        name = "mistaken"

        @hookimpl
        async def settle_tx(self, tx: Connection, outcomes: Sequence[Outcome]) -> None:
            if any(outcome.job_name == "bad" for outcome in outcomes):
                await tx.fetch(mistake, 1, 2)

    app = make_app(plugins=[Mistaken(), ledger])

    async def one() -> int:
        return 1

    bad, good = app.job(name="bad", max_attempts=1)(one), app.job(name="good")(one)
    ids = [await app.enqueue(bad), await app.enqueue(good), await app.enqueue(good)]
    await app.run_worker(run_once=True)
    found = [await app.get_job_status(id_) for id_ in ids]
    assert [each and each["status"] for each in found] == ["dead", "done", "done"]


async def test_a_row_that_somebody_else_has_locked_stops_no_other_job(
    app: Soniq, ledger: Ledger, schema: str, work: Work, connection: Any
) -> None:
    locked = asyncio.Event()

    @app.job(name="held")
    async def held() -> None:
        await locked.wait()

    @app.job(name="free")
    async def free() -> None: ...

    waits = await app.enqueue(held)
    async with work(app):
        async with asyncio.timeout(20):
            while (await app.backlog())["default"]["running"] == 0:
                await asyncio.sleep(0.02)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(f"select from {schema}.job for update")
        locked.set()
        assert (
            await until_finished(app, [await app.enqueue(free) for _ in range(3)]) == ["done"] * 3
        )
        await transaction.rollback()
        assert await until_finished(app, [waits]) == ["done"]
    assert len(await ledger.entries()) == 4


async def test_on_error_hears_of_an_attempt_that_it_refused(
    app: Soniq, ledger: Ledger, run: Run
) -> None:
    heard: list[tuple[str, str, str | None]] = []
    ledger.fail = lambda outcome: outcome.status == "done"

    @app.on_error
    def on_error(ctx: JobContext, error: BaseException) -> None:
        heard.append(
            (ctx.job_id, type(error).__name__, ctx.outcome.status if ctx.outcome else None)
        )

    @app.job(max_attempts=1)
    async def one() -> int:
        return 1

    status = await run(app, one)
    assert heard == [(status["job_id"], "PluginError", "dead")]


KILLED = """
import asyncio, os, sys
from soniq import Soniq, hookimpl

class Kills:
    name = "kills"

    @hookimpl
    async def settle_tx(self, tx, outcomes):
        await tx.execute("create table {0}.effect (n int)".format(sys.argv[2]))
        os.kill(os.getpid(), 9)

app = Soniq(sys.argv[1], schema=sys.argv[2], plugins=[Kills()], discover=False)

@app.job(name="one")
async def one() -> None: ...

async def main():
    await app.enqueue(one)
    await app.run_worker(run_once=True)

asyncio.run(main())
"""


async def test_a_worker_that_is_killed_inside_it_leaves_neither_the_write_nor_the_outcome(
    app: Soniq, database_url: str, schema: str, tmp_path: Path, connection: Any
) -> None:
    await app.start()
    (tmp_path / "killed.py").write_text(KILLED)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(tmp_path / "killed.py"), database_url, schema
    )
    assert await asyncio.wait_for(process.wait(), 30) == -9
    assert await connection.fetchval("select to_regclass($1)", f"{schema}.effect") is None
    assert [job["status"] for job in await app.jobs()] == ["running"]


class Enqueues:
    """Enqueues a job of a queue of its own, new each time, for each outcome."""

    name = "enqueues"

    def __init__(self) -> None:
        self.app: Soniq | None = None

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        self.app = app
        yield

    @hookimpl
    async def settle_tx(self, tx: Connection, outcomes: Sequence[Outcome]) -> None:
        assert self.app is not None
        for outcome in outcomes:
            await self.app.enqueue(
                "follow", args={}, connection=tx, queue=f"after {outcome.job_id}", delay=3600
            )


async def test_it_may_enqueue_also_where_the_pool_has_one_connection(
    make_app: MakeApp, schema: str, work: Work
) -> None:
    app = make_app(plugins=[Enqueues()], pool_size=1, unknown_jobs="allow")

    @app.job(max_attempts=1, name="one")
    async def one() -> None: ...

    ids = [
        await app.enqueue(one),
        await app.enqueue(one, delay=3600),
        await app.enqueue(one, delay=3600),
    ]
    await app.run_worker(run_once=True)
    assert await app.cancel(ids[1])
    async with app.connection() as connection:
        await connection.execute(  # as a worker that died leaves it
            f"update {schema}.job set status = 'running', suspect = true, started = true, claim ="
            " 1, worker_id = gen_random_uuid(), started_at = now() where name = 'one'"
        )
        await connection.execute(
            f"insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, names,"
            " seen_at) values (gen_random_uuid(), 1, 1, 1, 'host', '0', '{}', now() - interval"
            " '1 hour')"
        )
    async with work(app):
        assert await until_finished(app, ids) == ["done", "cancelled", "dead"]
    assert {job["queue"] for job in await app.jobs(name="follow")} == {
        f"after {id_}" for id_ in ids
    }
