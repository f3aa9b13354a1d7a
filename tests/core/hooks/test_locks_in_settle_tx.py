"""A lock that a plugin's settle_tx meets is no refusal: no attempt fails, and nobody else waits."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from soniq import Soniq
from soniq.plugin import EnqueueBatch, Migration, Outcome, TransactionConnection, hookimpl
from tests.conftest import MakeApp
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import eventually, in_time

Connection = asyncpg.Connection


class Counting:
    """Counts the ends of jobs by a key, in a row that it locks, as no plugin should."""

    name = "counting"

    def __init__(self, error: type[Exception] | None = None) -> None:
        self.calls = 0
        self.raised = 0
        self.error = error

    @hookimpl
    def migrations(self) -> Sequence[Migration]:
        sql = (
            "create table {schema}.key (name text primary key, ended integer not null default 0);"
            " insert into {schema}.key select 'key ' || n from generate_series(0, 9) as n"
        )
        return [Migration(version=1, sql=sql)]

    @hookimpl
    async def around_enqueue(self, batch: EnqueueBatch) -> AsyncIterator[None]:
        for job in batch.jobs:
            if "key" in job.headers:
                job.mark("counting")
        yield

    @hookimpl(marked=True)
    async def settle_tx(self, tx: TransactionConnection, outcomes: Sequence[Outcome]) -> None:
        self.calls += 1
        for each in outcomes:
            if self.error is not None and self.raised < 5:
                self.raised += 1
                raise self.error("in the way")
            await tx.execute(
                f"update {self.table} set ended = ended + 1 where name = $1", each.headers["key"]
            )

    table = ""


@pytest.fixture
def counting(schema: str) -> Counting:
    plugin = Counting()
    plugin.table = f"{schema}_counting.key"
    return plugin


def define(app: Soniq) -> None:
    @app.job(name="any", max_attempts=1)
    async def any_(n: int = 0) -> int:
        return n


@pytest.mark.new_schema
async def test_a_row_that_somebody_locks_fails_no_attempt_and_keeps_no_other_job(
    make_app: MakeApp, counting: Counting, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    app = make_app(plugins=[counting])
    define(app)
    await app.start()
    await connection.execute("begin")
    await connection.execute(f"select from {schema}_counting.key where name = 'key 0' for update")
    async with working(app):
        ids = [await app.enqueue("any", n=n, headers={"key": f"key {n % 10}"}) for n in range(40)]
        free = [await app.enqueue("any", n=n) for n in range(40)]
        others = [each for n, each in enumerate(ids) if n % 10]
        for each in [*free, *others]:
            assert (await finished(app, each))["status"] == "done"
        for each in ids[::10]:  # a lock says nothing of how they ended
            assert (await status_of(app, each))["status"] == "running"

        later = [await app.enqueue("any", n=n) for n in range(40)]
        for each in later:
            assert (await finished(app, each))["status"] == "done"
        await connection.execute("commit")
        for each in ids:
            status = await finished(app, each)
            assert (status["status"], status["attempt"]) == ("done", 1)
    ended = await connection.fetch(f"select ended from {schema}_counting.key")
    assert [row[0] for row in ended] == [4] * 10


@pytest.mark.new_schema
@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DeadlockDetectedError,
        asyncpg.LockNotAvailableError,
        asyncpg.SerializationError,
    ],
)
async def test_what_passes_is_tried_again_more_often_than_a_refusal(
    make_app: MakeApp, schema: str, error: type[Exception]
) -> None:
    counting = Counting(error)
    counting.table = f"{schema}_counting.key"
    app = make_app(plugins=[counting])
    define(app)
    job_id = await app.enqueue("any", headers={"key": "key 1"})
    async with working(app):
        status = await finished(app, job_id)
    assert (status["status"], status["attempt"], counting.raised) == ("done", 1, 5)


@pytest.mark.new_schema
async def test_a_worker_that_stops_writes_what_was_put_aside(
    make_app: MakeApp, counting: Counting, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    app = make_app(plugins=[counting])
    define(app)
    await app.start()
    await connection.execute("begin")
    await connection.execute(f"select from {schema}_counting.key for update")
    job_id = await app.enqueue("any", headers={"key": "key 1"})
    worker = asyncio.create_task(app.run_worker())
    await eventually(lambda: tried(counting))
    app.stop_workers()
    await connection.execute("commit")
    await in_time(worker)
    assert (await status_of(app, job_id))["status"] == "done"


async def tried(counting: Counting) -> bool:
    return counting.calls > 3
