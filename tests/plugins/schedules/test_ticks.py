"""Ticks make jobs: exactly one each, whoever looks, and what was missed as the schedule says."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from soniq import Soniq
from soniq.errors import AppNotStarted
from soniq_schedules import Cron, Every, Schedules, Tick, When
from soniq_testing import check_plugin
from tests.conftest import MakeApp
from tests.support.jobs import working
from tests.support.waiting import eventually

from .conftest import plugin_of, set_back, ticker_of

MINUTELY = "* * * * *"


async def jobs_of(app: Soniq, name: str) -> int:
    return len(await app.jobs(name=name, limit=1_000))


async def test_a_schedule_in_the_code_makes_a_job_that_is_told_its_tick(app: Soniq) -> None:
    told: list[Tick] = []

    @app.job(Every(seconds=1), name="poll")
    async def poll(tick: Tick) -> None:
        told.append(tick)

    async def twice() -> bool:
        return len(told) >= 2

    async with working(app):
        await eventually(twice)
    assert told[0].schedule == "poll"
    assert told[1].at - told[0].at == timedelta(seconds=1)
    assert told[0].at.tzinfo is not None
    assert all(0 <= tick.late < 15 for tick in told)


async def test_a_tick_is_told_in_the_time_zone_of_its_cron(app: Soniq) -> None:
    told: list[Tick] = []

    @app.job(Cron("30 0 * * *", tz="Asia/Tokyo", window=timedelta(days=2)), name="nightly")
    async def nightly(tick: Tick) -> None:
        told.append(tick)

    async with app:
        await ticker_of(app).register()
        due = await set_back(app, "nightly", days=1)
        await ticker_of(app).tick()
        await plugin_of(app).run_now("nightly")
        await app.run_worker(run_once=True)
    assert [tick.at.tzname() for tick in told] == ["JST", "JST"]
    assert f"{told[0].at:%H:%M}" == "00:30"
    assert told[0].at == due


async def test_a_job_that_no_schedule_made_is_told_so(app: Soniq) -> None:
    told: list[Tick] = []

    @app.job(Cron("0 0 1 1 *"), name="report")
    async def report(tick: Tick) -> None:
        told.append(tick)

    await app.enqueue(report)
    await app.run_worker(run_once=True)
    assert told[0].schedule is None
    assert abs(told[0].at - datetime.now(UTC)) < timedelta(minutes=1)


async def test_one_that_is_added_at_run_time_makes_jobs_with_its_arguments(app: Soniq) -> None:
    @app.job(name="report")
    async def report(since: datetime, customer: int, days: int = 7) -> list[Any]:
        return [since.year, customer, days]

    async with app:
        schedules = plugin_of(app)
        since = datetime(2026, 1, 1, tzinfo=UTC)
        args = {"since": since, "customer": 42}
        await schedules.add("report-42", report, Cron(MINUTELY), args=args)
        at = await set_back(app, "report-42", seconds=70)
        assert await ticker_of(app).tick() == 1
        (job,) = await app.jobs(name="report")
        await app.run_worker(run_once=True)
        assert await app.get_result(job["job_id"]) == [2026, 42, 7]
        found = await schedules.get("report-42")
        assert found.last_job_id == job["job_id"]
        assert found.last_at is not None
        assert found.last_at in (at, at + timedelta(minutes=1))
        assert found.next_at is not None
        assert found.next_at > datetime.now(UTC) - timedelta(seconds=5)


async def test_many_that_look_at_the_same_moment_make_one_job(
    app: Soniq, make_app: MakeApp
) -> None:
    @app.job(name="report")
    async def report() -> None: ...

    async with app:
        for number in range(20):
            await plugin_of(app).add(f"s{number}", report, Cron("0 0 1 1 *"))
            await set_back(app, f"s{number}", days=364)
        for number in range(20):  # due just now
            await plugin_of(app).add(f"s{number}", report, Cron(MINUTELY))
            await set_back(app, f"s{number}", seconds=61)
        counts = await asyncio.gather(*(ticker_of(app).tick() for _ in range(8)))
        assert sum(counts) == 20
        assert await jobs_of(app, "report") == 20


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (Cron(MINUTELY), 1),
        (Cron(MINUTELY, catch_up="all"), 60),
        (Cron(MINUTELY, catch_up="all", window=timedelta(minutes=10)), 10),
        (Cron(MINUTELY, catch_up="all", cap=7), 7),
        (Every(hours=1, catch_up="skip"), 0),
        (Every(hours=1, catch_up="latest", window=1), 0),
        (Every(hours=1), 1),
    ],
)
async def test_what_was_missed_is_caught_up_as_the_schedule_says(
    app: Soniq, when: Cron | Every, expected: int
) -> None:
    @app.job(name="report")
    async def report() -> None: ...

    async with app:
        schedules = plugin_of(app)
        await schedules.add("missed", report, when)
        await set_back(app, "missed", minutes=60)
        await ticker_of(app).tick()
        assert await jobs_of(app, "report") in (expected, expected and expected + 1)
        found = await schedules.get("missed")
        assert found.next_at is not None
        assert found.next_at > datetime.now(UTC) - timedelta(seconds=5)
        assert await ticker_of(app).tick() in (0, 1)


async def test_a_paused_schedule_makes_no_job_and_goes_on_with_its_next_tick(app: Soniq) -> None:
    @app.job(name="report")
    async def report() -> None: ...

    async with app:
        schedules = app.plugin(Schedules)
        await schedules.add("report", report, Cron(MINUTELY, catch_up="all"))
        await set_back(app, "report", minutes=5)
        await schedules.pause("report")
        await schedules.pause("report")
        assert await ticker_of(app).tick() == 0
        await schedules.resume("report")
        found = await schedules.get("report")
        assert found.paused_at is None
        assert found.next_at is not None
        assert found.next_at > datetime.now(UTC) - timedelta(seconds=5)
        assert (await schedules.status_fields(app))["schedules"] == 1


async def test_a_schedule_ends_after_its_last_tick(app: Soniq) -> None:
    @app.job(name="report")
    async def report() -> None: ...

    async with app:
        schedules = app.plugin(Schedules)
        now = datetime.now(UTC)
        when = Cron(MINUTELY, start=now - timedelta(days=1), end=now + timedelta(seconds=70))
        await schedules.add("report", report, when)
        when = Cron(MINUTELY, start=now - timedelta(days=1), end=now)
        await schedules.add("over", report, when)
        assert (await schedules.get("over")).state == "ended"
        assert (await schedules.get("report")).next_at is not None


async def test_a_restored_row_makes_the_latest_missed_tick_once(app: Soniq) -> None:
    @app.job(name="report")
    async def report() -> None: ...

    async with app:
        schedules = app.plugin(Schedules)
        await schedules.add("report", report, Every(hours=1))
        await set_back(app, "report", days=7)  # as an old backup has it
        await ticker_of(app).tick()
        await ticker_of(app).tick()
        assert await jobs_of(app, "report") == 1
        found = await schedules.get("report")
        assert found.next_at is not None
        assert found.last_at is not None
        assert found.next_at - found.last_at == timedelta(hours=1)


async def test_jobs_of_a_schedule_with_jitter_are_due_within_that_share(app: Soniq) -> None:
    @app.job(name="report")
    async def report() -> None: ...

    async with app:
        await app.plugin(Schedules).add(
            "report", report, Cron(MINUTELY, jitter=0.5, catch_up="all", cap=50)
        )
        await set_back(app, "report", minutes=60)
        await ticker_of(app).tick()
        jobs = await app.jobs(name="report")
        delays = [(job["scheduled_at"] - job["created_at"]).total_seconds() for job in jobs]
        assert all(0 <= delay < 31 for delay in delays)
        assert len({round(delay, 3) for delay in delays}) > 20


async def test_schedules_can_be_changed_by_code_that_is_not_asynchronous(app: Soniq) -> None:
    @app.job(name="report")
    async def report() -> None: ...

    def change() -> list[str]:
        app.sync.start()
        schedules = app.plugin(Schedules)
        app.sync.run(schedules.add("report", report, Cron("@daily")))
        return [each.name for each in app.sync.run(schedules.list())]

    assert await asyncio.to_thread(change) == ["report"]
    await asyncio.to_thread(app.sync.close)


async def test_before_the_app_is_in_use_it_is_said_what_to_do(app: Soniq) -> None:
    with pytest.raises(AppNotStarted, match="async with app"):
        await app.plugin(Schedules).list()


async def test_it_changes_nothing_for_jobs_and_leaves_nothing_behind() -> None:
    await check_plugin(Schedules())


async def test_a_clock_that_was_ahead_puts_no_schedule_off(app: Soniq) -> None:
    @app.job(name="report")
    async def report() -> None: ...

    async with app:
        schedules = app.plugin(Schedules)
        await schedules.add("report", report, Cron(MINUTELY))
        await schedules.add("hourly", report, Every(hours=1))
        async with app.connection() as connection:
            await connection.execute(
                f"update {app.plugin_schema('schedules')}.schedule set next_at = next_at + $1,"
                " wake_at = next_at + $1, moved_at = moved_at + $1, anchor = anchor + $1",
                timedelta(days=40),
            )
        await ticker_of(app).register()
        for name, period in (("report", timedelta(minutes=1)), ("hourly", timedelta(hours=1))):
            found = await schedules.get(name)
            assert found.next_at is not None
            assert found.next_at < datetime.now(UTC) + period + timedelta(seconds=30)


async def test_a_clock_that_is_set_back_a_little_doubles_no_tick(app: Soniq) -> None:
    @app.job(name="report")
    async def report() -> None: ...

    async with app:
        schedules = app.plugin(Schedules)
        await schedules.add("report", report, Cron("@yearly"))
        before = (await schedules.get("report")).next_at
        async with app.connection() as connection:
            await connection.execute(
                f"update {app.plugin_schema('schedules')}.schedule"
                " set moved_at = moved_at + interval '1 minute'"
            )
        await ticker_of(app).register()
        assert await ticker_of(app).tick() == 0
        assert (await schedules.get("report")).next_at == before


@pytest.mark.parametrize(
    ("when", "goes_on"),
    [
        (Cron(MINUTELY), True),
        (Every(minutes=10), True),
        (Every(hours=1), False),
        (Cron("@daily"), False),
    ],
)
async def test_after_a_clock_was_set_back_by_an_hour_what_comes_often_goes_on(
    app: Soniq, when: When, goes_on: bool
) -> None:
    @app.job(name="report")
    async def report() -> None: ...

    hour = timedelta(hours=1)
    async with app:
        schedules = app.plugin(Schedules)
        await schedules.add("report", report, when)
        async with app.connection() as connection:
            now = await connection.fetchval("select clock_timestamp()")
            ahead = when.next_after(now + hour, now)
            await connection.execute(
                f"update {app.plugin_schema('schedules')}.schedule"
                " set next_at = $1, wake_at = $1, moved_at = $2, anchor = $3",
                ahead,
                now + hour,
                now,
            )
        await ticker_of(app).register()
        found = await schedules.get("report")
        assert found.next_at is not None
        assert (found.next_at < now + timedelta(minutes=12)) is goes_on
        assert (found.next_at == ahead) is not goes_on


async def test_a_codec_for_json_that_the_application_set_on_a_connection_changes_no_schedule(
    make_app: MakeApp,
) -> None:
    app = make_app(plugins=[Schedules()], pool_size=1)

    @app.job(name="report")
    async def report() -> None: ...

    async with app:
        async with app.connection() as connection:
            await connection.set_type_codec(
                "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
            )
        for when in (Cron("@daily"), Cron("@hourly")):
            await plugin_of(app).add("report", report, when)
            assert (await plugin_of(app).get("report")).when == when
