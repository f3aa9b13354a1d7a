"""claimed and settled: what a worker claims and settles, a batch at a time."""

from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from soniq import Cancel, JobContext, Retry, Snooze, Soniq
from soniq.plugin import Outcome
from tests.core.hooks.support import MakeApp, MakePlugin, Run


@pytest.fixture
def claims() -> list[list[JobContext]]:
    """The batches that `claimed` got."""
    return []


@pytest.fixture
def outcomes() -> list[list[Outcome]]:
    """The batches that `settled` got."""
    return []


@pytest.fixture
def app(
    make_app: MakeApp,
    make_plugin: MakePlugin,
    claims: list[list[JobContext]],
    outcomes: list[list[Outcome]],
) -> Soniq:
    """An app with a plugin that keeps what it is told."""

    def claimed(batch: Sequence[JobContext]) -> None:
        claims.append(list(batch))

    told = outcomes

    async def settled(outcomes: Sequence[Outcome]) -> None:
        told.append(list(outcomes))

    return make_app(plugins=[make_plugin("told", claimed=claimed, settled=settled)])


async def test_claimed_gets_the_contexts_of_a_claim_before_they_start(
    app: Soniq, claims: list[list[JobContext]], calls: list[str]
) -> None:
    @app.job(name="job", queue="q", max_attempts=3)
    async def handler(a: int) -> None:
        calls.append(f"after {len(claims)} claims")

    ids = await app.enqueue_many(handler, [{"a": number} for number in range(10)], headers={"h": 1})
    await app.run_worker(run_once=True)
    contexts = [ctx for batch in claims for ctx in batch]
    assert [ctx.job_id for ctx in contexts] == ids
    assert len(claims) < 10
    first = contexts[0]
    assert (first.job_name, first.queue, first.attempt, first.max_attempts) == ("job", "q", 1, 3)
    assert (dict(first.headers), first.args) == ({"h": 1}, None)
    assert first.payload_size > 0
    assert calls[0] == "after 1 claims"


async def test_a_claim_that_brings_nothing_is_not_told(
    app: Soniq, claims: list[list[JobContext]]
) -> None:
    await app.run_worker(run_once=True)
    assert claims == []


async def test_settled_gets_each_outcome_once_in_batches(
    app: Soniq, outcomes: list[list[Outcome]]
) -> None:
    @app.job(name="job", queue="q")
    async def handler(a: int) -> None: ...

    ids = await app.enqueue_many(handler, [{"a": number} for number in range(50)])
    await app.run_worker(run_once=True)
    told = [outcome for batch in outcomes for outcome in batch]
    assert sorted(outcome.job_id for outcome in told) == sorted(ids)
    assert len(outcomes) < 25
    assert {(o.job_name, o.queue, o.attempt, o.status, o.kind) for o in told} == {
        ("job", "q", 1, "done", "done")
    }


async def test_settled_comes_after_the_commit(
    make_app: MakeApp,
    make_plugin: MakePlugin,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    run: Run,
) -> None:
    seen: list[object] = []

    async def settled(outcomes: Sequence[Outcome]) -> None:
        seen.append(
            await connection.fetchval(
                f"select status from {schema}.history where id = $1", outcomes[0].job_id
            )
        )

    app = make_app(plugins=[make_plugin("looks", settled=settled)])

    @app.job()
    async def handler() -> None: ...

    await run(app, handler)
    assert seen == ["done"]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (ValueError("boom"), [("queued", "retry", 0.0), ("dead", "dead", None)]),
        (Retry(0), [("queued", "retry", 0.0), ("dead", "dead", None)]),
        (Snooze(3600), [("queued", "snooze", 3600.0)]),
        (Cancel("reason"), [("cancelled", "cancel", None)]),
    ],
)
async def test_settled_hears_of_every_kind_of_end(
    app: Soniq, outcomes: list[list[Outcome]], run: Run, raised: Exception, expected: list[Any]
) -> None:
    @app.job(max_attempts=2, retry=0)
    async def handler() -> None:
        raise raised

    await run(app, handler)
    told = [outcome for batch in outcomes for outcome in batch]
    assert [(outcome.status, outcome.kind, outcome.delay) for outcome in told] == expected
    if isinstance(raised, ValueError):
        assert [outcome.error for outcome in told] == [raised, raised]
    if isinstance(raised, Cancel):
        assert told[0].reason == "reason"


async def test_settled_hears_of_a_job_that_is_cancelled_while_it_waits(
    app: Soniq, outcomes: list[list[Outcome]]
) -> None:
    @app.job(name="job", queue="q")
    async def handler() -> None: ...

    job_id = await app.enqueue(handler, delay=3600)
    assert await app.cancel(job_id, "not needed")
    [[outcome]] = outcomes
    assert (outcome.job_id, outcome.job_name, outcome.queue) == (job_id, "job", "q")
    assert (outcome.status, outcome.kind, outcome.reason) == ("cancelled", "cancel", "not needed")
    assert not await app.cancel(job_id)
    assert len(outcomes) == 1


async def test_settled_hears_once_of_a_job_that_was_completed_in_a_connections_transaction(
    app: Soniq, outcomes: list[list[Outcome]], run: Run
) -> None:
    @app.job()
    async def handler(connection: asyncpg.Connection) -> None:
        await connection.execute("select 1")

    status = await run(app, handler)
    assert [[(o.job_id, o.status) for o in batch] for batch in outcomes] == [
        [(status["job_id"], "done")]
    ]


async def test_settled_hears_of_a_job_that_expired_before_it_started(
    app: Soniq,
    outcomes: list[list[Outcome]],
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
) -> None:
    @app.job(expires=3600)
    async def handler() -> None:
        raise AssertionError("started")

    job_id = await app.enqueue(handler)
    await connection.execute(f"update {schema}.job set expires_at = now() - interval '1 second'")
    await app.run_worker(run_once=True)
    assert [[(o.job_id, o.status, o.kind) for o in batch] for batch in outcomes] == [
        [(job_id, "cancelled", "cancel")]
    ]


async def test_settled_hears_nothing_of_a_job_that_goes_back_because_its_name_is_unknown(
    make_app: MakeApp, app: Soniq, outcomes: list[list[Outcome]]
) -> None:
    other = make_app(unknown_jobs="allow")
    await other.enqueue("unknown-here")
    await app.run_worker(run_once=True)
    assert outcomes == []
