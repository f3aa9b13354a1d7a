"""Jobs that are held: on each way in, by several at once, until those who hold them release them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Literal

import asyncpg
import pytest

from soniq import (
    DatabaseError,
    DatabaseUnavailable,
    InvalidJobId,
    InvalidOption,
    JobContext,
    JobNotRetryable,
    Snooze,
    Soniq,
    Unique,
)
from soniq.plugin import EnqueueBatch, JobDefinition, Outcome, hookimpl
from soniq.worker import maintenance
from tests.conftest import MakeApp
from tests.core.postgres.support import own_database
from tests.support.jobs import falls_asleep, finished, status_of
from tests.support.waiting import eventually

Connection = asyncpg.Connection


class Gate:
    """Holds each job that has the option, and those of calls with a header."""

    name = "gate"

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        if job.option(Held) is not None:
            job.hold("gate")

    @hookimpl
    async def around_enqueue(self, batch: EnqueueBatch) -> AsyncIterator[None]:
        for job in batch.jobs:
            if "gate" in job.headers:
                job.hold("gate")
            if "flow" in job.headers:
                job.hold("flow", first=True)
        yield


class Held:
    """The option of a job that the gate holds."""


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    app = make_app(plugins=[Gate()])

    @app.job(Held(), name="held")
    async def held(n: int = 0) -> int:
        return n

    @app.job(name="free")
    async def free(n: int = 0) -> int:
        return n

    @app.job(name="parent")
    async def parent(ctx: JobContext) -> None:
        await ctx.enqueue("held", n=7)

    return app


async def held_by(app: Soniq, job_id: str) -> list[str]:
    """Who holds a job, which is held where anybody does."""
    status = await status_of(app, job_id)
    assert (status["status"] == "held") == bool(status["held_by"])
    return status["held_by"]


@asynccontextmanager
async def working(app: Soniq, concurrency: int = 10) -> AsyncIterator[None]:
    """A worker beside the test."""
    worker = asyncio.create_task(app.run_worker(signals=False, concurrency=concurrency))
    try:
        yield
    finally:
        app.stop_workers()
        await worker


# --- on each way in ------------------------------------------------------------------------------


async def one(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    return [await app.enqueue("held")]


async def one_with_options(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    return [await app.enqueue("held", tags=["a"], expires=60)]


async def many(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    return await app.enqueue_many("held", [{"n": n} for n in range(100)])


async def keyed(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    return [await app.enqueue("held", dedup_key="one")]


async def in_theirs(app: Soniq, connection: "Connection[asyncpg.Record]") -> Sequence[str]:
    async with connection.transaction():
        return [await app.enqueue("held", connection=connection)]


async def child(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    await app.enqueue("parent")
    assert await app.run_worker(run_once=True) == 1
    return [job["job_id"] for job in await app.jobs(name="held")]


async def from_sql(app: Soniq, connection: "Connection[asyncpg.Record]") -> Sequence[str]:
    await app.start()
    job_id = await connection.fetchval(f"select {app.settings.schema}.enqueue('held')")
    assert await app.run_worker(run_once=True) == 0
    return [str(job_id)]


async def without_the_plugin(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    other = Soniq(
        app.settings.database_url, schema=app.settings.schema, discover=False, unknown_jobs="allow"
    )
    async with other:
        job_id = await other.enqueue("held")
    assert await app.run_worker(run_once=True) == 0
    return [job_id]


async def retried(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    job_id = await app.enqueue("held")
    assert await app.cancel(job_id)
    assert await held_by(app, job_id) == []
    await app.retry(job_id)
    return [job_id]


WAYS = (
    one, one_with_options, many, keyed, in_theirs, child, from_sql, without_the_plugin, retried,
)  # fmt: skip


@pytest.mark.parametrize("enqueue", WAYS, ids=lambda way: way.__name__)
async def test_a_job_is_held_on_each_way_in_and_runs_once_it_is_released(
    app: Soniq,
    connection: "Connection[asyncpg.Record]",
    enqueue: Callable[[Soniq, "Connection[asyncpg.Record]"], Awaitable[Sequence[str]]],
) -> None:
    job_ids = await enqueue(app, connection)
    assert [await held_by(app, job_id) for job_id in job_ids] == [["gate"]] * len(job_ids)
    assert await app.run_worker(run_once=True) == 0

    assert await app.release(job_ids, holder="gate") == len(job_ids)
    assert await app.run_worker(run_once=True) == len(job_ids)
    assert {(await status_of(app, job_id))["status"] for job_id in job_ids} == {"done"}


async def test_a_job_may_be_held_for_one_call_alone(app: Soniq) -> None:
    other = await app.enqueue("free")
    job_id = await app.enqueue("free", headers={"gate": True})
    assert (await held_by(app, other), await held_by(app, job_id)) == ([], ["gate"])


async def test_a_dead_job_that_is_retried_is_held_again(app: Soniq, make_app: MakeApp) -> None:
    job_id = await app.enqueue("free", headers={"gate": True}, max_attempts=1)
    failing = make_app()

    @failing.job(name="free")
    async def free(n: int = 0) -> None:
        raise RuntimeError("boom")

    await app.release(job_id)
    await failing.run_worker(run_once=True)
    assert (await status_of(app, job_id))["status"] == "dead"
    await failing.retry(job_id)
    assert await held_by(app, job_id) == ["gate"]


async def test_a_job_that_is_snoozed_is_not_held_again_by_itself(app: Soniq) -> None:
    @app.job(Held(), name="snoozing")
    async def snoozing(ctx: JobContext) -> None:
        raise Snooze(60)

    job_id = await app.enqueue(snoozing)
    await app.release(job_id)
    assert await app.run_worker(run_once=True) == 1
    assert (await status_of(app, job_id))["status"] == "queued"


# --- several holders -----------------------------------------------------------------------------


async def test_a_job_that_several_hold_runs_once_nobody_does(app: Soniq) -> None:
    job_id = await app.enqueue("held", headers={"flow": True})
    assert await held_by(app, job_id) == ["flow", "gate"]

    assert await app.release(job_id, holder="gate") == 0
    assert await app.release(job_id, holder="gate") == 0
    assert await held_by(app, job_id) == ["flow"]
    assert await app.release(job_id, holder="flow") == 1
    assert await app.run_worker(run_once=True) == 1


async def test_two_holders_that_let_go_at_once_both_do(
    app: Soniq, connection: "Connection[asyncpg.Record]"
) -> None:
    job_id = await app.enqueue("held", headers={"flow": True})
    async with app.connection() as other:
        async with connection.transaction():
            assert await app.release(job_id, holder="gate", connection=connection) == 0
            waiting = asyncio.create_task(
                other.fetchval(f"select {app.settings.schema}.release($1, 'flow')", [str(job_id)])
            )
            await eventually(
                lambda: connection.fetchval(
                    "select exists (select from pg_locks where not granted and pid = $1)",
                    other.get_server_pid(),
                )
            )
        assert await waiting == 1
    assert (await status_of(app, job_id))["status"] == "queued"


async def test_a_person_releases_a_job_whoever_holds_it(app: Soniq) -> None:
    job_id = await app.enqueue("held", headers={"flow": True})
    assert await asyncio.to_thread(lambda: app.sync.release([job_id])) == 1
    assert await app.release(job_id) == 0
    assert (await status_of(app, job_id))["status"] == "queued"


async def test_all_that_one_holder_holds_is_released_and_no_more(app: Soniq) -> None:
    both = await app.enqueue("held", headers={"flow": True})
    await app.enqueue_many("held", [{"n": n} for n in range(3)])
    other = await app.enqueue("free", headers={"flow": True})
    assert await app.release_all(held_by="gate") == 3
    assert await held_by(app, both) == await held_by(app, other) == ["flow"]


async def test_what_cannot_be_released_changes_nothing(app: Soniq) -> None:
    job_id = await app.enqueue("held")
    with pytest.raises(InvalidJobId):
        await app.release([job_id, "nobody"])
    with pytest.raises(InvalidOption, match="holder"):
        await app.release(job_id, holder="")
    assert await app.release([]) == 0
    assert await held_by(app, job_id) == ["gate"]


# --- when it starts ------------------------------------------------------------------------------


async def test_a_released_job_starts_at_once_while_the_worker_sleeps(
    make_app: MakeApp, connection: "Connection[asyncpg.Record]"
) -> None:
    app = make_app(plugins=[Gate()], poll_interval=60)
    started: dict[int, float] = {}

    @app.job(Held(), name="held")
    async def held(n: int) -> None:
        started[n] = time.monotonic()

    ids = await app.enqueue_many("held", [{"n": n} for n in range(3)])
    schema = app.settings.schema
    async with working(app):
        await falls_asleep(app)
        released = [time.monotonic()]
        await app.release(ids[0])
        await finished(app, ids[0])
        released.append(time.monotonic())
        await connection.execute(f"select {schema}.release($1)", [str(ids[1])])
        await finished(app, ids[1])
        async with connection.transaction():
            await app.release(ids[2], connection=connection)
            released.append(time.monotonic())
        await finished(app, ids[2])
    assert all(started[n] - released[n] < 5 for n in range(3))


async def test_a_released_job_does_not_start_before_its_time(app: Soniq) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    job_id = await app.enqueue("held", scheduled_at=due)
    assert await app.release(job_id) == 1
    status = await status_of(app, job_id)
    assert (status["status"], status["scheduled_at"]) == ("queued", due)
    assert await app.run_worker(run_once=True) == 0


@pytest.mark.parametrize("bulk", [True, False], ids=["of one call", "of many calls"])
async def test_a_released_job_starts_before_a_backlog_that_came_in_after_it(
    app: Soniq, bulk: bool
) -> None:
    order: list[tuple[str, int]] = []

    @app.job(Held(), name="limited")
    async def limited(n: int) -> None:
        order.append(("limited", n))
        if n + 1 < len(ids):
            await app.release(ids[n + 1], holder="gate")

    @app.job(name="backlog")
    async def backlog(n: int) -> None:
        order.append(("backlog", n))
        await asyncio.sleep(0.004)

    ids = [await app.enqueue(limited, n=n) for n in range(10)]
    if bulk:
        await app.enqueue_many(backlog, [{"n": n} for n in range(2_500)])
    else:
        await asyncio.gather(*(app.enqueue(backlog, n=n) for n in range(2_500)))

    await app.release(ids[0], holder="gate")
    async with working(app, concurrency=5):
        await finished(app, ids[-1])
    assert [n for name, n in order if name == "limited"] == list(range(10))
    assert order.index(("limited", 9)) < 1_500


@pytest.mark.parametrize("way", ["client", "transaction", "SQL"])
async def test_a_job_that_is_released_last_starts_behind_all_that_are_due(
    app: Soniq, schema: str, way: str
) -> None:
    order: list[str] = []

    @app.job(Held(), name="limited")
    async def limited(n: int) -> None:
        order.append(f"limited {n}")

    @app.job(name="other")
    async def other(n: int) -> None:
        order.append(f"other {n}")

    ids = [await app.enqueue(limited, n=n) for n in range(2)]
    await app.enqueue_many(other, [{"n": n} for n in range(3)])
    async with app.connection() as connection:
        if way == "client":
            assert await app.release(ids, last=True) == 2
        elif way == "transaction":
            assert await app.release(ids, last=True, connection=connection) == 2
        else:
            sql = f"select {schema}.release($1::uuid[], last => true)"
            assert await connection.fetchval(sql, [*map(str, ids)]) == 2
    async with working(app, concurrency=1):
        await finished(app, ids[-1])
    assert order == ["other 0", "other 1", "other 2", "limited 0", "limited 1"]


async def test_jobs_released_together_start_in_the_order_of_their_enqueue(app: Soniq) -> None:
    order: list[int] = []

    @app.job(Held(), name="ordered")
    async def ordered(n: int) -> None:
        order.append(n)

    ids = [await app.enqueue(ordered, n=n) for n in range(20)]
    await app.release(reversed(ids))
    await app.run_worker(run_once=True, concurrency=1)
    assert order == list(range(20))


# --- what else there is to it --------------------------------------------------------------------


async def test_a_held_job_expires_in_its_time_and_observers_hear_of_it(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "EXPIRY_PAUSE", 0.05)
    told: list[tuple[str, str]] = []

    class Hearing(Gate):
        @hookimpl
        async def settled(self, outcomes: Sequence[object]) -> None:
            told.extend((o.job_id, o.status) for o in outcomes)  # type: ignore[attr-defined]

    app = make_app(plugins=[Hearing()])

    @app.job(Held(), name="held")
    async def held() -> None: ...

    job_id = await app.enqueue(held, expires=0.1)
    stays = await app.enqueue(held, expires=60)
    async with working(app):
        status = await finished(app, job_id)
    assert status["status"] == "cancelled"
    assert status["error"] is not None
    assert "expired" in status["error"]["message"]
    assert told == [(job_id, "cancelled")]
    assert await held_by(app, stays) == ["gate"]


async def test_a_held_job_keeps_its_key_and_takes_new_arguments(app: Soniq) -> None:
    @app.job(Held(), name="keyed")
    async def keyed(n: int) -> int:
        return n

    job_id = await app.enqueue(keyed, n=1, dedup_key="one")
    again = await app.enqueue(keyed, n=2, dedup_key="one")
    assert (again, again.inserted) == (job_id, False)
    assert await app.get_args(job_id) == {"n": 1}
    assert await held_by(app, job_id) == ["gate"]


async def test_a_retry_of_a_held_job_says_who_holds_it(app: Soniq) -> None:
    job_id = await app.enqueue("held")
    with pytest.raises(JobNotRetryable, match="is held by gate, and runs once it is") as caught:
        await app.retry(job_id)
    assert caught.value.held_by == ["gate"]


async def test_the_overview_knows_what_is_held_and_by_whom(app: Soniq, make_app: MakeApp) -> None:
    first = await app.enqueue("held", headers={"flow": True})
    await app.enqueue("held")
    await app.enqueue("held", delay=60)
    async with working(make_app()):
        overview = await app.overview()
    assert overview["queues"] == {"default": {"held": 3}}
    assert overview["held_by"] == {"flow": 1, "gate": 3}
    assert overview["oldest_waiting"] is None
    oldest = overview["oldest_held"]
    assert oldest is not None
    assert (oldest["job_id"], oldest["held_by"]) == (first, ["flow", "gate"])
    assert oldest["waiting"] >= 0


async def test_a_name_that_no_worker_knows_is_told_of_held_jobs_too(
    app: Soniq, make_app: MakeApp
) -> None:
    await app.enqueue("held")
    other = make_app()

    @other.job(name="other")
    async def known() -> None: ...

    async with working(other):

        async def workers() -> bool:
            return bool((await app.overview())["workers"])

        await eventually(workers)
        assert (await app.overview())["unknown_names"] == {"held": 1}


async def test_the_view_for_sql_shows_who_holds_a_job(
    app: Soniq, connection: "Connection[asyncpg.Record]"
) -> None:
    job_id = await app.enqueue("held")
    schema = app.settings.schema
    assert await connection.fetchval(
        f"select held_by from {schema}.jobs where id = $1", str(job_id)
    ) == ["gate"]


# --- of jobs that are replaced, that expire, and that are to be cancelled ------------------------


@pytest.mark.parametrize("on_conflict", ["replace", "debounce"])
async def test_a_job_that_is_replaced_is_held_as_the_enqueue_says(
    app: Soniq, on_conflict: Literal["replace", "debounce"]
) -> None:
    latest = Unique(on_conflict=on_conflict)
    job_id = await app.enqueue("free", n=1, dedup_key="k", unique=latest)
    for header, holders in (("gate", ["gate"]), ("flow", ["gate", "flow"]), ("none", None)):
        again = await app.enqueue("free", n=2, dedup_key="k", unique=latest, headers={header: True})
        assert (again, again.replaced) == (job_id, True)
        assert await held_by(app, job_id) == (holders or ["gate", "flow"])

    await app.release(job_id)
    assert await app.run_worker(run_once=True) == 1


async def test_a_refusal_of_one_expired_job_keeps_no_other_from_its_end(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(maintenance, "EXPIRY_PAUSE", 0.05)
    refused: list[str] = []

    class Refusing(Gate):
        @hookimpl
        async def settle_tx(self, tx: object, outcomes: Sequence[Outcome]) -> None:
            if any(each.job_id == ids[0] for each in outcomes):
                refused.append(ids[0])
                raise RuntimeError("the ledger is full")

    app = make_app(plugins=[Refusing()])

    @app.job(Held(), name="held")
    async def held() -> None: ...

    ids = [await app.enqueue(held, expires=0.1) for _ in range(3)]
    async with working(app):
        statuses = [(await finished(app, each))["status"] for each in ids]
    assert statuses == ["cancelled"] * 3
    assert len(refused) > 3  # with the others, and by itself until it is left out
    assert (
        f"job {ids[0]}, expired while held, is cancelled without the plugin that refuses it"
        in caplog.text
    )


async def test_a_job_that_was_cancelled_while_it_ran_is_not_held_but_ends(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    job_id = await app.enqueue("free")
    await connection.execute(f"update {schema}.job set cancel_requested = true")
    assert not await connection.fetch(
        f"select {schema}.hold_1($1, '{{gate}}', true)", [job_id.uuid]
    )
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["status"] == "cancelled"


@pytest.mark.parametrize("names", ["{{a,b},{c,d}}", "{a,null}"])
@pytest.mark.parametrize("column", ["held_by", "holders"])
async def test_holders_that_nobody_could_release_are_refused_by_the_table(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str, names: str, column: str
) -> None:
    await app.enqueue("held")
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute(f"update {schema}.job set {column} = '{names}'")


async def test_a_holder_that_is_named_twice_is_one(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    job_id = await app.enqueue("held")
    await connection.execute(f"update {schema}.job set held_by = '{{gate,gate}}'")
    assert (await app.overview())["held_by"] == {"gate": 1}
    assert await app.release(job_id, holder="gate") == 1
    assert await app.run_worker(run_once=True) == 1


# --- in a transaction of the caller's ------------------------------------------------------------


async def test_a_release_over_a_connection_to_another_database_says_so(
    app: Soniq, database_url: str
) -> None:
    job_id = await app.enqueue("held")
    async with own_database(database_url) as url:
        other = await asyncpg.connect(url)
        with pytest.raises(DatabaseError, match="a database without Soniq's tables"):
            await app.release(job_id, connection=other)
        await other.close()


async def test_a_release_in_a_transaction_waits_for_no_lock_for_ever(
    make_app: MakeApp, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    app = make_app(plugins=[Gate()], command_timeout=1, unknown_jobs="allow")
    job_id = await app.enqueue("free", headers={"gate": True})
    async with connection.transaction(), app.connection() as own:
        await connection.execute(f"select from {schema}.job for update")
        with pytest.raises(DatabaseUnavailable, match="the jobs cannot be released: no answer"):
            async with own.transaction():
                await app.release(job_id, connection=own)
