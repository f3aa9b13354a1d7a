"""enqueue_tx: rows of a plugin's own that exist exactly if the jobs do, on each way in."""

from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import pytest

from soniq import JobContext, Soniq
from soniq.errors import PluginError
from soniq.plugin import IncomingJob, Migration, TransactionConnection, hookimpl
from tests.conftest import MakeApp

Connection = asyncpg.Connection


class Audit:
    """Writes a row for each job that comes in."""

    name = "audit"

    def __init__(self, schema: str) -> None:
        self.table = f"{schema}_audit.entry"
        self.told: list[IncomingJob] = []
        self.refuses = False

    @hookimpl
    def migrations(self) -> Sequence[Migration]:
        sql = "create table {schema}.entry (job_id uuid not null, retried boolean not null)"
        return [Migration(version=1, sql=sql)]

    @hookimpl
    async def enqueue_tx(self, tx: TransactionConnection, jobs: Sequence[IncomingJob]) -> None:
        await tx.execute(
            f"insert into {self.table} select * from unnest($1::uuid[], $2::boolean[])",
            [job.job_id for job in jobs],
            [job.retried for job in jobs],
        )
        self.told += jobs
        if self.refuses:
            raise ValueError("the audit is full")


@pytest.fixture
def audit(schema: str) -> Audit:
    return Audit(schema)


@pytest.fixture
def app(make_app: MakeApp, audit: Audit) -> Soniq:
    app = make_app(plugins=[audit])

    @app.job(name="any", tags=["t"])
    async def any_(n: int = 0) -> int:
        return n

    @app.job(name="parent")
    async def parent(ctx: JobContext) -> None:
        await ctx.enqueue("any", n=7)

    return app


async def one(app: Soniq, _: "Connection[asyncpg.Record]") -> None:
    await app.enqueue("any", headers={"k": 1}, queue="q", priority=3)


async def many(app: Soniq, _: "Connection[asyncpg.Record]") -> None:
    await app.enqueue_many("any", [{"n": n} for n in range(100)])


async def keyed(app: Soniq, _: "Connection[asyncpg.Record]") -> None:
    await app.enqueue("any", dedup_key="a")


async def in_theirs(app: Soniq, connection: "Connection[asyncpg.Record]") -> None:
    async with connection.transaction():
        await app.enqueue("any", connection=connection)


async def child(app: Soniq, _: "Connection[asyncpg.Record]") -> None:
    await app.enqueue("parent")
    assert await app.run_worker(run_once=True) == 2


async def retried(app: Soniq, _: "Connection[asyncpg.Record]") -> None:
    job_id = await app.enqueue("any")
    await app.cancel(job_id)
    await app.retry(job_id)


async def retried_with_others(app: Soniq, _: "Connection[asyncpg.Record]") -> None:
    await app.enqueue_many("any", [{"n": n} for n in range(3)])
    await app.cancel_all(name="any")
    await app.retry_all(status="cancelled")


WAYS = (one, many, keyed, in_theirs, child, retried, retried_with_others)


@pytest.mark.new_schema
@pytest.mark.parametrize("enqueue", WAYS, ids=lambda way: way.__name__)
async def test_it_is_told_of_each_job_in_the_transaction_that_inserts_it(
    app: Soniq,
    audit: Audit,
    connection: "Connection[asyncpg.Record]",
    enqueue: Callable[[Soniq, "Connection[asyncpg.Record]"], Awaitable[None]],
) -> None:
    await app.start()
    await enqueue(app, connection)
    there = {job["job_id"] for job in await app.jobs(limit=1_000)}
    rows = await connection.fetch(f"select job_id, retried from {audit.table}")
    assert {str(row["job_id"]) for row in rows} == there
    again = sum(row["retried"] for row in rows)
    assert len(rows) == len(there) + again
    assert (again > 0) == (enqueue in (retried, retried_with_others))
    assert [job.job_id for job in audit.told] == [str(row["job_id"]) for row in rows]


@pytest.mark.new_schema
async def test_it_is_told_what_the_job_is(app: Soniq, audit: Audit) -> None:
    await app.enqueue("any", headers={"k": 1}, queue="q", priority=3)
    (job,) = audit.told
    assert (job.job_name, job.queue, job.priority) == ("any", "q", 3)
    assert (job.headers, job.tags, job.marks, job.held_by) == ({"k": 1}, ["t"], (), ())
    await app.cancel(job.job_id)
    await app.retry(job.job_id)
    assert audit.told[1] == IncomingJob(
        job_id=job.job_id, job_name="any", queue="q", priority=3, headers={"k": 1}, tags=["t"],
        retried=True,
    )  # fmt: skip


@pytest.mark.new_schema
async def test_what_it_refuses_is_not_enqueued(
    app: Soniq, audit: Audit, connection: "Connection[asyncpg.Record]"
) -> None:
    job_id = await app.enqueue("any")
    await app.cancel(job_id)
    audit.refuses = True
    refused = "enqueue_tx of audit failed: ValueError: the audit is full"
    for enqueue in (one, many, keyed, in_theirs):
        with pytest.raises(PluginError, match=refused):
            await enqueue(app, connection)
    with pytest.raises(PluginError, match=refused):
        await app.retry(job_id)
    assert [(job["job_id"], job["status"]) for job in await app.jobs()] == [(job_id, "cancelled")]
    assert await connection.fetchval(f"select count(*) from {audit.table}") == 1


@pytest.mark.new_schema
async def test_what_the_caller_rolls_back_it_did_not_write(
    app: Soniq, audit: Audit, connection: "Connection[asyncpg.Record]"
) -> None:
    await app.start()
    transaction = connection.transaction()
    await transaction.start()
    await app.enqueue("any", connection=connection)
    await transaction.rollback()
    assert len(audit.told) == 1
    assert await connection.fetchval(f"select count(*) from {audit.table}") == 0


async def test_without_such_a_plugin_an_enqueue_has_no_transaction_of_its_own(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(unknown_jobs="allow")
    await app.start()
    assert app._runtime is not None

    async def never(*_: object) -> None:
        raise AssertionError("no plugin is to be told")

    monkeypatch.setattr(app._runtime._outbox, "_insert_with_plugins", never)
    await app.enqueue("any")
    await app.enqueue_many("any", [{}, {}])
    assert len(await app.jobs()) == 3
