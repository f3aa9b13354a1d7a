"""Rate: no more attempts start in any such time than it says, whatever waited before."""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta

import asyncpg
import psycopg
import pytest

from soniq import InvalidOption, JobContext, Snooze, Soniq, hookimpl
from soniq_limits import AllOf, Limit, Limits, Rate, plugin
from soniq_limits.keys import Keys
from soniq_limits.looking import LOOK, Looking
from tests.conftest import MakeApp
from tests.plugins.limits.conftest import Connection, Observer, rows
from tests.plugins.limits.test_limit import all_end
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import eventually

HOUR = 3600


def most_in(seconds: float, starts: Sequence[float]) -> int:
    """The most starts in any such time."""
    return max(sum(start <= each < start + seconds for each in starts) for start in starts)


async def queued(app: Soniq, job_id: str) -> bool:
    return (await status_of(app, job_id))["status"] == "queued"


async def test_no_more_attempts_start_in_any_time_than_the_rate_says(make_app: MakeApp) -> None:
    starts: list[float] = []
    apps = [make_app(plugins=[Limits()]) for _ in range(3)]
    for app in apps:

        @app.job(Rate(10, per=1), name="call", retry=0, max_attempts=2)
        async def call(ctx: JobContext, way: str = "") -> None:
            starts.append(time.monotonic())
            if ctx.claim == 1 and way == "fails":
                raise ValueError("boom")
            if ctx.claim == 1 and way == "snoozes":
                raise Snooze(0.01)

    await apps[0].enqueue_many("call", [{}] * 20)
    async with working(apps[0]), working(apps[1]), working(apps[2]):
        await apps[1].enqueue_many("call", [{"way": "fails"}, {"way": "snoozes"}] * 5)
        await all_end(apps[0], 30)

    assert len(starts) == 40
    assert most_in(1, starts) <= 10
    assert max(starts) - min(starts) < 10


async def test_each_value_of_an_argument_has_a_rate_of_its_own_and_a_name_is_shared(
    app: Soniq,
) -> None:
    ran: list[str] = []

    @app.job(Rate(2, per=HOUR, by="customer", name="api"), name="one")
    async def one(customer: int) -> None:
        ran.append(f"{customer}")

    @app.job(Rate(2, per=HOUR, by="customer", name="api"), name="other")
    async def other(customer: int) -> None:
        ran.append(f"{customer}")

    async with working(app):
        for customer in (1, 2):
            await app.enqueue_many("one", [{"customer": customer}] * 2)
            await app.enqueue_many("other", [{"customer": customer}] * 2)
        await all_end(app, 4)
        states = {each.name: each for each in await app.plugin(Limits).list()}
    assert sorted(ran) == ["1", "1", "2", "2"]
    state = states["rate api"]
    assert (state.kind, state.n, state.per, state.waiting) == ("rate", 2, HOUR, 4)


async def test_a_job_that_runs_for_long_counts_from_its_start(
    app: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "MARGIN", 10.0)  # a busy machine takes long to note it
    starts: list[float] = []

    @app.job(Rate(1, per=1), name="long")
    async def long(seconds: float) -> None:
        starts.append(time.monotonic())
        await asyncio.sleep(seconds)

    async with working(app):
        first = await app.enqueue("long", seconds=HOUR)
        await app.enqueue("long", seconds=0)
        await all_end(app, 1)
        assert (await status_of(app, first))["status"] == "running"
        await app.cancel(first)
    assert starts[1] - starts[0] >= 1


async def test_a_start_that_was_noted_too_late_counts_until_its_job_has_ended(
    app: Soniq,
    connection: "Connection[asyncpg.Record]",
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugin, "MARGIN", -1.0)
    started = asyncio.Event()

    @app.job(Rate(1, per=1), name="long")
    async def long(seconds: float) -> None:
        started.set()
        await asyncio.sleep(seconds)

    async with working(app):
        first = await app.enqueue("long", seconds=HOUR)
        await started.wait()
        second = await app.enqueue("long", seconds=0)
        await asyncio.sleep(1.5)
        assert (await status_of(app, second))["status"] == "held"
        assert await connection.fetchval(f"select at from {schema}_limits.start") is None
        await app.cancel(first)
        assert (await finished(app, second))["status"] == "done"


async def test_a_job_that_ends_before_it_started_is_not_counted(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    @app.job(Rate(1, per=HOUR), name="call")
    async def call() -> None: ...

    async with working(app, queues=["other"]):  # which lets jobs go, and runs none
        first, second = await app.enqueue_many("call", [{}] * 2)
        await eventually(lambda: queued(app, first))
        assert (await status_of(app, second))["status"] == "held"
        assert await app.cancel(first)
        await eventually(lambda: queued(app, second))
    assert await rows(connection, schema, "start") == [1]


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "not noted"])
@pytest.mark.parametrize("charged", [True, False], ids=["charged", "not charged"])
async def test_an_attempt_whose_worker_died_is_counted_and_the_next_waits(
    app: Soniq,
    connection: "Connection[asyncpg.Record]",
    schema: str,
    charged: bool,
    noted: bool,
) -> None:
    ran: list[int] = []

    @app.job(Rate(1, per=HOUR), name="call", max_attempts=5)
    async def call(ctx: JobContext) -> None:
        ran.append(ctx.claim)

    await app.start()
    async with working(app, queues=["other"]):
        job_id = await app.enqueue("call")
        await eventually(lambda: queued(app, job_id))
    if noted:
        await connection.execute(f"update {schema}_limits.start set at = now()")
    await connection.execute(  # as the worker that died left it
        f"with worker as (insert into {schema}.worker (id, lease, concurrency, pid, hostname, version,"
        " names, seen_at) values (gen_random_uuid(), 1, 1, 1, 'host', '0', '{}', now() -"
        f" interval '1 hour') returning id) update {schema}.job set status = 'running', started ="
        " $1, worker_id = worker.id, claim = claim + 1, started_at = now() from worker",
        charged,
    )
    async with working(app):

        async def held() -> bool:
            return (await status_of(app, job_id))["status"] == "held"

        await eventually(held, 30)
        assert await connection.fetchval(f"select at < now() from {schema}_limits.start")
        assert ran == []
        await app.plugin(Limits).set("rate call", 2)
        await finished(app, job_id)
        assert await rows(connection, schema, "start") == [2]


async def test_an_attempt_that_lost_its_connection_is_counted_and_the_next_waits(
    app: Soniq, connection: "Connection[asyncpg.Record]"
) -> None:
    ran: list[int] = []

    @app.job(Rate(1, per=HOUR), name="call")
    async def call(own: asyncpg.Connection, ctx: JobContext) -> None:
        ran.append(ctx.claim)
        pid = await own.fetchval("select pg_backend_pid()")
        await connection.execute("select pg_terminate_backend($1)", pid)
        await own.execute("select 1")

    async with working(app):
        job_id = await app.enqueue("call")

        async def held_again() -> bool:
            return bool(ran) and (await status_of(app, job_id))["status"] == "held"

        await eventually(held_again)
        await app.cancel(job_id)
    assert ran == [1]


async def test_a_job_that_was_claimed_and_given_back_is_counted_once(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    @app.job(Rate(2, per=HOUR), name="call")
    async def call() -> None: ...

    async with working(app, queues=["other"]):
        job_id = await app.enqueue("call")
        await eventually(lambda: queued(app, job_id))
    await connection.execute(f"update {schema}.job set claim = claim + 1")
    async with working(app):
        await finished(app, job_id)
        await finished(app, await app.enqueue("call"))
    assert await rows(connection, schema, "start") == [2]


async def test_an_attempt_whose_note_is_answered_too_late_does_not_start(
    make_app: MakeApp, connection: "Connection[asyncpg.Record]", schema: str, database_url: str
) -> None:
    """A handler blocks the event loop while the note is made, and its start has expired then."""
    counted: list[int] = []
    claims: list[int] = []

    async def call(ctx: JobContext) -> None:
        claims.append(ctx.claim)
        counted.extend(await rows(connection, schema, "start"))

    with psycopg.connect(database_url, autocommit=True) as other:

        def block() -> None:
            """Once the note is made: in each step of the loop this comes before the answer does."""
            if other.execute(f"select from {schema}_limits.start where at is not null").rowcount:
                time.sleep(1.2)
                other.execute(f"select {schema}_limits.sweep_1(500)")
            else:
                asyncio.get_running_loop().call_soon(block)

        class Blocks:
            name = "blocks"

            @hookimpl
            async def before_job(self, ctx: JobContext) -> None:
                if ctx.claim == 1 and claims:
                    asyncio.get_running_loop().call_soon(block)

        app = make_app(plugins=[Blocks(), Limits()])
        app.job(Rate(1, per=1), name="call")(call)
        async with working(app):
            await finished(app, await app.enqueue("call"))  # which prepares the statements
            await asyncio.sleep(1.1)
            await connection.execute(f"delete from {schema}_limits.start")
            await finished(app, await app.enqueue("call"))
    assert counted == [1, 1]
    assert claims == [1, 2]


async def test_a_rate_is_raised_while_jobs_wait_for_it(app: Soniq) -> None:
    ran: list[int] = []

    @app.job(Rate(1, per=HOUR), name="call")
    async def call(n: int) -> None:
        ran.append(n)

    async with working(app):
        await app.enqueue_many("call", [{"n": n} for n in range(5)])
        await all_end(app, 1)
        await app.plugin(Limits).set("rate call", 3)
        await all_end(app, 3)
    assert sorted(ran) == [0, 1, 2]


async def test_who_lets_some_go_looks_again_when_the_next_start_stops_to_count(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    @app.job(Rate(2, per=HOUR), name="call")
    async def call() -> None: ...

    async with working(app, queues=["other"]):
        first, second, *_ = await app.enqueue_many("call", [{}] * 4)
        await eventually(lambda: queued(app, second))
    now = f"clock_timestamp() - {schema}_limits.counts_for_1({HOUR})"
    for job_id, later in ((first, 0), (second, 0.3)):
        await connection.execute(
            f"update {schema}_limits.start set at = {now} + make_interval(secs => $2)"
            " where job_id = $1",
            job_id.uuid,
            later,
        )
    await connection.execute(f"update {schema}_limits.key set due = clock_timestamp()")
    async with app:
        assert await Looking(app, Keys()).turn() < LOOK


async def test_a_job_from_sql_is_counted(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    ran: list[int] = []

    @app.job(Rate(2, per=HOUR), name="call")
    async def call(n: int) -> None:
        ran.append(n)

    async with working(app):
        for n in range(3):
            await connection.execute(f"select {schema}.enqueue('call', '{{\"n\": {n}}}')")
        await all_end(app, 2)

        async def waits() -> bool:
            (state,) = await app.plugin(Limits).list()
            return state.waiting == 1

        await eventually(waits)
    assert len(ran) == 2


async def test_a_rate_and_a_limit_on_one_job_hold_both(app: Soniq, observer: Observer) -> None:
    starts: list[float] = []

    @app.job(Limit(2), Rate(6, per=1), name="call")
    async def call() -> None:
        starts.append(time.monotonic())
        await observer.run("call", seconds=0.1)

    await app.enqueue_many("call", [{}] * 18)
    async with working(app):
        await all_end(app, 18)
    assert observer.most == {"call": 2}
    assert most_in(1, starts) <= 6


async def test_a_release_by_an_operator_is_counted_beside_the_rate(app: Soniq) -> None:
    @app.job(AllOf(Rate(1, per=HOUR)), name="call")
    async def call() -> None: ...

    async with working(app):
        first, second, third = await app.enqueue_many("call", [{}] * 3)
        await finished(app, first)
        await app.release(second)
        await finished(app, second)
        await app.plugin(Limits).set("rate call", 2)

        async def looked_at() -> bool:
            states = await app.plugin(Limits).list()
            return states[0].n == 2 and states[0].running == 0

        await eventually(looked_at)
        assert (await status_of(app, third))["status"] == "held"


async def test_what_was_counted_is_taken_away_when_its_time_has_passed(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    @app.job(Rate(5, per=1), name="call")
    async def call() -> None: ...

    async with working(app):
        await app.enqueue_many("call", [{}] * 5)
        await all_end(app, 5)
        await asyncio.sleep(1.1)
        await finished(app, await app.enqueue("call"))
        assert await rows(connection, schema, "start") == [1]


def test_the_time_of_a_rate_may_be_a_timedelta() -> None:
    assert Rate(5, per=timedelta(minutes=2)).seconds == Rate(5, per=120).seconds == 120.0


@pytest.mark.parametrize(
    ("n", "per"),
    [
        (0, 1),
        (100_001, 1),
        (1, 0),
        (1, float("nan")),
        (1, 10**8),
        (1, 10**400),
        (1, "1"),
        (1, True),
        (1, timedelta(0)),
        (1, timedelta(days=32)),
    ],
)
def test_what_is_no_rate_is_refused(n: int, per: float) -> None:
    with pytest.raises(InvalidOption):
        Rate(n, per=per)


async def test_a_clock_that_was_ahead_keeps_no_job_waiting_until_it_is_there_again(
    app: Soniq, connection: Connection, schema: str
) -> None:
    @app.job(Rate(1, per=1), name="call")
    async def call() -> None: ...

    async with working(app):
        await app.enqueue_many("call", [{}] * 2)
        await all_end(app, 2)
        waiting = await app.enqueue("call")
        await finished(app, waiting)
        await connection.execute(f"update {schema}_limits.start set at = at + interval '1 hour'")
        waiting = await app.enqueue("call")
        late = f"select from {schema}_limits.key where due > now() + interval '30 minutes'"
        await eventually(lambda: connection.fetch(late), 30)
    async with working(app):  # the one that begins to look, sweeps at once
        assert (await finished(app, waiting))["status"] == "done"
