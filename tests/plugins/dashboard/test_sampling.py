"""What one worker does for all: samples, and forgetting what is past."""

import asyncio
import itertools
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from soniq import InvalidOption, Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.counters import Counters
from soniq_dashboard.sampling import (
    AT_ONCE,
    deploy_of,
    forget,
    kinds_after,
    kinds_of,
    pause_after,
    sample,
)
from soniq_dashboard.settings import DAY, KEEP
from soniq_dashboard.writing import Writer
from tests.conftest import MakeApp
from tests.support.jobs import working
from tests.support.waiting import eventually

from .conftest import LONG_AGO, Connection, outcome

DEFAULT = {tier: setting.default for tier, setting in KEEP.items()}


async def test_a_sample_says_how_much_waits_and_how_busy_the_workers_are(
    app: Soniq, dashboard: Dashboard
) -> None:
    over, began = asyncio.Event(), asyncio.Event()

    @app.job(name="wait")
    async def wait() -> None:
        began.set()
        await over.wait()

    async with working(app, concurrency=3, queues=["default", "mail"]):
        await app.enqueue(wait)
        await asyncio.wait_for(began.wait(), 20)
        await app.enqueue("wait", queue="elsewhere")
        await app.enqueue("wait", queue="elsewhere", delay=60)
        await sample(app)
        over.set()

    (every,) = (await dashboard.gauges(LONG_AGO))[-1:]
    assert (every.waiting, every.scheduled, every.running, every.held) == (1, 1, 1, 0)
    assert (every.workers, every.slots) == (1, 3)
    assert every.oldest > 0
    elsewhere = (await dashboard.gauges(LONG_AGO, queue="elsewhere"))[-1]
    assert (elsewhere.waiting, elsewhere.workers, elsewhere.slots) == (1, 0, 0)
    mail = (await dashboard.gauges(LONG_AGO, queue="mail"))[-1]
    assert (mail.waiting, mail.workers, mail.slots) == (0, 1, 3)


async def test_the_samples_of_a_minute_are_one_row_of_the_highest(
    app: Soniq, dashboard: Dashboard, schema: str, connection: "Connection[asyncpg.Record]"
) -> None:
    await app.start()
    for jobs in (2, 0):
        ids = await app.enqueue_many("wait", [{}] * jobs) if jobs else []
        await sample(app)
        for each in ids:
            await app.cancel(each)
    await sample(app)
    found = await dashboard.gauges(LONG_AGO)
    assert len(found) <= 2  # a minute may have begun between them
    assert max(each.waiting for each in found) == 2


@pytest.fixture
def app(make_app: MakeApp, dashboard: Dashboard) -> Soniq:
    return make_app(plugins=[dashboard], unknown_jobs="allow")


def test_workers_are_new_by_their_version_or_the_jobs_that_they_know() -> None:
    def workers(*known: tuple[str, list[str]]) -> list[dict[str, object]]:
        return [{"version": version, "names": names} for version, names in known]

    one = kinds_of(workers(("1.0", ["b", "a"]), ("1.0", ["a", "b"])))  # type: ignore[arg-type]
    other = kinds_of(workers(("1.0", ["a", "b", "c"])))  # type: ignore[arg-type]
    newer = kinds_of(workers(("1.1", ["a", "b", "c"])))  # type: ignore[arg-type]
    assert len(one) == 1
    assert deploy_of(one, None) is None
    assert deploy_of(one, [*one]) is None
    assert deploy_of({}, [*one]) is None
    assert deploy_of({**one, **other}, [*one]) == "workers that know 3 jobs"
    assert deploy_of(newer, [*other]) == "workers of Soniq 1.1"
    assert deploy_of(one, [*other]) == "workers that know 2 jobs"  # back to those before


async def test_a_worker_that_knows_other_jobs_is_seen_also_after_a_time_without_any(
    make_app: MakeApp, schema: str, connection: "Connection[asyncpg.Record]"
) -> None:
    told = f"select deploy from {schema}_dashboard.gauge where queue = ''"
    for names, deploy in ((["one"], None), (["one"], None), (["one", "two"], "know 2 jobs")):
        app = make_app(plugins=[Dashboard()])
        for name in names:
            app.job(name=name)(_nothing)
        await connection.execute("select 1")
        async with working(app):

            async def alive(app: Soniq = app) -> bool:
                return bool((await app.overview())["workers"])

            await eventually(alive)
            await sample(app)
        await sample(app)  # where none is alive
        found = await connection.fetchval(told + " order by at desc limit 1")
        assert (found is None) if deploy is None else deploy in found


async def _nothing() -> None: ...


async def test_workers_that_come_back_as_they_were_are_nothing_new(
    make_app: MakeApp, schema: str, connection: "Connection[asyncpg.Record]"
) -> None:
    mail, web = make_app(plugins=[Dashboard()]), make_app(plugins=[Dashboard()])
    mail.job(name="mail")(_nothing)
    web.job(name="web")(_nothing)
    newer = make_app(plugins=[Dashboard()])
    newer.job(name="newer")(_nothing)
    minutes = itertools.count(120)  # else a row could come to where another is that has yet to move

    async def seen(*fleet: Soniq) -> str | None:
        async with AsyncExitStack() as running:
            for app in fleet:
                await running.enter_async_context(working(app))

            async def all_alive() -> bool:
                return len((await mail.overview())["workers"]) == len(fleet)

            await eventually(all_alive)
            await sample(mail)
        told = f"select deploy from {schema}_dashboard.gauge where queue = '' order by at desc"
        found: str | None = await connection.fetchval(told)
        await connection.execute(
            f"update {schema}_dashboard.gauge"
            f" set deploy = null, at = at - interval '{next(minutes)} minutes'"
        )
        return found

    await mail.start()
    for fleet in ((mail, web), (web,), (), (mail, web)):
        assert await seen(*fleet) is None
    assert await seen(newer) == "workers that know 1 job"
    assert await seen(mail) == "workers that know 1 job"  # those that were replaced


def test_what_was_replaced_is_new_when_it_comes_back() -> None:
    assert kinds_after({"new": 1}, ["old", "new"], new=True) == ["new"]
    assert kinds_after({"new": 1}, ["old", "new"], new=False) == ["new", "old"]
    assert kinds_after({}, ["old"], new=True) == ["old"]
    assert kinds_after({}, None, new=False) is None


async def test_of_a_longer_step_there_is_the_highest_of_each(
    app: Soniq, dashboard: Dashboard, schema: str, connection: "Connection"
) -> None:
    await app.start()
    await connection.execute(
        f"insert into {schema}_dashboard.gauge"
        " (at, queue, waiting, scheduled, running, held, oldest, workers, slots, busy)"
        " select '2030-01-31 12:00Z'::timestamptz + n * interval '1 minute', '', n, 20 - n, 0, 0,"
        " n / 2.0, 1, 8, 0 from generate_series(5, 14) as n"
    )
    noon = datetime(2030, 1, 31, 12, tzinfo=UTC)
    found = await dashboard.gauges(noon, noon + timedelta(hours=1), step=10)
    assert [(each.at, each.waiting, each.scheduled, each.oldest) for each in found] == [
        (noon, 9, 15, 4.5),
        (noon + timedelta(minutes=10), 14, 10, 7.0),
    ]
    (hour,) = await dashboard.gauges(noon + timedelta(minutes=3), None, step=60)
    assert (hour.at, hour.waiting) == (noon, 14)
    with pytest.raises(InvalidOption, match="1, 10, 60 or 720"):
        await dashboard.gauges(noon, step=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(("took", "pause"), [(0.1, 15.0), (3.0, 60.0)])
def test_a_sample_of_very_many_jobs_is_taken_less_often(took: float, pause: float) -> None:
    assert pause_after(took) == pause


async def test_queues_beyond_five_hundred_are_one(app: Soniq, dashboard: Dashboard) -> None:
    await app.start()
    for number in range(510):
        await app.enqueue("wait", queue=f"queue {number}")
    await app.enqueue_many("wait", [{}] * 2, queue="most")
    await sample(app)
    assert (await dashboard.gauges(LONG_AGO, queue="most"))[-1].waiting == 2
    assert (await dashboard.gauges(LONG_AGO, queue="(other)"))[-1].waiting == 11
    assert (await dashboard.gauges(LONG_AGO))[-1].waiting == 512


async def test_a_worker_samples_and_forgets(
    app: Soniq, dashboard: Dashboard, schema: str, connection: "Connection[asyncpg.Record]"
) -> None:
    await app.start()
    await fill(connection, schema, 10)
    async with working(app):

        async def done() -> bool:
            kept = await connection.fetchval(f"select count(*) from {schema}_dashboard.series")
            return bool(await dashboard.gauges(LONG_AGO)) and kept == 0

        await eventually(done)


async def fill(connection: "Connection[asyncpg.Record]", schema: str, rows: int) -> None:
    """Rows of a minute from long ago."""
    await connection.execute(
        f"insert into {schema}_dashboard.series select timestamptz '2001-01-01' + n * interval '1 minute',"
        " 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 'default', 'job', '{1}', '{1}' from generate_series(1, $1) as n",
        rows,
    )


async def test_what_is_past_is_forgotten_some_thousand_rows_at_a_time(
    app: Soniq, schema: str, connection: "Connection[asyncpg.Record]"
) -> None:
    await app.start()
    counters = Counters()
    writer = Writer(app, counters, 60)
    for age in (0.0, 3 * DAY, 9 * DAY, 91 * DAY):
        counters.set_clock(time.time() - age)
        counters.add([outcome()])
        await writer.write()
    await fill(connection, schema, 2 * AT_ONCE + 1)
    await connection.execute(
        f"insert into {schema}_dashboard.gauge select clock_timestamp() - n * interval '5 days', 0, 0, 0, 0, 0, 0, 0, 0, ''"
        " from generate_series(1, 3) as n"
    )
    await connection.execute(
        f"insert into {schema}_dashboard.silent select gen_random_uuid(), clock_timestamp() - n * interval '5 days',"
        " '{}' from generate_series(1, 2) as n"
    )
    assert await forget(app, DEFAULT) == 2 * AT_ONCE + 1 + 3 + 2 + 1 + 2 + 1
    left = await connection.fetch(
        f"select tier, count(*)::int as rows from {schema}_dashboard.series group by tier order by tier"
    )
    assert [tuple(row) for row in left] == [(1, 1), (10, 2), (60, 3)]
    assert await connection.fetchval(f"select count(*) from {schema}_dashboard.gauge") == 1
    assert await forget(app, DEFAULT) == 0


SERIES, WORKERS, DAYS = 2, 2, 7
MB_EACH = 3.8
"""What a series takes at most in a week in which it counts in each minute, as the page on it says."""


@pytest.mark.new_schema
@pytest.mark.timeout(170)
async def test_a_week_of_series_that_count_in_each_minute_stays_in_its_size(
    app: Soniq, schema: str, connection: "Connection[asyncpg.Record]"
) -> None:
    """Two workers, whose counts of ten minutes are written at once, in a week of seconds, in which
    no autovacuum comes: it does so more often than each six hours.
    """
    await app.start()
    counters = [Counters() for _ in range(WORKERS)]
    writers = [Writer(app, each, 60) for each in counters]
    outcomes = [
        outcome(f"job {number}", took=took, waited=took / 3)
        for number, took in itertools.product(range(SERIES), (0.01, 0.1, 1.0, 10.0))
    ]
    now = time.time()
    for block in range(DAYS * 144):
        for counter, writer in zip(counters, writers, strict=True):
            for minute in range(10):
                counter.set_clock(now - DAYS * DAY + (block * 10 + minute) * 60)
                counter.add(outcomes)
            await writer.write()
        if block % 36 == 0:
            await forget(app, DEFAULT)
            await connection.execute(f"vacuum {schema}_dashboard.series")
    await forget(app, DEFAULT)

    rows = await connection.fetchval(f"select count(*) from {schema}_dashboard.series")
    expected = SERIES * (2 * 1_440 + DAYS * 144 + DAYS * 24)
    assert abs(rows - expected) < SERIES * 100
    size = await connection.fetchval(f"select pg_total_relation_size('{schema}_dashboard.series')")
    assert size < SERIES * MB_EACH * 1e6
    print(f"{size / SERIES / 1e6:.2f} MB a series")
