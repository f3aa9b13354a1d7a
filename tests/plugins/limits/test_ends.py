"""However a limited job ends or comes back, its slot is free then, and no limit is exceeded."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from soniq import JobContext, Snooze, Soniq, Unique, hookimpl
from soniq.plugin import JobDefinition
from soniq_limits import Limit, Limits
from soniq_testing import drain, travel
from tests.conftest import MakeApp
from tests.core.postgres.support import documented_rights
from tests.plugins.limits.conftest import Connection, Observer, left, rows
from tests.plugins.limits.test_limit import all_end
from tests.support import urls
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import eventually


class Gate:
    """Jobs that run until they are let go."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.running: list[str] = []
        self.order: list[str] = []

    def define(self, app: Soniq, n: int = 1) -> Soniq:
        @app.job(Limit(n, by="key"), name="gated")
        async def gated(key: str, name: str) -> None:
            self.order.append(name)
            self.running.append(name)
            await self.open.wait()
            self.running.remove(name)

        return app

    async def runs(self, *names: str) -> None:
        async def do() -> bool:
            return sorted(self.running) == sorted(names)

        await eventually(do)


@pytest.fixture
def gate() -> Gate:
    return Gate()


async def test_a_cancelled_job_that_waited_leaves_nothing(
    app: Soniq, gate: Gate, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    gate.define(app)
    async with working(app):
        await app.enqueue("gated", key="k", name="runs")
        await gate.runs("runs")
        waits = await app.enqueue("gated", key="k", name="waits")
        last = await app.enqueue("gated", key="k", name="last")
        await eventually(lambda: has_rows(connection, schema, "waiting", 2))
        assert await app.cancel(waits)
        assert await rows(connection, schema, "slot", "waiting") == [1, 1]
        gate.open.set()
        await finished(app, last)
    assert gate.order == ["runs", "last"]
    assert await left(app, connection, schema) == [0, 0, 0]


async def has_rows(
    connection: "Connection[asyncpg.Record]", schema: str, table: str, count: int
) -> bool:
    return await rows(connection, schema, table) == [count]


async def test_a_cancelled_running_job_gives_its_slot_to_the_next(app: Soniq, gate: Gate) -> None:
    gate.define(app)
    async with working(app):
        first = await app.enqueue("gated", key="k", name="first")
        await app.enqueue("gated", key="k", name="second")
        await gate.runs("first")
        await app.cancel(first)
        await eventually(lambda: has_run(gate, "second"))
        gate.open.set()


async def has_run(gate: Gate, name: str) -> bool:
    return name in gate.order


async def test_a_waiting_job_expires_and_leaves_nothing(
    app: Soniq, gate: Gate, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    gate.define(app)
    async with working(app):
        await app.enqueue("gated", key="k", name="runs")
        await gate.runs("runs")
        late = await app.enqueue("gated", key="k", name="late", expires=0.5)
        assert (await finished(app, late))["status"] == "cancelled"
        assert await rows(connection, schema, "slot", "waiting") == [1, 0]
        gate.open.set()


@pytest.mark.parametrize("way", ["cancelled while it waited", "dead"])
async def test_a_job_that_an_operator_runs_again_is_limited_again(
    app: Soniq, observer: Observer, way: str
) -> None:
    fails = True

    @app.job(Limit(1), name="again", max_attempts=1)
    async def again() -> None:
        await observer.run("again")
        if fails:
            raise ValueError("boom")

    ids = [await app.enqueue("again") for _ in range(5)]
    if way == "dead":
        async with working(app):
            await all_end(app, 5)
    else:
        for job_id in ids:
            assert await app.cancel(job_id)
    fails = False
    for job_id in ids:
        await app.retry(job_id)
    assert {(await status_of(app, each))["status"] for each in ids} == {"held"}
    async with working(app):
        for job_id in ids:
            assert (await finished(app, job_id))["status"] == "done"
    assert observer.most == {"again": 1}


async def test_what_replaces_a_waiting_job_moves_it_to_its_key(
    app: Soniq, gate: Gate, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    gate.define(app)
    latest = Unique(on_conflict="replace")
    async with working(app):
        for key in ("p", "q"):
            await app.enqueue("gated", key=key, name=f"runs {key}")
        await gate.runs("runs p", "runs q")
        first = await app.enqueue("gated", key="p", name="old", dedup_key="d", unique=latest)
        second = await app.enqueue("gated", key="q", name="new", dedup_key="d", unique=latest)
        assert second == first

        async def moved() -> bool:
            query = f"select keys from {schema}_limits.waiting"
            return [row["keys"] for row in await connection.fetch(query)] == [['gated/key["q"]']]

        await eventually(moved)
        gate.open.set()
        await finished(app, first)
    assert gate.order[2:] == ["new"]
    assert await left(app, connection, schema) == [0, 0, 0]


async def test_what_replaces_a_job_that_has_its_slot_waits_for_its_own_key(
    app: Soniq, gate: Gate, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    gate.define(app)
    latest = Unique(on_conflict="replace")
    async with working(app, queues=["other"]):  # hands out slots, and runs none of these
        await app.enqueue("gated", key="q", name="first of q")
        job_id = await app.enqueue("gated", key="p", name="old", dedup_key="d", unique=latest)
        await eventually(lambda: has_rows(connection, schema, "slot", 2))
        await app.enqueue("gated", key="q", name="new", dedup_key="d", unique=latest)
        await eventually(lambda: has_rows(connection, schema, "waiting", 1))
        assert await rows(connection, schema, "slot") == [1]
    async with working(app):
        await gate.runs("first of q")
        assert (await status_of(app, job_id))["status"] == "held"
        gate.open.set()
        await finished(app, job_id)
    assert gate.order == ["first of q", "new"]


async def test_inspect_says_what_a_job_waits_for(
    app: Soniq, gate: Gate, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    gate.define(app)
    limits = app.plugin(Limits)
    async with working(app):
        first = await app.enqueue("gated", key="k", name="first")
        await gate.runs("first")
        second = await app.enqueue("gated", key="k", name="second")
        await eventually(lambda: has_rows(connection, schema, "waiting", 1))
        for job_id, said in ((first, "has a slot, 1 of 1 taken"), (second, "waits, 1 of 1 taken")):
            fields = await limits.inspect_fields(app, await status_of(app, job_id))
            assert fields == {'gated/key["k"]': said}
        gate.open.set()


async def test_a_locked_key_fails_no_attempt_and_stops_no_other_key(
    app: Soniq, observer: Observer, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    @app.job(Limit(1, by="key"), name="keyed", max_attempts=1)
    async def keyed(key: str) -> None:
        await observer.run(key)

    @app.job(name="free")
    async def free() -> None: ...

    async with working(app):
        await finished(app, await app.enqueue("keyed", key="locked"))
        async with connection.transaction():
            lock = f"select from {schema}_limits.key where key = $1 for update"
            await connection.fetch(lock, 'keyed/key["locked"]')
            stuck = [await app.enqueue("keyed", key="locked") for _ in range(3)]
            others = [await app.enqueue("keyed", key="other") for _ in range(20)]
            for job_id in [*others, await app.enqueue(free)]:
                assert (await finished(app, job_id))["status"] == "done"
            assert {(await status_of(app, each))["status"] for each in stuck} == {"held"}
        for job_id in stuck:
            done = await finished(app, job_id)
            assert (done["status"], done["attempt"]) == ("done", 1)
    assert observer.most == {"locked": 1, "other": 1}
    assert await left(app, connection, schema) == [0, 0, 0]


async def test_an_end_while_the_key_is_locked_is_not_forgotten(
    app: Soniq, gate: Gate, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    gate.define(app)
    async with working(app):
        first = await app.enqueue("gated", key="k", name="first")
        await gate.runs("first")
        second = await app.enqueue("gated", key="k", name="second")
        await eventually(lambda: has_rows(connection, schema, "waiting", 1))
        async with connection.transaction():
            await connection.fetch(f"select from {schema}_limits.key for update")
            gate.open.set()
            assert (await finished(app, first))["attempt"] == 1
            await eventually(lambda: has_rows(connection, schema, "again", 1))
            assert gate.order == ["first"]
        await finished(app, second)
    assert await left(app, connection, schema) == [0, 0, 0]


@asynccontextmanager
async def without_the_plugin(make_app: MakeApp, observer: Observer) -> AsyncIterator[Soniq]:
    """An app of the same jobs that does not have the plugin, at work."""

    class Unread:
        @hookimpl
        def configure_job(self, job: JobDefinition) -> None:
            job.option(Limit)

    app = of_keys(make_app(plugins=[Unread()]), observer)
    async with working(app):
        yield app


def of_keys(app: Soniq, observer: Observer) -> Soniq:
    @app.job(Limit(2, by="key"), name="keyed", retry=0, max_attempts=2)
    async def keyed(key: str, way: str = "") -> None:
        await observer.run(key)
        if way == "fails":
            raise ValueError("boom")

    return app


async def test_workers_without_the_plugin_exceed_no_limit_and_lose_no_slot(
    app: Soniq,
    make_app: MakeApp,
    observer: Observer,
    connection: "Connection[asyncpg.Record]",
    schema: str,
) -> None:
    of_keys(app, observer)
    jobs = [{"key": str(n % 3), "way": "fails" if n % 5 == 0 else ""} for n in range(120)]
    await app.enqueue_many("keyed", jobs)
    async with without_the_plugin(make_app, observer), working(app):
        await all_end(app, 120)

        async def nothing_left() -> bool:
            return await rows(connection, schema, "slot", "waiting", "again") == [0, 0, 0]

        await eventually(nothing_left)
    assert observer.most == {str(n): 2 for n in range(3)}


async def test_a_paused_queue_keeps_no_slots(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    order: list[str] = []

    @app.job(Limit(2, name="shared"), name="slow", queue="slow")
    async def slow() -> None:
        order.append("slow")

    @app.job(Limit(2, name="shared"), name="quick")
    async def quick() -> None:
        order.append("quick")

    held = [await app.enqueue(slow) for _ in range(2)]
    async with working(app, queues=["other"]):  # hands out the slots, and runs none of these
        await eventually(lambda: has_rows(connection, schema, "slot", 2))
    await app.pause("slow")
    async with working(app):
        waiting = [await app.enqueue(quick) for _ in range(3)]
        for job_id in waiting:
            assert (await finished(app, job_id))["status"] == "done"
        assert order == ["quick"] * 3
        await app.resume("slow")
        for job_id in held:
            await finished(app, job_id)
    assert await left(app, connection, schema) == [0, 0, 0]


async def test_a_slot_of_a_job_that_is_gone_without_a_word_is_free(
    app: Soniq, gate: Gate, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    gate.define(app)
    job_id = await app.enqueue("gated", key="k", name="gone")
    async with working(app, queues=["other"]):
        await eventually(lambda: has_rows(connection, schema, "slot", 1))
    await connection.execute(f"delete from {schema}.job where id = $1", job_id.uuid)
    gate.open.set()
    async with working(app):
        await finished(app, await app.enqueue("gated", key="k", name="next"))

        async def swept() -> bool:
            return await rows(connection, schema, "slot", "waiting", "again") == [0, 0, 0]

        await eventually(swept)


async def test_what_falls_due_is_let_go_in_a_worker_that_ends_when_nothing_is_due(
    make_app: MakeApp, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    ran: list[int] = []

    async def run(seconds: float) -> None:
        app = make_app(plugins=[Limits()])

        @app.job(Limit(1), name="later")
        async def later(ctx: JobContext) -> None:
            ran.append(ctx.claim)
            if ctx.claim == 1:
                raise Snooze(seconds)

        if not ran:
            await app.enqueue("later")
        await app.run_worker(run_once=True)
        await app.close()

    await run(0.5)
    assert ran == [1]
    due = f"select due < now() from {schema}_limits.waiting"
    await eventually(lambda: connection.fetchval(due))
    await run(0)
    assert ran == [1, 2]


async def test_time_passes_in_tests_for_what_a_limit_holds(app: Soniq) -> None:
    ran: list[int] = []

    @app.job(Limit(1), name="later")
    async def later(ctx: JobContext) -> None:
        ran.append(ctx.claim)
        if ctx.claim == 1:
            raise Snooze(3_600)

    await app.enqueue("later")
    assert await drain(app) == 1
    await travel(app, 3_000)
    assert await drain(app) == 0
    await travel(app, 3_600)
    assert await drain(app) == 1
    assert ran == [1, 2]


async def test_who_may_only_enqueue_starts_an_app_with_limits_while_jobs_wait(
    app: Soniq,
    gate: Gate,
    make_app: MakeApp,
    connection: "Connection[asyncpg.Record]",
    schema: str,
    database_url: str,
) -> None:
    gate.define(app)
    async with working(app):
        await app.enqueue("gated", key="k", name="runs")
        await gate.runs("runs")
        await app.enqueue("gated", key="k", name="waits")
        await eventually(lambda: has_rows(connection, schema, "waiting", 1))
        async with role_that_enqueues(connection, schema, database_url) as url:
            other = gate.define(make_app(database_url=url, plugins=[Limits()], setup=False))
            await other.start()
            gate.open.set()
            await finished(app, await other.enqueue("gated", key="k", name="theirs"))
            await other.close()
    assert gate.order == ["runs", "waits", "theirs"]


@asynccontextmanager
async def role_that_enqueues(
    connection: "Connection[asyncpg.Record]", schema: str, url: str
) -> AsyncIterator[str]:
    """The URL of a role with the documented rights of one that enqueues, and the plugin's."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await connection.execute(f"create role {name} login password 'test'")
    rights = documented_rights("soniq_enqueuer", name).replace(" soniq.", f" {schema}.")
    await connection.execute(rights.replace("schema soniq ", f"schema {schema} "))
    own = f"schema {schema}_limits to {name}"
    await connection.execute(
        f"grant usage on {own}; grant select, insert, update on all tables in {own}"
    )
    try:
        yield urls.as_role(url, name, "test")
    finally:
        await connection.execute(f"drop owned by {name}; drop role {name}")
