"""acted: told of what a person does, with jobs or with a queue, and who that was."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from soniq import InvalidOption, Soniq, hookimpl
from soniq.plugin import Action, Migration
from tests.conftest import MakeApp
from tests.support.jobs import finished, status_of, working

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


class Trail:
    """A plugin that keeps what was done, in a table of its own, as an audit trail does."""

    name = "trail"

    def __init__(self) -> None:
        self.told: list[Action] = []
        self.fails = False

    @hookimpl
    def migrations(self) -> list[Migration]:
        table = "create table {schema}.entry (at timestamptz default now(), by text, kind text, jobs uuid[])"
        return [Migration(version=1, sql=table)]

    @hookimpl
    async def started(self, app: Soniq) -> None:
        self.app = app

    @hookimpl
    async def acted(self, action: Action) -> None:
        if self.fails:
            raise OSError("the trail is full")
        self.told.append(action)
        async with self.app.connection() as connection:
            await connection.execute(
                f"insert into {self.app.plugin_schema('trail')}.entry (by, kind, jobs) values ($1, $2, $3)",
                action.by,
                action.kind,
                action.job_ids,
            )


@pytest.fixture
def trail() -> Trail:
    return Trail()


@pytest.fixture
def app(make_app: MakeApp, trail: Trail) -> Soniq:
    app = make_app(plugins=[trail])

    @app.job(name="work", max_attempts=1)
    async def work(fails: bool = False) -> None:
        if fails:
            raise ValueError("no")

    return app


def brief(trail: Trail) -> list[tuple[str, set[str], str | None, str | None]]:
    """What was told of jobs: kind, which, who and why."""
    return [(each.kind, set(each.job_ids), each.by, each.reason) for each in trail.told]


async def test_what_is_done_with_one_job_is_told_with_who_did_it(app: Soniq, trail: Trail) -> None:
    job_id = await app.enqueue("work", fails=True)
    await app.run_worker(run_once=True)
    await app.retry(job_id, by="Eva")
    await app.cancel(job_id, "withdrawn", by="Tom")
    await app.delete(job_id)
    assert brief(trail) == [
        ("retry", {job_id}, "Eva", None),
        ("cancel", {job_id}, "Tom", "withdrawn"),
        ("delete", {job_id}, None, None),
    ]
    async with app.connection() as connection:
        rows = await connection.fetch(
            f"select by, kind, jobs from {app.plugin_schema('trail')}.entry order by at"
        )
    assert [(row["by"], row["kind"], [str(each) for each in row["jobs"]]) for row in rows] == [
        ("Eva", "retry", [job_id]), ("Tom", "cancel", [job_id]), (None, "delete", [job_id]),
    ]  # fmt: skip


async def test_of_many_those_that_changed_are_told_a_batch_at_a_time(
    app: Soniq, trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.postgres.bulk.BATCH", 2)
    ids = await app.enqueue_many("work", [{"fails": True}] * 3)
    done = await app.enqueue("work")
    await app.run_worker(run_once=True)
    await app.retry_many([done, *ids], by="Eva")
    await app.cancel_many([done, *ids], "enough", by="Eva")
    await app.delete_many([*ids], by="Eva")
    one, two, three = ids
    assert brief(trail) == [
        ("retry", {one}, "Eva", None), ("retry", {two, three}, "Eva", None),
        ("cancel", {one}, "Eva", "enough"), ("cancel", {two, three}, "Eva", "enough"),
        ("delete", {one, two}, "Eva", None), ("delete", {three}, "Eva", None),
    ]  # fmt: skip


async def test_of_all_that_match_those_that_changed_are_told(app: Soniq, trail: Trail) -> None:
    ids = {*await app.enqueue_many("work", [{"fails": True}] * 3)}
    await app.run_worker(run_once=True)
    await app.retry_all(by="Eva")
    await app.cancel_all(by="Eva", reason="enough")
    await app.delete_all(status="cancelled", by="Eva")
    assert brief(trail) == [
        ("retry", ids, "Eva", None), ("cancel", ids, "Eva", "enough"), ("delete", ids, "Eva", None),
    ]  # fmt: skip


async def test_one_whose_dedup_key_is_taken_is_not_told_and_the_others_are(
    app: Soniq, trail: Trail
) -> None:
    ids = [await app.enqueue("work", fails=True, dedup_key=key) for key in "ab"]
    await app.run_worker(run_once=True)
    await app.enqueue("work", dedup_key="a")
    await app.retry_all(by="Eva")
    assert brief(trail) == [("retry", {ids[1]}, "Eva", None)]


async def test_a_job_that_runs_and_is_asked_to_end_is_told(app: Soniq, trail: Trail) -> None:
    running = asyncio.Event()

    @app.job(name="wait")
    async def wait() -> None:
        running.set()
        await asyncio.Event().wait()

    job_id = await app.enqueue(wait)
    async with working(app):
        await asyncio.wait_for(running.wait(), 20)
        await app.cancel(job_id, by="Eva")
        await finished(app, job_id)
    assert brief(trail) == [("cancel", {job_id}, "Eva", None)]


async def test_a_queue_that_is_paused_and_resumed_is_told_once(app: Soniq, trail: Trail) -> None:
    await app.pause("media", by="Eva", reason="the provider is down")
    await app.pause("media", by="Tom")
    await app.resume("media", by="Tom")
    await app.resume("media", by="Tom")
    assert trail.told == [
        Action(kind="pause", queue="media", by="Eva", reason="the provider is down"),
        Action(kind="resume", queue="media", by="Tom"),
    ]


async def test_what_changes_nothing_and_what_workers_do_is_not_told(
    app: Soniq, trail: Trail
) -> None:
    job_id = await app.enqueue("work")
    await app.retry(job_id)
    await app.run_worker(run_once=True)
    assert not await app.cancel(job_id)
    assert await app.cancel_all() == 0
    assert (await app.retry_many([job_id]))["queued"] == 0
    assert await app.prune(older_than=0) == 1
    assert not await app.delete(job_id)
    assert trail.told == []


async def test_an_error_in_it_is_logged_and_what_was_done_stays_done(
    app: Soniq, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    trail.fails = True
    job_id = await app.enqueue("work")
    assert await app.cancel(job_id)
    assert (await status_of(app, job_id))["status"] == "cancelled"
    assert "acted of trail failed: OSError('the trail is full')" in caplog.text


CALLS: dict[str, Callable[..., Coroutine[Any, Any, object]]] = {
    "cancel": lambda app, job_id, by: app.cancel(job_id, by=by),
    "cancel_many": lambda app, job_id, by: app.cancel_many([job_id], by=by),
    "cancel_all": lambda app, job_id, by: app.cancel_all(by=by),
    "delete": lambda app, job_id, by: app.delete(job_id, by=by),
    "delete_many": lambda app, job_id, by: app.delete_many([job_id], by=by),
    "delete_all": lambda app, job_id, by: app.delete_all(name="work", by=by),
    "retry": lambda app, job_id, by: app.retry(job_id, by=by),
    "resume": lambda app, job_id, by: app.resume("default", by=by),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("by", ["", "x" * 1_001, "\0", 7])
async def test_who_cannot_be_told_does_nothing(
    app: Soniq, trail: Trail, call: str, by: object
) -> None:
    job_id = await app.enqueue("work", delay=3600)
    with pytest.raises(InvalidOption, match="by="):
        await CALLS[call](app, job_id, by)
    assert (await status_of(app, job_id))["status"] == "queued"
    assert trail.told == []
