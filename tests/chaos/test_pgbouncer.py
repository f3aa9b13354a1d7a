"""Behind a PgBouncer in transaction mode, where a session's state, prepared statements and LISTEN
do not exist.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from soniq import DatabaseError, JobContext, Soniq
from soniq.errors import DatabaseUnsupported
from soniq_limits import Fair, Limit, Limits, Rate, Sequence
from tests.support.jobs import working
from tests.support.pgbouncer import behind, needs_pgbouncer, pgbouncer
from tests.support.waiting import eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

pytestmark = needs_pgbouncer


@pytest.fixture
def url(own_database_url: str) -> Iterator[str]:
    """The URL of the test's own database, through a PgBouncer."""
    with pgbouncer(own_database_url) as folder:
        yield behind(folder, own_database_url)


@asynccontextmanager
async def app_behind(url: str, **settings: Any) -> AsyncIterator[Soniq]:
    """An app that knows that it is behind a PgBouncer."""
    async with Soniq(url, discover=False, pgbouncer=True, poll_interval=0.05, **settings) as app:
        yield app


async def test_jobs_are_enqueued_and_run_in_every_way(url: str) -> None:
    ran: Counter[int] = Counter()
    async with app_behind(url, lease=1) as app, app_behind(url) as other:

        async def count(number: int) -> int:
            ran[number] += 1
            if number == 0 and ran[number] < 3:
                raise LookupError("not yet")
            return number

        for each in (app, other):
            each.job(name="count", unique=True, retry=0)(count)
        async with working(app), working(other):
            ids = await asyncio.gather(
                *(other.enqueue("count", number=number) for number in range(300))
            )
            again = await other.enqueue("count", number=0)
            assert again.inserted or again == ids[0]
            ids += await app.enqueue_many(
                "count", [{"number": number} for number in range(300, 1_000)]
            )
            results = await asyncio.gather(*(app.wait_for(job_id, 60) for job_id in ids[:50]))
            assert results == list(range(50))
            await eventually(lambda: _all_ended(app), 60)
    assert set(ran) == set(range(1_000))
    assert all(times == 1 for number, times in ran.items() if number)


async def test_a_running_job_is_cancelled(url: str) -> None:
    async with app_behind(url, lease=1) as app:
        started = asyncio.Event()
        ended = asyncio.Event()

        @app.job(name="sleep")
        async def sleep() -> None:
            started.set()
            try:
                await asyncio.sleep(600)
            finally:
                ended.set()

        async with working(app):
            job_id = await app.enqueue(sleep)
            await asyncio.wait_for(started.wait(), 20)
            assert await app.cancel(job_id)
            await asyncio.wait_for(ended.wait(), 20)
            await eventually(lambda: _all_ended(app))
            status = await app.get_job_status(job_id)
            assert status is not None
            assert status["status"] == "cancelled"


async def test_a_waiting_job_is_cancelled(url: str) -> None:
    async with app_behind(url) as app:
        app.job(name="nothing")(_nothing)
        job_id = await app.enqueue("nothing", delay=60)
        assert await app.cancel(job_id)
        status = await app.get_job_status(job_id)
        assert status is not None
        assert status["status"] == "cancelled"


async def test_an_injected_connection_commits_with_the_job(url: str, own_database_url: str) -> None:
    plain = await asyncpg.connect(own_database_url)
    await plain.execute("create table effect (number integer)")
    async with app_behind(url, concurrency=5) as app:

        @app.job(name="effect", retry=0)
        async def effect(number: int, connection: asyncpg.Connection) -> None:
            await connection.execute("insert into effect values ($1)", number)
            if random_once(number):
                raise LookupError("rolled back")

        failed: set[int] = set()

        def random_once(number: int) -> bool:
            if number % 3 or number in failed:
                return False
            failed.add(number)
            return True

        await app.enqueue_many(effect, [{"number": number} for number in range(100)])
        async with working(app):
            await eventually(lambda: _all_ended(app), 60)
    rows = await plain.fetch("select number from effect order by 1")
    await plain.close()
    assert [row["number"] for row in rows] == list(range(100))


async def test_an_enqueue_joins_the_transaction_of_a_connection_through_the_bouncer(
    url: str,
) -> None:
    async with app_behind(url) as app:
        app.job(name="nothing", unique=True)(_nothing)
        connection = await asyncpg.connect(url, statement_cache_size=0)
        transaction = connection.transaction()
        await transaction.start()
        gone = await app.enqueue("nothing", connection=connection)
        await transaction.rollback()
        async with connection.transaction():
            kept = await app.enqueue("nothing", connection=connection)
        await connection.close()
        assert await app.get_job_status(gone) is None
        assert await app.run_worker(run_once=True) == 1
        status = await app.get_job_status(kept)
        assert status is not None
        assert status["status"] == "done"


async def test_many_apps_share_few_connections_of_the_server(url: str) -> None:
    ran: Counter[int] = Counter()

    async def count(number: int) -> None:
        ran[number] += 1

    async with app_behind(url) as one, app_behind(url) as two, app_behind(url) as three:
        apps = (one, two, three)
        for app in apps:
            app.job(name="count")(count)
        async with working(one), working(two), working(three):
            await asyncio.gather(*(apps[n % 3].enqueue("count", number=n) for n in range(2_000)))
            await eventually(lambda: _all_ended(one), 60)
    assert ran == Counter(range(2_000))


async def test_limits_rates_and_turns_hold(url: str) -> None:
    starts: list[float] = []
    steps: dict[int, list[int]] = {0: [], 1: []}
    turns: list[str] = []

    async def call(ctx: JobContext) -> None:
        starts.append(time.monotonic())
        if ctx.attempt == 1 and len(starts) % 4 == 0:
            raise LookupError("not yet")

    async def step(key: int, number: int) -> None:
        steps[key].append(number)

    async def report(tenant: str) -> None:
        turns.append(tenant)

    async with (
        app_behind(url, plugins=[Limits()]) as one,
        app_behind(url, plugins=[Limits()]) as two,
    ):
        for app in (one, two):
            app.job(Rate(10, per=1), Limit(4), name="call", retry=0)(call)
            app.job(Sequence(by="key"), name="step")(step)
            app.job(Fair(by="tenant", ahead=3), name="report")(report)
        await one.enqueue_many("call", [{}] * 30)
        await one.enqueue_many("step", [{"key": n % 2, "number": n} for n in range(20)])
        await one.enqueue_many("report", [{"tenant": "large"}] * 50 + [{"tenant": "small"}] * 2)
        async with working(one), working(two):
            await eventually(lambda: _all_ended(one), 60)
    assert max(sum(start <= each < start + 1 for each in starts) for start in starts) <= 10
    assert len(starts) > 30
    assert steps == {key: list(range(key, 20, 2)) for key in (0, 1)}
    assert turns.index("small") < 20


async def test_a_role_that_begins_transactions_otherwise_is_refused(
    url: str, own_database_url: str
) -> None:
    owner = await asyncpg.connect(own_database_url)
    await owner.execute(
        f"alter database {urlsplit(own_database_url).path[1:]} set default_transaction_isolation ="
        " 'repeatable read'"
    )
    await owner.close()
    with pytest.raises(DatabaseUnsupported, match=r"repeatable read.*alter role"):
        async with app_behind(url):
            pass


async def test_an_app_that_does_not_know_of_the_bouncer_is_told_the_setting(url: str) -> None:
    with pytest.raises(DatabaseError, match="SONIQ_PGBOUNCER=true"):
        await Soniq(url, discover=False).start()


async def _all_ended(app: Soniq) -> bool:
    return not any(
        job["status"] in ("queued", "held", "running") for job in await app.jobs(limit=10_000)
    )


async def _nothing() -> None: ...
