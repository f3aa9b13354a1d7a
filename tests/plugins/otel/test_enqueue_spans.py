"""An enqueue call is a span, and hands its context to the jobs."""

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from opentelemetry import trace

from soniq import SerializationError, Soniq, hookimpl
from soniq.plugin import EnqueueBatch, NewJob

from .backend import Backend, Place

MakeTraced = Callable[..., Soniq]


async def headers(connection: "asyncpg.Connection[Any]", schema: str) -> list[Place]:
    """The creation context of each job that waits, in the order of their ids."""
    rows = await connection.fetch(
        f"select headers #>> '{{otel,traceparent}}' as parent from {schema}.job order by id"
    )
    return [
        (trace_id, span_id)
        for _, trace_id, span_id, _ in (row["parent"].split("-") for row in rows)
    ]


def server(app: Soniq) -> dict[str, object]:
    """What spans say about the database's server."""
    host, port = app.server_address
    return {"server.address": host} | ({"server.port": port} if port is not None else {})


class Seen:
    """A plugin that notes which span is current inside an enqueue."""

    name = "seen"

    def __init__(self) -> None:
        self.current: list[int] = []

    @hookimpl
    def dedup_key(self, job: NewJob) -> None:
        self.current.append(trace.get_current_span().get_span_context().span_id)


async def test_an_enqueue_is_a_producer_span_with_the_names_of_the_conventions(
    app: Soniq, backend: Backend
) -> None:
    @app.job(name="mail", queue="post")
    async def mail() -> None: ...

    job_id = await app.enqueue(mail)
    span = backend.span("send")
    assert (span.name, span.kind, span.status) == ("send post", "PRODUCER", "UNSET")
    assert (span.parent, span.links, span.events) == (None, [], [])
    assert (span.scope, span.schema_url) == (
        "soniq_otel",
        "https://opentelemetry.io/schemas/1.44.0",
    )
    assert span.attributes == {
        "messaging.system": "soniq",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "post",
        "messaging.message.id": job_id,
        "soniq.job.name": "mail",
        **server(app),
    }


async def test_it_hands_its_context_to_the_job(
    app: Soniq, backend: Backend, connection: "asyncpg.Connection[Any]", schema: str
) -> None:
    @app.job()
    async def job() -> None: ...

    await app.enqueue(job)
    assert await headers(connection, schema) == [backend.span("send").place]


async def test_other_headers_are_left_alone(
    app: Soniq, connection: "asyncpg.Connection[Any]", schema: str
) -> None:
    @app.job()
    async def job() -> None: ...

    await app.enqueue(job, headers={"tenant": 7})
    assert await connection.fetchval(f"select headers ->> 'tenant' from {schema}.job") == "7"


async def test_it_is_a_child_of_the_span_around_it_and_current_while_the_job_is_written(
    traced: MakeTraced, backend: Backend
) -> None:
    seen = Seen()
    app = traced(seen)

    @app.job()
    async def job() -> None: ...

    with backend.tracer.start_as_current_span("request") as request:
        await app.enqueue(job)
        assert trace.get_current_span() is request
    span = backend.span("send")
    assert span.parent == backend.span("request").place
    assert [f"{each:016x}" for each in seen.current] == [span.place[1]]


async def test_a_port_is_shown_as_a_number(
    traced: MakeTraced, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = traced()
    monkeypatch.setattr(Soniq, "server_address", ("db.example", 5433))

    @app.job()
    async def job() -> None: ...

    await app.enqueue(job)
    attributes = backend.span("send").attributes
    assert (attributes["server.address"], attributes["server.port"]) == ("db.example", 5433)


async def test_a_bulk_enqueue_is_a_client_span_that_links_to_a_producer_span_for_each_job(
    app: Soniq, backend: Backend, connection: "asyncpg.Connection[Any]", schema: str
) -> None:
    @app.job(name="mail", queue="post")
    async def mail(number: int) -> None: ...

    ids = await app.enqueue_many(mail, [{"number": number} for number in range(3)])
    creates, send = backend.spans("create"), backend.span("send")
    assert [(each.name, each.kind, each.status) for each in creates] == [
        ("create post", "PRODUCER", "UNSET")
    ] * 3
    assert [each.attributes for each in creates] == [
        {
            "messaging.system": "soniq",
            "messaging.operation.name": "create",
            "messaging.operation.type": "create",
            "messaging.destination.name": "post",
            "messaging.message.id": job_id,
            "soniq.job.name": "mail",
            **server(app),
        }
        for job_id in ids
    ]
    assert (send.name, send.kind) == ("send post", "CLIENT")
    assert send.links == [each.place for each in creates]
    assert send.attributes["messaging.batch.message_count"] == 3
    assert send.attributes["messaging.operation.type"] == "send"
    assert "messaging.message.id" not in send.attributes
    assert await headers(connection, schema) == [each.place for each in creates]


async def test_a_large_bulk_enqueue_lets_the_event_loop_go_on(
    traced: MakeTraced, backend: Backend
) -> None:
    app = traced()

    @app.job()
    async def job(number: int) -> None: ...

    ids = await app.enqueue_many(job, [{"number": number} for number in range(1_100)])
    assert [each.attributes["messaging.message.id"] for each in backend.spans("create")] == ids


async def test_a_bulk_enqueue_of_one_job_is_a_single_message(app: Soniq, backend: Backend) -> None:
    @app.job()
    async def job() -> None: ...

    (job_id,) = await app.enqueue_many(job, [{}])
    (span,) = backend.spans()
    assert (span.kind, span.attributes["messaging.message.id"]) == ("PRODUCER", job_id)
    assert "messaging.batch.message_count" not in span.attributes


async def test_without_creation_spans_the_jobs_of_a_bulk_enqueue_share_the_context_of_the_send_span(
    traced: MakeTraced, backend: Backend, connection: "asyncpg.Connection[Any]", schema: str
) -> None:
    app = traced(create_spans=False)

    @app.job()
    async def job(number: int) -> None: ...

    await app.enqueue_many(job, [{"number": 1}, {"number": 2}])
    (send,) = backend.spans()
    assert (send.name, send.kind, send.links) == ("send default", "PRODUCER", [])
    assert send.attributes["messaging.batch.message_count"] == 2
    assert await headers(connection, schema) == [send.place] * 2


GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
GIVEN_PLACE = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


@pytest.mark.parametrize("jobs", [1, 3])
async def test_a_creation_context_that_the_caller_gave_is_kept_and_linked_to(
    app: Soniq, backend: Backend, connection: "asyncpg.Connection[Any]", schema: str, jobs: int
) -> None:
    @app.job()
    async def job(number: int) -> None: ...

    calls = [{"number": number} for number in range(jobs)]
    await app.enqueue_many(job, calls, headers={"otel": {"traceparent": GIVEN}})
    (span,) = backend.spans()
    assert (span.name, span.kind, span.links) == ("send default", "CLIENT", [GIVEN_PLACE])
    assert await headers(connection, schema) == [GIVEN_PLACE] * jobs


async def test_a_header_of_the_callers_that_is_no_context_harms_nothing(
    app: Soniq, backend: Backend
) -> None:
    @app.job()
    async def job() -> None: ...

    for given in ("text", 7, ["list"], {"traceparent": 7}, {"traceparent": "no"}):
        await app.enqueue(job, headers={"otel": given})
    assert await app.run_worker(run_once=True) == 5
    assert [each.links for each in backend.spans("process")] == [[]] * 5


async def test_an_enqueue_that_fails_is_an_error(app: Soniq, backend: Backend) -> None:
    @app.job()
    async def job(value: Any) -> None: ...

    with pytest.raises(SerializationError) as raised:
        await app.enqueue(job, object())
    span = backend.span("send")
    assert (span.status, span.description) == ("ERROR", str(raised.value))
    assert span.attributes["error.type"] == "soniq.errors.SerializationError"
    ((event, attributes),) = span.events
    assert (event, attributes["exception.type"]) == ("exception", "soniq.errors.SerializationError")


async def test_a_plugin_that_refuses_the_enqueue_is_seen_as_its_failure(
    traced: MakeTraced, backend: Backend
) -> None:
    class Refuses:
        name = "refuses"

        @hookimpl
        def around_enqueue(self, batch: EnqueueBatch) -> None:
            raise PermissionError("not today")

    app = traced(Refuses())

    @app.job()
    async def job() -> None: ...

    with pytest.raises(PermissionError):
        await app.enqueue(job)
    span = backend.span("send")
    assert (span.status, span.description) == ("ERROR", "not today")
    assert span.attributes["error.type"] == "PermissionError"


async def test_a_duplicate_is_marked_and_carries_the_id_of_the_job_that_is_there(
    app: Soniq, backend: Backend
) -> None:
    @app.job()
    async def job() -> None: ...

    first = await app.enqueue(job, dedup_key="once")
    assert await app.enqueue(job, dedup_key="once") == first
    original, duplicate = backend.spans("send")
    assert "soniq.job.duplicate" not in original.attributes
    assert duplicate.attributes["soniq.job.duplicate"] is True
    assert duplicate.attributes["messaging.message.id"] == first
    assert duplicate.status == "UNSET"


async def test_a_bulk_enqueue_says_how_many_were_duplicates(app: Soniq, backend: Backend) -> None:
    @app.job(unique=True)
    async def job(number: int) -> None: ...

    await app.enqueue(job, 1)
    await app.enqueue_many(job, [{"number": 1}, {"number": 2}])
    assert backend.spans("send")[1].attributes["soniq.batch.duplicate_count"] == 1
