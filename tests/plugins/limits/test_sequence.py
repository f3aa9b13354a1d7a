"""Sequence: strictly one after the other, in order, also through retries, in several workers."""

import asyncio
import json
import random

import asyncpg
import pytest

from soniq import JobContext, Snooze, Soniq
from soniq.errors import JobDefinitionError
from soniq_limits import Limit, LimitNotFound, Limits, Sequence
from tests.conftest import MakeApp
from tests.plugins.limits.conftest import Connection, Observer, left
from tests.plugins.limits.test_limit import all_end
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import eventually


class Order:
    """What each customer's jobs did, in order."""

    def __init__(self) -> None:
        self.ended: dict[int, list[int]] = {}
        self.began: list[tuple[int, int]] = []

    def define(self, app: Soniq) -> Soniq:
        @app.job(Sequence(by="customer"), name="step", retry=0.1, max_attempts=3)
        async def step(customer: int, n: int, ctx: JobContext) -> None:
            self.began.append((customer, n))
            await asyncio.sleep(random.uniform(0, 0.01))
            if n % 5 == 0 and ctx.claim == 1:
                raise ValueError("boom")
            if n % 7 == 0 and ctx.claim == 1:
                raise Snooze(0.1)
            self.ended.setdefault(customer, []).append(n)

        return app


async def test_jobs_run_one_after_the_other_in_order_through_retries_in_several_workers(
    make_app: MakeApp, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    order = Order()
    apps = [order.define(make_app(plugins=[Limits()])) for _ in range(3)]
    async with working(apps[0]), working(apps[1]), working(apps[2]):
        for n in range(0, 30, 10):
            jobs = [{"customer": c, "n": n + k} for k in range(10) for c in range(3)]
            await apps[n // 10].enqueue_many("step", jobs)
        await all_end(apps[0], 90)
    assert order.ended == {customer: [*range(30)] for customer in range(3)}
    starts = [n for customer, n in order.began if customer == 0]
    assert starts == sorted(starts)
    assert await left(apps[0], connection, schema) == [0, 0, 0]


async def test_the_next_waits_while_one_is_put_off_and_goes_when_that_is_cancelled(
    app: Soniq,
) -> None:
    began: list[str] = []

    @app.job(Sequence(), name="step")
    async def step(name: str) -> None:
        began.append(name)
        if name == "first":
            raise Snooze(3_600)

    async with working(app):
        first = await app.enqueue("step", name="first")
        second = await app.enqueue("step", name="second")

        async def put_off() -> bool:
            return began == ["first"] and (await status_of(app, first))["status"] == "queued"

        await eventually(put_off)
        assert (await status_of(app, second))["status"] == "held"
        await app.cancel(first)
        await finished(app, second)
    assert began == ["first", "second"]


async def test_a_job_that_came_in_before_and_was_not_told_yet_goes_first(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    """Workers are told of several batches at once: the later may come first."""
    order = Order()
    order.define(app)
    async with app:
        await app.enqueue("step", customer=1, n=1)
        await app.enqueue("step", customer=1, n=2)
    async with connection.transaction():
        await connection.fetch(f"select from {schema}.owed order by id limit 1 for update")
        async with working(app):

            async def waits() -> bool:
                query = f"select count(*) from {schema}_limits.waiting"
                return bool(await connection.fetchval(query))

            await eventually(waits)
            await asyncio.sleep(0.5)
            assert order.began == []
    async with working(app):
        await all_end(app, 2)
    assert order.began == [(1, 1), (1, 2)]


async def test_none_goes_before_one_of_whose_row_somebody_has_a_lock(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    began: list[str] = []
    gate = asyncio.Event()

    @app.job(Sequence(), name="step")
    async def step(name: str) -> None:
        began.append(name)
        await gate.wait()

    async with working(app):
        ids = {name: await app.enqueue("step", name=name) for name in ("first", "second", "third")}
        waiting = f"select count(*) = 2 from {schema}_limits.waiting where at is not null"
        await eventually(lambda: connection.fetchval(waiting))
        async with connection.transaction():
            await connection.fetch(
                f"select from {schema}.job where id::text = $1 for update", str(ids["second"])
            )
            gate.set()
            await finished(app, ids["first"])
            await asyncio.sleep(1)
            assert began == ["first"]
        await finished(app, ids["third"])
    assert began == ["first", "second", "third"]


async def test_a_sequence_from_sql_is_one_too(
    app: Soniq, observer: Observer, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    @app.job(Sequence(by="key"), name="keyed", retry=0, max_attempts=3)
    async def keyed(key: int, ctx: JobContext) -> None:
        await observer.run(str(key))
        if ctx.claim % 3:
            raise ValueError("boom")

    for n in range(10):
        await connection.execute(
            f"select {schema}.enqueue('keyed', $1::jsonb)", json.dumps({"key": n % 2})
        )
    async with working(app):
        await all_end(app, 10)
    assert observer.most == {"0": 1, "1": 1}
    assert await left(app, connection, schema) == [0, 0, 0]


async def test_a_sequence_keeps_its_slot_in_a_paused_queue(app: Soniq) -> None:
    began: list[str] = []

    @app.job(Sequence(name="all"), name="slow", queue="slow")
    async def slow() -> None:
        began.append("slow")

    @app.job(Sequence(name="all"), name="quick")
    async def quick() -> None:
        began.append("quick")

    await app.enqueue(slow)
    async with working(app, queues=["other"]):
        limits = app.plugin(Limits)

        async def has_slot() -> bool:
            return any(each.running for each in await limits.list())

        await eventually(has_slot)
    await app.pause("slow")
    async with working(app):
        job_id = await app.enqueue(quick)
        await asyncio.sleep(2)
        assert began == []
        await app.resume("slow")
        await finished(app, job_id)
    assert began == ["slow", "quick"]


async def test_a_sequence_is_listed_and_cannot_be_set(app: Soniq) -> None:
    Order().define(app)
    async with app:
        limits = app.plugin(Limits)
        (state,) = await limits.list()
        assert (state.name, state.n) == ("sequence step/customer", 1)
        with pytest.raises(LimitNotFound):
            await limits.set(state.name, 2)


async def test_what_a_sequence_cannot_be_with_ends_the_start(make_app: MakeApp) -> None:
    async def job() -> None: ...

    for options, message in (
        ([Sequence(), Limit(2)], "no other limit"),
        ([Sequence(by="b")], "no argument 'b'"),
    ):
        app = make_app(plugins=[Limits()])
        app.job(*options, name="job")(job)
        with pytest.raises(JobDefinitionError, match=message):
            await app.start()
