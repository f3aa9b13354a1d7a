"""What a limit is set to: in the code, in the database, at run time."""

import asyncio
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from soniq import DatabaseUnavailable, InvalidOption, Snooze, Soniq
from soniq.errors import AppNotStarted, JobDefinitionError
from soniq.plugin import as_json
from soniq_limits import AllOf, Fair, Limit, LimitNotFound, Limits, Rate
from soniq_testing import check_plugin
from tests.conftest import MakeApp
from tests.plugins.limits.conftest import Observer
from tests.plugins.limits.test_limit import all_end
from tests.support.jobs import finished, working
from tests.support.waiting import eventually


def limited(app: Soniq, n: int, started: list[int] | None = None) -> Soniq:
    @app.job(Limit(n), name="limited")
    async def limited_(k: int = 0) -> None:
        if started is not None:
            started.append(k)
            await asyncio.sleep(3600)

    return app


async def number(app: Soniq) -> int:
    (state,) = await app.plugin(Limits).list()
    return state.n


async def test_a_limit_is_raised_while_jobs_wait_for_it(app: Soniq) -> None:
    started: list[int] = []
    limited(app, 1, started)
    async with working(app):
        ids = [await app.enqueue("limited", k=n) for n in range(5)]
        await eventually(lambda: so_many(started, 1))
        await app.plugin(Limits).set("limited", 3)
        await eventually(lambda: so_many(started, 3))
        (state,) = await app.plugin(Limits).list()
        assert (state.n, state.declared, state.running, state.waiting) == (3, 1, 3, 2)
        for job_id in ids:
            await app.cancel(job_id)


async def so_many(started: list[int], count: int) -> bool:
    return len(started) == count


async def test_a_limit_of_nought_starts_nothing_until_it_is_raised(
    app: Soniq, observer: Observer
) -> None:
    @app.job(Limit(2), name="limited")
    async def limited_() -> None:
        await observer.run("limited")

    async with app:
        await app.plugin(Limits).set("limited", 0)
    async with working(app):
        await app.enqueue("limited")

        async def waits() -> bool:
            (state,) = await app.plugin(Limits).list()
            return state.waiting == 1

        await eventually(waits)
        assert not observer.most
        await app.plugin(Limits).set("limited", 1)
        await all_end(app, 1)


async def test_what_was_set_holds_until_the_code_says_another_number(make_app: MakeApp) -> None:
    async with limited(make_app(plugins=[Limits()]), 5) as app:
        await app.plugin(Limits).set("limited", 2)
    async with limited(make_app(plugins=[Limits()]), 5) as app:
        assert await number(app) == 2
    async with limited(make_app(plugins=[Limits()]), 7) as app:
        assert await number(app) == 7


async def test_two_versions_of_the_code_go_by_the_number_in_the_database(
    make_app: MakeApp, observer: Observer
) -> None:
    apps = [make_app(plugins=[Limits()]) for _ in range(2)]
    for n, app in zip((5, 2), apps, strict=True):
        app.job(Limit(n), name="limited")(lambda: observer.run("limited"))
        await app.start()
    await apps[0].enqueue_many("limited", [{}] * 60)
    async with working(apps[0]), working(apps[1]):
        await all_end(apps[0], 60)
    assert observer.most == {"limited": 2}


async def test_a_name_that_there_is_not_and_an_app_that_is_not_in_use_are_refused(
    app: Soniq,
) -> None:
    with pytest.raises(AppNotStarted):
        await app.plugin(Limits).list()
    async with app:
        with pytest.raises(LimitNotFound) as raised:
            await app.plugin(Limits).set("other", 1)
        assert raised.value.limit == "other"
        for name, n in (("other", -1), ("rate other", 100_001)):
            with pytest.raises(InvalidOption):
                await app.plugin(Limits).set(name, n)


async def test_it_keeps_the_contract_of_plugins(database_url: str) -> None:
    await check_plugin(Limits(), database_url=database_url)


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "5", 10**9])
def test_what_is_no_number_of_jobs_is_refused(n: object) -> None:
    with pytest.raises(InvalidOption):
        Limit(n)  # type: ignore[arg-type]


def test_names_that_cannot_be_are_refused() -> None:
    for options in (
        {"by": ""},
        {"by": 1},
        {"name": "a[b]"},
        {"name": "x" * 201},
        {"name": "\0"},
        {"name": "\ud800"},
        {"name": "sequence all"},
        {"name": "rate all"},
        {"name": "limit all"},
    ):
        with pytest.raises(InvalidOption):
            Limit(1, **options)
    with pytest.raises(InvalidOption):
        AllOf()
    with pytest.raises(InvalidOption):
        AllOf(5)  # type: ignore[arg-type]


async def test_what_does_not_fit_the_job_ends_the_start(make_app: MakeApp) -> None:
    async def job(a: int) -> None: ...

    for options, message in (
        ([Limit(1, by="b")], "no argument 'b'"),
        ([Limit(1), AllOf(Limit(2))], "all of its limits in one AllOf"),
        ([AllOf(Limit(1, name="x"), Limit(2, name="x"))], "the limit 'x' is 1"),
    ):
        app = make_app(plugins=[Limits()])
        app.job(*options, name="job")(job)
        with pytest.raises(JobDefinitionError, match=message):
            await app.start()


def test_a_key_is_the_value_as_json_and_a_long_one_its_hash() -> None:
    limit = Limit(1, by="a")
    assert limit.key_for("job", {"a": 42}, {}) == "job/a[42]"
    assert limit.key_for("job", {"a": "42"}, {}) == 'job/a["42"]'
    assert limit.key_for("job", {"a": "\0"}, {}) == 'job/a["\\u0000"]'
    long = limit.key_for("job", {"a": "x" * 1_000}, {})
    assert len(long) < 100
    assert long != limit.key_for("job", {"a": "x" * 999}, {})
    assert Limit(1).key_for("job", {"a": 42}, {}) == "job"


class Region(Enum):
    EU = "eu"


@pytest.mark.parametrize(
    ("annotation", "ways"),
    [
        (UUID, [UUID(int=255), str(UUID(int=255)).upper(), UUID(int=255).hex]),
        (float, [5, 5.0]),
        (Decimal, [Decimal(5), "5", 5]),
        (date, [date(2030, 1, 31), "2030-01-31"]),
        (datetime, ["2030-01-31T00:00:00Z", datetime(2030, 1, 31, tzinfo=UTC)]),
        (Region, [Region.EU, "eu"]),
        (frozenset[int], [frozenset({1, 2}), [2, 1]]),
        (dict[str, float], [{"a": 1, "b": 2}, {"b": 2.0, "a": 1.0}]),
    ],
)
async def test_a_value_has_one_key_however_it_is_written(
    app: Soniq, observer: Observer, schema: str, annotation: Any, ways: list[object]
) -> None:
    async def send(customer: Any) -> None:
        await observer.run("customer", seconds=0.05)

    send.__annotations__["customer"] = annotation
    app.job(Limit(1, by="customer"), name="send")(send)
    for way in ways * 2:
        await app.enqueue("send", customer=way)
    async with app.connection() as connection:
        for way in ways:
            arguments = as_json({"customer": way})
            await connection.execute(f"select {schema}.enqueue('send', $1::jsonb)", arguments)
    async with working(app):
        await all_end(app, 3 * len(ways))
    assert observer.most == {"customer": 1}


async def test_a_limit_of_a_job_whose_name_begins_as_another_kind_is_a_limit(app: Soniq) -> None:
    began: list[str] = []

    @app.job(Limit(1), name="sequence of steps")
    async def steps(name: str) -> None:
        began.append(name)
        if name == "first":
            raise Snooze(3_600)

    @app.job(Fair(by="tenant"), name="play")
    async def play(tenant: str) -> None: ...

    @app.job(Limit(50), name="fair play/tenant")
    async def fair_play() -> None: ...

    async with working(app):
        await app.enqueue("sequence of steps", name="first")
        await finished(app, await app.enqueue("sequence of steps", name="second"))
        states = {each.name: each.kind for each in await app.plugin(Limits).list()}
    assert began == ["first", "second"]
    assert states == {
        "limit sequence of steps": "limit",
        "fair play/tenant": "fair",
        "limit fair play/tenant": "limit",
    }


async def test_limits_of_jobs_that_are_defined_while_the_app_is_used_hold(
    app: Soniq, observer: Observer
) -> None:
    ran: list[str] = []
    async with working(app):

        @app.job(Limit(3), name="late")
        async def late() -> None:
            await observer.run("late")

        @app.job(Rate(2, per=3_600), name="rated")
        async def rated() -> None:
            ran.append("rated")

        await app.enqueue_many("late", [{}] * 30)
        await app.enqueue_many("rated", [{}] * 5)
        await all_end(app, 32)
        assert observer.most == {"late": 3}
        states = {each.name: (each.n, each.waiting) for each in await app.plugin(Limits).list()}
    assert ran == ["rated"] * 2
    assert states == {"late": (3, 0), "rate rated": (2, 3)}


async def test_a_limit_that_no_app_has_said_yet_lets_none_start(
    app: Soniq, make_app: MakeApp
) -> None:
    """Told in a worker that does not know the job: its own has to start first."""
    limited(app, 2)
    other = make_app(plugins=[Limits()])
    await other.start()
    late = make_app(plugins=[Limits()])
    await late.start()
    limited(late, 2)
    await late.enqueue_many("limited", [{}] * 2)
    async with working(other):

        async def told() -> bool:
            return not (await other.overview())["owed"]

        await eventually(told)
        assert (await other.overview())["queues"]["default"] == {"held": 2}
    async with working(app):
        await all_end(app, 2)


async def test_an_app_that_can_only_read_starts_and_shows_the_limits(
    app: Soniq, make_app: MakeApp, database_url: str
) -> None:
    limited(app, 2)
    job_id = await app.enqueue("limited", k=1)
    reading = f"{database_url}{'&' if '?' in database_url else '?'}default_transaction_read_only=on"
    reader = make_app(database_url=reading, plugins=[Limits()])
    limited(reader, 3)
    reader.job(Limit(1), name="new")(_nothing)
    assert [job["job_id"] for job in await reader.jobs()] == [job_id]
    assert [(each.name, each.n) for each in await reader.plugin(Limits).list()] == [("limited", 2)]
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        await reader.enqueue("new")


async def _nothing() -> None: ...
