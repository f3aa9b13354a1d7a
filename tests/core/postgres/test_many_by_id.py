"""Some jobs at once, by their ids: each becomes what the call for one job makes of it, and what stays
as it is is told with the reason; and all that match, up to a limit and with progress.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from soniq import InvalidJobId, InvalidOption, JobId, Soniq
from tests.support.jobs import status_of
from tests.support.waiting import eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

MISSING = "01900000-0000-7000-8000-000000000000"
NOT_THERE = "no job has this id"


@pytest.fixture
async def jobs(app: Soniq, connection: "Connection", schema: str) -> dict[str, JobId]:
    """A job of each state, by what it is."""

    @app.job(name="work", max_attempts=1)
    async def work(fails: bool = False) -> None:
        if fails:
            raise OSError("the disk is full")

    found = {
        "done": await app.enqueue(work),
        "dead": await app.enqueue(work, fails=True),
        "cancelled": await app.enqueue(work),
    }
    await app.cancel(found["cancelled"])
    await app.run_worker(run_once=True)
    found |= {
        "due": await app.enqueue(work),
        "later": await app.enqueue(work, delay=3600),
        "held": await app.enqueue(work),
        "running": await app.enqueue(work),
    }
    await becomes(connection, schema, found["held"], "held")
    await becomes(connection, schema, found["running"], "running")
    return found


async def becomes(connection: "Connection", schema: str, job_id: JobId, status: str) -> None:
    """As if a plugin held the job, or a worker ran it."""
    await connection.execute(
        f"update {schema}.job set status = $2, held_by = case when $2 = 'held' then '{{gate}}'::text[] end"
        " where id = $1",
        job_id.uuid,
        status,
    )


async def by_status(app: Soniq, jobs: dict[str, JobId]) -> dict[str, str | None]:
    """What each job is now; None where it is gone."""
    now = {each["job_id"]: each["status"] for each in await app.jobs()}
    return {what: now.get(job_id) for what, job_id in jobs.items()}


@contextlib.asynccontextmanager
async def in_between(
    app: Soniq,
    other: "Connection",
    call: Coroutine[Any, Any, Any],
    change: Callable[[], Awaitable[object]],
) -> "AsyncIterator[asyncio.Task[Any]]":
    """The call, for which a change is committed by another transaction between its look at the
    rows and its locks on them.
    """
    transaction = other.transaction()
    await transaction.start()
    await change()
    task = asyncio.create_task(call)
    waiting = "select exists (select from pg_locks where $1 = any(pg_blocking_pids(pid)))"
    await eventually(lambda: other.fetchval(waiting, other.get_server_pid()))
    await transaction.commit()
    yield task
    await task


# --- retry ---------------------------------------------------------------------------------------


async def test_those_that_can_be_are_retried_and_the_others_are_told(
    app: Soniq, jobs: dict[str, JobId]
) -> None:
    done = await app.retry_many([*jobs.values(), MISSING])
    assert done == {
        "queued": 3,
        "left": {
            jobs["done"]: "it is done",
            jobs["held"]: "it is held by gate",
            jobs["running"]: "it runs",
            MISSING: NOT_THERE,
        },
    }
    assert await by_status(app, jobs) == {
        **dict.fromkeys(["dead", "cancelled", "due", "later"], "queued"),
        "done": "done", "held": "held", "running": "running",
    }  # fmt: skip
    assert (await app.backlog())["default"]["scheduled"] == 0
    assert await app.retry_many([jobs["due"]]) == {"queued": 0, "left": {}}


async def test_a_job_whose_key_is_taken_stays_and_the_others_of_its_batch_are_retried(
    app: Soniq, jobs: dict[str, JobId]
) -> None:
    ids = [await app.enqueue("work", fails=True, dedup_key=key) for key in "ab"]
    await app.run_worker(run_once=True)
    holder = await app.enqueue("work", dedup_key="a", delay=3600)
    left = {
        ids[0]: f"{holder} holds its dedup key and is not finished",
        jobs["running"]: "it runs",
        MISSING: NOT_THERE,
    }
    assert await app.retry_many([*ids, jobs["running"], MISSING]) == {"queued": 1, "left": left}
    assert (await status_of(app, ids[0]))["status"] == "dead"
    assert (await status_of(app, ids[1]))["status"] == "queued"


async def test_of_two_dead_jobs_of_one_key_the_first_that_is_named_is_retried(
    app: Soniq, jobs: dict[str, JobId]
) -> None:
    ids = []
    for _ in range(2):
        ids.append(await app.enqueue("work", fails=True, dedup_key="k"))
        await app.run_worker(run_once=True)
    done = await app.retry_many(ids)
    assert done["queued"] == 1
    assert list(done["left"]) == [ids[1]]


async def test_a_job_that_is_cancelled_by_another_while_it_is_retried_is_retried_all_the_same(
    app: Soniq, jobs: dict[str, JobId], other_connection: "Connection", schema: str
) -> None:
    def cancel() -> Awaitable[object]:
        return other_connection.fetch(
            f"select * from {schema}.cancel_waiting_1($1, null)", [jobs["later"].uuid]
        )

    call = app.retry_many([jobs["later"], jobs["done"]])
    async with in_between(app, other_connection, call, cancel) as retrying:
        assert await retrying == {"queued": 1, "left": {jobs["done"]: "it is done"}}
    assert (await status_of(app, jobs["later"]))["status"] == "queued"


# --- cancel --------------------------------------------------------------------------------------


async def test_those_that_wait_are_cancelled_those_that_run_are_asked_and_the_others_told(
    app: Soniq, jobs: dict[str, JobId]
) -> None:
    done = await app.cancel_many([*jobs.values(), MISSING], "withdrawn")
    assert done == {
        "cancelled": 3,
        "asked": 1,
        "left": {
            jobs["done"]: "it is done",
            jobs["dead"]: "it is dead",
            jobs["cancelled"]: "it is cancelled",
            MISSING: NOT_THERE,
        },
    }
    assert await by_status(app, jobs) == {
        **dict.fromkeys(["cancelled", "due", "later", "held"], "cancelled"),
        "done": "done", "dead": "dead", "running": "running",
    }  # fmt: skip
    error = (await status_of(app, jobs["later"]))["error"]
    assert error is not None
    assert error["message"] == "withdrawn"


async def test_jobs_that_run_are_ended_by_their_worker_with_the_reason(app: Soniq) -> None:
    running = asyncio.Semaphore(0)

    @app.job(name="wait")
    async def wait() -> None:
        running.release()
        await asyncio.Event().wait()

    ids = await app.enqueue_many(wait, [{}] * 2)
    worker = asyncio.create_task(app.run_worker(concurrency=2, run_once=True))
    async with asyncio.timeout(20):
        for _ in ids:
            await running.acquire()
        assert await app.cancel_many(ids, "enough") == {"cancelled": 0, "asked": 2, "left": {}}
        await worker
    statuses = [await status_of(app, each) for each in ids]
    assert [(each["status"], each["error"] and each["error"]["message"]) for each in statuses] == [
        ("cancelled", "enough")
    ] * 2


async def test_a_job_that_is_claimed_while_it_is_cancelled_is_asked_to_end(
    app: Soniq, jobs: dict[str, JobId], other_connection: "Connection", schema: str
) -> None:
    def claim() -> Awaitable[object]:
        return becomes(other_connection, schema, jobs["due"], "running")

    call = app.cancel_many([jobs["due"], jobs["later"]])
    async with in_between(app, other_connection, call, claim) as cancelling:
        assert await cancelling == {"cancelled": 1, "asked": 1, "left": {}}


async def test_all_that_wait_leaves_alone_what_is_claimed_meanwhile(
    app: Soniq, jobs: dict[str, JobId], other_connection: "Connection", schema: str
) -> None:
    def claim() -> Awaitable[object]:
        return becomes(other_connection, schema, jobs["due"], "running")

    async with in_between(app, other_connection, app.cancel_all(), claim) as cancelling:
        assert await cancelling == 1
    asked = f"select count(*) from {schema}.job where cancel_requested"
    assert await other_connection.fetchval(asked) == 0


# --- delete --------------------------------------------------------------------------------------


async def test_those_that_do_not_run_are_deleted_and_the_others_are_told(
    app: Soniq, jobs: dict[str, JobId]
) -> None:
    assert await app.delete_many([*jobs.values(), MISSING]) == {
        "deleted": 6,
        "left": {jobs["running"]: "it runs", MISSING: NOT_THERE},
    }
    left = {what: status for what, status in (await by_status(app, jobs)).items() if status}
    assert left == {"running": "running"}


async def test_a_job_that_is_claimed_while_it_is_deleted_stays(
    app: Soniq, jobs: dict[str, JobId], other_connection: "Connection", schema: str
) -> None:
    def claim() -> Awaitable[object]:
        return becomes(other_connection, schema, jobs["due"], "running")

    call = app.delete_many([jobs["due"], jobs["later"]])
    async with in_between(app, other_connection, call, claim) as deleting:
        assert await deleting == {"deleted": 1, "left": {jobs["due"]: "it runs"}}


# --- all three -----------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Soniq, Any], Coroutine[Any, Any, Any]]] = {
    "retry": lambda app, ids: app.retry_many(ids),
    "cancel": lambda app, ids: app.cancel_many(ids),
    "delete": lambda app, ids: app.delete_many(ids),
}
COUNTED = {"retry": "queued", "cancel": "cancelled", "delete": "deleted"}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("wrong", ["not-a-uuid", "", 7, None])
async def test_one_id_that_is_none_is_an_error_and_nothing_changes(
    app: Soniq, jobs: dict[str, JobId], call: str, wrong: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.postgres.bulk.BATCH", 2)
    before = await by_status(app, jobs)
    with pytest.raises(InvalidJobId) as caught:
        await CALLS[call](app, [*jobs.values(), wrong])
    assert caught.value.value is wrong
    assert await by_status(app, jobs) == before
    assert (await app.backlog())["default"]["scheduled"] == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("wrong", ["the id itself", None, 7])
async def test_what_is_no_list_of_ids_is_refused_and_nothing_changes(
    app: Soniq, jobs: dict[str, JobId], call: str, wrong: Any
) -> None:
    before = await by_status(app, jobs)
    with pytest.raises(InvalidOption, match="takes the ids of jobs in a list") as caught:
        await CALLS[call](app, jobs["dead"] if wrong == "the id itself" else wrong)
    assert caught.value.option == "job_ids"
    assert await by_status(app, jobs) == before


async def test_an_on_batch_that_cannot_be_called_is_refused_before_the_first(
    app: Soniq, jobs: dict[str, JobId]
) -> None:
    before = await by_status(app, jobs)
    wrong: Any = "print"
    for call in (app.retry_all, app.cancel_all):
        with pytest.raises(InvalidOption, match="on_batch= takes a function"):
            await call(on_batch=wrong)
    with pytest.raises(InvalidOption, match="on_batch= takes a function"):
        await app.delete_all(status="done", on_batch=wrong)
    assert await by_status(app, jobs) == before


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("batch", [1, 500])
async def test_an_id_that_is_there_twice_in_whatever_form_counts_once(
    app: Soniq, jobs: dict[str, JobId], call: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.postgres.bulk.BATCH", batch)
    job_id = jobs["later"]
    done = await CALLS[call](
        app, [job_id, job_id.upper(), job_id.uuid, f"{{{job_id}}}", MISSING, MISSING]
    )
    assert (done[COUNTED[call]], done["left"]) == (1, {MISSING: NOT_THERE})


@pytest.mark.parametrize("call", CALLS)
async def test_none_are_changed_where_none_are_named(
    app: Soniq, jobs: dict[str, JobId], call: str
) -> None:
    done = await CALLS[call](app, iter(()))
    assert (done[COUNTED[call]], done["left"]) == (0, {})


@pytest.mark.parametrize("call", CALLS)
async def test_more_than_a_batch_are_changed(
    app: Soniq, jobs: dict[str, JobId], call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.postgres.bulk.BATCH", 7)
    ids = await app.enqueue_many("work", [{}] * 50, delay=3600)
    done = await CALLS[call](app, [*ids, MISSING])
    assert (done[COUNTED[call]], done["left"]) == (50, {MISSING: NOT_THERE})


# --- all that match ------------------------------------------------------------------------------

ALL: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
    "retry": lambda app, **options: app.retry_all(status="queued", **options),
    "cancel": lambda app, **options: app.cancel_all(**options),
    "delete": lambda app, **options: app.delete_all(status="queued", **options),
}


@pytest.mark.parametrize("call", ALL)
async def test_a_limit_is_for_the_newest_and_progress_is_told_after_each_batch(
    app: Soniq, jobs: dict[str, JobId], call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.postgres.bulk.BATCH", 3)
    ids = await app.enqueue_many("work", [{}] * 10, delay=3600)
    told: list[int] = []
    done = await ALL[call](app, limit=8, on_batch=told.append)
    assert (done if call == "cancel" else done[COUNTED[call]]) == 8
    assert told == [3, 6, 8]
    assert {
        each["job_id"]
        for each in await app.jobs(status="queued")
        if each["scheduled_at"] - each["created_at"] > timedelta(minutes=30)
    } == {jobs["later"], *ids[:2]}


@pytest.mark.parametrize("call", ALL)
async def test_what_progress_raises_ends_the_call_and_what_was_done_stays_done(
    app: Soniq, jobs: dict[str, JobId], call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.postgres.bulk.BATCH", 3)
    await app.enqueue_many("work", [{}] * 10, delay=3600)
    told: list[int] = []

    async def stop_after_two(count: int) -> None:
        told.append(count)
        if len(told) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await ALL[call](app, on_batch=stop_after_two)
    assert told == [3, 6]
    assert (await app.backlog())["default"]["scheduled"] == 11 - 6


@pytest.mark.parametrize("call", ALL)
@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "9"])
async def test_a_limit_that_is_none_changes_nothing(
    app: Soniq, jobs: dict[str, JobId], call: str, limit: object
) -> None:
    with pytest.raises(InvalidOption, match="limit"):
        await ALL[call](app, limit=limit)
    assert (await app.backlog())["default"]["scheduled"] == 1


async def test_all_that_match_are_found_by_ids_alone(
    app: Soniq,
    jobs: dict[str, JobId],
    connection: "Connection",
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Errors, arguments and results may be large, and there may be many."""
    asked: list[str] = []
    fetch = app._database.fetch

    def listening(statement: str, *values: object) -> Coroutine[Any, Any, list[asyncpg.Record]]:
        asked.append(statement)
        return fetch(statement, *values)

    monkeypatch.setattr(app._database, "fetch", listening)
    await app.retry_all()
    await app.cancel_all()
    await app.delete_all(name="work")
    assert set(asked) == {"ids", "states"}
    columns = await connection.fetch(
        f"select * from {schema}.ids_1(null, null, null, null, null, 1)"
    )
    assert [list(row.keys()) for row in columns] == [["id"]]


@pytest.mark.parametrize("status", [None, "done", "dead", "queued", "running"])
@pytest.mark.parametrize("filters", [{}, {"name": "work"}, {"queue": "mail", "tag": "red"}])
async def test_the_ids_are_those_of_the_jobs_that_a_list_shows(
    app: Soniq, jobs: dict[str, JobId], status: Any, filters: dict[str, Any]
) -> None:
    await app.enqueue_many(
        "work", [{"fails": n % 3 == 0} for n in range(9)], queue="mail", tags=["red"]
    )
    await app.enqueue("work", queue="mail", tags=["blue"])
    await app.run_worker(run_once=True)
    assert app._runtime is not None
    name, queue, tag = (filters.get(each) for each in ("name", "queue", "tag"))
    before = None
    for limit in (3, 100):
        shown = await app.jobs(status=status, before=before, limit=limit, **filters)
        ids = await app._runtime.lookup.ids(status, name, queue, tag, before, limit)
        assert ids == [each["job_id"] for each in shown]
        before = ids[-1] if ids else None
