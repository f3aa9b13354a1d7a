"""Different jobs in one call and one transaction, all or none."""

import asyncio

import asyncpg
import pytest

from soniq import InvalidArguments, InvalidOption, Job, Soniq, UnknownJob
from tests.conftest import MakeApp


@pytest.fixture
def double(app: Soniq) -> Job[[int], int]:
    @app.job(name="double", queue="numbers")
    def double(number: int) -> int:
        return number * 2

    return double


@pytest.fixture
def greet(app: Soniq) -> Job[[str], str]:
    @app.job(name="greet", unique=True)
    def greet(name: str) -> str:
        return f"hello {name}"

    return greet


async def test_different_jobs_are_enqueued_in_order_each_with_its_options(
    app: Soniq, double: Job[[int], int], greet: Job[[str], str]
) -> None:
    ids = await app.enqueue_all(
        [
            double.call(1),
            greet.call("Ada"),
            double.using(priority=7, tags=["a"], queue="other").call(2),
            greet.using(unique=False).call("Ada"),
        ]
    )
    found = [await app.get_job_status(id_) for id_ in ids]
    assert [
        job and (job["job_name"], job["queue"], job["priority"], job["tags"]) for job in found
    ] == [
        ("double", "numbers", 0, []),
        ("greet", "default", 0, []),
        ("double", "other", 7, ["a"]),
        ("greet", "default", 0, []),
    ]
    assert await app.run_worker(run_once=True) == 4
    assert [await app.get_result(id_) for id_ in ids] == [2, "hello Ada", 4, "hello Ada"]


async def test_a_duplicate_among_them_has_the_id_of_the_first(
    app: Soniq, double: Job[[int], int], greet: Job[[str], str]
) -> None:
    first, other, again = await app.enqueue_all(
        [greet.call("Ada"), double.call(1), greet.call("Ada")]
    )
    assert (again, again.inserted) == (first, False)
    assert other.inserted


async def test_where_one_is_refused_none_is_enqueued(
    app: Soniq, make_app: MakeApp, double: Job[[int], int]
) -> None:
    elsewhere = make_app()

    @elsewhere.job(name="elsewhere")
    async def stranger() -> None: ...

    wrong = double.call("one")  # type: ignore[arg-type]
    for bad, error in (
        (wrong, InvalidArguments),
        (stranger.call(), UnknownJob),
        (double.using(app=elsewhere).call(1), InvalidOption),
        (double.using(notify=False).call(1), InvalidOption),
        ("double", InvalidArguments),
    ):
        with pytest.raises(error):
            await app.enqueue_all([double.call(1), bad])  # type: ignore[list-item]
    assert await app.enqueue_all([]) == []
    assert await app.jobs() == []


async def test_they_are_part_of_the_transaction_of_a_connection(
    app: Soniq,
    connection: "asyncpg.Connection[asyncpg.Record]",
    double: Job[[int], int],
    greet: Job[[str], str],
) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await app.enqueue_all([double.call(1), greet.call("Ada")], connection=connection)
    await transaction.rollback()
    assert await app.jobs() == []


async def test_code_that_is_not_asynchronous_enqueues_them_too(
    app: Soniq, double: Job[[int], int], greet: Job[[str], str]
) -> None:
    ids = await asyncio.to_thread(
        lambda: app.sync.enqueue_all(call for call in (double.call(1), greet.call("Ada")))
    )
    assert len(set(ids)) == 2
    await asyncio.to_thread(app.sync.close)
