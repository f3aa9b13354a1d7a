"""What roles that own nothing can do: workers and enqueuers, with the rights that the documentation
grants them.
"""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from soniq import DatabaseError, JobContext, Soniq, Unique
from soniq.plugin import EnqueueBatch, hookimpl
from tests.core.postgres.support import documented_rights
from tests.docs.pages import DOCS, blocks
from tests.support import urls
from tests.support.jobs import working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

WORKER, ENQUEUER = "soniq_worker", "soniq_enqueuer"

AppOf = Callable[[str], Soniq]


@pytest.fixture
async def owner(own_database_url: str) -> "AsyncIterator[Connection]":
    """A connection of the one who owns the tables, which are there."""
    async with Soniq(own_database_url, discover=False):
        pass
    connection = await asyncpg.connect(own_database_url)
    yield connection
    await connection.close()


@asynccontextmanager
async def as_role(owner: "Connection", role: str, url: str) -> AsyncIterator[str]:
    """The URL with which a new role logs in that has what the documentation grants to `role`."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await owner.execute(f"create role {name} login password 'test'")
    await owner.execute(documented_rights(role, name))
    try:
        yield urls.as_role(url, name, "test")
    finally:
        await owner.execute(f"drop owned by {name}; drop role {name}")


@pytest.fixture
async def worker_url(owner: "Connection", own_database_url: str) -> AsyncIterator[str]:
    async with as_role(owner, WORKER, own_database_url) as url:
        yield url


@pytest.fixture
async def enqueuer_url(owner: "Connection", own_database_url: str) -> AsyncIterator[str]:
    async with as_role(owner, ENQUEUER, own_database_url) as url:
        yield url


@pytest.fixture
async def app_of() -> AsyncIterator[AppOf]:
    """Makes apps that set nothing up; all are closed."""
    made: list[Soniq] = []

    def app_of(url: str) -> Soniq:
        app = Soniq(url, discover=False, setup=False, poll_interval=0.1, lease=1)
        made.append(app)

        @app.job(name="double", unique=True)
        async def double(number: int) -> int:
            return 2 * number

        @app.job(name="fail", max_attempts=1)
        async def fail() -> None:
            raise OSError("the disk is full")

        @app.job(name="parent")
        async def parent(ctx: JobContext) -> None:
            await ctx.progress(0.5)
            await ctx.enqueue("double", number=7)

        return app

    yield app_of
    for app in made:
        await app.close()


async def command(url: str, *arguments: str) -> str:
    """What a command of the command line prints that succeeds."""
    environment = {**os.environ, "SONIQ_DATABASE_URL": url, "SONIQ_PLUGINS": ""}
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "soniq", *arguments],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


async def test_the_block_of_the_documentation_runs_as_it_is(
    own_database_url: str, owner: "Connection"
) -> None:
    (block,) = blocks(DOCS / "how-to" / "deploy.md", "sql")
    transaction = owner.transaction()
    await transaction.start()
    await owner.execute(block.text)
    found = await owner.fetch(
        "select rolname from pg_roles where rolname = any($1)", [WORKER, ENQUEUER]
    )
    assert {row["rolname"] for row in found} == {WORKER, ENQUEUER}
    await transaction.rollback()


async def test_an_enqueuer_enqueues_in_every_way_and_reads(
    own_database_url: str, enqueuer_url: str, app_of: AppOf
) -> None:
    app = app_of(enqueuer_url)
    ids = [
        await app.enqueue("double", number=1),
        *await app.enqueue_many("double", [{"number": 2}], unique=False),
    ]
    assert not (await app.enqueue("double", number=1)).inserted
    latest = Unique(scope="queued", on_conflict="replace")
    ids.append(await app.enqueue("double", number=3, unique=latest, delay=0.01))
    assert (await app.enqueue("double", number=3, unique=latest)).replaced
    connection = await asyncpg.connect(enqueuer_url)
    async with connection.transaction():
        ids.append(await app.enqueue("double", number=4, connection=connection))
        from_sql = await connection.fetchval("""select soniq.enqueue('double', '{"number": 5}')""")
    await connection.close()
    ids.append(await app.enqueue("double", number=6, queue="one that is new"))
    async with working(app_of(own_database_url)):
        assert [await app.wait_for(id_, 20) for id_ in [*ids, str(from_sql)]] == [
            2,
            4,
            6,
            8,
            12,
            10,
        ]
    assert len(await app.jobs(status="done")) == 6
    status = await app.get_job_status(ids[0])
    assert status is not None
    assert status["worker_id"] is not None
    assert (await app.overview())["queues"]["default"]["done"] == 5


async def test_an_enqueuer_can_neither_work_nor_cancel_nor_forget(
    enqueuer_url: str, app_of: AppOf
) -> None:
    app = app_of(enqueuer_url)
    job_id = await app.enqueue("double", number=1, delay=60)
    for forbidden in (app.run_worker(run_once=True), app.cancel(job_id), app.pause("default")):
        with pytest.raises(DatabaseError, match="permission denied"):
            await forbidden
    with pytest.raises(
        (DatabaseError, asyncpg.InsufficientPrivilegeError), match="permission denied"
    ):
        await app.prune()


async def test_a_worker_works_and_looks_after_jobs(
    worker_url: str, app_of: AppOf, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_of(worker_url)
    dead = [await app.enqueue("fail") for _ in range(3)]
    parent = await app.enqueue("parent")
    waiting = await app.enqueue("double", number=1, delay=60)
    await app.pause("other")
    async with working(app):

        async def all_ended() -> bool:
            counts = (await app.overview())["queues"]["default"]
            return counts == {"queued": 1, "dead": 3, "done": 2}

        await app.wait_for(parent, 20)
        await eventually(all_ended)
    await app.retry(dead[0])
    assert await app.retry_all() == {"queued": 2, "left": {}}
    assert await app.cancel(waiting)
    assert await app.cancel_all(name="fail") == 3
    await app.resume("other")
    assert (await app.backlog()) == {}
    assert await app.prune(older_than=0) == 6
    assert "permission denied" not in caplog.text


async def test_a_worker_operates_from_the_command_line(worker_url: str, app_of: AppOf) -> None:
    app = app_of(worker_url)
    job_id = await app.enqueue("double", number=1)
    assert "all is current" in await command(worker_url, "setup", "--check")
    assert "all is current" in await command(worker_url, "setup")
    assert "double" in await command(worker_url, "status")
    assert job_id in await command(worker_url, "jobs")
    await command(worker_url, "pause", "default")
    await command(worker_url, "resume", "default")
    assert await command(worker_url, "cancel", job_id) == f"{job_id}  cancelled\n"
    assert await command(worker_url, "retry", "--all", "--yes") == "queued 0 jobs again\n"
    assert await command(worker_url, "prune", "--older-than", "0s") == "forgot 1 job\n"


async def test_the_owner_makes_and_drops_the_partitions_that_a_worker_cannot(
    own_database_url: str,
    owner: "Connection",
    worker_url: str,
    app_of: AppOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (last,) = await owner.fetch(
        "update soniq.retention set bound = bound - interval '1 day' "
        "returning 'soniq.history_' || to_char(bound at time zone 'UTC', 'YYYYMMDD') as name"
    )
    await owner.execute(f"drop table {last['name']}")
    await owner.execute(
        "create table soniq.history_20010101 partition of soniq.history "
        "for values from ('2001-01-01') to ('2001-01-02')"
    )

    async def there() -> tuple[bool, bool]:
        row = await owner.fetchrow(
            "select to_regclass($1) is not null, to_regclass($2) is not null", last["name"], PAST
        )
        assert row is not None
        return row[0], row[1]

    async def warned() -> bool:
        return (
            "partitions cannot be created or dropped: this role does not own the tables"
            in caplog.text
        )

    app = app_of(worker_url)
    async with working(app):
        await app.wait_for(await app.enqueue("double", number=1), 20)
        await eventually(warned)
    assert await app.prune() == 0
    assert await there() == (False, True)
    assert "made the partitions: history_" in await command(own_database_url, "setup")
    assert await there() == (True, True)
    assert await command(own_database_url, "prune") == "forgot 0 jobs\n"
    assert await there() == (True, False)


PAST = "soniq.history_20010101"


class Gate:
    """Holds every job."""

    name = "gate"

    @hookimpl
    async def around_enqueue(self, batch: EnqueueBatch) -> AsyncIterator[None]:
        for job in batch.jobs:
            job.hold("gate")
        yield


async def test_an_enqueuer_holds_jobs_also_those_that_it_replaces(
    enqueuer_url: str, app_of: AppOf
) -> None:
    app = app_of(enqueuer_url)
    latest = Unique(on_conflict="replace")
    async with Soniq(
        enqueuer_url, discover=False, setup=False, plugins=[Gate()], unknown_jobs="allow"
    ) as holding:
        job_id = await app.enqueue("double", number=1, dedup_key="k", unique=latest)
        again = await holding.enqueue("double", args={"number": 1}, dedup_key="k", unique=latest)
        assert (again, again.replaced) == (job_id, True)
    status = await app.get_job_status(again)
    assert status is not None
    assert status["held_by"] == ["gate"]
