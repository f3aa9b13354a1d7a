"""Reading jobs, and what a person does to them: status, result, list, wait, cancel, retry,
prune.
"""

import asyncio
import math
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from soniq import (
    Cancel,
    InvalidOption,
    JobCancelled,
    JobContext,
    JobFailed,
    JobId,
    JobNotFound,
    JobNotRetryable,
    SerializationError,
    Soniq,
    WaitTimeout,
    hookimpl,
)
from soniq.ids import IdFactory, parse_id
from soniq.plugin import Outcome, Serializer
from soniq.status import JobStatus
from tests.conftest import MakeApp

Connection = asyncpg.Connection

KEYS = {
    "job_id", "job_name", "status", "result", "error", "queue", "priority", "attempt",
    "max_attempts", "created_at", "scheduled_at", "started_at", "finished_at", "worker_id", "tags",
    "progress", "held_by", "attempts",
}  # fmt: skip


async def known(app: Soniq, job_id: str) -> JobStatus:
    """The status of a job that exists."""
    status = await app.get_job_status(job_id)
    assert status is not None
    return status


class Report(msgspec.Struct):
    total: Decimal
    at: datetime


# --- ids -----------------------------------------------------------------------------------------


async def test_the_id_is_text_and_a_uuid_of_version_7_and_knows_what_its_enqueue_did(
    app: Soniq,
) -> None:
    @app.job()
    async def work() -> int:
        return 5

    before = datetime.now(UTC) - timedelta(seconds=1)
    job_id = await app.enqueue(work)
    assert isinstance(job_id, str)
    assert job_id.inserted
    assert not job_id.replaced
    number = UUID(job_id)
    assert str(number) == job_id
    assert (number.version, number.variant) == (7, "specified in RFC 4122")
    assert before.timestamp() <= (number.int >> 80) / 1000 <= datetime.now(UTC).timestamp() + 1
    await app.run_worker(run_once=True)
    form: Any
    for form in (
        job_id,
        str(job_id),
        number,
        job_id.upper(),
        number.hex,
        f"{{{job_id}}}",
        number.urn,
    ):
        assert await app.get_result(form) == 5
    assert (await known(app, job_id))["job_id"] == str(number)


def test_ids_rise_and_never_repeat() -> None:
    new_id = IdFactory()
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {UUID(each).version for each in ids} == {7}
    assert {UUID(each).variant for each in ids} == {"specified in RFC 4122"}


def test_the_ids_of_two_factories_differ() -> None:
    one, other = IdFactory(), IdFactory()
    assert not {one() for _ in range(5_000)} & {other() for _ in range(5_000)}


def test_an_id_is_parsed_into_the_form_that_postgresql_writes() -> None:
    number = uuid4()
    for form in (number, str(number), str(number).upper(), number.hex, JobId(number)):
        assert parse_id(form) == str(number)


# --- status and result ---------------------------------------------------------------------------


async def test_the_status_of_a_job_has_these_keys_in_each_of_its_states(app: Soniq) -> None:
    during: list[JobStatus] = []

    @app.job(queue="q", priority=2, tags=["a", "b"], max_attempts=3, retry=0)
    async def work(how: str, ctx: JobContext) -> int:
        during.append(await known(app, ctx.job_id))
        if how == "dead":
            raise RuntimeError("boom")
        if how == "cancelled":
            raise Cancel("why not")
        return 5

    ids = {how: await app.enqueue(work, how) for how in ("done", "dead", "cancelled")}
    queued = await known(app, ids["done"])
    await app.run_worker(run_once=True, concurrency=1)
    done, dead, cancelled = [await known(app, job_id) for job_id in ids.values()]
    running = next(each for each in during if each["job_id"] == ids["done"])
    for status in (queued, running, done, dead, cancelled, *await app.jobs()):
        assert set(status) == KEYS
        assert (status["queue"], status["priority"], status["max_attempts"]) == ("q", 2, 3)
        assert status["tags"] == ["a", "b"]
        assert status["job_name"] == work.name
        assert status["progress"] is None
        for name in ("created_at", "scheduled_at", "started_at", "finished_at"):
            when: Any = status[name]
            assert when is None or when.utcoffset() == timedelta(0)

    def facts(status: JobStatus) -> tuple[object, ...]:
        set_ = [status["started_at"], status["finished_at"], status["worker_id"]]
        return (
            status["status"],
            status["attempt"],
            status["result"],
            *(each is not None for each in set_),
        )

    assert facts(queued) == ("queued", 0, None, False, False, False)
    assert facts(running) == ("running", 1, None, True, False, True)
    assert facts(done) == ("done", 1, 5, True, True, True)
    assert facts(dead) == ("dead", 3, None, True, True, True)
    assert facts(cancelled) == ("cancelled", 1, None, True, True, True)
    assert done["started_at"] is not None
    assert done["finished_at"] is not None
    assert done["created_at"] <= done["scheduled_at"] <= done["started_at"] <= done["finished_at"]
    assert queued["error"] is running["error"] is done["error"] is None
    assert dead["error"] is not None
    assert set(dead["error"]) == {"type", "message", "traceback"}
    assert (dead["error"]["type"], dead["error"]["message"]) == ("RuntimeError", "boom")
    assert dead["error"]["traceback"] is not None
    assert 'raise RuntimeError("boom")' in dead["error"]["traceback"]
    assert "soniq/worker" not in dead["error"]["traceback"]
    assert cancelled["error"] is not None
    assert cancelled["error"]["message"] == "why not"


async def test_a_retry_shows_the_error_of_the_failed_attempt_and_a_success_afterwards_shows_none(
    app: Soniq,
) -> None:
    fail = True

    @app.job(retry=0)
    async def work() -> int:
        nonlocal fail
        if fail:
            fail = False
            raise RuntimeError("boom")
        status = await known(app, job_id)
        assert status["error"] is not None
        assert status["error"]["message"] == "boom"
        return 5

    job_id = await app.enqueue(work)
    await app.run_worker(run_once=True)
    status = await known(app, job_id)
    assert (status["status"], status["attempt"], status["result"], status["error"]) == (
        "done",
        2,
        5,
        None,
    )


async def test_what_does_not_exist_has_neither_status_nor_result_nor_arguments(app: Soniq) -> None:
    nobody = str(uuid4())
    assert await app.get_job_status(nobody) is None
    assert await app.get_result(nobody) is None
    assert await app.get_args(nobody) is None
    assert await app.cancel(nobody) is False
    for call in (app.retry, app.wait_for):
        with pytest.raises(JobNotFound, match=nobody) as caught:
            await call(nobody)
        assert caught.value.job_id == nobody


async def test_the_result_has_its_type_where_the_job_is_known_and_is_plain_where_not(
    app: Soniq, make_app: MakeApp
) -> None:
    report = Report(Decimal("1.50"), datetime(2026, 1, 2, tzinfo=UTC))

    @app.job()
    async def make() -> Report:
        return report

    job_id = await app.enqueue(make)
    assert await app.get_result(job_id) is None
    await app.run_worker(run_once=True)
    stranger = make_app()
    plain = {"total": "1.50", "at": "2026-01-02T00:00:00Z"}
    assert (
        await app.get_result(job_id)
        == (await known(app, job_id))["result"]
        == await app.wait_for(job_id)
        == report
    )
    assert await stranger.get_result(job_id) == (await known(stranger, job_id))["result"] == plain
    assert [each["result"] for each in await app.jobs()] == [None], "a list is without results"


async def test_the_arguments_of_a_job_can_be_read_while_it_waits_and_afterwards(app: Soniq) -> None:
    @app.job()
    async def work(n: int, when: datetime | None = None) -> None: ...

    job_id = await app.enqueue(work, 5)
    assert await app.get_args(job_id) == {"n": 5, "when": None}
    await app.run_worker(run_once=True)
    assert await app.get_args(job_id) == {"n": 5, "when": None}


class ReversedText:
    """Not JSON: the text of a value, backwards."""

    name = "backwards"

    def dumps(self, value: object) -> bytes:
        return msgspec.json.encode(value)[::-1]

    def loads(self, data: bytes, type: Any) -> Any:
        return msgspec.json.decode(data[::-1], type=type)


class BackwardsPlugin:
    name = "backwards"

    @hookimpl
    def serializers(self) -> list[Serializer]:
        return [ReversedText()]


async def test_a_row_keeps_the_name_of_its_serializer(
    make_app: MakeApp, connection: Connection
) -> None:
    app, stranger = make_app(plugins=[BackwardsPlugin()]), make_app()

    @app.job(name="work")
    async def work(n: int) -> int:
        return n

    json, backwards = (
        await app.enqueue(work, 12),
        await app.enqueue(work, 12, serializer="backwards"),
    )
    assert (
        await connection.fetchval(
            f"select args from {app.settings.schema}.job where id = $1", UUID(backwards)
        )
        == b'}21:"n"{'
    )
    await app.run_worker(run_once=True)
    assert [await app.get_result(each) for each in (json, backwards)] == [12, 12]
    assert await stranger.get_result(json) == 12
    for read in (stranger.get_result, stranger.get_args):
        with pytest.raises(
            SerializationError,
            match="of work needs the serializer 'backwards', which no plugin here",
        ):
            await read(backwards)


# --- waiting -------------------------------------------------------------------------------------


async def test_waiting_returns_the_result_or_says_why_there_is_none(app: Soniq) -> None:
    @app.job(max_attempts=1)
    async def work(how: str) -> str:
        if how == "dead":
            raise ValueError("no such thing")
        if how == "cancelled":
            raise Cancel("not needed")
        return how

    ids = [await app.enqueue(work, how) for how in ("done", "dead", "cancelled", "dropped")]
    assert await app.cancel(ids[3])
    waiting = [asyncio.create_task(app.wait_for(job_id, timeout=30)) for job_id in ids]
    await app.run_worker(run_once=True)
    done, dead, cancelled, dropped = await asyncio.gather(*waiting, return_exceptions=True)
    assert done == "done"
    assert isinstance(dead, JobFailed)
    assert (dead.job_id, dead.error_type, dead.error_message) == (
        ids[1],
        "ValueError",
        "no such thing",
    )
    assert dead.traceback is not None
    assert "raise ValueError" in dead.traceback
    assert str(dead) == f"job {ids[1]} is dead: ValueError: no such thing"
    assert isinstance(cancelled, JobCancelled)
    assert (cancelled.job_id, cancelled.reason) == (ids[2], "not needed")
    assert isinstance(dropped, JobCancelled)
    assert dropped.reason is None


@pytest.mark.parametrize("timeout", [math.nan, -math.inf, "5", 10**5000, [1]], ids=type)
async def test_a_time_to_wait_that_is_none_is_refused(app: Soniq, timeout: Any) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(InvalidOption, match="timeout= is a number of seconds, a timedelta, or"):
            await app.wait_for(str(uuid4()), timeout)


async def test_waiting_ends_after_its_timeout_and_the_job_goes_on(app: Soniq) -> None:
    @app.job()
    async def work() -> int:
        return 5

    job_id = await app.enqueue(work)
    for timeout in (0, 0.05):
        with pytest.raises(
            WaitTimeout, match=f"{job_id} was not finished after {timeout:g} s"
        ) as caught:
            await app.wait_for(job_id, timeout=timeout)
        assert isinstance(caught.value, TimeoutError)
        assert (caught.value.job_id, caught.value.timeout) == (job_id, timeout)
    await app.run_worker(run_once=True)
    assert await app.wait_for(job_id, timeout=0) == 5
    assert await app.wait_for(job_id) == 5


# --- the list ------------------------------------------------------------------------------------


@pytest.fixture
async def listed(app: Soniq) -> list[JobId]:
    """Six jobs, oldest first: done, dead, done, cancelled, queued, queued."""

    @app.job(name="one", max_attempts=1)
    async def one(fail: bool = False) -> None:
        if fail:
            raise RuntimeError("boom")

    app.job(name="two", queue="other", tags=["t", "u"])(one.function)
    ids = [
        await app.enqueue("one"),
        await app.enqueue("one", fail=True),
        await app.enqueue("two"),
        await app.enqueue("two"),
    ]
    assert await app.cancel(ids[3])
    await app.run_worker(run_once=True)
    return [*ids, await app.enqueue("one", tags=["t"]), await app.enqueue("two", delay=60)]


async def test_jobs_are_listed_newest_first_wherever_they_are(
    app: Soniq, listed: list[JobId]
) -> None:
    jobs = await app.jobs()
    assert [each["job_id"] for each in jobs] == listed[::-1]
    assert [each["status"] for each in jobs] == [
        "queued",
        "queued",
        "cancelled",
        "done",
        "dead",
        "done",
    ]
    for job in jobs:
        assert {**await known(app, job["job_id"]), "result": None, "attempts": []} == job


async def test_jobs_are_listed_by_status_name_queue_and_tag(
    app: Soniq, listed: list[JobId]
) -> None:
    async def places(**filters: Any) -> list[int]:
        return [listed.index(JobId(each["job_id"])) for each in await app.jobs(**filters)]

    assert await places(status="done") == [2, 0]
    assert await places(status="dead") == [1]
    assert await places(status="cancelled") == [3]
    assert await places(status="queued") == [5, 4]
    assert await places(status="running") == await places(status="held") == []
    assert await places(name="one") == [4, 1, 0]
    assert await places(queue="other") == [5, 3, 2]
    assert await places(tag="t") == [5, 4, 3, 2]
    assert await places(tag="u", status="done") == [2]
    assert await places(name="one", queue="other") == []
    assert await places(name="nobody") == []


async def test_jobs_are_listed_that_finished_or_if_they_have_not_were_created_since_a_time(
    app: Soniq, schema: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    @app.job(max_attempts=1)
    async def fail() -> None:
        raise RuntimeError("boom")

    old = [await app.enqueue(fail, delay=delay) for delay in (0, 0, 60)]
    await app.run_worker(run_once=True)
    await connection.execute(f"update {schema}.job set created_at = now() - interval '1 day'")
    await connection.execute(f"update {schema}.history set created_at = now() - interval '1 day'")
    await connection.execute(
        f"update {schema}.history set finished_at = now() - interval '23 hours' where id = $1",
        UUID(old[0]),
    )
    new = await app.enqueue(fail, delay=60)
    since = datetime.now(UTC) - timedelta(hours=1)
    assert [each["job_id"] for each in await app.jobs(since=since)] == [new, old[1]]
    assert [each["job_id"] for each in await app.jobs(since=since, status="dead")] == [old[1]]
    assert [each["job_id"] for each in await app.jobs(since=since, before=new)] == [old[1]]
    assert len(await app.jobs(since=since - timedelta(days=1))) == 4


async def test_jobs_are_listed_page_by_page(app: Soniq, listed: list[JobId]) -> None:
    for limit in (1, 2, 4, 6):
        pages: list[list[str]] = []
        before: str | None = None
        while len(pages) < 10 and (page := await app.jobs(limit=limit, before=before)):
            pages.append([each["job_id"] for each in page])
            before = pages[-1][-1]
        assert [each for page_ in pages for each in page_] == listed[::-1]
        assert {len(each) for each in pages[:-1]} <= {limit}


WRONG_FILTERS: list[tuple[dict[str, Any], str]] = [
    (
        {"status": "finished"},
        "status= is one of queued, held, running, done, dead, cancelled; got 'finished'",
    ),
    ({"status": 5}, "status= is one of"),
    ({"since": "1h"}, "since= takes a datetime with a time zone"),
    ({"since": datetime(2030, 1, 1)}, "has no time zone"),
    ({"limit": 0}, "limit= is an integer from 1"),
    ({"limit": "5"}, "limit= is an integer from 1"),
    ({"name": 5}, "name= takes text"),
    ({"queue": "a\0"}, "queue= cannot hold the character NUL"),
    ({"tag": "\ud800"}, "tag= cannot hold"),
]


async def test_a_filter_that_cannot_be_is_refused(app: Soniq) -> None:
    for filters, said in WRONG_FILTERS:
        with pytest.raises(InvalidOption, match=said) as caught:
            await app.jobs(**filters)
        assert caught.value.option in filters


# --- cancel --------------------------------------------------------------------------------------


class Settled:
    """Notes the outcomes it is told of."""

    name = "settled"

    def __init__(self) -> None:
        self.outcomes: list[tuple[str, str, str, str | None]] = []

    @hookimpl
    def settled(self, outcomes: list[Outcome]) -> None:
        self.outcomes += [(each.job_id, each.status, each.kind, each.reason) for each in outcomes]


async def test_a_queued_job_is_cancelled_and_never_runs(make_app: MakeApp) -> None:
    plugin = Settled()
    app = make_app(plugins=[plugin])
    ran: list[int] = []

    @app.job()
    async def work(n: int) -> None:
        ran.append(n)

    ids = [await app.enqueue(work, n) for n in range(3)]
    later = await app.enqueue(work, 3, delay=60)
    assert await app.cancel(ids[1], reason="not \0 needed")
    assert await app.cancel(later)
    assert plugin.outcomes == [
        (ids[1], "cancelled", "cancel", "not \0 needed"),
        (later, "cancelled", "cancel", None),
    ]
    assert await app.cancel(ids[1]) is False
    await app.run_worker(run_once=True)
    assert sorted(ran) == [0, 2]
    status = await known(app, ids[1])
    assert (status["status"], status["attempt"], status["started_at"]) == ("cancelled", 0, None)
    assert status["finished_at"] is not None
    assert status["error"] is not None
    assert status["error"]["message"] == "not  needed"
    assert (await known(app, later))["error"] is None
    assert await app.cancel(ids[0]) is False
    assert (await known(app, ids[0]))["status"] == "done"


async def test_a_running_job_is_cancelled_by_its_worker(app: Soniq, make_app: MakeApp) -> None:
    running = asyncio.Event()
    ended: list[str] = []

    @app.job()
    async def work() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    job_id = await app.enqueue(work)
    worker = asyncio.create_task(app.run_worker())
    await asyncio.wait_for(running.wait(), 30)
    assert (await known(app, job_id))["status"] == "running"
    assert await make_app().cancel(job_id)
    with pytest.raises(JobCancelled):
        await app.wait_for(job_id, timeout=30)
    app.stop_workers()
    await asyncio.wait_for(worker, 30)
    status = await known(app, job_id)
    assert (status["status"], status["attempt"], ended) == ("cancelled", 1, ["cancelled"])


# --- retry ---------------------------------------------------------------------------------------


async def test_a_dead_job_is_queued_again_with_all_its_attempts_and_its_options(app: Soniq) -> None:
    fail = True
    seen: list[tuple[object, ...]] = []

    @app.job(queue="q", priority=4, max_attempts=2, retry=0, tags=["t"])
    async def work(n: int, ctx: JobContext) -> int:
        seen.append((ctx.attempt, ctx.queue, dict(ctx.headers), n))
        if fail:
            raise RuntimeError("boom")
        return n

    job_id = await app.enqueue(work, 5, headers={"a": 1})
    await app.run_worker(run_once=True)
    before = await known(app, job_id)
    assert before["status"] == "dead"
    await app.retry(job_id)
    queued = await known(app, job_id)
    assert (queued["status"], queued["attempt"], queued["max_attempts"]) == ("queued", 0, 2)
    assert queued["created_at"] == before["created_at"]
    assert queued["error"] == before["error"], "until it ran again"
    assert len(await app.jobs()) == 1
    fail = False
    await app.run_worker(run_once=True)
    after = await known(app, job_id)
    assert (after["status"], after["result"], after["attempt"], after["error"]) == (
        "done",
        5,
        1,
        None,
    )
    assert (after["queue"], after["priority"], after["tags"]) == ("q", 4, ["t"])
    assert seen == [(1, "q", {"a": 1}, 5), (2, "q", {"a": 1}, 5), (1, "q", {"a": 1}, 5)]


async def test_a_cancelled_job_is_queued_again_with_all_its_attempts_and_without_the_reason(
    app: Soniq,
) -> None:
    ran = []

    @app.job(max_attempts=2, retry=3600, tags=["t"])
    async def work(n: int, ctx: JobContext) -> None:
        ran.append((n, ctx.attempt))
        raise OSError("the gateway is away")

    job_id = await app.enqueue(work, 5)
    await app.run_worker(run_once=True)
    assert await app.cancel(job_id, "the order was withdrawn")
    await app.retry(job_id)
    queued = await known(app, job_id)
    assert (queued["status"], queued["attempt"], queued["error"]) == ("queued", 0, None)
    assert queued["tags"] == ["t"]
    await app.run_worker(run_once=True)
    assert ran == [(5, 1), (5, 1)]
    assert len(await app.jobs()) == 1


async def test_a_job_that_expired_runs_when_it_is_retried(app: Soniq) -> None:
    @app.job()
    async def work() -> None: ...

    job_id = await app.enqueue(work, expires=0)
    await app.run_worker(run_once=True)
    assert (await known(app, job_id))["status"] == "cancelled"
    await app.retry(job_id)
    await app.run_worker(run_once=True)
    assert (await known(app, job_id))["status"] == "done"


async def test_a_job_that_waits_for_its_next_attempt_is_due_at_once_and_nothing_else_of_it_changes(
    app: Soniq,
) -> None:
    attempts = []

    @app.job(retry=3600, unique=True)
    async def work(ctx: JobContext) -> None:
        attempts.append(ctx.attempt)
        raise OSError("the gateway is away")

    job_id = await app.enqueue(work)
    await app.run_worker(run_once=True)
    before = await known(app, job_id)
    await app.retry(job_id)
    after = await known(app, job_id)
    assert after["scheduled_at"] < before["scheduled_at"]
    assert {**after, "scheduled_at": None} == {**before, "scheduled_at": None}
    assert not (await app.enqueue(work)).inserted, "it still holds its key"
    await app.run_worker(run_once=True)
    assert attempts == [1, 2]


async def test_retrying_a_job_that_is_due_changes_nothing(app: Soniq) -> None:
    @app.job()
    async def work() -> None: ...

    job_id = await app.enqueue(work)
    before = await known(app, job_id)
    await app.retry(job_id)
    assert await known(app, job_id) == before


async def test_a_job_that_runs_is_held_or_is_done_cannot_be_retried(
    app: Soniq, schema: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    @app.job()
    async def work() -> None: ...

    done = await app.enqueue(work)
    await app.run_worker(run_once=True)
    running, held = [await app.enqueue(work) for _ in range(2)]
    for job_id, status in ((running, "running"), (held, "held")):
        await connection.execute(
            f"update {schema}.job set status = $2, held_by = $3 where id = $1",
            UUID(job_id),
            status,
            ["me"] if status == "held" else None,
        )
    for job_id, status in ((done, "done"), (running, "running"), (held, "held")):
        with pytest.raises(
            JobNotRetryable, match=f"or queued job can be retried; {job_id} is {status}"
        ) as caught:
            await app.retry(job_id)
        assert (caught.value.job_id, caught.value.status) == (job_id, status)
        assert (await known(app, job_id))["status"] == status


async def test_of_many_who_retry_one_job_all_find_it_queued_once(app: Soniq) -> None:
    @app.job(max_attempts=1)
    async def work() -> None:
        raise RuntimeError("boom")

    job_id = await app.enqueue(work)
    await app.run_worker(run_once=True)
    calls: list[Coroutine[Any, Any, None]] = [app.retry(job_id) for _ in range(8)]
    await asyncio.gather(*calls)
    assert [each["status"] for each in await app.jobs()] == ["queued"]


# --- prune ---------------------------------------------------------------------------------------


async def test_prune_forgets_finished_jobs_by_age_and_status_and_nothing_else(app: Soniq) -> None:
    @app.job(max_attempts=1)
    async def work(fail: bool = False) -> None:
        if fail:
            raise RuntimeError("boom")

    done, dead, queued = [
        await app.enqueue(work),
        await app.enqueue(work, fail=True),
        await app.enqueue(work, delay=60),
    ]
    await app.run_worker(run_once=True)
    assert await app.prune() == 0
    assert await app.prune(older_than=3600) == 0
    assert await app.prune(older_than=0, status="cancelled") == 0
    assert await app.prune(older_than=0, status="dead") == 1
    assert {each["job_id"] for each in await app.jobs()} == {done, queued}
    assert await app.prune(older_than=0) == 1
    assert [each["job_id"] for each in await app.jobs()] == [queued]
    assert await app.get_job_status(dead) is None


async def test_what_prune_cannot_do_is_refused(app: Soniq) -> None:
    for wrong in ({"status": "queued"}, {"status": "x"}, {"older_than": -1}, {"older_than": "a"}):
        with pytest.raises(InvalidOption, match=r"=.*got"):
            await app.prune(**wrong)
