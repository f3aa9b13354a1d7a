"""What an `Outcome` tells of an attempt, whoever decided it, and how it is stored."""

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from soniq import Cancel, InvalidOption, JobContext, Soniq
from soniq.errors import StoredError, WorkerLost
from soniq.plugin import Outcome
from tests.core.hooks.support import MakeApp, MakePlugin, Run, Work

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

HEADERS = {"tenant": "a", "deep": {"n": [1, 2]}}
TAGS = ["nightly", "eu"]


@pytest.fixture
def told() -> list[Outcome]:
    """The outcomes of which the app's plugin was told, in and after the transaction alike."""
    return []


@pytest.fixture
def app(make_app: MakeApp, make_plugin: MakePlugin, told: list[Outcome]) -> Soniq:
    """An app with a plugin that keeps what it is told."""
    in_transaction: list[Outcome] = []

    def settle_tx(outcomes: Sequence[Outcome]) -> None:
        in_transaction.extend(outcomes)

    def settled(outcomes: Sequence[Outcome]) -> None:
        assert all(any(each is other for other in in_transaction) for each in outcomes)
        told.extend(outcomes)

    return make_app(plugins=[make_plugin("told", settle_tx=settle_tx, settled=settled)])


def enqueued_with(outcome: Outcome) -> tuple[object, ...]:
    """What an outcome tells of the enqueue."""
    return dict(outcome.headers), list(outcome.tags)


async def orphan(connection: "Connection", schema: str, changes: str = "started = true") -> str:
    """Let the one job be that of a worker which died ten seconds after it was due, and claimed it
    six before; the worker's id.
    """
    worker: object = await connection.fetchval(
        f"insert into {schema}.worker (id, seen_at, lease, concurrency, pid, hostname, version,"
        " names) values (gen_random_uuid(), now() - interval '1 hour', 1, 1, 1, '', '', '{}')"
        " returning id"
    )
    await connection.execute(
        f"update {schema}.job set status = 'running', worker_id = $1, claim = 7, attempt = 2,"
        " scheduled_at = now() - interval '10 seconds', started_at = now() - interval '6 seconds',"
        f" {changes}",
        worker,
    )
    return str(worker)


async def rescued(app: Soniq, work: Work, told: list[Outcome]) -> Outcome:
    """What is told of the job that a worker of the app rescues."""
    async with work(app), asyncio.timeout(20):
        while not told:
            await asyncio.sleep(0.01)
    return told[0]


class TestTold:
    @pytest.mark.parametrize("fails", [False, True])
    async def test_an_outcome_tells_how_the_worker_ran_the_job(
        self, app: Soniq, told: list[Outcome], run: Run, fails: bool
    ) -> None:
        seen: list[JobContext] = []

        @app.job(max_attempts=1, tags=TAGS)
        async def handler(ctx: JobContext) -> None:
            seen.append(ctx)
            await asyncio.sleep(0.02)
            if fails:
                raise ValueError("boom")

        await app.enqueue(handler, headers=HEADERS)
        await app.run_worker(run_once=True)
        [outcome], [ctx] = told, seen
        assert enqueued_with(outcome) == (HEADERS, TAGS) == (ctx.headers, list(ctx.tags))
        assert (outcome.worker_id, outcome.claim) == (ctx.worker_id, ctx.claim)
        assert outcome.queued_for == ctx.queued_for >= 0
        assert outcome.took is not None
        assert outcome.took >= 0.02
        assert outcome.error_message == ("boom" if fails else None)
        assert outcome.error_type == ("ValueError" if fails else None)

    async def test_the_number_of_the_claim_rises_with_each_attempt(
        self, app: Soniq, told: list[Outcome], run: Run
    ) -> None:
        @app.job(max_attempts=3, retry=0)
        async def handler() -> None:
            raise ValueError("boom")

        await run(app, handler)
        assert [(each.attempt, each.claim) for each in told] == [(1, 1), (2, 2), (3, 3)]

    async def test_an_outcome_tells_of_a_job_that_a_person_cancelled_while_it_waited(
        self, app: Soniq, told: list[Outcome]
    ) -> None:
        @app.job()
        async def handler() -> None: ...

        await app.cancel(await app.enqueue(handler, headers=HEADERS, tags=TAGS, delay=60), "why")
        [outcome] = told
        assert enqueued_with(outcome) == (HEADERS, TAGS)
        assert (outcome.reason, outcome.claim) == ("why", 0)
        assert (outcome.worker_id, outcome.queued_for, outcome.took) == (None, None, None)

    async def test_an_outcome_tells_of_a_job_that_expired(
        self, app: Soniq, told: list[Outcome], connection: "Connection", schema: str
    ) -> None:
        @app.job()
        async def handler() -> None: ...

        await app.enqueue(handler, headers=HEADERS, tags=TAGS, expires=60)
        await connection.execute(
            f"update {schema}.job set expires_at = now() - interval '1 second',"
            " scheduled_at = now() - interval '9 seconds'"
        )
        await app.run_worker(run_once=True)
        [outcome] = told
        assert enqueued_with(outcome) == (HEADERS, TAGS)
        assert (outcome.status, outcome.claim, outcome.took) == ("cancelled", 1, None)
        assert outcome.worker_id is not None
        assert outcome.queued_for is not None
        assert outcome.queued_for >= 9

    @pytest.mark.parametrize(
        ("changes", "ends"),
        [
            ("started = true", ("queued", "lost", 3)),
            ("started = true, max_attempts = 3", ("dead", "lost", 3)),
            ("cancel_requested = true", ("cancelled", "cancel", 2)),
        ],
    )
    async def test_an_outcome_tells_of_a_job_whose_worker_died(
        self,
        app: Soniq,
        told: list[Outcome],
        connection: "Connection",
        schema: str,
        work: Work,
        changes: str,
        ends: tuple[object, ...],
    ) -> None:
        @app.job(queue="of nobody")
        async def handler() -> None: ...

        app.on_error(lambda ctx, error: contexts.append(ctx))
        contexts: list[JobContext] = []
        await app.enqueue(handler, headers=HEADERS, tags=TAGS)
        await app.pause("of nobody")
        worker_id = await orphan(connection, schema, changes)
        outcome = await rescued(app, work, told)
        assert (outcome.status, outcome.kind, outcome.attempt) == ends
        assert enqueued_with(outcome) == (HEADERS, TAGS)
        assert (outcome.claim, outcome.worker_id) == (7, worker_id)
        assert outcome.queued_for == pytest.approx(4)
        assert outcome.took is not None
        assert outcome.took >= 6
        assert outcome.error_type == ("soniq.errors.WorkerLost" if contexts else None)
        assert [(ctx.claim, list(ctx.tags), ctx.outcome) for ctx in contexts] == (
            [(7, TAGS, outcome)] if "lost" in ends else []
        )

    async def test_headers_that_python_cannot_read_keep_no_job_from_ending(
        self, app: Soniq, told: list[Outcome], connection: "Connection", schema: str, work: Work
    ) -> None:
        @app.job(name="job")
        async def handler(ctx: JobContext) -> None: ...

        enqueue = f"select {schema}.enqueue('job', '{{}}', '{{\"headers\": {{\"n\": 1e5000}}}}')"
        await connection.execute(enqueue)
        await app.run_worker(run_once=True)
        job_id = await connection.fetchval(enqueue)
        await orphan(connection, schema, "started = true, max_attempts = 3")
        async with work(app), asyncio.timeout(20):
            while len(told) < 2:
                await asyncio.sleep(0.01)
        await connection.execute(enqueue.replace("{{", "{"))
        [waiting] = await app.jobs(status="queued")
        assert await app.cancel(waiting["job_id"])
        assert [(each.status, dict(each.headers)) for each in told] == [
            ("done", {}), ("dead", {}), ("cancelled", {}),
        ]  # fmt: skip
        assert told[1].job_id == str(job_id)


FULL = Outcome(
    job_id="01890000-0000-7000-8000-000000000001",
    job_name="pay",
    queue="q",
    attempt=2,
    status="dead",
    kind="dead",
    delay=None,
    error=LookupError("no such account"),
    reason="why",
    result_store="results",
    result_reference=b"\x00\xff",
    claim=3,
    worker_id="01890000-0000-7000-8000-000000000002",
    queued_for=0.25,
    took=1.5,
    headers=HEADERS,
    tags=TAGS,
)


def through_json(outcome: Outcome) -> Outcome:
    """The outcome as another process reads it."""
    return Outcome.from_dict(json.loads(json.dumps(outcome.to_dict())))


class TestStored:
    def test_an_outcome_is_read_as_it_was_written_and_its_error_as_type_and_message(self) -> None:
        read = through_json(FULL)
        assert read.to_dict() == FULL.to_dict()
        assert isinstance(read.error, StoredError)
        assert (read.error_type, read.error_message) == ("LookupError", "no such account")
        assert str(read.error) == "LookupError: no such account"
        assert (read.result_reference, dict(read.headers)) == (b"\x00\xff", HEADERS)
        assert through_json(read).to_dict() == FULL.to_dict()

    async def test_what_a_worker_tells_can_be_stored(
        self, app: Soniq, told: list[Outcome], run: Run
    ) -> None:
        class Wrong(Exception):
            def __str__(self) -> str:
                raise ValueError("no text")

        @app.job(max_attempts=1)
        async def handler() -> None:
            raise Wrong

        await run(app, handler)
        [read] = map(through_json, told)
        assert read.to_dict() == told[0].to_dict()
        assert (read.error_type or "").endswith("Wrong")
        assert read.error_message == "(its text cannot be made: ValueError)"

    async def test_a_text_that_utf_8_cannot_hold_can_be_stored(
        self, app: Soniq, told: list[Outcome], run: Run
    ) -> None:
        @app.job(max_attempts=2, retry=0)
        async def handler(ctx: JobContext) -> None:
            if ctx.attempt == 1:
                raise ValueError("\ud800")
            raise Cancel("\ud801")

        await run(app, handler)
        failed, cancelled = map(through_json, told)
        assert (failed.error_message, cancelled.reason) == ("\\ud800", "\\ud801")

    def test_what_a_later_release_adds_is_left_out_and_what_an_earlier_lacks_has_its_default(
        self,
    ) -> None:
        data = {**FULL.to_dict(), "error": None, "moon": "full"}
        del data["claim"], data["headers"], data["tags"]
        read = Outcome.from_dict(data)
        assert (read.claim, dict(read.headers), list(read.tags)) == (0, {}, [])
        assert (read.error, read.error_type, read.error_message) == (None, None, None)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"kind": "exploded"}, "exploded"),
            ({"attempt": "two"}, "attempt"),
            ({"error": {"text": "x"}}, "type"),
            ({"error": "x"}, "error"),
            ({"headers": []}, "headers"),
        ],
    )
    def test_what_is_no_outcome_is_refused(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidOption, match=f"data= is no outcome: .*{message}"):
            Outcome.from_dict({**FULL.to_dict(), **change})

    def test_an_outcome_without_an_id_is_refused(self) -> None:
        with pytest.raises(InvalidOption, match=r"data= is no outcome: .*job_id"):
            Outcome.from_dict({})

    def test_a_rescue_is_stored_as_what_it_is(self) -> None:
        lost = Outcome(
            job_id="1", job_name="a", queue="q", attempt=1, status="queued", kind="lost",
            error=WorkerLost("w"),
        )  # fmt: skip
        assert through_json(lost).error_type == "soniq.errors.WorkerLost"
