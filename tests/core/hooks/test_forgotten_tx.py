"""forgotten_tx: told of each finished job that is forgotten, in the transaction that does it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import asyncpg
import pytest

from soniq import Soniq, hookimpl
from soniq.errors import PluginError
from soniq.plugin import App, ForgottenJob, Migration, TransactionConnection
from soniq.postgres import retention
from tests.core.hooks.support import MakeApp, Work
from tests.support.waiting import eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


class Notes:
    """Has a row of its own about each job that was forgotten, and refuses where it is told to."""

    name = "notes"

    def __init__(self) -> None:
        self.refuses: Callable[[ForgottenJob], bool] = lambda job: False
        self.calls: list[int] = []

    @hookimpl
    def migrations(self) -> list[Migration]:
        table = "create table {schema}.gone (job_id uuid primary key, name text, status text)"
        return [Migration(version=1, sql=table)]

    @hookimpl
    async def started(self, app: App) -> None:
        self.table = f"{app.plugin_schema('notes')}.gone"

    @hookimpl
    async def forgotten_tx(self, tx: TransactionConnection, jobs: Sequence[ForgottenJob]) -> None:
        self.calls.append(len(jobs))
        for job in jobs:
            await tx.execute(
                f"insert into {self.table} values ($1, $2, $3)",
                job.job_id,
                f"{job.job_name} {job.queue}",
                job.status,
            )
        if any(map(self.refuses, jobs)):
            raise LookupError("not these")


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def app(make_app: MakeApp, notes: Notes) -> Soniq:
    """An app with the plugin, and a job that is done or dead."""
    app = make_app(plugins=[notes])

    @app.job(name="one", queue="q", max_attempts=1)
    async def one(fail: bool = False) -> None:
        if fail:
            raise LookupError("no")

    await app.start()
    return app


async def finish(app: Soniq, count: int = 1, fail: bool = False) -> list[str]:
    ids = await app.enqueue_many("one", [{"fail": fail}] * count)
    await app.run_worker(run_once=True)
    return [str(each) for each in ids]


async def told(connection: "Connection", notes: Notes) -> dict[str, tuple[str, str]]:
    """What the plugin wrote: name, queue and status by job."""
    rows = await connection.fetch(f"select * from {notes.table}")
    return {str(row["job_id"]): (row["name"], row["status"]) for row in rows}


async def let_time_pass(connection: "Connection", schema: str) -> None:
    """Let all that is finished be in a partition whose time is past."""
    await connection.execute(
        f"create table {schema}.history_old (like {schema}.history including all)"
    )
    await connection.execute(
        f"alter table {schema}.history attach partition {schema}.history_old"
        " for values from ('2001-01-01') to ('2002-01-01')"
    )
    await connection.execute(f"update {schema}.history set forget_at = '2001-06-01'")


async def test_it_hears_of_a_job_that_a_person_deletes(
    app: Soniq, notes: Notes, connection: "Connection"
) -> None:
    [done], [dead] = await finish(app), await finish(app, fail=True)
    waiting = await app.enqueue("one", delay=60)
    for each in (done, dead, waiting):
        assert await app.delete(each)
    assert await told(connection, notes) == {
        done: ("one q", "done"), dead: ("one q", "dead"), waiting: ("one q", "cancelled"),
    }  # fmt: skip


async def test_it_hears_of_what_is_pruned_in_batches(
    app: Soniq, notes: Notes, connection: "Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    ids = await finish(app, 5)
    assert await app.prune(older_than=0) == 5
    assert set(await told(connection, notes)) == set(ids)
    assert notes.calls == [2, 2, 1]


async def test_it_hears_of_each_job_in_a_partition_that_a_worker_drops(
    app: Soniq,
    notes: Notes,
    connection: "Connection",
    schema: str,
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    ids = await finish(app, 5)
    await let_time_pass(connection, schema)

    async def dropped() -> bool:
        gone: bool = await connection.fetchval(
            "select to_regclass($1) is null", f"{schema}.history_old"
        )
        return gone

    async with work(app):
        await eventually(dropped)
    assert set(await told(connection, notes)) == set(ids)
    assert notes.calls == [2, 2, 1]


async def test_an_error_in_it_keeps_the_job_and_goes_to_the_person(
    app: Soniq, notes: Notes, connection: "Connection"
) -> None:
    [job_id] = await finish(app)
    notes.refuses = lambda job: job.job_id == job_id
    refused = "forgotten_tx of notes failed: LookupError: not these"
    with pytest.raises(PluginError, match=refused):
        await app.delete(job_id)
    with pytest.raises(PluginError, match=refused):
        await app.prune(older_than=0)
    assert await told(connection, notes) == {}
    assert await app.get_job_status(job_id) is not None

    notes.refuses = lambda job: False
    assert await app.delete(job_id)
    assert set(await told(connection, notes)) == {job_id}


async def test_nothing_is_told_where_nothing_is_forgotten(app: Soniq, notes: Notes) -> None:
    await finish(app)
    assert await app.prune() == 0
    assert notes.calls == []
