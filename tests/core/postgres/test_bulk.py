"""Many jobs at once: all that are dead are queued again, all that wait are cancelled."""

from collections.abc import Sequence

import asyncpg
import pytest

from soniq import InvalidOption, Soniq, hookimpl
from soniq.plugin import Outcome
from soniq.status import Status
from tests.conftest import MakeApp


class Told:
    """A plugin that keeps what was settled, in the transaction and after it."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.after: list[str] = []

    @hookimpl
    def settle_tx(self, outcomes: Sequence[Outcome]) -> None:
        self.inside += [outcome.job_id for outcome in outcomes]

    @hookimpl
    def settled(self, outcomes: Sequence[Outcome]) -> None:
        self.after += [outcome.job_id for outcome in outcomes]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def failing(make_app: MakeApp, told: Told) -> Soniq:
    """An app with two jobs, which fail at their only attempt."""
    app = make_app(plugins=[told])

    async def fail(number: int) -> None:
        raise OSError("the disk is full")

    for name in ("one", "two"):
        app.job(name=name, max_attempts=1)(fail)
    await app.start()
    return app


async def numbers(app: Soniq, status: Status) -> list[tuple[str, int]]:
    """Name and argument of the jobs of a status, sorted."""
    return sorted(
        [
            (j["job_name"], (await app.get_args(j["job_id"]))["number"])
            for j in await app.jobs(status=status)
        ]
    )


async def test_all_dead_jobs_that_match_are_queued_again_with_all_their_attempts(
    failing: Soniq,
) -> None:
    await failing.enqueue("one", number=1, queue="mail", tags=["red"])
    await failing.enqueue("one", number=2, queue="mail")
    await failing.enqueue("one", number=3)
    await failing.enqueue("two", number=4, queue="mail", tags=["red"])
    assert await failing.run_worker(run_once=True) == 4
    assert await failing.retry_all(name="one", queue="mail", tag="red") == {"queued": 1, "left": {}}
    assert await numbers(failing, "queued") == [("one", 1)]
    assert await failing.retry_all(name="one") == {"queued": 2, "left": {}}
    assert await numbers(failing, "dead") == [("two", 4)]
    assert [job["attempt"] for job in await failing.jobs(status="queued")] == [0, 0, 0]
    assert await failing.run_worker(run_once=True) == 3
    assert await failing.retry_all() == {"queued": 4, "left": {}}


async def test_more_than_a_batch_is_queued_again(
    failing: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.postgres.bulk.BATCH", 7)
    await failing.enqueue_many("one", [{"number": number} for number in range(50)])
    await failing.run_worker(run_once=True)
    assert await failing.retry_all() == {"queued": 50, "left": {}}
    assert (await failing.overview())["queues"] == {"default": {"queued": 50}}


async def test_jobs_whose_key_is_taken_stay_dead_and_the_others_are_queued(
    failing: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.postgres.bulk.BATCH", 4)
    dead = [
        await failing.enqueue("one", number=number, dedup_key=str(number)) for number in range(10)
    ]
    await failing.run_worker(run_once=True)
    holders = {dead[n]: await failing.enqueue("one", number=n, dedup_key=str(n)) for n in (2, 3, 9)}
    done = await failing.retry_all()
    assert done["queued"] == 7
    assert done["left"] == {
        each: f"{holder} holds its dedup key and is not finished"
        for each, holder in holders.items()
    }
    assert {job["job_id"] for job in await failing.jobs(status="dead")} == set(holders)


async def test_of_two_dead_jobs_of_one_key_the_newer_is_queued(failing: Soniq) -> None:
    older = await failing.enqueue("one", number=1, dedup_key="k")
    await failing.run_worker(run_once=True)
    newer = await failing.enqueue("one", number=2, dedup_key="k")
    await failing.run_worker(run_once=True)
    left = {older: f"{newer} holds its dedup key and is not finished"}
    assert await failing.retry_all() == {"queued": 1, "left": left}
    assert await numbers(failing, "queued") == [("one", 2)]


async def test_all_cancelled_jobs_are_queued_again_where_they_are_meant(failing: Soniq) -> None:
    ids = await failing.enqueue_many("one", [{"number": number} for number in range(3)])
    await failing.enqueue("two", number=9)
    await failing.run_worker(run_once=True)
    await failing.retry_all(name="one")
    await failing.cancel_all(name="one")
    assert await failing.retry_all(status="cancelled") == {"queued": 3, "left": {}}
    assert {job["job_id"] for job in await failing.jobs(status="queued")} == set(ids)
    assert await numbers(failing, "dead") == [("two", 9)]


async def test_all_jobs_that_are_queued_for_later_are_due_at_once_where_they_are_meant(
    failing: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.postgres.bulk.BATCH", 3)
    await failing.enqueue_many("one", [{"number": number} for number in range(8)], delay=3600)
    await failing.enqueue("one", number=8)
    await failing.enqueue("two", number=9, delay=3600)
    assert await failing.retry_all(status="queued", name="one") == {"queued": 8, "left": {}}
    assert await failing.run_worker(run_once=True) == 9
    assert await numbers(failing, "queued") == [("two", 9)]


async def test_only_what_a_retry_can_change_is_retried_at_once(failing: Soniq) -> None:
    with pytest.raises(
        InvalidOption, match="status= is one of dead, cancelled, queued; got 'running'"
    ):
        await failing.retry_all(status="running")  # type: ignore[arg-type]


async def test_all_that_wait_and_match_are_cancelled_with_the_reason(
    failing: Soniq, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.postgres.bulk.BATCH", 3)
    ids = await failing.enqueue_many(
        "one", [{"number": number} for number in range(8)], queue="mail"
    )
    await failing.enqueue("two", number=9)
    assert await failing.cancel_all(name="one", queue="mail", reason="withdrawn") == 8
    cancelled = await failing.jobs(status="cancelled")
    assert {job["job_id"] for job in cancelled} == set(ids)
    assert {job["error"] and job["error"]["message"] for job in cancelled} == {"withdrawn"}
    assert await numbers(failing, "queued") == [("two", 9)]
    assert sorted(told.inside) == sorted(told.after) == sorted(ids)


async def test_held_jobs_are_cancelled_where_they_are_meant(
    failing: Soniq, schema: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await failing.enqueue("one", number=1)
    await connection.execute(f"update {schema}.job set status = 'held', held_by = '{{me}}'")
    assert await failing.cancel_all() == 0
    assert await failing.cancel_all(status="held") == 1


async def test_only_what_waits_can_be_cancelled_at_once(failing: Soniq) -> None:
    with pytest.raises(InvalidOption, match="status= is one of queued, held; got 'running'"):
        await failing.cancel_all(status="running")  # type: ignore[arg-type]
