"""Leases: who holds a job, what becomes of the jobs of dead workers, and that late answers change
nothing.
"""

import asyncio
import logging
import signal
import time
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from soniq import Soniq, hookimpl
from soniq.errors import WorkerLost
from soniq.job import JobContext
from soniq.plugin import Outcome
from soniq.worker.lanes import NO_LANES
from soniq.worker.settling.settlement import Finish, Requeue, Settlement
from tests.conftest import MakeApp
from tests.core.postgres.support import claimer_of
from tests.core.worker.conftest import StartWorker
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import eventually, in_time

LEASE = 1


async def own_connections(app: Soniq, query: str, *, waiting: bool = False) -> list[int]:
    """The server's processes that serve this test's schema and last ran a statement like
    `query`.
    """
    async with app._database.acquire() as connection:
        rows = await connection.fetch(
            "select pid from pg_stat_activity where application_name = 'soniq' and query like $1"
            " and pid <> pg_backend_pid() and (wait_event_type = 'Lock' or not $2)",
            query.replace("{schema}", app.settings.schema),
            waiting,
        )
    return [row["pid"] for row in rows]


async def terminate(app: Soniq, query: str) -> int:
    """End the connections that last ran a statement like `query`; how many there were."""
    pids = await own_connections(app, query)
    async with app._database.acquire() as connection:
        for pid in pids:
            await connection.execute("select pg_terminate_backend($1)", pid)
    return len(pids)


CLAIMER = '%"{schema}".settle_and_claim_%'
HEARTBEAT = '%"{schema}".heartbeat_2(%'
LISTENER = 'LISTEN "{schema}"%'


async def test_a_handler_that_blocks_the_event_loop_keeps_its_job(
    make_app: MakeApp, start_worker: StartWorker
) -> None:
    app = make_app(lease=LEASE)
    process = start_worker(
        """
        @app.job(name="blocks")
        async def blocks() -> str:
            say("began")
            time.sleep(2.2)
            return "blocked"
        """,
        lease=LEASE,
    )
    runs: list[int] = []

    @app.job(name="blocks")
    async def blocks() -> str:
        runs.append(1)
        return "taken over"

    job_id = await app.enqueue(blocks)
    await process.says("began")
    async with working(app):
        assert (await finished(app, job_id))["result"] == "blocked"
    assert runs == []


async def test_the_jobs_of_a_killed_worker_run_elsewhere_and_none_is_charged(
    make_app: MakeApp, start_worker: StartWorker, schema: str
) -> None:
    process = start_worker(
        """
        @app.job(name="one")
        async def one(number: int) -> None:
            if number >= 100:
                say("running", number)
                await asyncio.sleep(60)
        """,
        options={"concurrency": 2},
        lease=LEASE,
    )
    app = make_app(lease=LEASE)
    seen: list[JobContext] = []
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))

    @app.job(name="one")
    async def one(number: int, ctx: JobContext) -> None:
        seen.append(ctx)

    quick = await app.enqueue_many(one, [{"number": n} for n in range(50)])
    slow = await app.enqueue_many(one, [{"number": n} for n in range(100, 150)])
    for each in quick:
        await app.wait_for(each, 20)

    async def some_are_prefetched() -> bool:
        async with app._database.acquire() as connection:
            claimed: int = await connection.fetchval(
                f"select count(*) from {schema}.job where status = 'running'"
            )
        return claimed > 2

    await process.says("running 100")
    await eventually(some_are_prefetched)
    process.send(signal.SIGKILL)
    await process.ended()
    async with working(app):
        for each in slow:
            await app.wait_for(each, 20)
    assert sorted(ctx.job_id for ctx in seen) == sorted(slow)
    assert {ctx.attempt for ctx in seen} == {1}
    assert errors == []


class Told:
    """A plugin that notes what `settled` is told."""

    name = "told"

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    @hookimpl
    def settled(self, outcomes: list[Outcome]) -> None:
        self.outcomes += outcomes


KILLER = """
@app.job(name="killer", max_attempts=2)
async def killer() -> None:
    say("killer")
    await asyncio.sleep(0.05)
    os._exit(9)

@app.job(name="neighbour", max_attempts=1)
async def neighbour() -> str:
    say("neighbour")
    await asyncio.sleep(0.2)
    return "ran"
"""


async def test_a_job_that_kills_its_worker_is_dead_one_death_later_than_its_attempts_say(
    make_app: MakeApp, start_worker: StartWorker
) -> None:
    told = Told()
    app = make_app(lease=LEASE, plugins=[told])
    errors: list[tuple[str, int, BaseException]] = []
    app.on_error(lambda ctx, error: errors.append((ctx.job_name, ctx.attempt, error)))

    @app.job(name="killer", max_attempts=2)
    async def killer() -> None: ...

    @app.job(name="neighbour", max_attempts=1)
    async def neighbour() -> str: ...  # type: ignore[empty-body] # it runs in the other processes

    async def none_runs() -> bool:
        return not await app.jobs(status="running")

    neighbours = await app.enqueue_many(neighbour, [{} for _ in range(3)])
    job_id = await app.enqueue(killer)
    deaths = 0
    async with working(app, queues=["of nobody"]):  # it rescues, and runs nothing
        while (await status_of(app, job_id))["status"] != "dead":
            process = start_worker(KILLER, options={"concurrency": 4}, lease=LEASE)
            await process.ended()
            deaths += 1
            assert deaths <= 3
            await eventually(none_runs)
        start_worker(KILLER, lease=LEASE)
        for each in neighbours:
            assert await app.wait_for(each, 20) == "ran"
    status = await status_of(app, job_id)
    assert (deaths, status["attempt"]) == (3, 2)
    assert status["error"] is not None
    assert status["error"]["type"].endswith("WorkerLost")
    assert [(name, attempt, type(error)) for name, attempt, error in errors] == [
        ("killer", 1, WorkerLost),
        ("killer", 2, WorkerLost),
    ]
    assert [(each.job_name, each.status, each.kind) for each in told.outcomes] == [
        ("killer", "queued", "lost"),
        ("killer", "dead", "lost"),
    ]
    assert {(await status_of(app, each))["attempt"] for each in neighbours} == {1}


async def test_a_worker_taken_for_dead_drops_its_attempts_and_begins_again(
    make_app: MakeApp, schema: str
) -> None:
    app = make_app(lease=LEASE, poll_interval=30)
    began: asyncio.Queue[str] = asyncio.Queue()
    ended: list[str] = []

    @app.job()
    async def one(ctx: JobContext) -> str:
        began.put_nowait(ctx.worker_id)
        if began.qsize() or not ended:
            try:
                await asyncio.sleep(1 if ended else 60)
            except asyncio.CancelledError:
                ended.append(ctx.worker_id)
                raise
        return ctx.worker_id

    job_id = await app.enqueue(one)
    async with working(app, concurrency=1):
        first = await in_time(began.get())
        async with app._database.acquire() as connection:
            await connection.execute(f"delete from {schema}.worker where id = $1", UUID(first))
            await connection.execute(app._database.sql["rescue"], [UUID(job_id)], None)
        second = await in_time(began.get())
        status = await finished(app, job_id)
    assert ended == [first]
    assert first != second
    assert (status["status"], status["result"], status["attempt"]) == ("done", second, 1)


async def test_a_settlement_that_comes_too_late_changes_nothing(
    make_app: MakeApp, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    app = make_app(plugins=[told])
    release = asyncio.Event()
    began = asyncio.Event()

    @app.job()
    async def one() -> str:
        began.set()
        await release.wait()
        return "too late"

    job_id = await app.enqueue(one)
    with caplog.at_level(logging.WARNING, "soniq"):
        async with working(app):
            await in_time(began.wait())
            async with app._database.acquire() as connection:
                taken = (
                    f"update {schema}.job set claim = claim + 1, worker_id = gen_random_uuid()"
                    " where id = $1"
                )
                await connection.execute(taken, UUID(job_id))
            release.set()

            async def noticed() -> bool:
                return any("changed nothing" in record.getMessage() for record in caplog.records)

            await eventually(noticed)
    assert (await status_of(app, job_id))["status"] == "running"
    assert told.outcomes == []


async def test_a_settlement_of_a_job_that_was_rescued_changes_nothing(
    make_app: MakeApp, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    app = make_app(plugins=[told], lease=30)
    seen: list[int] = []

    @app.job()
    async def one(ctx: JobContext) -> str:
        seen.append(ctx.attempt)
        if len(seen) == 1:
            async with (
                app._database.acquire() as connection,
                connection.transaction(),
            ):  # what a rescue does
                await connection.execute(f"update {schema}.worker set id = gen_random_uuid()")
                await connection.execute(app._database.sql["rescue"], [UUID(ctx.job_id)], None)
                await connection.execute(f"update {schema}.worker set id = $1", UUID(ctx.worker_id))
        return f"run {len(seen)}"

    job_id = await app.enqueue(one)
    with caplog.at_level(logging.WARNING, "soniq"):
        await in_time(app.run_worker(run_once=True))
    assert any("changed nothing" in record.getMessage() for record in caplog.records)
    assert await app.get_result(job_id) == "run 2"
    assert [each.status for each in told.outcomes] == ["done"]


@pytest.mark.parametrize(
    "which", [CLAIMER, HEARTBEAT, LISTENER], ids=["claims", "heartbeat", "notifications"]
)
async def test_a_worker_whose_connection_ends_gets_another(make_app: MakeApp, which: str) -> None:
    app = make_app(lease=LEASE, poll_interval=0.1 if which != LISTENER else 30)

    @app.job()
    async def one() -> str:
        return "ran"

    async with working(app):
        await app.wait_for(await app.enqueue(one), 20)

        async def there() -> bool:
            return len(await own_connections(app, which)) == 1

        await eventually(there)
        assert await terminate(app, which) == 1
        await eventually(there)
        job_id = await app.enqueue(one)
        assert await app.wait_for(job_id, 20) == "ran"


async def test_nothing_is_lost_or_done_twice_when_the_claiming_connection_ends_again_and_again(
    make_app: MakeApp, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    app = make_app(lease=30, plugins=[told])
    ran: list[int] = []

    @app.job()
    async def one(number: int) -> None:
        ran.append(number)
        await asyncio.sleep(0.001)

    total = 3_000
    await app.enqueue_many(one, [{"number": n} for n in range(total)])
    ended = 0
    async with working(app, concurrency=10) as worker:
        while len(ran) < total and not worker.done():
            await asyncio.sleep(0.2)
            ended += await terminate(app, CLAIMER)

        async def all_are_done() -> bool:
            async with app._database.acquire() as connection:
                return bool(await connection.fetchval(f"select count(*) = 0 from {schema}.job"))

        await eventually(all_are_done)
    assert ended >= 3
    assert sorted(ran) == list(range(total))
    assert sorted(each.job_id for each in told.outcomes) == sorted(
        {each.job_id for each in told.outcomes}
    )
    assert len(told.outcomes) == total
    assert not any("changed nothing" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("finishes", [True, False], ids=["finished", "given-back"])
async def test_a_settlement_that_is_sent_twice_is_not_counted_as_lost(
    app: Soniq, schema: str, finishes: bool
) -> None:
    @app.job()
    async def one() -> None: ...

    job_id = UUID(await app.enqueue(one))
    claimer, state, _ = claimer_of(app)
    async with app._database.acquire() as connection:
        await connection.execute(
            f"update {schema}.job set status = 'running', claim = 5, worker_id = $1, started_at ="
            " now()",
            state.id,
        )

    def settlement(claim: int, delay: float = 0.0) -> Settlement:
        if finishes:
            return Finish(id=job_id, claim=claim, status="done", age=0.0)
        return Requeue(id=job_id, claim=claim, age=0.0, delay=delay)

    right, wrong = settlement(5, delay=60), settlement(4)
    try:
        assert (await claimer.exchange([wrong], NO_LANES, 0)).lost == {job_id}
        assert (await claimer.exchange([right], NO_LANES, 0)).lost == set()
        assert (await claimer.exchange([right], NO_LANES, 0)).lost == set()
        assert (await claimer.exchange([wrong], NO_LANES, 0)).lost == {job_id}
    finally:
        await claimer.close()
    assert (await status_of(app, str(job_id)))["status"] == ("done" if finishes else "queued")


async def test_jobs_that_were_claimed_and_never_arrived_are_given_back(
    make_app: MakeApp, schema: str
) -> None:
    app = make_app(lease=30)
    seen: list[int] = []
    began, release = asyncio.Event(), asyncio.Event()
    worker_id = ""

    @app.job()
    async def holds(ctx: JobContext) -> None:
        nonlocal worker_id
        worker_id = ctx.worker_id
        began.set()
        await release.wait()

    @app.job()
    async def one(ctx: JobContext) -> None:
        seen.append(ctx.attempt)

    async with working(app):
        holding = await app.enqueue(holds)
        await in_time(began.wait())
        async with app._database.acquire() as connection, connection.transaction():
            job_id = await app.enqueue(one, connection=connection, notify=False)
            await connection.execute(  # as an answer that was lost on its way leaves it
                f"update {schema}.job set status = 'running', claim = claim + 1, worker_id = $2,"
                " started_at = now() where id = $1",
                UUID(job_id),
                UUID(worker_id),
            )

        async def says_that_it_waits() -> bool:
            async with app._database.acquire() as connection:
                return bool(await connection.fetchval(f"select waiting from {schema}.worker"))

        await eventually(says_that_it_waits)  # it writes nothing into its row from now on
        async with app._database.acquire() as connection:
            lock = connection.transaction()
            await lock.start()
            await connection.execute(f"select from {schema}.worker for update")
            other = await app.enqueue(one)

            async def claim_waits() -> list[int]:
                return await own_connections(app, CLAIMER, waiting=True)

            await eventually(claim_waits)
            assert await terminate(app, CLAIMER) == 1
            await lock.rollback()
        await app.wait_for(other, 20)
        assert (await finished(app, job_id))["status"] == "done"
        assert (await status_of(app, holding))["status"] == "running"
        release.set()
        await app.wait_for(holding, 20)
    assert seen == [1, 1]


async def test_a_dead_workers_row_is_removed_and_a_live_ones_stays(
    make_app: MakeApp, schema: str
) -> None:
    app = make_app(lease=LEASE)
    await app.start()
    async with app._database.acquire() as connection:
        await connection.execute(
            f"insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, names,"
            " seen_at) values (gen_random_uuid(), 1, 1, 1, 'gone', '0', array[]::text[], now() -"
            " interval '1 minute')"
        )

    async def buried() -> bool:
        async with app._database.acquire() as connection:
            rows = await connection.fetch(f"select hostname from {schema}.worker")
        return bool(rows) and "gone" not in [row["hostname"] for row in rows]

    async with working(app):
        await eventually(buried)
        await asyncio.sleep(LEASE * 1.5)
        assert await buried()
    assert (await app.overview())["workers"] == []


async def test_a_worker_outlives_a_restart_of_the_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    from soniq_embedded import EmbeddedServer

    server = EmbeddedServer(Path(tmp_path_factory.mktemp("restarted")), options={"fsync": "off"})
    url = await asyncio.to_thread(server.start)
    app = Soniq(url, discover=False, lease=2, poll_interval=0.2, grace=5)
    ran: list[int] = []
    release = asyncio.Event()

    @app.job()
    async def one(number: int) -> None:
        ran.append(number)
        if number == 2:
            await release.wait()

    try:
        async with app, working(app):
            await app.wait_for(await app.enqueue(one, number=1), 20)
            running = await app.enqueue(one, number=2)

            async def runs() -> bool:
                return 2 in ran

            await eventually(runs)
            await asyncio.to_thread(server.stop)
            release.set()
            await asyncio.sleep(0.5)
            await asyncio.to_thread(server.start)
            began = time.monotonic()
            assert (await finished(app, running))["status"] == "done"
            await app.wait_for(await app.enqueue(one, number=3), 20)
            assert time.monotonic() - began < 30
    finally:
        await asyncio.to_thread(server.stop)
    assert ran == [1, 2, 3]


async def test_a_worker_can_stop_while_the_database_is_away(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    from soniq_embedded import EmbeddedServer

    server = EmbeddedServer(Path(tmp_path_factory.mktemp("away")), options={"fsync": "off"})
    url = await asyncio.to_thread(server.start)
    app = Soniq(url, discover=False, lease=2, poll_interval=0.2, grace=0.5)

    @app.job()
    async def one() -> None: ...

    try:
        await app.start()
        worker = asyncio.create_task(app.run_worker())
        await app.wait_for(await app.enqueue(one), 20)
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(0.5)
        app.stop_workers()
        assert await in_time(worker, 40) == 1
        await app.close()
    finally:
        await asyncio.to_thread(server.stop)


async def test_an_injected_connection_that_ends_puts_off_the_attempt_alone(app: Soniq) -> None:
    runs: list[int] = []

    @app.job(retry=0.0)
    async def loses(connection: asyncpg.Connection, ctx: JobContext) -> int:
        runs.append(ctx.attempt)
        if len(runs) == 1:
            async with app._database.acquire() as another:
                await another.execute(
                    "select pg_terminate_backend($1)", connection.get_server_pid()
                )
        await connection.execute("select 1")
        return ctx.attempt

    async with working(app):
        assert await app.wait_for(await app.enqueue(loses), 20) == 1
    assert runs == [1, 1]
