"""One look: rates, with and without what workers have counted."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from soniq import Search, Soniq
from soniq.plugin import resident_memory
from soniq_dashboard import Dashboard
from soniq_dashboard.top import look
from soniq_dashboard.top.look import Look, Looker
from soniq_dashboard.top.snapshot import snapshot
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.day import SERIES
from tests.support.jobs import working
from tests.support.waiting import eventually

Connection = asyncpg.Connection

MANY = """
insert into {schema}.history (id, forget_at, created_at, scheduled_at, finished_at, claim, keep, priority, attempt,
    max_attempts, name, queue, status, serializer, args)
select {schema}.new_id_1(), now() + interval '1 day', now(), now(), now(), 1, 86400, 0, 1, 1, 'job', 'mail', 'done',
    'json', '' from generate_series(1, 10500) n
"""


async def done(app: Soniq, count: int) -> None:
    await app.enqueue_many("job", [{}] * count, queue="mail")
    await app.run_worker(run_once=True)


@pytest.fixture
def plain(make_app: MakeApp) -> Soniq:
    """An app without the plugin, and so without its tables."""
    app = make_app()

    @app.job(name="job", queue="mail")
    async def job() -> None: ...

    return app


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates are told of times of any length."""
    monkeypatch.setattr(look, "SHORTEST", 0.001)


@pytest.mark.usefixtures("_at_once")
async def test_rates_are_taken_between_looks_where_nobody_counted(plain: Soniq) -> None:
    looker = Looker(plain)
    await done(plain, 5)
    first = await looker.look()
    assert (first.rates.total.done, first.names) == (None, None)
    await done(plain, 30)
    second = await looker.look()
    seconds = (second.at - first.at).total_seconds()
    assert second.rates.total.done == pytest.approx(30 * 60 / seconds)
    assert second.rates.of_queues["mail"].done == second.rates.total.done
    assert second.rates.total.failed == 0


async def test_of_a_few_seconds_no_rate_is_told(plain: Soniq) -> None:
    looker = Looker(plain)
    await done(plain, 5)
    await looker.look()
    await done(plain, 400)
    second = await looker.look()
    assert (second.rates.total.done, second.rates.total.failed) == (None, None)


@pytest.mark.usefixtures("_at_once")
async def test_looks_that_are_far_apart_have_rates_as_well(
    plain: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "WINDOW", 0.001)
    looker = Looker(plain)
    await looker.look()
    await done(plain, 5)
    await asyncio.sleep(0.01)
    assert (await looker.look()).rates.total.done is not None


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("jobs", [3, 130])
async def test_jobs_that_were_retried_and_die_again_count_as_failed(
    plain: Soniq, jobs: int
) -> None:
    @plain.job(name="fail", queue="bad", max_attempts=1)
    async def fail() -> None:
        raise ValueError

    await plain.enqueue_many(fail, [{}] * jobs)
    await plain.run_worker(run_once=True)
    looker = Looker(plain)
    first = await looker.look()
    for _ in range(2):
        assert (await plain.retry_all(status="dead"))["queued"] == jobs
        await plain.run_worker(run_once=True)
        last = await looker.look()
    seconds = (last.at - first.at).total_seconds()
    assert last.rates.total.failed == pytest.approx(2 * jobs * 60 / seconds)
    assert last.rates.of_queues["bad"].failed == last.rates.total.failed


@pytest.mark.usefixtures("_at_once")
async def test_where_jobs_were_forgotten_no_rate_is_known(plain: Soniq) -> None:
    looker = Looker(plain)
    await done(plain, 5)
    await looker.look()
    await plain.delete_all(queue="mail")
    assert (await looker.look()).rates.total.done in (None, 0)
    await done(plain, 3)
    assert (await looker.look()).rates.of_queues["mail"].done is None


async def test_a_look_has_enough_with_one_connection(make_app: MakeApp) -> None:
    app = make_app(plugins=[Dashboard], pool_size=1, unknown_jobs="allow")
    await app.enqueue("job", queue="mail")
    look = await Looker(app).look(Search(queues=["mail"]))
    assert look.found is not None
    assert len(look.found.jobs) == 1


async def test_looks_need_two_sessions_however_large_the_pool_is(
    make_app: MakeApp, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    sessions = """select count(*) from pg_stat_activity
        where datname = current_database() and backend_type = 'client backend'"""
    before = await connection.fetchval(sessions)
    app = make_app(plugins=[Dashboard], pool_size=10)
    async with app:
        looker = Looker(app)
        for _ in range(3):
            await looker.look()
        assert await connection.fetchval(sessions) - before <= 2


async def test_where_jobs_are_not_all_counted_rates_are_as_workers_counted_them(
    make_app: MakeApp, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    app = make_app(plugins=[Dashboard])
    await app.start()
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    for minute, done in ((20, 60), (4, 90), (3, 30), (1, 1_000)):  # the last is not complete
        counts = [done, 3, 2, 1.0, 1.0, [done + 5], [done + 5]]
        at = now - timedelta(minutes=minute)
        await connection.execute(SERIES.format(schema=schema), 1, at, "mail", "job", *counts)
    await connection.execute(MANY.format(schema=schema))
    look = await Looker(app).look()
    assert not look.overview["exact"]
    assert look.rates.of_queues["mail"].done == pytest.approx(120 / 3)
    assert look.rates.total.failed == pytest.approx(10 / 3)
    assert (look.rates.minutes[0], look.rates.minutes[-1], sum(look.rates.minutes)) == (60, 30, 180)


async def test_each_worker_has_the_memory_that_it_takes(app: Soniq) -> None:
    await app.start()
    async with working(app):

        async def told() -> Look | None:
            seen = await Looker(app).look()
            return seen if seen.memory else None

        seen = await eventually(told)
        text = await snapshot(app)
    assert seen is not None
    (worker,) = seen.overview["workers"]
    assert resident_memory() / 2 < seen.memory[worker["worker_id"]] < resident_memory() * 2
    assert re.search(r"MEMORY.*\n.*:\d+ +\d+ +\d+ +[\d.]+MB +all", text), text


async def test_where_no_worker_says_how_much_memory_it_takes_none_is_shown(plain: Soniq) -> None:
    async with working(plain):
        await eventually(lambda: _has_worker(plain))
        seen, text = await Looker(plain).look(), await snapshot(plain)
    assert seen.memory == {}
    assert re.search(r"MEMORY.*\n.*:\d+ +\d+ +\d+ +– +all", text), text


async def _has_worker(app: Soniq) -> bool:
    return bool((await app.overview())["workers"])


async def test_a_snapshot_says_all_of_it_in_text(plain: Soniq) -> None:
    await done(plain, 2)
    await plain.enqueue("job", queue="late \u4e2d")
    text = await snapshot(plain)
    for part in ("Queues:", "Running:", "Failures:", "Workers:", "Names:", "late 中", "waiting 1"):
        assert part in text
    assert "Jobs wait, and no worker is alive" in text
    assert "\x1b" not in text
