"""run_once: work off what is due, then return."""

import asyncio
import signal

import asyncpg
import pytest

from soniq import Retry, Snooze, Soniq
from soniq.job import JobContext
from tests.conftest import MakeApp
from tests.support.jobs import lose_a_worker, status_of, working
from tests.support.waiting import in_time


async def test_it_returns_at_once_where_nothing_is_due(app: Soniq) -> None:
    assert await in_time(app.run_worker(run_once=True)) == 0


@pytest.mark.new_schema
async def test_one_that_ends_at_once_does_nothing_beside_its_jobs(
    app: Soniq,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("soniq.worker.worker.FIRST_TURN", 60)
    monkeypatch.setattr("soniq.worker.heartbeat.FIRST_TURN", 60)

    @app.job()
    async def quick() -> None: ...

    job_id = await app.enqueue(quick)
    assert await in_time(app.run_worker(run_once=True)) == 1
    assert (await status_of(app, job_id))["status"] == "done"

    elected = f"select pg_relation_size('{schema}.election')"
    assert await connection.fetchval(elected) == 0  # no row has ever been in it
    assert await connection.fetchval(f"select count(*) from {schema}.worker") == 0


async def test_one_that_ends_at_once_runs_what_a_dead_worker_has_left(
    app: Soniq,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("soniq.worker.worker.FIRST_TURN", 60)

    @app.job()
    async def quick() -> None: ...

    job_id = await app.enqueue(quick)
    dead = await lose_a_worker(connection, schema)
    await connection.execute(
        f"update {schema}.job set status = 'running', worker_id = $1::text::uuid, started_at = now()",
        dead,
    )
    assert await in_time(app.run_worker(run_once=True)) == 1
    assert (await status_of(app, job_id))["status"] == "done"
    assert await connection.fetchval(f"select count(*) from {schema}.worker") == 0


async def test_those_that_end_at_once_keep_the_tables_in_order(
    app: Soniq,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("soniq.worker.worker.FIRST_TURN", 60)

    @app.job()
    async def held() -> None: ...

    job_id = await app.enqueue(held)
    await connection.execute(
        f"update {schema}.job set status = 'held', held_by = '{{gate}}', expires_at = now()"
    )
    bound = f"select bound from {schema}.retention"
    first = await connection.fetchval(bound)
    last = await connection.fetchval(
        f"select max(c.relname) from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        f" where inhparent = '{schema}.history'::regclass and c.relname <> 'history_forever'"
    )
    await connection.execute(f"drop table {schema}.{last}")
    await connection.execute(f"update {schema}.retention set bound = bound - interval '1 day'")

    assert await in_time(app.run_worker(run_once=True)) == 0
    status = await status_of(app, job_id)
    assert status["status"] == "cancelled"
    assert status["error"] is not None
    assert status["error"]["message"] == "expired while it was held"
    assert await connection.fetchval(bound) == first
    assert await connection.fetchval("select to_regclass($1)", f"{schema}.{last}")


async def test_it_works_off_all_that_is_due_and_counts_it(app: Soniq) -> None:
    ran: list[int] = []

    @app.job()
    async def one(number: int) -> None:
        ran.append(number)

    await app.enqueue_many(one, [{"number": n} for n in range(500)])
    assert await in_time(app.run_worker(run_once=True, concurrency=4)) == 500
    assert sorted(ran) == list(range(500))


async def test_it_runs_what_its_jobs_enqueue(app: Soniq) -> None:
    @app.job()
    async def parent(depth: int) -> None:
        if depth:
            await app.enqueue(parent, depth=depth - 1, args=None)
            await app.enqueue(child, queue=f"queue{depth}", priority=depth)

    @app.job()
    def child() -> None: ...

    await app.enqueue(parent, depth=3)
    assert await in_time(app.run_worker(run_once=True)) == 7
    assert {job["status"] for job in await app.jobs()} == {"done"}


async def test_it_counts_every_attempt(app: Soniq) -> None:
    @app.job(max_attempts=3)
    async def again(ctx: JobContext) -> None:
        if ctx.attempt < 3:
            raise Retry(delay=0)

    await app.enqueue(again)
    assert await in_time(app.run_worker(run_once=True)) == 3


async def test_it_waits_for_the_jobs_that_run(app: Soniq) -> None:
    @app.job()
    async def slow() -> str:
        await asyncio.sleep(0.3)
        return "waited for"

    job_id = await app.enqueue(slow)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == "waited for"


async def test_it_leaves_what_is_due_later(app: Soniq) -> None:
    @app.job(retry=600)
    async def fails() -> None:
        raise LookupError("and is tried again in ten minutes")

    @app.job()
    async def snoozes() -> None:
        raise Snooze(600)

    @app.job()
    async def later() -> None: ...

    waiting = [
        await app.enqueue(fails),
        await app.enqueue(snoozes),
        await app.enqueue(later, delay=600),
    ]
    assert await in_time(app.run_worker(run_once=True)) == 2
    assert [(await status_of(app, each))["status"] for each in waiting] == ["queued"] * 3


async def test_it_leaves_held_jobs_and_names_it_does_not_know(
    make_app: MakeApp, schema: str
) -> None:
    app = make_app(unknown_jobs="allow")

    @app.job()
    async def held() -> None: ...

    job_id = await app.enqueue(held)
    stranger = await app.enqueue("elsewhere.job", args={})
    async with app._database.acquire() as connection:
        await connection.execute(
            f"update {schema}.job set status = 'held', held_by = '{{me}}' where name = $1",
            held.name,
        )
    assert await in_time(app.run_worker(run_once=True)) == 0
    assert (await status_of(app, job_id))["status"] == "held"
    status = await status_of(app, stranger)
    assert (status["status"], status["attempt"]) == ("queued", 0)


async def test_it_does_not_wait_for_other_workers(make_app: MakeApp) -> None:
    app, other = make_app(), make_app()
    began, release = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        began.set()
        await release.wait()

    for each in (app, other):
        each.job(name="slow")(slow)
    job_id = await app.enqueue("slow")
    async with working(other):
        await in_time(began.wait())
        assert await in_time(app.run_worker(run_once=True)) == 0
        assert (await status_of(app, job_id))["status"] == "running"
        release.set()


async def test_it_installs_no_signal_handlers(app: Soniq) -> None:
    seen: list[bool] = []
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    @app.job()
    async def look() -> None:
        seen.append(
            [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
        )

    await app.enqueue(look)
    await app.run_worker(run_once=True)
    assert seen == [True]


async def test_another_worker_does_install_them_and_puts_the_old_ones_back(app: Soniq) -> None:
    seen: list[bool] = []
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    @app.job()
    async def look() -> None:
        seen.append(
            [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
        )

    job_id = await app.enqueue(look)
    async with working(app):
        await app.wait_for(job_id, 20)
    assert seen == [False]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


async def test_it_may_be_called_again_and_again(app: Soniq) -> None:
    @app.job()
    async def one() -> None: ...

    for _ in range(3):
        await app.enqueue(one)
        assert await in_time(app.run_worker(run_once=True)) == 1


async def test_two_at_once_share_the_work(make_app: MakeApp) -> None:
    first, second = make_app(), make_app()
    ran: list[int] = []

    async def one(number: int) -> None:
        ran.append(number)
        await asyncio.sleep(0)

    for each in (first, second):
        each.job(name="one")(one)
    await first.enqueue_many("one", [{"number": n} for n in range(300)])
    counts = await asyncio.gather(first.run_worker(run_once=True), second.run_worker(run_once=True))
    assert sum(counts) == 300
    assert sorted(ran) == list(range(300))


async def test_stop_workers_ends_it_early(app: Soniq) -> None:
    @app.job()
    async def one() -> None:
        app.stop_workers()

    await app.enqueue_many(one, [{} for _ in range(50)])
    ran = await in_time(app.run_worker(run_once=True, concurrency=1))
    assert ran == 1
    assert len(await app.jobs(status="queued")) == 49


async def test_what_was_committed_late_is_run_as_well(make_app: MakeApp) -> None:
    app = make_app()
    ran: list[str] = []

    @app.job(name="child")
    async def child() -> None:
        ran.append("child")

    @app.job(name="quick")
    async def quick(number: int) -> None:
        ran.append("quick")

    @app.job(name="parent")
    async def parent(connection: asyncpg.Connection) -> None:
        await app.enqueue(child, connection=connection)
        for number in range(3):  # the cursor moves on, further than a look goes back
            await asyncio.sleep(1.0)
            await app.enqueue(quick, number=number)
        await asyncio.sleep(0.2)
        ran.append("parent")

    await app.enqueue(parent)
    await app.run_worker(run_once=True)
    assert ran.count("child") == 1


async def test_run_once_returns_when_the_row_of_its_worker_is_taken(
    app: Soniq, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    @app.job()
    async def bury() -> None:
        await connection.execute(f'delete from "{app.settings.schema}".worker')

    await app.enqueue(bury)
    await in_time(app.run_worker(run_once=True))
