"""What was counted is in the database: exactly, whatever fails meanwhile."""

import asyncio
import itertools
import logging
import signal
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from soniq import Cancel, Retry, Snooze, Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.counters import Counters
from soniq_dashboard.writing import Writer
from tests.conftest import MakeApp
from tests.support.forks import Forks
from tests.support.jobs import finished, run_job, working
from tests.support.processes import Process
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

from .conftest import LONG_AGO, Connection, Told, outcome, ways_of


def define(app: Soniq) -> None:
    @app.job(name="some", max_attempts=2, retry=0.01)
    async def some(number: int) -> None:
        await asyncio.sleep(number % 3 / 500)
        if number % 7 == 1:
            raise ValueError(number)
        if number % 7 == 2:
            raise Cancel("no")

    @app.job(name="again", max_attempts=3)
    async def again(number: int) -> None:
        if number % 2:
            raise Retry(0)

    snoozed: set[int] = set()

    @app.job(name="later", queue="other")
    async def later(number: int) -> None:
        if number not in snoozed:
            snoozed.add(number)
            raise Snooze(0)


async def test_the_sums_of_four_workers_are_what_was_settled_in_each_tier(
    make_app: MakeApp,
) -> None:
    told = Told()
    apps = [make_app(plugins=[Dashboard(interval=1), told]) for _ in range(4)]
    for app in apps:
        define(app)
    first = apps[0]
    ids = []
    async with AsyncExitStack() as stack:
        for app in apps:
            await stack.enter_async_context(working(app, concurrency=5))
        for name in ("some", "again", "later"):
            ids += await first.enqueue_many(name, [{"number": n} for n in range(200)])
        for each in ids:
            await finished(first, each, 60)

    dashboard = first.plugin(Dashboard)
    assert sum(told.ways.values()) > 800
    assert {way for _, _, way in told.ways} == {"done", "dead", "cancelled", "retry", "snooze"}
    started = [each for each in told.outcomes if each.took is not None]
    for step in (1, 10, 60):
        points = await dashboard.series(LONG_AGO, by=["queue", "name"], step=step)
        assert ways_of(points) == told.ways
        assert sum(each.took.count for each in points) == len(started)
        assert sum(each.waited.count for each in points) == len(started)
        took = sum(each.took.seconds for each in points)
        assert took == pytest.approx(sum(each.took or 0 for each in started))
        waited = sum(each.waited.seconds for each in points)
        assert waited == pytest.approx(sum(each.queued_for or 0 for each in started))


async def test_a_worker_writes_while_it_runs(make_app: MakeApp) -> None:
    app = make_app(plugins=[Dashboard(interval=1)])
    define(app)
    async with working(app):
        await app.enqueue("again", number=0)

        async def written() -> bool:
            return bool(await app.plugin(Dashboard).series(LONG_AGO))

        await eventually(written)


async def test_a_program_without_a_worker_writes_at_once(app: Soniq, dashboard: Dashboard) -> None:
    define(app)
    job_id = await app.enqueue("again", number=0)
    await app.cancel(job_id)
    (point,) = await dashboard.series(LONG_AGO)
    assert (point.cancelled, point.took.count) == (1, 0)


async def test_what_a_writing_that_failed_had_is_written_by_the_next(
    app: Soniq, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await app.start()
    counters = Counters()
    writer = Writer(app, counters, 60)
    await writer.learn_the_time()
    send, fails = writer._send, True

    async def sometimes(rows: list[dict[str, object]]) -> None:
        await asyncio.sleep(0)
        if fails:
            counters.add([outcome()])  # meanwhile
            raise asyncpg.DeadlockDetectedError("deadlock")
        await send(rows)

    monkeypatch.setattr(writer, "_send", sometimes)
    counters.add([outcome(), outcome("else")])
    with caplog.at_level(logging.WARNING, "soniq.dashboard"):
        await writer.write()
        await writer.write()
    assert [record.getMessage()[-35:] for record in caplog.records] == [
        "again): DeadlockDetectedError: deadlock"[-35:]
    ]
    fails = False
    await writer.write()
    await writer.write()
    points = await app.plugin(Dashboard).series(LONG_AGO, by=["name"])
    assert {each.name: each.done for each in points} == {"job": 3, "else": 1}


async def test_a_writing_that_is_cancelled_loses_nothing(
    app: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    await app.start()
    counters = Counters()
    writer = Writer(app, counters, 60)
    await writer.learn_the_time()
    counters.add([outcome()])

    async def hangs(rows: object) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(writer, "_send", hangs)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await writer.write()
    await writer.write()
    (point,) = await app.plugin(Dashboard).series(LONG_AGO)
    assert point.done == 1


async def test_a_worker_that_ends_amid_a_writing_waits_for_it(
    app: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    await app.start()
    counters = Counters()
    writer = Writer(app, counters, 0.01)
    began, go_on, sent = asyncio.Event(), asyncio.Event(), []

    async def send(rows: list[dict[str, object]]) -> None:
        counters.set_clock(time.time())
        if rows:
            began.set()
            await go_on.wait()
            sent.extend(rows)

    monkeypatch.setattr(writer, "_send", send)
    counters.add([outcome()])
    task = asyncio.create_task(writer.run())
    await asyncio.wait_for(began.wait(), 20)
    counters.add([outcome("last")])
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(row["tier"], row["name"]) for row in sent] == [
        *((tier, "job") for tier in (1, 10, 60)),
        *((tier, "last") for tier in (1, 10, 60)),
    ]


async def test_while_the_database_is_away_ten_minutes_are_kept_and_it_is_said_once(
    make_app: MakeApp, database_url: str, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    dashboard = Dashboard()
    app = make_app(database_url=proxy.url(database_url), plugins=[dashboard], connect_timeout=1)
    await app.start()
    counters = Counters()
    writer = Writer(app, counters, 60)
    await writer.learn_the_time()
    proxy.refuse()
    now = time.time()
    with caplog.at_level(logging.WARNING, "soniq.dashboard"):
        for minute in range(13):
            counters.set_clock(now - 60 * (13 - minute))
            counters.add([outcome()] * (minute + 1))
            await writer.write()
    told = [each for each in caplog.records if each.name == "soniq.dashboard"]
    assert len(told) == 1  # beside the line of the outage

    proxy.restore()
    await writer.write()
    points = await dashboard.series(LONG_AGO, step=1)
    assert [each.done for each in points] == list(range(4, 14))
    assert {b.at - a.at for a, b in itertools.pairwise(points)} == {timedelta(minutes=1)}


async def test_a_worker_stops_in_time_while_nothing_can_be_written(
    make_app: MakeApp, database_url: str, proxy: Proxy
) -> None:
    app = make_app(database_url=proxy.url(database_url), plugins=[Dashboard()], connect_timeout=1)
    define(app)
    async with working(app):
        await finished(app, await app.enqueue("again", number=0))
        proxy.darken()
        began = time.monotonic()
    assert time.monotonic() - began < 20
    proxy.restore()


async def test_a_wrong_clock_of_the_worker_does_not_matter(
    app: Soniq, dashboard: Dashboard, connection: "Connection[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    define(app)
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 3_600)
    before = await connection.fetchval("select date_trunc('minute', clock_timestamp())")
    await run_job(app, "again", number=0)
    (point,) = await dashboard.series(LONG_AGO, step=1)
    assert before <= point.at <= await connection.fetchval("select clock_timestamp()")


async def test_ten_thousand_names_are_some_hundred_rows(
    app: Soniq, dashboard: Dashboard, schema: str, connection: "Connection[asyncpg.Record]"
) -> None:
    await app.start()
    waiting = dashboard.settled([outcome(f"job {number}") for number in range(10_000)])
    assert waiting is not None
    await waiting
    rows = await connection.fetchval(f"select count(*) from {schema}_dashboard.series")
    assert rows == 3 * 501
    (point,) = await dashboard.series(LONG_AGO)
    assert point.done == 10_000


PROGRAM = """
import asyncio
from soniq import Soniq
from soniq_dashboard import Dashboard

eq = Soniq(plugins=[Dashboard(interval=1)], discover=False, poll_interval=0.1)

@eq.job(name="one")
async def one() -> None: ...

asyncio.run(eq.run_worker())
"""


async def test_what_a_worker_had_written_stays_when_it_is_killed_and_another_goes_on(
    app: Soniq, dashboard: Dashboard, tmp_path: Path, database_url: str, schema: str, forks: Forks
) -> None:
    app.job(name="one")(nothing)
    script = tmp_path / "worker.py"
    script.write_text(PROGRAM)
    environment = {"SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema}

    async def counted(jobs: int) -> bool:
        return sum(each.done for each in await dashboard.series(LONG_AGO)) == jobs

    await app.enqueue_many("one", [{}] * 30)
    first = Process(forks, script, environment)
    try:
        await eventually(lambda: counted(30))
        first.send(signal.SIGKILL)
        await first.ended()
    finally:
        first.close()

    ids = await app.enqueue_many("one", [{}] * 20)
    second = Process(forks, script, environment)
    try:
        for each in ids:
            await finished(app, each)
        second.send(signal.SIGTERM)
        await second.ended()
    finally:
        second.close()
    found = await dashboard.series(LONG_AGO)
    assert sum(each.done for each in found) == 50


async def nothing() -> None: ...
