"""Beside opentelemetry-instrumentation-asyncpg: what a worker does for itself makes no spans, jobs
and requests do.
"""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.trace import get_tracer

from soniq import Soniq
from tests.support.jobs import finished, working

from .backend import Backend

MakeTraced = Callable[..., Soniq]


@pytest.fixture
def instrumented(backend: Backend) -> Iterator[None]:
    """asyncpg, instrumented as an application does it."""
    instrumentor = AsyncPGInstrumentor()  # type: ignore[no-untyped-call]
    instrumentor.instrument(tracer_provider=backend.tracer_provider)
    yield
    instrumentor.uninstrument()


@pytest.mark.usefixtures("instrumented")
async def test_an_idle_worker_makes_no_spans(traced: MakeTraced, backend: Backend) -> None:
    app = traced(settings={"lease": 1.0, "poll_interval": 0.05}, gauge_interval=0.1)
    await app.start()
    before = len(backend.spans())
    async with working(app):
        await asyncio.sleep(1.5)
    assert [span.name for span in backend.spans()[before:]] == []


@pytest.mark.usefixtures("instrumented")
@pytest.mark.new_schema
async def test_the_spans_of_what_makes_the_tables_are_named_by_statements(
    traced: MakeTraced, backend: Backend
) -> None:
    await traced().start()
    names = {span.name for span in backend.spans()}
    assert {"create", "insert", "select"} <= names
    assert [name for name in names if not name[:1].isalpha()] == []


@pytest.mark.usefixtures("instrumented")
async def test_a_jobs_own_statements_and_a_requests_enqueue_are_in_one_trace(
    traced: MakeTraced, backend: Backend
) -> None:
    app = traced()

    @app.job(name="work", queue="post")
    async def work() -> None:
        async with app.connection() as connection:
            await connection.execute("select 1 as mine")

    await app.enqueue(work)  # the first of a queue has more to do
    await app.run_worker(run_once=True)
    before = len(backend.spans())
    async with working(app):
        with get_tracer("request", tracer_provider=backend.tracer_provider).start_as_current_span(
            "request"
        ):
            job_id = await app.enqueue(work)
        await finished(app, job_id)

    spans = [span for span in backend.spans()[before:] if span.name.lower() != "select"]
    (request,) = [span for span in spans if span.name == "request"]
    in_trace = [span.name for span in spans if span.place[0] == request.place[0]]
    assert sorted(in_trace) == ["insert", "process post", "request", "send post"]
    mine = [
        span
        for span in backend.spans()[before:]
        if "as mine" in str(span.attributes.get("db.statement"))
    ]
    assert [span.place[0] for span in mine] == [request.place[0]]
    assert not [
        span.name for span in backend.spans()[before:] if span.name.startswith(("--", "/*"))
    ]


@pytest.mark.usefixtures("instrumented")
async def test_a_lookup_of_a_request_is_one_span(traced: MakeTraced, backend: Backend) -> None:
    app = traced()

    @app.job(name="work")
    async def work() -> int:
        return 1

    job_id = await app.enqueue(work)
    await app.run_worker(run_once=True)
    for look in (
        lambda: app.get_job_status(job_id),
        lambda: app.get_result(job_id),
        lambda: app.get_args(job_id),
        lambda: app.jobs(limit=1),
    ):
        await look()
        before = len(backend.spans())
        with get_tracer("request", tracer_provider=backend.tracer_provider).start_as_current_span(
            "request"
        ):
            await look()
        names = sorted(span.name for span in backend.spans()[before:])
        assert names == ["request", "select"]
