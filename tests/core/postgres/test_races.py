"""Races on the store, as races: many at once, on a real server, and each job once."""

import asyncio
import random
import time
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest

from soniq import Soniq, hookimpl
from soniq.plugin import Dedup, NewJob
from soniq.worker.settling.settlement import Finish, Requeue, RequeueKind
from tests.conftest import MakeApp
from tests.core.postgres.support import Exchanger, deadlocks
from tests.support.waiting import eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

SECONDS = 5.0
"""For how long settling runs against claiming; the minute is in tests/chaos."""

HOLD_UPDATES = """
create function {schema}.hold() returns trigger language plpgsql as
    'begin perform pg_advisory_xact_lock(hashtext(''{schema}'')); return null; end';
create trigger hold before update on {schema}.job when (current_setting('test.hold', true) = 'on')
    execute function {schema}.hold();
"""
"""Lets updates by connections that ask for it begin, and holds them up before they find their rows.
"""


async def test_a_hundred_concurrent_enqueues_of_one_unique_job_make_one_row(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    apps = [make_app() for _ in range(5)]
    for app in apps:
        app.job(name="sync_user", unique=True)(_nothing)
    await asyncio.gather(*(app.start() for app in apps))
    ids = await asyncio.gather(
        *(app.enqueue("sync_user", number=42) for app in apps for _ in range(20))
    )
    assert len(set(ids)) == 1
    assert sum(job_id.inserted for job_id in ids) == 1
    assert await connection.fetchval(f"select count(*) from {schema}.job") == 1


async def test_concurrent_bulk_enqueues_of_the_same_unique_jobs_make_one_row_each(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    apps = [make_app() for _ in range(5)]
    for app in apps:
        app.job(name="sync_user", unique=True)(_nothing)
    await asyncio.gather(*(app.start() for app in apps))
    orders = [random.sample(range(50), 50) for _ in range(20)]
    made = await asyncio.gather(
        *(
            apps[n % 5].enqueue_many("sync_user", [{"number": each} for each in order])
            for n, order in enumerate(orders)
        )
    )
    winners: dict[int, set[str]] = {number: set() for number in range(50)}
    for order, ids in zip(orders, made, strict=True):
        for number, job_id in zip(order, ids, strict=True):
            winners[number].add(job_id)
    assert all(len(ids) == 1 for ids in winners.values())
    assert await connection.fetchval(f"select count(*) from {schema}.job") == 50


async def test_four_workers_run_each_of_ten_thousand_jobs_once(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    ran: Counter[int] = Counter()
    apps = [make_app() for _ in range(4)]

    async def count(number: int) -> None:
        ran[number] += 1

    for app in apps:
        app.job(name="count")(count)
    await apps[0].enqueue_many("count", [{"number": number} for number in range(10_000)])
    attempts = await asyncio.gather(*(app.run_worker(run_once=True) for app in apps))
    assert sum(attempts) == 10_000
    assert ran == Counter(range(10_000))
    ends = await connection.fetch(
        f"select status, claim, attempt, count(*) from {schema}.history group by 1, 2, 3"
    )
    assert [tuple(row) for row in ends] == [("done", 1, 1, 10_000)]
    assert await connection.fetchval(f"select count(*) from {schema}.job") == 0


async def test_settling_against_claiming_does_not_deadlock_and_each_job_ends_once(
    own_database_url: str,
) -> None:
    app = Soniq(own_database_url, discover=False)
    app.job(name="job")(_nothing)
    await app.start()
    workers = [Exchanger(app, failing=0.3, batch=20) for _ in range(4)]
    await asyncio.gather(*(worker.register() for worker in workers))
    ids = await app.enqueue_many("job", [{"number": number} for number in range(2_000)])
    enough = asyncio.Event()
    running = asyncio.gather(*(worker.work(enough) for worker in workers))
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        ids += await app.enqueue_many("job", [{"number": number} for number in range(200)])
        await asyncio.sleep(0.02)
    enough.set()
    await running
    await _close(app, workers)
    assert await deadlocks(own_database_url) == 0
    connection = await asyncpg.connect(own_database_url)
    rows = await connection.fetch("select id::text, claim, attempt, status from soniq.history")
    assert await connection.fetchval("select count(*) from soniq.job") == 0
    await connection.close()
    claims = sum((worker.claims for worker in workers), Counter())
    assert sorted(row["id"] for row in rows) == sorted(ids)
    assert {row["status"] for row in rows} == {"done"}
    assert {row["id"]: row["claim"] for row in rows} == {
        str(id_): count for id_, count in claims.items()
    }
    assert all(row["attempt"] == row["claim"] for row in rows)
    assert sum(worker.lost for worker in workers) == 0
    assert sum(claims.values()) > len(ids) * 1.2  # many of them were given back, and claimed again


async def test_a_claim_locks_nothing_while_the_settling_before_it_waits(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    app = make_app()
    app.job(name="job")(_nothing)
    await app.start()
    worker = Exchanger(app)
    await worker.register()
    for finishes in (True, False):
        await app.enqueue("job", number=1)
        (mine,) = await worker.claim(limit=1)
        await app.enqueue_many("job", [{"number": number} for number in range(10)])
        async with connection.transaction():
            await connection.execute(f"select from {schema}.job where id = $1 for update", mine.id)
            settlement = (
                Finish(id=mine.id, claim=mine.claim, age=0.0, status="done")
                if finishes
                else Requeue(id=mine.id, claim=mine.claim, age=0.0, kind=RequeueKind.FAILED)
            )
            settling = asyncio.create_task(worker.claim(settlement))
            await _until_someone_waits_for(connection)
            free = await connection.fetch(
                f"select from {schema}.job where status = 'queued' for update skip locked"
            )
            assert len(free) == 10
        assert len(await settling) == 10
        await connection.execute(f"truncate {schema}.job")
    await worker.close()


async def test_an_exchange_that_an_administrator_cancels_is_tried_again(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    app = make_app()
    app.job(name="job")(_nothing)
    await app.enqueue("job", number=1)
    worker = Exchanger(app)
    await worker.register()
    (mine,) = await worker.claim()
    async with connection.transaction():
        await connection.execute(f"select from {schema}.job for update")
        settling = asyncio.create_task(worker.claim(worker.done(mine)))
        await _until_someone_waits_for(connection)
        waiting = (
            "select pg_cancel_backend(pid) from pg_stat_activity where $1 ="
            " any(pg_blocking_pids(pid))"
        )
        assert await connection.fetchval(waiting, connection.get_server_pid())
    await settling
    await worker.close()
    assert await connection.fetchval(f"select status from {schema}.history") == "done"


async def test_a_settlement_outlives_a_primary_that_has_become_a_standby(
    own_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = urlsplit(own_database_url).path[1:]
    async with Soniq(own_database_url, discover=False) as app:
        app.job(name="job")(_nothing)
        await app.enqueue("job", number=1)
        worker = Exchanger(app)
        await worker.register()
        (mine,) = await worker.claim()
        await worker.close()
        connection = await asyncpg.connect(own_database_url)
        await connection.execute(f"alter database {name} set default_transaction_read_only = on")
        settling = asyncio.create_task(worker.claim(worker.done(mine)))

        async def refused() -> bool:
            return "read-only transaction" in caplog.text

        await eventually(refused)
        await connection.execute(f"alter database {name} reset default_transaction_read_only")
        await settling
        assert await connection.fetchval("select status from soniq.history") == "done"
        await worker.close()
        await connection.close()


async def test_an_enqueue_that_meets_a_job_being_claimed_leaves_it_unlocked(
    make_app: MakeApp, connection: "Connection", other_connection: "Connection", schema: str
) -> None:
    app = make_app(plugins=[Keys()])
    for name in ("replaced", "debounced"):
        app.job(name=name)(_nothing)
    await app.start()
    await connection.execute(HOLD_UPDATES.format(schema=schema))
    other = other_connection
    await other.execute("set test.hold = 'on'")
    for name in ("replaced", "debounced"):
        first = await app.enqueue(name, number=1)
        await connection.execute("select pg_advisory_lock(hashtext($1))", schema)
        transaction = other.transaction()
        await transaction.start()
        enqueuing = asyncio.create_task(app.enqueue(name, number=1, connection=other))
        await _until_someone_waits_for(connection)  # its UPDATE has begun, and sees the job queued
        await connection.execute(
            f"update {schema}.job set status = 'running' where id = $1", str(first)
        )
        await connection.execute("select pg_advisory_unlock(hashtext($1))", schema)
        second = await enqueuing
        assert (second, second.inserted, second.replaced) == (first, False, False)
        await connection.execute(
            f"select from {schema}.job where id = $1 for update nowait", str(first)
        )
        await transaction.rollback()


async def test_keyed_and_unkeyed_enqueues_crosswise_with_settling_do_not_deadlock(
    own_database_url: str,
) -> None:
    apps = [Soniq(own_database_url, discover=False, plugins=[Keys()]) for _ in range(3)]
    for app in apps:
        for name in ("plain", "kept", "replaced", "debounced"):
            app.job(name=name)(_nothing)
    await asyncio.gather(*(app.start() for app in apps))
    workers = [Exchanger(apps[0], failing=0.3, batch=20) for _ in range(3)]
    await asyncio.gather(*(worker.register() for worker in workers))
    ends = time.monotonic() + SECONDS / 2

    async def enqueue_at_random(app: Soniq) -> int:
        inserted = 0
        while time.monotonic() < ends:
            name = random.choice(("plain", "kept", "replaced", "debounced"))
            numbers = [{"number": number} for number in random.sample(range(40), 20)]
            if random.random() < 0.5:
                ids = await app.enqueue_many(name, numbers)
            else:
                ids = await asyncio.gather(*(app.enqueue(name, **each) for each in numbers))
            inserted += sum(job_id.inserted for job_id in ids)
        return inserted

    enough = asyncio.Event()
    running = asyncio.gather(*(worker.work(enough) for worker in workers))
    inserted = await asyncio.gather(*(enqueue_at_random(app) for app in apps for _ in range(4)))
    enough.set()
    await running
    await _close(apps[0], workers)
    await asyncio.gather(*(app.close() for app in apps))
    assert await deadlocks(own_database_url) == 0
    connection = await asyncpg.connect(own_database_url)
    assert await connection.fetchval(
        "select count(*) from soniq.history where status = 'done'"
    ) == sum(inserted)
    assert await connection.fetchval("select count(*) from soniq.job") == 0
    await connection.close()


class Keys:
    """Gives each job but `plain` its number as the key, with a scope and a conflict that go by the
    name.
    """

    name = "keys"

    @hookimpl
    def dedup_key(self, job: NewJob) -> Dedup | None:
        key = str(job.args["number"])
        if job.name == "kept":
            return Dedup(key)
        if job.name == "replaced":
            return Dedup(key, scope="queued", on_conflict="replace")
        if job.name == "debounced":
            return Dedup(key, on_conflict="debounce")
        return None


async def _until_someone_waits_for(connection: "Connection") -> None:
    pid = connection.get_server_pid()
    while not await connection.fetchval(
        "select exists (select from pg_locks where $1 = any(pg_blocking_pids(pid)))", pid
    ):
        await asyncio.sleep(0.005)


async def _nothing(number: int) -> None: ...


async def _close(app: Soniq, workers: list[Exchanger]) -> None:
    await asyncio.gather(*(worker.close() for worker in workers))
    await app.close()
