"""An attempt is a span of the consumer, which leads back to the enqueue, and says how it ended."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from opentelemetry import trace

from soniq import Cancel, JobContext, Retry, Snooze, Soniq
from tests.conftest import MakeApp

from .backend import Backend
from .test_enqueue_spans import server

MakeTraced = Callable[..., Soniq]
LIMIT = 20.0


async def finished(app: Soniq, job_id: str) -> None:
    """Wait until a job has left the queue."""
    async with asyncio.timeout(LIMIT):
        while (status := await app.get_job_status(job_id)) and status["status"] not in (
            "done",
            "dead",
            "cancelled",
        ):
            await asyncio.sleep(0.02)


async def test_an_attempt_is_a_consumer_span_with_the_names_of_the_conventions(
    app: Soniq, backend: Backend
) -> None:
    contexts: list[JobContext] = []

    @app.job(name="mail", queue="post", max_attempts=3)
    async def mail(ctx: JobContext) -> None:
        contexts.append(ctx)

    job_id = await app.enqueue(mail)
    await app.run_worker(run_once=True)
    span = backend.span("process")
    assert (span.name, span.kind, span.status, span.events) == (
        "process post",
        "CONSUMER",
        "UNSET",
        [],
    )
    assert (span.scope, span.schema_url) == (
        "soniq_otel",
        "https://opentelemetry.io/schemas/1.44.0",
    )
    assert span.attributes == {
        "messaging.system": "soniq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "post",
        "messaging.message.id": job_id,
        "soniq.job.name": "mail",
        "soniq.job.attempt": 1,
        "soniq.job.max_attempts": 3,
        "soniq.job.outcome": "done",
        "soniq.job.queue_time": contexts[0].queued_for,
        "soniq.worker.id": contexts[0].worker_id,
        **server(app),
    }


async def test_it_is_a_child_of_the_creation_context_and_links_to_it(
    app: Soniq, backend: Backend
) -> None:
    @app.job()
    async def job() -> None: ...

    await app.enqueue(job)
    await app.run_worker(run_once=True)
    process, send = backend.span("process"), backend.span("send")
    assert (process.parent, process.links) == (send.place, [send.place])


async def test_it_may_be_a_trace_of_its_own_with_a_link(
    traced: MakeTraced, backend: Backend
) -> None:
    app = traced(parent=False)

    @app.job()
    async def job() -> None: ...

    await app.enqueue(job)
    with backend.tracer.start_as_current_span("around the worker"):
        await app.run_worker(run_once=True)
    process, send, around = backend.span("process"), backend.span("send"), backend.span("around")
    assert (process.parent, process.links) == (None, [send.place, around.place])
    assert process.place[0] not in (send.place[0], around.place[0])


async def test_a_trace_of_its_own_also_links_to_what_is_current_around_the_worker_alone(
    make_app: MakeApp, traced: MakeTraced, backend: Backend
) -> None:
    app = traced(parent=False)

    @app.job(name="job")
    async def job() -> None: ...

    await make_app(unknown_jobs="allow").enqueue("job")
    with backend.tracer.start_as_current_span("around the worker"):
        await app.run_worker(run_once=True)
    process = backend.span("process")
    assert (process.parent, process.links) == (None, [backend.span("around").place])


async def test_a_job_of_a_bulk_enqueue_leads_back_to_its_own_creation_span(
    app: Soniq, backend: Backend
) -> None:
    @app.job()
    async def job(number: int) -> None: ...

    ids = await app.enqueue_many(job, [{"number": 1}, {"number": 2}])
    await app.run_worker(run_once=True)
    creates = {each.attributes["messaging.message.id"]: each for each in backend.spans("create")}
    processes = {each.attributes["messaging.message.id"]: each for each in backend.spans("process")}
    for job_id in ids:
        assert processes[job_id].parent == creates[job_id].place
        assert processes[job_id].links == [creates[job_id].place]


async def test_a_job_that_brings_no_context_begins_a_trace(
    make_app: MakeApp, traced: MakeTraced, backend: Backend
) -> None:
    @make_app().job(name="job")
    async def plain() -> None: ...

    app = traced()
    app.job(name="job")(plain.function)
    await make_app(unknown_jobs="allow").enqueue("job")
    await app.run_worker(run_once=True)
    process = backend.span("process")
    assert (process.parent, process.links) == (None, [])


@pytest.mark.parametrize("headers", [None, {"otel": {}}, {"otel": {"traceparent": "no"}}])
async def test_a_job_that_brings_no_context_is_a_child_of_what_is_current_around_the_worker(
    make_app: MakeApp, traced: MakeTraced, backend: Backend, headers: dict[str, object] | None
) -> None:
    app = traced()

    @app.job(name="job")
    async def job() -> None: ...

    await make_app(unknown_jobs="allow").enqueue("job", headers=headers)
    with backend.tracer.start_as_current_span("around the worker"):
        await app.run_worker(run_once=True)
    process = backend.span("process")
    assert (process.parent, process.links) == (backend.span("around").place, [])


async def test_what_is_current_around_the_worker_is_linked_where_the_creation_context_is_the_parent(
    app: Soniq, backend: Backend
) -> None:
    @app.job()
    async def job() -> None: ...

    await app.enqueue(job)
    with backend.tracer.start_as_current_span("around the worker"):
        await app.run_worker(run_once=True)
    process, send = backend.span("process"), backend.span("send")
    assert (process.parent, process.links) == (
        send.place,
        [send.place, backend.span("around").place],
    )


# --- how it ended --------------------------------------------------------------------------------


async def test_what_a_very_long_error_says_is_cut(app: Soniq, backend: Backend) -> None:
    @app.job(max_attempts=1)
    async def fail() -> None:
        try:
            raise KeyError("cause" * 1_000_000)
        except KeyError as error:
            raise ValueError("begin" + "x" * 5_000_000 + "end") from error

    await app.enqueue(fail)
    await app.run_worker(run_once=True)
    (span,) = backend.spans("process")
    ((_, attributes),) = span.events
    assert len(attributes["exception.stacktrace"]) < 20_100
    assert attributes["exception.stacktrace"].startswith("KeyError: ") or (
        attributes["exception.stacktrace"].startswith("Traceback")
    )
    for text in (span.description, attributes["exception.message"]):
        assert len(text) < 4_100
        assert text.startswith("beginxxx")
        assert text.endswith("xxxend")
    assert attributes["exception.stacktrace"].rstrip().endswith("xxxend")


async def test_an_attempt_that_failed_is_an_error_also_when_it_will_be_retried(
    app: Soniq, backend: Backend
) -> None:
    class Declined(Exception):
        pass

    @app.job(max_attempts=2, retry=0)
    async def pay() -> None:
        raise Declined("no money")

    await app.enqueue(pay)
    await app.run_worker(run_once=True)
    first, second = backend.spans("process")
    for span in (first, second):
        assert (span.status, span.description) == ("ERROR", "no money")
        assert span.attributes["error.type"] == f"{__name__}.{Declined.__qualname__}"
        ((event, attributes),) = span.events
        assert event == "exception"
        assert attributes["exception.type"] == span.attributes["error.type"]
        assert attributes["exception.message"] == "no money"
        assert 'raise Declined("no money")' in attributes["exception.stacktrace"]
        assert span.parent == backend.span("send").place
    assert [
        (each.attributes["soniq.job.attempt"], each.attributes["soniq.job.outcome"])
        for each in (first, second)
    ] == [
        (1, "retry"),
        (2, "dead"),
    ]


async def test_an_attempt_that_took_too_long_is_an_error(app: Soniq, backend: Backend) -> None:
    @app.job(max_attempts=1, timeout=0.05)
    async def slow() -> None:
        await asyncio.Event().wait()

    await app.enqueue(slow)
    await app.run_worker(run_once=True)
    span = backend.span("process")
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "soniq.errors.AttemptTimeout")
    assert "timeout of 0.05 s" in span.description


async def test_an_attempt_that_the_worker_did_not_wait_for_is_an_error(
    traced: MakeTraced, backend: Backend
) -> None:
    app, started = traced(), asyncio.Event()

    @app.job(max_attempts=1)
    async def slow() -> None:
        started.set()
        await asyncio.Event().wait()

    await app.enqueue(slow)
    worker = asyncio.create_task(app.run_worker())
    await asyncio.wait_for(started.wait(), LIMIT)
    app.stop_workers(now=True)
    await asyncio.wait_for(worker, LIMIT)
    span = backend.span("process")
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "soniq.errors.WorkerStopped")
    assert span.attributes["soniq.job.outcome"] == "stopped"


async def test_a_thread_that_outlives_the_worker_has_its_span_all_the_same(
    traced: MakeTraced, backend: Backend
) -> None:
    app, started, go_on = traced(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @app.job(max_attempts=1)
    def slow() -> None:
        loop.call_soon_threadsafe(started.set)
        go_on.wait(LIMIT)

    await app.enqueue(slow)
    worker = asyncio.create_task(app.run_worker())
    try:
        await asyncio.wait_for(started.wait(), LIMIT)
        app.stop_workers(now=True)
        async with asyncio.timeout(LIMIT):
            while not backend.spans("process"):
                await asyncio.sleep(0.05)
    finally:
        go_on.set()
        await asyncio.wait_for(worker, LIMIT)
    await app.close()
    span = backend.span("process")
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "soniq.errors.WorkerStopped")
    assert span.attributes["soniq.job.outcome"] == "stopped"
    assert [each.value for each in backend.points("messaging.client.consumed.messages")] == [1]


async def test_arguments_that_cannot_be_read_are_an_error_of_the_attempt(
    app: Soniq, backend: Backend, connection: "asyncpg.Connection[Any]", schema: str
) -> None:
    @app.job()
    async def job(number: int) -> None: ...

    await app.enqueue(job, 1)
    await connection.execute(f"update {schema}.job set args = 'garbage'")
    await app.run_worker(run_once=True)
    span = backend.span("process")
    assert span.status == "ERROR"
    assert span.attributes["soniq.job.outcome"] == "dead"


@pytest.mark.parametrize(
    ("signal", "outcome"),
    [(Snooze(3600), "snooze"), (Cancel("no more"), "cancel"), (Retry(delay=3600), "retry")],
)
async def test_a_signal_is_no_error(
    app: Soniq, backend: Backend, signal: Snooze | Cancel | Retry, outcome: str
) -> None:
    @app.job(name="raises")
    async def raises() -> None:
        raise signal

    @app.job(name="returns")
    async def returns() -> object:
        return signal

    for job in (raises, returns):
        await app.enqueue(job)
    await app.run_worker(run_once=True)
    spans = backend.spans("process")
    assert {each.attributes["soniq.job.name"] for each in spans} == {"raises", "returns"}
    for span in spans:
        assert (span.status, span.events, span.attributes["soniq.job.outcome"]) == (
            "UNSET",
            [],
            outcome,
        )
        assert "error.type" not in span.attributes


async def test_a_retry_with_no_attempt_left_is_an_error(app: Soniq, backend: Backend) -> None:
    @app.job(max_attempts=1)
    async def again() -> None:
        raise Retry

    await app.enqueue(again)
    await app.run_worker(run_once=True)
    span = backend.span("process")
    assert (span.status, span.attributes["error.type"]) == (
        "ERROR",
        "soniq.errors.RetriesExhausted",
    )


async def test_a_job_that_is_cancelled_while_it_runs_is_no_error(
    app: Soniq, backend: Backend
) -> None:
    started = asyncio.Event()

    @app.job()
    async def slow() -> None:
        started.set()
        await asyncio.Event().wait()

    job_id = await app.enqueue(slow)
    worker = asyncio.create_task(app.run_worker())
    await asyncio.wait_for(started.wait(), LIMIT)
    await app.cancel(job_id)
    await finished(app, job_id)
    app.stop_workers()
    await asyncio.wait_for(worker, LIMIT)
    span = backend.span("process")
    assert (span.status, span.attributes["soniq.job.outcome"]) == ("UNSET", "cancel")
    assert "error.type" not in span.attributes


async def test_a_failure_that_is_answered_with_a_signal_stays_a_failure(
    app: Soniq, backend: Backend
) -> None:
    @app.on_error
    def give_up(ctx: JobContext) -> None:
        raise Cancel("hopeless")

    @app.job()
    async def job() -> None:
        raise ValueError("boom")

    await app.enqueue(job)
    await app.run_worker(run_once=True)
    span = backend.span("process")
    assert (span.status, span.description, span.attributes["soniq.job.outcome"]) == (
        "ERROR",
        "boom",
        "cancel",
    )


async def test_an_attempt_whose_job_was_taken_away_is_an_error(
    app: Soniq, backend: Backend, connection: "asyncpg.Connection[Any]", schema: str
) -> None:
    @app.job()
    async def job(effects: asyncpg.Connection) -> None:
        await connection.execute(f"update {schema}.job set claim = claim + 1")

    await app.enqueue(job)
    await app.run_worker(run_once=True)
    span = backend.span("process")
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "soniq.errors.LeaseLost")
    assert span.attributes["soniq.job.outcome"] == "lost"


@pytest.mark.parametrize("parent", [True, False])
async def test_an_attempt_whose_worker_died_is_recorded_by_the_one_that_finds_out(
    traced: MakeTraced,
    backend: Backend,
    connection: "asyncpg.Connection[Any]",
    schema: str,
    parent: bool,
) -> None:
    app, told = traced(parent=parent, settings={"lease": 1.0}), asyncio.Event()
    app.on_error(told.set)

    @app.job(max_attempts=1)
    async def job() -> None: ...

    job_id = await app.enqueue(job)
    row = await connection.fetchrow(
        f"update {schema}.job set status = 'running', claim = 7, worker_id = gen_random_uuid(),"
        " suspect = true, started = true, scheduled_at = now() - interval '9 seconds', started_at"
        " = now() - interval '7 seconds' returning worker_id, extract(epoch from"
        " started_at)::float8 as began"
    )
    assert row is not None
    await connection.execute(
        f"insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, names,"
        " seen_at) values ($1, 1, 1, 1, 'gone', '0', '{}', now() - interval '1 minute')",
        row["worker_id"],
    )
    worker = asyncio.create_task(app.run_worker())
    await asyncio.wait_for(told.wait(), LIMIT)
    app.stop_workers()
    await asyncio.wait_for(worker, LIMIT)
    span, send = backend.span("process"), backend.span("send")
    assert (span.kind, span.status) == ("CONSUMER", "ERROR")
    assert span.attributes["error.type"] == "soniq.errors.WorkerLost"
    assert span.attributes["soniq.worker.id"] == str(row["worker_id"])
    assert span.attributes["soniq.job.outcome"] == "lost"
    assert span.attributes["messaging.message.id"] == job_id
    assert (span.parent, span.links) == (send.place if parent else None, [send.place])
    assert span.began == pytest.approx(row["began"], abs=0.001)
    assert span.seconds >= 7


KILLS = """
import asyncio, os
from soniq import Soniq

app = Soniq(discover=False, lease=1)

@app.job(name="job", max_attempts=1)
async def job() -> None:
    await asyncio.sleep(0.2)
    os._exit(9)

asyncio.run(app.run_worker())
"""


async def test_a_job_that_kills_its_worker_leaves_a_span_all_the_same(
    traced: MakeTraced, backend: Backend, database_url: str, schema: str
) -> None:
    app = traced(settings={"lease": 1.0})

    @app.job(name="job", max_attempts=1)
    async def job() -> None: ...

    job_id = await app.enqueue(job)
    worker = asyncio.create_task(app.run_worker(queues=["none"]))  # it rescues, and runs nothing
    environment = {**os.environ, "SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema}
    async with asyncio.timeout(60):
        while (status := await app.get_job_status(job_id)) and status["status"] != "dead":
            killed = await asyncio.create_subprocess_exec(
                sys.executable, "-c", KILLS, env=environment
            )
            assert await killed.wait() == 9
            while (status := await app.get_job_status(job_id)) and status["status"] == "running":
                await asyncio.sleep(0.05)
    app.stop_workers()
    await asyncio.wait_for(worker, LIMIT)
    span = backend.span("process")
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "soniq.errors.WorkerLost")
    assert (span.parent, span.attributes["messaging.message.id"]) == (
        backend.span("send").place,
        job_id,
    )
    assert span.seconds > 0.2


async def test_nothing_stays_current_after_an_attempt(app: Soniq, backend: Backend) -> None:
    @app.job()
    async def job() -> None: ...

    await app.enqueue(job)
    await app.run_worker(run_once=True)
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_job_of_a_schedule_says_which_and_of_which_tick(
    app: Soniq, backend: Backend
) -> None:
    @app.job(name="nightly")
    async def nightly() -> None: ...

    header = {"name": "nightly", "at": "2026-01-01T02:30:00+00:00", "cron": "30 2 * * *"}
    await app.enqueue(nightly, headers={"soniq-schedule": header})
    await app.run_worker(run_once=True)
    attributes = backend.span("process").attributes
    assert attributes["soniq.schedule.name"] == "nightly"
    assert attributes["soniq.schedule.at"] == "2026-01-01T02:30:00+00:00"
