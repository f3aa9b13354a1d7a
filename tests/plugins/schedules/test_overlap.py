"""What a tick does while the job of the tick before is not finished, and errors of single ticks."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from soniq import JobContext, Soniq, hookimpl
from soniq.plugin import EnqueueBatch
from soniq_schedules import Every, Schedules, ScheduleUnreadable, ticker
from tests.conftest import MakeApp
from tests.support.waiting import eventually

from .conftest import plugin_of, set_back, ticker_of


async def statuses(app: Soniq) -> list[str]:
    return sorted(job["status"] for job in await app.jobs(name="report"))


async def tick(app: Soniq) -> None:
    """The tick of half an hour ago; the next one by itself is half an hour ahead."""
    await set_back(app, "report", hours=1)
    await ticker_of(app).tick()


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("allow", ["queued", "queued"]),
        ("skip", ["queued"]),
        ("replace", ["cancelled", "queued"]),
    ],
)
async def test_a_tick_while_the_job_before_waits(
    app: Soniq, overlap: str, expected: list[str]
) -> None:
    @app.job(name="report")
    async def report() -> None: ...

    async with app:
        when = Every(hours=1, overlap=overlap)  # type: ignore[arg-type]
        await plugin_of(app).add("report", report, when)
        await tick(app)
        await tick(app)
        assert await statuses(app) == expected
        found = await plugin_of(app).get("report")
        assert (found.skipped_at is not None) == (overlap == "skip")

        await app.run_worker(run_once=True)
        await tick(app)
        assert (await statuses(app)).count("queued") == 1


async def test_a_job_that_is_unique_by_itself_is_not_made_twice(app: Soniq) -> None:
    @app.job(name="report", unique=True)
    async def report() -> None: ...

    async with app:
        await plugin_of(app).add("report", report, Every(hours=1))
        await tick(app)
        first = await plugin_of(app).get("report")
        await tick(app)
        assert await statuses(app) == ["queued"]
        second = await plugin_of(app).get("report")
        assert second.last_at == first.last_at
        assert second.skipped_at is not None


async def test_a_job_that_runs_is_asked_to_end_for_the_next(app: Soniq) -> None:
    async def two() -> bool:
        return len(await statuses(app)) == 2

    @app.job(name="report")
    async def report(ctx: JobContext) -> None:
        if await statuses(app) == ["running"]:
            ticking = asyncio.create_task(tick(app))  # which the end of this job does not end
            try:
                while not ctx.cancelled:
                    await ctx.progress(0.5)
                    await asyncio.sleep(0.05)
            finally:
                await ticking
                await eventually(two)  # the worker's own ticker may have been quicker

    async with app:
        await plugin_of(app).add("report", report, Every(hours=1, overlap="replace"))
        await tick(app)
        await app.run_worker(run_once=True)
        assert await statuses(app) == ["cancelled", "done"]


@pytest.mark.parametrize("waits", [True, False])
async def test_a_job_that_is_unique_by_itself_is_replaced_while_it_waits_and_not_while_it_runs(
    app: Soniq, waits: bool
) -> None:
    @app.job(name="report", unique=True)
    async def report() -> None:
        if not waits:
            await tick(app)  # which has nothing to put in its place
            seen.append(await statuses(app))

    seen: list[list[str]] = []
    async with app:
        await plugin_of(app).add("report", report, Every(hours=1, overlap="replace"))
        await tick(app)
        if waits:
            await tick(app)
            assert await statuses(app) == ["cancelled", "queued"]
        await app.run_worker(run_once=True)
        assert seen == ([] if waits else [["running"]])
        assert await statuses(app) == (["cancelled", "done"] if waits else ["done"])


class Refuses:
    """A plugin that refuses jobs of one schedule, as long as it is told to, or has them wait."""

    name = "refuses"

    def __init__(self, *, hangs: bool = False) -> None:
        self.on = True
        self.hangs = hangs

    @hookimpl
    async def around_enqueue(self, batch: EnqueueBatch) -> AsyncIterator[None]:
        header = batch.jobs[0].headers.get("soniq-schedule", {})
        if self.on and header.get("name") == "bad":
            if self.hangs:
                await asyncio.Event().wait()
            raise LookupError("no\nprinter")
        yield


async def test_one_bad_schedule_stops_no_other_and_its_error_stands_in_its_row(
    make_app: MakeApp,
) -> None:
    refuses = Refuses()
    app = make_app(plugins=[Schedules(), refuses])

    @app.job(name="report")
    async def report() -> None: ...

    async with app:
        schedules: Schedules = app.plugin(Schedules)
        for name in ("good", "bad", "well"):
            await schedules.add(name, report, Every(hours=1))
            await set_back(app, name, hours=1)
        await ticker_of(app).tick()
        assert len(await app.jobs(name="report")) == 2
        bad = await schedules.get("bad")
        assert bad.error == "LookupError: no printer"
        assert bad.error_at is not None
        assert abs((bad.error_at - datetime.now(UTC)).total_seconds()) < 60
        assert (await schedules.status_fields(app))["failing"] == ["bad"]
        assert await ticker_of(app).tick() == 0  # it is tried again later

        refuses.on = False
        await set_back(app, "bad", hours=1)
        await ticker_of(app).tick()
        assert (await schedules.get("bad")).error is None
        assert len(await app.jobs(name="report")) == 3


async def test_a_job_is_not_cancelled_for_one_that_cannot_be_made(make_app: MakeApp) -> None:
    refuses = Refuses()
    app = make_app(plugins=[Schedules(), refuses])

    @app.job(name="report")
    async def report() -> None: ...

    async with app:
        schedules = app.plugin(Schedules)
        await schedules.add("bad", report, Every(hours=1, overlap="replace"))
        refuses.on = False
        await set_back(app, "bad", hours=1)
        await ticker_of(app).tick()

        refuses.on = True
        await set_back(app, "bad", hours=1)
        await ticker_of(app).tick()
        assert (await schedules.get("bad")).error == "LookupError: no printer"
        assert await statuses(app) == ["queued"]

        refuses.on = False
        await set_back(app, "bad", hours=1)
        await ticker_of(app).tick()
        assert await statuses(app) == ["cancelled", "queued"]


async def test_an_enqueue_that_hangs_stops_no_other_schedule(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker, "LIMIT", 0.3)
    app = make_app(plugins=[Schedules(), Refuses(hangs=True)])

    @app.job(name="report")
    async def report() -> None: ...

    async with app:
        schedules = app.plugin(Schedules)
        for name in ("good", "bad", "well"):
            await schedules.add(name, report, Every(hours=1))
            await set_back(app, name, hours=1)
        await ticker_of(app).tick()
        assert len(await app.jobs(name="report")) == 2
        assert (await schedules.get("bad")).error == "TimeoutError"


async def test_a_row_that_cannot_be_read_stops_no_other_and_is_listed(app: Soniq) -> None:
    @app.job(name="report")
    async def report() -> None: ...

    async with app:
        schedules = app.plugin(Schedules)
        for name in ("bad", "good"):
            await schedules.add(name, report, Every(hours=1))
            await set_back(app, name, hours=1)
        async with app.connection() as connection:
            await connection.execute(
                f"update {app.plugin_schema('schedules')}.schedule set"
                """ spec = '{"type": "cron", "expression": "@daily", "tz": "Mars/Base"}'"""
                " where name = 'bad'"
            )
        await ticker_of(app).tick()
        await ticker_of(app).register()
        assert len(await app.jobs(name="report")) == 1
        bad = await schedules.get("bad")
        assert bad.when is None
        assert "no time zone" in str(bad.error)
        assert bad.upcoming(1) == []

        await schedules.pause("bad")
        for change in (schedules.resume, schedules.run_now):
            with pytest.raises(ScheduleUnreadable, match="no time zone"):
                await change("bad")


async def test_a_job_made_out_of_turn_hides_none_that_is_not_finished(app: Soniq) -> None:
    @app.job(name="report")
    async def report() -> None: ...

    async with app:
        schedules = plugin_of(app)
        await schedules.add("report", report, Every(hours=1, overlap="skip"))
        await tick(app)
        out_of_turn = await schedules.run_now("report")
        await app.cancel(out_of_turn)
        await tick(app)
        assert await statuses(app) == ["cancelled", "queued"]
