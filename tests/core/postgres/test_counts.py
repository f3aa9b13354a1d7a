"""Counts: exact where there are few jobs, and bounded where there are many."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest

from soniq import Count, Search, Soniq
from soniq.postgres import counting, live, walking
from soniq.postgres.matching import Values
from soniq.postgres.walking import Walk
from tests.core.postgres.conftest import FINISHED_JOBS, LIVE_JOBS
from tests.support.jobs import working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


def exactly(value: int) -> Count:
    return Count(value=value, exact=True)


def at_least(value: int) -> Count:
    return Count(value=value, exact=False)


async def test_few_jobs_are_all_counted(app: Soniq, connection: "Connection", schema: str) -> None:
    await app.start()
    assert await app.counts() == {}
    await connection.execute(FINISHED_JOBS.format(schema=schema).replace("20000", "2000"))
    await connection.execute(LIVE_JOBS.format(schema=schema))
    assert await app.counts() == {
        "usual": {"dead": exactly(10), "done": exactly(1_990)},
        "queue 0": {"queued": exactly(380), "running": exactly(20)},
        **{f"queue {n}": {"queued": exactly(400)} for n in range(1, 5)},
    }


async def test_many_jobs_are_counted_so_far_and_those_done_are_estimated(
    much: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "FEW", 500)
    monkeypatch.setattr(live, "FEW", 500)
    monkeypatch.setattr(live, "OF_LANES", 1_500)  # of ten lanes: 150 of each
    monkeypatch.setattr(counting, "OF_A_STATUS", 50)
    counts = await much.counts()
    assert counts["usual"]["dead"] == at_least(50)
    done = counts["usual"]["done"]
    assert not done.exact
    assert done.value == pytest.approx(19_900, rel=0.02)
    assert counts["queue 1"]["queued"] == at_least(300)
    assert counts["queue 0"]["queued"] == at_least(300)
    assert counts["queue 0"]["running"] == at_least(5)
    assert sorted(counts) == ["queue 0", "queue 1", "queue 2", "queue 3", "queue 4", "usual"]


async def test_those_done_are_estimated_before_postgresql_has_looked_at_them(
    app: Soniq, connection: "Connection", schema: str
) -> None:
    await app.start()
    await connection.execute(f"alter table {schema}.job set (autovacuum_enabled = off)")
    await connection.execute(FINISHED_JOBS.format(schema=schema))
    done = (await app.counts())["usual"]["done"]
    assert not done.exact
    assert 5_000 < done.value < 80_000


async def test_counts_scan_no_table(
    much: Soniq, plans: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for few in (500, 1_000_000):
        monkeypatch.setattr(counting, "FEW", few)
        monkeypatch.setattr(live, "FEW", few)
        await much.counts()
        await much.queues()
        await much.overview()
    for search in (
        Search(),
        Search(tags=["seven"]),
        Search(order="due"),
        Search(statuses=["dead"]),
    ):
        await much.count(search)
    for plan in plans:
        assert "Seq Scan on job" not in plan, plan
        assert "Seq Scan on history" not in plan, plan


async def test_a_search_is_counted_as_far_as_it_is_asked(much: Soniq) -> None:
    assert await much.count(Search(statuses=["dead"])) == exactly(100)
    assert await much.count(Search(statuses=["dead"]), limit=100) == exactly(100)
    assert await much.count(Search(statuses=["dead"]), limit=99) == at_least(99)
    assert await much.count(Search(order="due", queues=["queue 1"]), seconds=5) == exactly(400)
    assert await much.count(Search(order="started"), seconds=5) == exactly(20)
    assert (await much.count(Search(args={"customer": 7}), seconds=0)).exact is False


async def test_what_is_due_since_a_time_is_found_behind_what_was_due_before(much: Soniq) -> None:
    search = Search(order="due", scheduled=(datetime.now(UTC) - timedelta(seconds=200), None))
    count = await much.count(search, seconds=5)
    page = await much.search(search, limit=500)
    assert count == exactly(len(page.jobs))
    assert 100 < count.value <= 200


def test_a_stretch_is_bounded_by_the_times_of_its_search_once() -> None:
    now = datetime.now(UTC)
    search = Search(order="finished", finished=(now - timedelta(days=7), None))
    walk = Walk(search, "soniq", "history", ("dead",), "status <> 'done'")
    text = walk._stretch((now, uuid4()), 100, Values())
    assert text.count("finished_at >=") == 1  # of two the plan would be made anew each time


async def test_a_count_that_is_cut_off_says_what_it_came_to(
    much: Soniq, connection: "Connection", schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "AS_JSON", f"{schema}.jsonb_1(args)")
    await connection.execute(
        f"create or replace function {schema}.jsonb_1(data bytea) returns jsonb language plpgsql"
        " volatile as $$ begin perform pg_sleep(0.001); return '{}'; end $$"
    )
    count = await much.count(Search(statuses=["done"], args={}), seconds=0.4, limit=100_000)
    assert not count.exact
    assert 0 < count.value < 19_900


async def test_what_an_index_has_is_counted_by_it(
    much: Soniq, monkeypatch: pytest.MonkeyPatch, plans: list[str]
) -> None:
    monkeypatch.setattr(counting, "BY_INDEX", 100)
    search = Search(statuses=["done"], tags=["seven"])
    assert await much.count(search, seconds=5) == exactly(1)
    assert any("Bitmap" in plan for plan in plans)


async def test_queues_say_what_waits_who_serves_them_and_why_they_are_paused(
    app: Soniq, connection: "Connection", schema: str
) -> None:
    @app.job(name="job", queue="mail")
    async def job() -> None: ...

    await app.pause("mail", reason="the provider is down", by="eva")
    await app.pause("empty")
    await app.enqueue(job)
    await app.enqueue(job, priority=3, delay=600)
    async with working(app, queues=["mail", "media"]):
        await eventually(lambda: _served(app))
        empty, mail, media = await app.queues()

    assert (mail.queue, mail.waiting, mail.scheduled) == ("mail", exactly(1), exactly(1))
    assert [lane.priority for lane in mail.lanes] == [0, 3]
    assert 0 <= mail.oldest_waiting < 60
    assert mail.workers == 1
    assert mail.paused_since is not None
    assert (mail.paused_by, mail.pause_reason) == ("eva", "the provider is down")
    assert (media.queue, media.lanes, media.workers, media.paused_since) == ("media", [], 1, None)
    assert (empty.queue, empty.workers, empty.paused_by) == ("empty", 0, None)


async def _served(app: Soniq) -> bool:
    return any(queue.workers for queue in await app.queues())
