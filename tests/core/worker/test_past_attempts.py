"""What is kept of a job's attempts: each that failed, was lost, or ended it, and who ran it again."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from soniq import InvalidOption, Retry, Snooze, Soniq
from soniq.status import Attempt
from tests.conftest import MakeApp
from tests.support.jobs import finished, run_job, status_of, working

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

Ends = list[BaseException | None]


@pytest.fixture
def ends() -> Ends:
    """How the attempts of the job `work` end, in order: None is well."""
    return []


@pytest.fixture
def app(make_app: MakeApp, ends: Ends) -> Soniq:
    app = make_app()

    @app.job(name="work", max_attempts=30, retry=0)
    async def work() -> None:
        if ends and (end := ends.pop(0)) is not None:
            raise end

    return app


async def attempts(app: Soniq, job_id: str) -> list[Attempt]:
    found = (await status_of(app, job_id))["attempts"]
    detail = await app.get_job(job_id)
    assert detail is not None
    assert detail["attempts"] == found
    return found


async def told(app: Soniq, job_id: str) -> list[tuple[int | None, str, str | None]]:
    """Number, kind and message of each."""
    return [(each["n"], each["kind"], each["message"]) for each in await attempts(app, job_id)]


async def test_a_job_that_succeeds_at_once_has_none_and_stores_none(
    app: Soniq, connection: "Connection", schema: str
) -> None:
    assert (await run_job(app, "work"))["attempts"] == []
    assert await connection.fetchval(f"select attempts is null from {schema}.history")


async def test_each_failure_is_kept_with_what_is_known_of_it_also_once_the_job_is_done(
    app: Soniq, ends: Ends
) -> None:
    ends += [ValueError("no address"), Retry(0), KeyError("name"), None]
    before = datetime.now(UTC)
    job_id = await app.enqueue("work")
    await app.run_worker(run_once=True)
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"]) == ("done", 4)
    assert await told(app, job_id) == [
        (1, "retry", "no address"), (2, "retry", None), (3, "retry", "'name'"),
    ]  # fmt: skip
    first, second, third = status["attempts"]
    assert [each["type"] for each in status["attempts"]] == ["ValueError", None, "KeyError"]
    assert first["worker_id"] == status["worker_id"]
    assert before - timedelta(seconds=5) < first["at"] < third["at"]
    assert 0 <= (first["took"] or -1) < 20
    assert first["traceback"] is not None
    assert "raise end" in first["traceback"]
    assert (second["traceback"], third["traceback"], third["by"]) == (None, None, None)


async def test_the_last_of_a_dead_job_is_kept_and_a_timeout_is_told_by_its_type(
    app: Soniq, connection: "Connection"
) -> None:
    @app.job(name="slow", max_attempts=2, retry=0, timeout=0.05)
    async def slow() -> None:
        await asyncio.Event().wait()

    status = await run_job(app, slow)
    assert [(each["n"], each["kind"], each["type"]) for each in status["attempts"]] == [
        (1, "retry", "soniq.errors.AttemptTimeout"), (2, "dead", "soniq.errors.AttemptTimeout"),
    ]  # fmt: skip
    assert all((each["took"] or 0) >= 0.05 for each in status["attempts"])


async def test_a_snooze_is_none(app: Soniq, ends: Ends) -> None:
    ends += [Snooze(0), ValueError("no"), Snooze(0), None]
    status = await run_job(app, "work")
    assert await told(app, status["job_id"]) == [(1, "retry", "no")]


async def test_one_that_was_cancelled_while_it_ran_is_kept_with_the_reason(app: Soniq) -> None:
    running = asyncio.Event()

    @app.job(name="wait")
    async def wait() -> None:
        running.set()
        await asyncio.Event().wait()

    job_id = await app.enqueue(wait)
    async with working(app):
        await asyncio.wait_for(running.wait(), 20)
        await app.cancel(job_id, "withdrawn")
        await finished(app, job_id)
    assert await told(app, job_id) == [(1, "cancel", "withdrawn")]


async def test_a_job_that_was_cancelled_while_it_waited_keeps_those_before(
    app: Soniq, ends: Ends
) -> None:
    @app.job(name="later", retry=3600)
    async def later() -> None:
        raise ValueError("no")

    job_id = (await run_job(app, later))["job_id"]
    await app.cancel(job_id, "withdrawn")
    assert await told(app, job_id) == [(1, "retry", "no")]


@pytest.mark.parametrize("left", [0, 5])
async def test_an_attempt_whose_worker_was_lost_is_kept_where_it_counts(
    app: Soniq, connection: "Connection", schema: str, left: int
) -> None:
    job_id = await app.enqueue("work", max_attempts=1 + left)
    worker = uuid4()
    for started in (False, True):
        await connection.execute(
            f"update {schema}.job set status = 'running', worker_id = $1, started = $2,"
            " started_at = now() - interval '1 minute'",
            worker,
            started,
        )
        await connection.fetch(
            app._database.sql["rescue"],
            [job_id.uuid],
            '{"type": "soniq.errors.WorkerLost", "message": "gone", "traceback": null}',
        )
    assert (await status_of(app, job_id))["status"] == ("queued" if left else "dead")
    (lost,) = await attempts(app, job_id)
    assert (lost["n"], lost["kind"], lost["message"]) == (1, "lost", "gone")
    assert lost["worker_id"] == str(worker)
    assert 60 <= (lost["took"] or 0) < 120
    assert datetime.now(UTC) - lost["at"] > timedelta(seconds=59)


async def test_they_outlive_a_retry_by_a_person_who_is_named_among_them(
    app: Soniq, ends: Ends
) -> None:
    ends += [ValueError("one"), ValueError("two"), None]
    job_id = await app.enqueue("work", max_attempts=1)
    await app.run_worker(run_once=True)
    await app.retry(job_id, by="Eva")
    await app.run_worker(run_once=True)
    assert await app.retry_many([job_id], by="Tom") == {"queued": 1, "left": {}}
    await app.run_worker(run_once=True)
    found = await attempts(app, job_id)
    assert [(each["n"], each["kind"], each["message"], each["by"]) for each in found] == [
        (1, "dead", "one", None), (None, "retried", None, "Eva"),
        (1, "dead", "two", None), (None, "retried", None, "Tom"),
    ]  # fmt: skip
    assert (await status_of(app, job_id))["status"] == "done"


async def test_all_that_are_retried_say_by_whom(app: Soniq, ends: Ends) -> None:
    ends += [ValueError("one"), ValueError("two")]
    ids = await app.enqueue_many("work", [{}] * 2, max_attempts=1)
    await app.run_worker(run_once=True)
    await app.retry_all(by="Eva")
    assert [(await attempts(app, each))[-1]["by"] for each in ids] == ["Eva", "Eva"]


@pytest.mark.parametrize("by", ["", "x" * 1_001, "\0", 7])
async def test_who_cannot_be_kept_retries_nothing(app: Soniq, ends: Ends, by: Any) -> None:
    ends.append(ValueError("one"))
    job_id = await app.enqueue("work", max_attempts=1)
    await app.run_worker(run_once=True)
    for call in (app.retry(job_id, by=by), app.retry_many([job_id], by=by), app.retry_all(by=by)):
        with pytest.raises(InvalidOption, match="by="):
            await call
    assert (await status_of(app, job_id))["status"] == "dead"


async def test_of_many_the_first_and_the_last_nineteen_are_kept(app: Soniq, ends: Ends) -> None:
    ends += [*[ValueError(f"no {n}") for n in range(1, 26)], None]
    status = await run_job(app, "work")
    assert (status["status"], status["attempt"]) == ("done", 26)
    found = status["attempts"]
    assert [each["n"] for each in found] == [1, *range(7, 26)]
    assert [bool(each["traceback"]) for each in found] == [True] + [False] * 19


async def test_a_long_message_is_cut(
    app: Soniq, ends: Ends, connection: "Connection", schema: str
) -> None:
    ends += [*[ValueError("é" * 1_000_000)] * 25, None]
    status = await run_job(app, "work")
    assert {len(each["message"] or "") for each in status["attempts"]} == {1_000}
    size = await connection.fetchval(f"select octet_length(attempts::text) from {schema}.history")
    assert size < 120_000


async def test_what_json_cannot_hold_is_kept_without_it(app: Soniq, ends: Ends) -> None:
    ends += [ValueError("a\0b \ud800"), None]
    status = await run_job(app, "work")
    assert status["attempts"][0]["message"] == "ab \\ud800"


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "UTC+25"])
async def test_times_are_what_they_are_whatever_the_zone_of_the_session(
    app: Soniq, connection: "Connection", schema: str, zone: str
) -> None:
    await app.start()
    before = datetime.now(UTC)
    await connection.execute(f"set timezone = '{zone}'")
    at = await connection.fetchval(
        f"select {schema}.attempted_1(null, 1, 'dead', 1.5, null, null, null) -> 0 ->> 'at'"
    )
    found = datetime.fromisoformat(at)
    assert timedelta(seconds=-5) < found - before + timedelta(seconds=1.5) < timedelta(seconds=20)


async def test_a_list_of_jobs_leaves_them_out(app: Soniq, ends: Ends) -> None:
    ends += [ValueError("no"), None]
    await run_job(app, "work")
    assert [each["attempts"] for each in await app.jobs()] == [[]]


async def test_a_worker_of_the_release_before_goes_on_beside_a_new_one(
    app: Soniq, ends: Ends, connection: "Connection", schema: str
) -> None:
    """It calls the functions that it knows."""
    ends += [ValueError("new"), ValueError("new"), None]
    job_id = await app.enqueue("work", max_attempts=3)
    await app.run_worker(run_once=True, max_jobs=1)
    old = uuid4()
    await connection.execute(
        f"insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, names)"
        " values ($1, 60, 1, 1, '', '', '{}')",
        old,
    )
    statement = f"""
        select r_id, r_claim from {schema}.settle_and_claim_1(
            $1, '{{}}', '{{}}', null, '{{}}', null, null, '{{}}', $2, $3, $4, $5, $6,
            array['default'], array[0::smallint], array['-infinity'::timestamptz],
            array['00000000-0000-0000-0000-000000000000'::uuid], $7
        ) where r_id is not null
    """
    (claimed,) = await connection.fetch(statement, old, [], [], [], [], [], 1)
    assert claimed["r_id"] == job_id.uuid
    error = '{"type": "OldError", "message": "old", "traceback": null}'
    back = [claimed["r_id"]], [claimed["r_claim"]], [2], [0.0], [error]
    assert await connection.fetch(statement, old, *back, 0) == []

    status = await status_of(app, job_id)
    assert (status["attempt"], status["error"] and status["error"]["message"]) == (2, "old")
    before = [(1, "retry", "new"), (2, "retry", "old")]
    assert await told(app, job_id) == before
    await app.run_worker(run_once=True)
    assert await told(app, job_id) == [*before, (3, "dead", "new")]
    (came,) = await connection.fetch(
        f"select changed, owed, id from {schema}.retry_1($1, null, null, null, null, null)",
        [job_id.uuid],
    )
    assert tuple(came) == (True, False, job_id.uuid)
    assert (await told(app, job_id))[-1] == (None, "retried", None)
    (claimed,) = await connection.fetch(statement, old, [], [], [], [], [], 1)
    done = statement.replace("$1, '{}', '{}', null, '{}'", "$1, $8, $9, null, array[null::bytea]")
    await connection.fetch(
        done.replace("'{}', $2", "array[1.5], $2"),
        old, [], [], [], [], [], 0, [claimed["r_id"]], [claimed["r_claim"]],
    )  # fmt: skip
    assert (await status_of(app, job_id))["status"] == "done"
    assert await told(app, job_id) == [*before, (3, "dead", "new"), (None, "retried", None)]
