"""Limit: never more at once than it says, in all workers, and no slot is lost."""

from datetime import datetime

import asyncpg

from soniq import JobContext, Snooze, Soniq
from soniq_limits import AllOf, Limit, Limits
from tests.conftest import MakeApp
from tests.plugins.limits.conftest import Connection, Observer, left
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import eventually


def of_customers(app: Soniq, observer: Observer, n: int = 2) -> Soniq:
    @app.job(Limit(n, by="customer"), name="send", retry=0, max_attempts=2)
    async def send(customer: int, way: str = "") -> None:
        await observer.run(f"customer {customer}")
        if way == "fails":
            raise ValueError("boom")

    return app


async def ended(app: Soniq, queue: str = "default") -> int:
    """How many jobs of a queue have ended."""
    found = (await app.overview())["queues"].get(queue, {})
    return found.get("done", 0) + found.get("dead", 0) + found.get("cancelled", 0)


async def all_end(app: Soniq, count: int) -> None:
    async def do() -> bool:
        return await ended(app) == count

    await eventually(do, 30)


async def test_no_more_run_at_once_than_the_limit_says_in_several_workers(
    make_app: MakeApp,
    observer: Observer,
    connection: "Connection[asyncpg.Record]",
    schema: str,
) -> None:
    apps = [of_customers(make_app(plugins=[Limits()]), observer) for _ in range(3)]
    await apps[0].enqueue_many("send", [{"customer": n % 3} for n in range(150)])
    async with working(apps[0]), working(apps[1]), working(apps[2]):
        await all_end(apps[0], 150)
    assert observer.most == {f"customer {n}": 2 for n in range(3)}
    assert await left(apps[0], connection, schema) == [0, 0, 0]


async def test_jobs_that_name_a_limit_share_it(app: Soniq, observer: Observer) -> None:
    @app.job(Limit(1, name="the-printer"), name="letter")
    async def letter() -> None:
        await observer.run("printer", "letter")

    @app.job(Limit(1, name="the-printer"), name="poster")
    async def poster() -> None:
        await observer.run("printer", "poster")

    async with working(app):
        for _ in range(10):
            await app.enqueue(letter)
            await app.enqueue(poster)
        await all_end(app, 20)
    assert observer.most == {"printer": 1, "letter": 1, "poster": 1}


async def test_a_job_with_several_limits_runs_where_all_have_room(
    app: Soniq, observer: Observer, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    @app.job(AllOf(Limit(3), Limit(1, by="customer")), name="import")
    async def import_(customer: int) -> None:
        await observer.run("all", f"customer {customer}")

    # The first customer's jobs come first: they must not keep the others waiting
    customers = [*[0] * 40, *[n % 8 for n in range(80)]]
    await app.enqueue_many("import", [{"customer": n} for n in customers])
    async with working(app):
        await all_end(app, 120)
    assert observer.most.pop("all") == 3
    assert set(observer.most.values()) == {1}
    assert await left(app, connection, schema) == [0, 0, 0]


async def test_jobs_of_one_key_start_in_the_order_in_which_they_came(app: Soniq) -> None:
    order: list[int] = []

    @app.job(Limit(1), name="step")
    async def step(n: int) -> None:
        order.append(n)

    await app.enqueue_many("step", [{"n": n} for n in range(20)])
    for n in range(20, 40):
        await app.enqueue("step", n=n)
    async with working(app):
        await all_end(app, 40)
    assert order == list(range(40))


async def test_a_job_whose_attempt_fails_gives_its_slot_up_until_it_is_tried_again(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    order: list[str] = []

    @app.job(Limit(1), name="tried", retry=0.5, max_attempts=2)
    async def tried(name: str) -> None:
        order.append(name)
        if name == "fails" and order.count("fails") == 1:
            raise ValueError("boom")

    async with working(app):
        first = await app.enqueue("tried", name="fails")
        second = await app.enqueue("tried", name="other")
        assert (await finished(app, second))["status"] == "done"
        waits = await status_of(app, first)
        assert (waits["status"], waits["held_by"]) == ("held", ["limits"])
        assert (await finished(app, first))["status"] == "done"
    assert order == ["fails", "other", "fails"]
    assert await left(app, connection, schema) == [0, 0, 0]


async def test_a_snooze_gives_the_slot_up(app: Soniq) -> None:
    order: list[str] = []

    @app.job(Limit(1), name="waits")
    async def waits(ctx: JobContext, name: str) -> None:
        order.append(name)
        if name == "snoozes" and ctx.claim == 1:
            raise Snooze(0.5)

    async with working(app):
        await app.enqueue("waits", name="snoozes")
        await app.enqueue("waits", name="other")
        await all_end(app, 2)
    assert order == ["snoozes", "other", "snoozes"]


async def test_a_job_takes_no_slot_before_it_is_due(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    started: dict[str, datetime] = {}

    @app.job(Limit(1), name="later")
    async def later(name: str) -> None:
        started[name] = await connection.fetchval("select clock_timestamp()")

    async with working(app):
        put_off = await app.enqueue("later", name="later", delay=1)
        await finished(app, await app.enqueue("later", name="now"))
        assert (await status_of(app, put_off))["status"] == "held"
        done = await finished(app, put_off)
    assert done["scheduled_at"] <= started["later"]
    assert await left(app, connection, schema) == [0, 0, 0]
