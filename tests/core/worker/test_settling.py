"""Settling around locks and around what PostgreSQL does not take."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from soniq import Soniq, hookimpl
from soniq.job import JobContext
from soniq.plugin import Outcome
from tests.conftest import MakeApp
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import eventually, in_time


async def test_a_locked_row_holds_up_no_other_job_and_is_settled_afterwards(
    app: Soniq, schema: str
) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    runs: list[str] = []

    @app.job()
    async def locked() -> str:
        runs.append("locked")
        began.set()
        await release.wait()
        return "settled"

    @app.job()
    async def one(number: int) -> int:
        runs.append("one")
        return number

    job_id = await app.enqueue(locked)
    async with working(app):
        await in_time(began.wait())
        async with app._database.acquire() as connection:
            lock = connection.transaction()
            await lock.start()
            await connection.execute(
                f"select from {schema}.job where id = $1 for update", UUID(job_id)
            )
            release.set()
            for number in range(
                6
            ):  # one after the other: each is claimed and settled while the lock is held
                other = await app.enqueue(one, number=number)
                assert await app.wait_for(other, 15) == number
            assert (await status_of(app, job_id))["status"] == "running"
            await lock.rollback()
        status = await finished(app, job_id)
    assert (status["status"], status["result"]) == ("done", "settled")
    assert runs.count("locked") == 1


async def test_run_once_waits_for_a_row_that_somebody_has_locked(app: Soniq, schema: str) -> None:
    locked, finish = asyncio.Event(), asyncio.Event()

    @app.job()
    async def one() -> str:
        await locked.wait()
        return "settled"

    async def hold(job_id: str) -> None:
        async with app._database.acquire() as connection, connection.transaction():
            await connection.execute(
                f"select from {schema}.job where id = $1 for update", UUID(job_id)
            )
            locked.set()
            await finish.wait()

    job_id = await app.enqueue(one)
    worker = asyncio.create_task(app.run_worker(run_once=True))
    while (await status_of(app, job_id))["status"] != "running":
        await asyncio.sleep(0.01)
    holding = asyncio.create_task(hold(job_id))
    await in_time(locked.wait())
    await asyncio.sleep(0.3)
    assert not worker.done()
    finish.set()
    await holding
    assert await in_time(worker) == 1
    assert await app.get_result(job_id) == "settled"


async def test_a_deadlock_over_a_childs_key_holds_up_no_other_job_and_is_told(
    app: Soniq, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    children = 0

    @app.job(name="child")
    async def child() -> None:
        nonlocal children
        children += 1

    @app.job()
    async def parent(ctx: JobContext) -> None:
        await ctx.enqueue("child", dedup_key="k")

    @app.job()
    async def other(number: int) -> int:
        return number

    await app.start()
    async with app._database.acquire() as connection:
        await connection.execute(
            f"""
            create function {schema}.deadlock() returns trigger language plpgsql as $$
                begin raise deadlock_detected; end $$;
            create trigger deadlock before insert on {schema}.job for each row
                when (new.dedup_key = 'k') execute function {schema}.deadlock()
            """
        )

    async def left() -> bool:
        return "is left for the next exchange" in caplog.text

    job_id = await app.enqueue(parent)
    with caplog.at_level("INFO", "soniq.worker"):
        async with working(app):
            await eventually(left)
            for number in range(3):
                assert await app.wait_for(await app.enqueue(other, number=number), 15) == number
            assert (await status_of(app, job_id))["status"] == "running"

            async with app._database.acquire() as connection:
                await connection.execute(f"drop trigger deadlock on {schema}.job")
            assert (await finished(app, job_id))["status"] == "done"

    await app.run_worker(run_once=True)
    assert children == 1
    told = [r.getMessage() for r in caplog.records if r.getMessage().startswith("deadlock:")]
    assert len(told) == 3 == len(set(told))


class Told:
    """A plugin that notes what `settled` is told."""

    name = "told"

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    @hookimpl
    def settled(self, outcomes: list[Outcome]) -> None:
        self.outcomes += outcomes


class BadStore:
    """Takes results that are long, and names itself by what no text column holds."""

    name = "bad\0name"

    async def put(self, ctx: JobContext, data: bytes) -> bytes | None:
        return b"reference" if len(data) > 100 else None

    async def get(self, reference: bytes) -> bytes:
        raise AssertionError("nothing is ever stored here")

    async def delete(self, references: Sequence[bytes]) -> None: ...


class BadStorePlugin:
    name = "bad-store"

    @hookimpl
    def result_stores(self) -> list[BadStore]:
        return [BadStore()]


@pytest.mark.parametrize("attempts", [1, 2])
async def test_an_outcome_that_postgresql_refuses_fails_its_attempt_and_no_other(
    make_app: MakeApp, attempts: int
) -> None:
    told = Told()
    app = make_app(plugins=[BadStorePlugin(), told])
    together = asyncio.Barrier(10)

    @app.job(max_attempts=attempts)
    async def one(number: int, ctx: JobContext) -> str:
        if ctx.attempt == 1:
            await together.wait()  # so that all are settled together
        return "x" * 200 if number == 7 and ctx.attempt == 1 else "fine"

    ids = await app.enqueue_many(one, [{"number": n} for n in range(10)])
    async with working(app, concurrency=10):
        statuses = [await finished(app, each) for each in ids]
    bad = statuses.pop(7)
    assert {status["status"] for status in statuses} == {"done"}
    assert {status["attempt"] for status in statuses} == {1}
    if attempts == 1:
        assert (bad["status"], bad["attempt"]) == ("dead", 1)
        assert bad["error"] is not None
        assert "refused" in bad["error"]["message"]
    else:
        assert (bad["status"], bad["attempt"], bad["result"]) == ("done", 2, "fine")
    outcomes = [each.status for each in told.outcomes if each.job_id == ids[7]]
    assert outcomes == (["dead"] if attempts == 1 else ["queued", "done"])


async def test_settled_is_told_of_each_outcome_once(make_app: MakeApp) -> None:
    told = Told()
    app = make_app(plugins=[told])

    @app.job(max_attempts=2, retry=0.0)
    async def one(number: int, ctx: JobContext) -> None:
        if number % 2:
            raise LookupError("odd")

    ids = await app.enqueue_many(one, [{"number": n} for n in range(20)])
    await app.run_worker(run_once=True)
    found = sorted((each.job_id, each.attempt, each.status) for each in told.outcomes)
    expected = [(each, 1, "done") for each in ids[::2]]
    expected += [(each, 1, "queued") for each in ids[1::2]] + [
        (each, 2, "dead") for each in ids[1::2]
    ]
    assert found == sorted(expected)
