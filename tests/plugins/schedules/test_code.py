"""Schedules in the code: written at the start of a worker, and two versions of the code at once."""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from soniq import Soniq, hookimpl
from soniq.errors import JobDefinitionError
from soniq.plugin import Serializer
from soniq_schedules import (
    Cron,
    Every,
    Schedule,
    ScheduleInCode,
    ScheduleNotFound,
    Schedules,
    Several,
    Tick,
)
from tests.conftest import MakeApp
from tests.support.jobs import working
from tests.support.waiting import eventually

from .conftest import plugin_of, set_back, ticker_of

Version = Callable[..., Soniq]


async def nothing() -> None: ...


@pytest.fixture
def version(make_app: MakeApp) -> Version:
    """Makes an app whose jobs, by their names, have these options."""

    def version(**jobs: Any) -> Soniq:
        app = make_app(plugins=[Schedules()])
        for name, option in jobs.items():
            app.job(*([option] if option else []), name=name)(nothing)
        return app

    return version


async def names(app: Soniq) -> dict[str, Schedule]:
    return {each.name: each for each in await plugin_of(app).list()}


async def test_several_schedules_of_one_job_have_names_and_arguments_of_their_own(
    app: Soniq,
) -> None:
    told: list[tuple[str | None, int]] = []

    @app.job(
        Several(short=Every(hours=1, args={"days": 1}), long=Cron("@monthly", args={"days": 31})),
        name="report",
    )
    async def report(days: int, tick: Tick) -> None:
        told.append((tick.schedule, days))

    async with app:
        await ticker_of(app).register()
        assert set(await names(app)) == {"report:short", "report:long"}
        for name in ("report:short", "report:long"):
            await plugin_of(app).run_now(name)
        await app.run_worker(run_once=True)
    assert sorted(told, key=str) == [("report:long", 31), ("report:short", 1)]


async def test_a_job_with_two_schedules_without_names_is_an_error_at_the_start(
    app: Soniq,
) -> None:
    app.job(Cron("@daily"), Every(hours=1), name="report")(nothing)
    with pytest.raises(
        JobDefinitionError, match=r"more than one schedule; name them, in a Several"
    ):
        await app.start()


async def test_arguments_that_the_job_does_not_take_are_an_error_at_the_start(app: Soniq) -> None:
    app.job(Cron("@daily", args={"dayz": 7}), name="report")(nothing)
    with pytest.raises(JobDefinitionError, match=r"the schedule 'report': .*unexpected"):
        await app.start()


async def test_a_schedule_changes_only_when_its_specification_does(version: Version) -> None:
    old = version(report=Every(hours=1))
    async with old:
        await ticker_of(old).register()
        before = (await names(old))["report"]
        await plugin_of(old).pause("report")
        await ticker_of(old).register()
        assert (await names(old))["report"].paused_at is not None
    new = version(report=Every(hours=2))
    async with new:
        await ticker_of(new).register()
        after = (await names(new))["report"]
    assert after.when == Every(hours=2)
    assert after.anchor == before.anchor
    assert after.paused_at is not None


async def test_a_tick_that_is_due_is_kept_where_it_is_one_of_the_changed_schedule(
    version: Version,
) -> None:
    old = version(report=Cron("* * * * *"))
    async with old:
        await ticker_of(old).register()
        due = await set_back(old, "report", minutes=3)
        for when, kept in ((Cron("* * * * *", overlap="skip"), True), (Cron("@yearly"), False)):
            new = version(report=when)
            async with new:
                await ticker_of(new).register()
                assert ((await names(new))["report"].next_at == due) is kept


async def test_an_older_version_that_starts_again_changes_nothing_while_a_newer_one_lives(
    version: Version,
) -> None:
    old, new = version(report=Every(hours=1)), version(report=Every(hours=2))
    async with old, new:
        await ticker_of(old).register()
        await ticker_of(new).register()
        await ticker_of(old).register()
        assert (await names(old))["report"].when == Every(hours=2)

        async with old.connection() as connection:  # the newer one was rolled back, and is gone
            await connection.execute(
                f"update {old.plugin_schema('schedules')}.version set"
                " seen_at = seen_at - interval '31 seconds' where digest = $1",
                ticker_of(new).version,
            )
        await ticker_of(old).register()
        assert (await names(old))["report"].when == Every(hours=1)


async def test_a_schedule_that_is_not_in_the_code_any_more_is_kept_and_not_ticked_and_told(
    version: Version,
) -> None:
    old, new = version(report=Cron("* * * * *")), version(report=None)
    async with old:
        await ticker_of(old).register()
    async with new:
        await ticker_of(new).register()
        assert await ticker_of(new).tick() == 0
        await set_back(new, "report", minutes=3)
        assert await ticker_of(new).tick() == 0
        async with new.connection() as connection:
            await connection.execute(
                f"delete from {new.plugin_schema('schedules')}.version where digest = $1",
                ticker_of(old).version,
            )
        assert not (await names(new))["report"].known
        assert (await names(new))["report"].state == "no live worker has it"
        fields = await plugin_of(new).status_fields(new)
        assert fields == {"schedules": 1, "no_live_worker_has": ["report"]}
        await plugin_of(new).remove("report")
        assert await names(new) == {}


async def test_each_of_two_versions_ticks_what_it_knows(version: Version) -> None:
    old, new = version(one=Every(seconds=1)), version(two=Every(seconds=1))
    async with working(old), working(new):

        async def both() -> bool:
            return all([await old.jobs(name=name, status="done") for name in ("one", "two")])

        await eventually(both)


async def test_a_name_is_either_in_the_code_or_added(version: Version) -> None:
    app = version(report=Cron("@daily"))
    async with app:
        await ticker_of(app).register()
        schedules = plugin_of(app)
        with pytest.raises(ScheduleInCode, match="choose another name"):
            await schedules.add("report", "report", Cron("@hourly"))
        with pytest.raises(ScheduleInCode, match="remove it there, or pause it"):
            await schedules.remove("report")
        await schedules.add("other", "report", Cron("@hourly"))
        await schedules.remove("other")
        with pytest.raises(ScheduleNotFound):
            await schedules.remove("other")


async def test_workers_that_start_at_the_same_moment_write_a_schedule_once(
    version: Version,
) -> None:
    apps = [version(report=Cron("@daily")) for _ in range(4)]
    for app in apps:
        await app.start()
    await asyncio.gather(*(ticker_of(app).register() for app in apps))
    assert set(await names(apps[0])) == {"report"}


class Salted:
    """A plugin whose serializer writes the same value otherwise each time, as one that encrypts."""

    name = "salted"

    @hookimpl
    def serializers(self) -> Sequence[Serializer]:
        return [SaltedSerializer()]


class SaltedSerializer:
    name = "salted"

    def dumps(self, value: object) -> bytes:
        return os.urandom(8) + msgspec.json.encode(value)

    def loads(self, data: bytes, type: Any) -> Any:
        return msgspec.json.decode(data[8:], type=type)


async def test_a_schedule_is_written_once_where_its_serializer_never_writes_the_same_twice(
    make_app: MakeApp,
) -> None:
    app = make_app(plugins=[Schedules(), Salted()])

    @app.job(Cron("@daily", args={"key": "a"}), name="report", serializer="salted")
    async def report(key: str) -> None: ...

    async def written() -> Any:
        await ticker_of(app).register()
        async with app.connection() as connection:
            return await connection.fetchval(
                f"select moved_at from {app.plugin_schema('schedules')}.schedule"
            )

    async with app:
        assert await written() == await written()


async def test_what_a_newer_version_has_changed_is_left_to_it_while_it_lives(
    make_app: MakeApp,
) -> None:
    old, new = make_app(plugins=[Schedules()]), make_app(plugins=[Schedules()])
    same = Cron("* * * * *")

    @old.job(Several(changed=Cron("* * * * *", args={"old": 1}), same=same), name="report")
    async def before(old: int = 0) -> None: ...

    @new.job(Several(changed=Cron("* * * * *", args={"new": 1}), same=same), name="report")
    async def after(new: int = 0) -> None: ...

    async with old, new:
        await ticker_of(old).register()
        await ticker_of(new).register()
        for name in ("report:changed", "report:same"):
            await set_back(new, name, seconds=61)
        assert await ticker_of(old).tick() == 1
        changed = (await names(new))["report:changed"]
        assert (changed.error, changed.last_at) == (None, None)
        assert await ticker_of(new).tick() == 1


@pytest.mark.parametrize(("before", "after"), [(None, "salted"), ("salted", None)])
async def test_a_schedule_is_read_as_it_was_written_where_its_job_has_another_serializer_now(
    make_app: MakeApp, before: str | None, after: str | None
) -> None:
    def app_with(serializer: str | None) -> Soniq:
        app = make_app(plugins=[Schedules(), Salted()])

        @app.job(name="report", serializer=serializer)
        async def report(key: str) -> None: ...

        return app

    async with app_with(before) as old:
        await plugin_of(old).add("one", "report", Cron("* * * * *"), args={"key": "a"})
    async with app_with(after) as new:
        await set_back(new, "one", seconds=61)
        await ticker_of(new).tick()
        await plugin_of(new).run_now("one")
        assert (await plugin_of(new).get("one")).error is None
        assert len(await new.jobs(name="report")) == 2


async def test_a_schedule_in_the_code_ticks_where_what_is_stored_cannot_be_read_any_more(
    version: Version,
) -> None:
    app = version(report=Cron("* * * * *"))
    async with app:
        await ticker_of(app).register()
        async with app.connection() as connection:
            await connection.execute(
                f"update {app.plugin_schema('schedules')}.schedule set args = 'of a lost key'"
            )
        await set_back(app, "report", seconds=61)
        assert await ticker_of(app).tick() == 1
        assert (await names(app))["report"].error is None
        assert len(await app.jobs(name="report")) == 1
