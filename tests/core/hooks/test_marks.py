"""Marked jobs: a plugin hears how they end, on each way in and with each end, and of no other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import pytest

from soniq import InvalidOption, JobContext, Snooze, Soniq, Unique
from soniq.errors import PluginError
from soniq.plugin import (
    EnqueueBatch,
    Holds,
    JobDefinition,
    Outcome,
    TransactionConnection,
    hookimpl,
)
from soniq.postgres.settle_tx import SettleTx
from tests.conftest import MakeApp
from tests.support.jobs import finished, run_job, status_of, working
from tests.support.waiting import eventually

Connection = asyncpg.Connection


class Marked:
    """The option of a job whose end is heard of."""


class Ends:
    """Hears how marked jobs end."""

    name = "ends"

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.marks: set[tuple[str, ...]] = set()
        self.transactions = 0

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        if job.option(Marked) is not None:
            job.mark("ends")

    @hookimpl
    async def around_enqueue(self, batch: EnqueueBatch) -> AsyncIterator[None]:
        for job in batch.jobs:
            if "mark" in job.headers:
                job.mark("ends")
        yield

    @hookimpl(marked=True)
    async def settle_tx(self, tx: TransactionConnection, outcomes: Sequence[Outcome]) -> None:
        self.transactions += 1
        self.heard += [(each.job_name, each.status) for each in outcomes]
        self.marks |= {tuple(each.marks) for each in outcomes}


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
def app(make_app: MakeApp, ends: Ends) -> Soniq:
    app = make_app(plugins=[ends])

    @app.job(Marked(), name="marked")
    async def marked(n: int = 0) -> int:
        return n

    @app.job(name="free")
    async def free(n: int = 0) -> int:
        return n

    @app.job(name="parent")
    async def parent(ctx: JobContext) -> None:
        await ctx.enqueue("marked", n=7)

    return app


# --- on each way in ------------------------------------------------------------------------------


async def one(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    return [await app.enqueue("marked")]


async def for_one_call(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    return [await app.enqueue("free", headers={"mark": True})]


async def many(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    return await app.enqueue_many("marked", [{"n": n} for n in range(100)])


async def keyed(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    return [await app.enqueue("marked", dedup_key="one")]


async def replaced(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    latest = Unique(on_conflict="replace")
    await app.enqueue("free", n=1, dedup_key="k", unique=latest)
    return [await app.enqueue("free", n=2, dedup_key="k", unique=latest, headers={"mark": True})]


async def in_theirs(app: Soniq, connection: "Connection[asyncpg.Record]") -> Sequence[str]:
    async with connection.transaction():
        return [await app.enqueue("marked", connection=connection)]


async def child(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    await app.enqueue("parent")
    assert await app.run_worker(run_once=True) == 2
    return [job["job_id"] for job in await app.jobs(name="marked")]


async def retried(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    job_id = await app.enqueue("marked")
    assert await app.cancel(job_id)
    await app.retry(job_id)
    return [job_id]


WAYS = (one, for_one_call, many, keyed, replaced, in_theirs, child, retried)


@pytest.mark.parametrize("enqueue", WAYS, ids=lambda way: way.__name__)
async def test_the_end_of_a_marked_job_is_heard_whichever_way_it_came_in(
    app: Soniq,
    ends: Ends,
    connection: "Connection[asyncpg.Record]",
    enqueue: Callable[[Soniq, "Connection[asyncpg.Record]"], Awaitable[Sequence[str]]],
) -> None:
    ids = await enqueue(app, connection)
    await app.run_worker(run_once=True)
    assert [status for _, status in ends.heard if status == "done"] == ["done"] * len(ids)
    assert ends.marks == {("ends",)}


# --- each end ------------------------------------------------------------------------------------


async def test_each_end_of_a_marked_job_is_heard(app: Soniq, ends: Ends) -> None:
    @app.job(Marked(), name="fails", retry=0, max_attempts=2)
    async def fails() -> None:
        raise RuntimeError("boom")

    @app.job(Marked(), name="snoozes")
    async def snoozes(ctx: JobContext) -> None:
        if ctx.claim == 1:
            raise Snooze(0)

    await run_job(app, fails)
    await run_job(app, snoozes)
    assert await app.cancel(await app.enqueue("marked"))
    assert ends.heard == [
        ("fails", "queued"), ("fails", "dead"), ("snoozes", "queued"), ("snoozes", "done"),
        ("marked", "cancelled"),
    ]  # fmt: skip


async def test_a_rescue_of_a_marked_job_is_heard(
    app: Soniq, ends: Ends, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    job_id = await app.enqueue("marked")
    await claimed_by_a_lost_worker(connection, schema)
    async with working(app):
        await eventually(lambda: heard(ends, ("marked", "queued")))
        await finished(app, job_id)
    assert ends.heard == [("marked", "queued"), ("marked", "done")]


async def claimed_by_a_lost_worker(connection: "Connection[asyncpg.Record]", schema: str) -> None:
    worker = await connection.fetchval(
        f"insert into {schema}.worker (id, seen_at, lease, concurrency, pid, hostname, version,"
        " names) values (gen_random_uuid(), now() - interval '1 hour', 1, 1, 1, '', '', '{}')"
        " returning id"
    )
    await connection.execute(
        f"update {schema}.job set status = 'running', claim = 1, started = true,"
        " worker_id = $1, started_at = now()",
        worker,
    )


async def heard(ends: Ends, what: tuple[str, str]) -> bool:
    return what in ends.heard


# --- what has no mark ----------------------------------------------------------------------------


async def test_a_job_without_a_mark_is_settled_in_the_one_statement(app: Soniq, ends: Ends) -> None:
    """Where all is one statement, `settle_tx` is not even asked whom to tell."""
    told: list[int] = []
    call = SettleTx.__call__

    async def counted(self: SettleTx, tx: Any, outcomes: Sequence[Any], *more: Any) -> Any:
        told.append(len(outcomes))
        return await call(self, tx, outcomes, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SettleTx, "__call__", counted)
        await app.enqueue_many("free", [{"n": n} for n in range(20)])
        await app.run_worker(run_once=True)
        assert told == []
        await app.enqueue("free", n=1)
        await app.enqueue("marked", n=2)
        await app.run_worker(run_once=True)
    assert told == [1]
    assert ends.heard == [("marked", "done")]
    assert (await app.overview())["queues"]["default"] == {"done": 22}


async def test_a_plugin_hears_only_of_its_own_marks_and_one_without_marked_of_all(
    make_app: MakeApp,
) -> None:
    class Other(Ends):
        name = "other"

        @hookimpl
        def configure_job(self, job: JobDefinition) -> None: ...

        @hookimpl
        async def around_enqueue(self, batch: EnqueueBatch) -> AsyncIterator[None]:
            yield

    class All:
        name = "all"

        def __init__(self) -> None:
            self.heard: list[str] = []

        @hookimpl
        def settle_tx(self, outcomes: Sequence[Outcome]) -> None:
            self.heard += [each.job_name for each in outcomes]

    ends, other, everything = Ends(), Other(), All()
    app = make_app(plugins=[ends, other, everything])

    @app.job(Marked(), name="marked")
    async def marked() -> None: ...

    @app.job(name="free")
    async def free() -> None: ...

    await app.enqueue(marked)
    await app.enqueue(free)
    await app.run_worker(run_once=True)
    assert ends.heard == [("marked", "done")]
    assert other.heard == []
    assert sorted(everything.heard) == ["free", "marked"]


async def test_a_mark_of_another_hook_or_without_a_name_is_refused(make_app: MakeApp) -> None:
    class Wrong:
        name = "wrong"

        @hookimpl(marked=True)
        def settled(self, outcomes: Sequence[Outcome]) -> None: ...

    with pytest.raises(PluginError, match="settled: marked= belongs to settle_tx"):
        await make_app(plugins=[Wrong()]).start()

    class Nameless:
        name = "nameless"

        @hookimpl
        async def around_enqueue(self, batch: EnqueueBatch) -> AsyncIterator[None]:
            with pytest.raises(InvalidOption, match="plugin"):
                batch.jobs[0].mark("")
            yield

    app = make_app(plugins=[Nameless()], unknown_jobs="allow")
    await app.enqueue("any")


# --- holding and releasing in settle_tx ----------------------------------------------------------


class OneByOne:
    """Lets one job of each chain run at a time: the next is released when the one before ends."""

    name = "one-by-one"

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.refuses = False

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        if job.option(Marked) is not None:
            job.mark("one-by-one", hold=True)

    @hookimpl.settle_tx(marked=True)
    async def settle(self, outcomes: Sequence[Outcome], holds: Holds) -> None:
        again = [each.job_id for each in outcomes if each.status == "queued"]
        assert await holds.hold(again) == again
        for _ in outcomes:
            if self.waiting:
                released = await holds.release([self.waiting.pop(0)])
                assert len(released) == 1
        self.waiting += again
        if self.refuses:
            raise RuntimeError("not this time")


async def test_a_job_that_settle_tx_releases_starts_at_once(make_app: MakeApp) -> None:
    """Without a poll in between, in the worker that settles and in one that sleeps."""
    plugin = OneByOne()
    app = make_app(plugins=[plugin], poll_interval=60)
    order: list[int] = []

    @app.job(Marked(), name="chained")
    async def chained(n: int) -> None:
        order.append(n)

    ids = await app.enqueue_many(chained, [{"n": n} for n in range(10)])
    plugin.waiting = [str(each) for each in ids[1:]]
    async with working(app):
        await app.release(ids[0], holder="one-by-one")
        await finished(app, ids[-1])
    assert order == list(range(10))


async def test_a_released_job_starts_in_another_worker_that_sleeps(
    make_app: MakeApp, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    plugin = OneByOne()
    app = make_app(plugins=[plugin], poll_interval=60)
    other = make_app(poll_interval=60)
    ran: list[str] = []

    @app.job(Marked(), name="here")
    async def here() -> None: ...

    @other.job(name="there", queue="there")
    async def there() -> None:
        ran.append("there")

    first = await app.enqueue(here)
    second = await other.enqueue("there")
    await connection.execute(
        f"update {schema}.job set status = 'held', held_by = '{{one-by-one}}' where id = $1",
        second.uuid,
    )
    plugin.waiting = [str(second)]
    async with working(app, queues=["default"]), working(other, queues=["there"]):
        await eventually(
            lambda: connection.fetchval(f"select count(*) = 2 from {schema}.worker where waiting")
        )
        await app.release(first)
        await finished(app, second)
    assert ran == ["there"]


async def test_a_job_that_was_requeued_is_held_again_and_gives_its_place_to_the_next(
    make_app: MakeApp,
) -> None:
    plugin = OneByOne()
    app = make_app(plugins=[plugin])
    order: list[int] = []

    @app.job(Marked(), name="chained")
    async def chained(ctx: JobContext, n: int) -> None:
        order.append(n)
        if ctx.claim == 1:
            raise Snooze(0)

    ids = await app.enqueue_many(chained, [{"n": n} for n in range(3)])
    plugin.waiting = [str(each) for each in ids[1:]]
    await app.release(ids[0])
    assert await app.run_worker(run_once=True) == 6
    assert order == [0, 1, 2, 0, 1, 2]


async def test_a_release_in_a_settle_tx_that_fails_did_not_happen(
    make_app: MakeApp,
) -> None:
    plugin = OneByOne()
    app = make_app(plugins=[plugin])

    @app.job(Marked(), name="chained", max_attempts=1)
    async def chained(n: int) -> None: ...

    ids = await app.enqueue_many(chained, [{"n": n} for n in range(2)])
    plugin.waiting, plugin.refuses = [str(ids[1])] * 10, True
    await app.release(ids[0])
    await app.run_worker(run_once=True)
    assert (await status_of(app, ids[0]))["status"] == "dead"
    assert (await status_of(app, ids[1]))["held_by"] == ["one-by-one"]


async def test_a_claimed_job_is_not_held(make_app: MakeApp) -> None:
    held: list[list[str]] = []

    class Holding:
        name = "holding"

        @hookimpl
        async def settle_tx(self, outcomes: Sequence[Outcome], holds: Holds) -> None:
            held.append(await holds.hold([running]))

    app = make_app(plugins=[Holding()])
    settled = asyncio.Event()

    @app.job(name="runs")
    async def runs() -> None:
        await settled.wait()

    @app.job(name="ends")
    async def ends() -> None: ...

    running = await app.enqueue(runs)
    async with working(app):
        await eventually(lambda: is_running(app, running))
        await finished(app, await app.enqueue(ends))
        settled.set()
        await finished(app, running)
    assert held[0] == []


async def is_running(app: Soniq, job_id: str) -> bool:
    return (await status_of(app, job_id))["status"] == "running"


async def test_a_cancel_releases_what_waited_for_the_job(make_app: MakeApp) -> None:
    plugin = OneByOne()
    app = make_app(plugins=[plugin], poll_interval=60)

    @app.job(Marked(), name="chained")
    async def chained(n: int) -> None: ...

    ids = await app.enqueue_many(chained, [{"n": n} for n in range(2)])
    plugin.waiting = [str(ids[1])]
    async with working(app):
        assert await app.cancel(ids[0])
        assert (await finished(app, ids[1]))["status"] == "done"
