"""The metrics of the conventions, with their buckets, and ours beside them."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from soniq import Cancel, JobContext, Snooze, Soniq

from .backend import Backend
from .test_enqueue_spans import server

MakeTraced = Callable[..., Soniq]
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


async def test_the_metrics_of_the_conventions_have_their_units_kinds_and_schema(
    app: Soniq, backend: Backend
) -> None:
    @app.job()
    async def job() -> None: ...

    await app.enqueue(job)
    await app.run_worker(run_once=True)
    series = backend.metrics()
    assert {
        name: (each.kind, each.unit)
        for name, each in series.items()
        if name.startswith("messaging")
    } == {
        "messaging.client.operation.duration": ("histogram", "s"),
        "messaging.process.duration": ("histogram", "s"),
        "messaging.client.sent.messages": ("sum", "{message}"),
        "messaging.client.consumed.messages": ("sum", "{message}"),
    }
    assert {
        (each.scope, each.schema_url)
        for name, each in series.items()
        if name.startswith(("messaging", "soniq"))
    } == {("soniq_otel", "https://opentelemetry.io/schemas/1.44.0")}


async def test_both_durations_have_the_buckets_that_the_conventions_advise(
    app: Soniq, backend: Backend
) -> None:
    @app.job()
    async def job() -> None: ...

    await app.enqueue(job)
    await app.run_worker(run_once=True)
    for name in ("messaging.client.operation.duration", "messaging.process.duration"):
        (point,) = backend.points(name)
        assert point.bounds == BUCKETS


async def test_an_enqueue_is_counted_by_its_jobs_and_timed_once(
    app: Soniq, backend: Backend
) -> None:
    @app.job(name="mail", queue="post")
    async def mail(number: int) -> None: ...

    await app.enqueue(mail, 1)
    await app.enqueue_many(mail, [{"number": number} for number in range(4)])
    common = {
        "messaging.system": "soniq",
        "messaging.operation.name": "send",
        "messaging.destination.name": "post",
        "soniq.job.name": "mail",
        **server(app),
    }
    (sent,) = backend.points("messaging.client.sent.messages")
    assert (sent.value, sent.attributes) == (5, common)
    (duration,) = backend.points("messaging.client.operation.duration")
    assert (duration.measured, duration.attributes) == (
        2,
        {**common, "messaging.operation.type": "send"},
    )
    assert duration.value == pytest.approx(
        sum(each.seconds for each in backend.spans("send")), abs=1e-6
    )


async def test_an_enqueue_that_fails_is_counted_with_its_error(
    app: Soniq, backend: Backend
) -> None:
    @app.job()
    async def job(value: Any) -> None: ...

    with pytest.raises(Exception, match="serialized"):
        await app.enqueue(job, object())
    for name in ("messaging.client.sent.messages", "messaging.client.operation.duration"):
        (point,) = backend.points(name)
        assert point.attributes["error.type"] == "soniq.errors.SerializationError"


async def test_each_attempt_is_counted_and_timed_as_its_span(app: Soniq, backend: Backend) -> None:
    @app.job(name="pay", queue="bank", max_attempts=2, retry=0)
    async def pay(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            raise ValueError("boom")

    await app.enqueue(pay)
    await app.run_worker(run_once=True)
    common = {
        "messaging.system": "soniq",
        "messaging.operation.name": "process",
        "messaging.destination.name": "bank",
        "soniq.job.name": "pay",
        **server(app),
    }
    failed, done = backend.spans("process")
    durations = {
        each.attributes.get("error.type"): each
        for each in backend.points("messaging.process.duration")
    }
    assert durations["ValueError"].attributes == {**common, "error.type": "ValueError"}
    assert durations[None].attributes == common
    assert durations["ValueError"].value == pytest.approx(failed.seconds, abs=1e-6)
    assert durations[None].value == pytest.approx(done.seconds, abs=1e-6)
    consumed = backend.points("messaging.client.consumed.messages")
    assert sorted((each.attributes.get("error.type", ""), each.value) for each in consumed) == [
        ("", 1),
        ("ValueError", 1),
    ]


async def test_the_time_in_the_queue_is_measured_up_to_days(app: Soniq, backend: Backend) -> None:
    seen: list[float] = []

    @app.job(name="mail", queue="post")
    async def mail(ctx: JobContext) -> None:
        seen.append(ctx.queued_for)

    await app.enqueue(mail)
    await app.run_worker(run_once=True)
    series = backend.metrics()["soniq.job.queue_time"]
    (point,) = series.points
    assert (series.unit, point.measured) == ("s", 1)
    assert point.value == pytest.approx(seen[0])
    assert point.bounds[: len(BUCKETS)] == BUCKETS
    assert point.bounds[-1] == 86_400
    assert point.attributes == {
        "messaging.system": "soniq",
        "messaging.destination.name": "post",
        "soniq.job.name": "mail",
        **server(app),
    }


async def test_outcomes_are_counted_once_they_are_committed(app: Soniq, backend: Backend) -> None:
    @app.job(name="job", max_attempts=2, retry=0)
    async def job(what: str) -> None:
        if what == "fail":
            raise ValueError("boom")
        if what == "cancel":
            raise Cancel
        if what == "snooze":
            raise Snooze(3600)

    for what in ("fail", "cancel", "snooze", "succeed"):
        await app.enqueue(job, what)
    await app.run_worker(run_once=True)
    counted = {
        each.attributes["soniq.job.outcome"]: (each.value, each.attributes.get("error.type"))
        for each in backend.points("soniq.job.outcomes")
    }
    assert counted == {
        "done": (1, None),
        "cancel": (1, None),
        "snooze": (1, None),
        "retry": (1, "ValueError"),
        "dead": (1, "ValueError"),
    }


async def test_a_job_that_is_cancelled_while_it_waits_is_counted_without_an_attempt(
    app: Soniq, backend: Backend
) -> None:
    @app.job()
    async def job() -> None: ...

    assert await app.cancel(await app.enqueue(job))
    (point,) = backend.points("soniq.job.outcomes")
    assert (point.attributes["soniq.job.outcome"], point.value) == ("cancel", 1)
    assert backend.points("messaging.client.consumed.messages") == []


# --- gauges --------------------------------------------------------------------------------------

LIMIT = 20.0


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not holds():
            await asyncio.sleep(0.05)


def depth(backend: Backend, queue: str = "busy") -> dict[str, float]:
    """How many jobs of a queue are in each state, as reported now."""
    points = [
        each
        for each in backend.points("soniq.queue.jobs")
        if each.attributes["messaging.destination.name"] == queue
    ]
    return {each.attributes["soniq.queue.state"]: each.value for each in points}


@pytest.fixture
def sampling(traced: MakeTraced) -> MakeTraced:
    """Makes apps that sample their queues often, and whose elections are short."""
    return lambda **options: traced(gauge_interval=0.05, settings={"lease": 1.0}, **options)


class Workers:
    """Workers of apps, which serve a queue that has no jobs."""

    def __init__(self) -> None:
        self._running: dict[Soniq, asyncio.Task[int]] = {}

    def start(self, app: Soniq) -> None:
        self._running[app] = asyncio.create_task(app.run_worker(queues=["none"]))

    async def stop(self, app: Soniq) -> None:
        app.stop_workers()
        await asyncio.wait_for(self._running.pop(app), LIMIT)

    async def stop_all(self) -> None:
        for app in list(self._running):
            await self.stop(app)


@pytest.fixture
async def workers() -> Any:
    workers = Workers()
    yield workers
    await workers.stop_all()


async def test_the_depth_of_the_queues_and_the_oldest_waiting_job_are_gauges(
    sampling: MakeTraced, backend: Backend, workers: Workers, connection: Any, schema: str
) -> None:
    app = sampling()

    @app.job(queue="busy")
    async def job() -> None: ...

    await app.enqueue_many(job, [{}, {}])
    await app.enqueue(job, delay=3600)
    await connection.execute(
        f"update {schema}.job set scheduled_at = scheduled_at - interval '90 seconds'"
    )
    workers.start(app)
    await until(lambda: depth(backend) == {"waiting": 2, "scheduled": 1, "running": 0, "held": 0})
    (oldest,) = backend.points("soniq.queue.oldest_waiting")
    assert 90 <= oldest.value < 150
    assert oldest.attributes == {
        "messaging.system": "soniq", "messaging.destination.name": "busy", "soniq.schema": schema,
        **server(app)
    }  # fmt: skip
    series = backend.metrics()
    assert {
        (name, series[name].kind, series[name].unit)
        for name in series
        if name.startswith("soniq.queue")
    } == {
        ("soniq.queue.jobs", "gauge", "{job}"),
        ("soniq.queue.oldest_waiting", "gauge", "s"),
    }


async def test_a_queue_that_was_emptied_is_reported_as_empty(
    sampling: MakeTraced, backend: Backend, workers: Workers, connection: Any, schema: str
) -> None:
    app = sampling()

    @app.job(queue="busy")
    async def job() -> None: ...

    await app.enqueue(job)
    workers.start(app)
    await until(lambda: depth(backend).get("waiting") == 1)
    await connection.execute(f"delete from {schema}.job")
    await until(lambda: depth(backend).get("waiting") == 0)


@pytest.mark.parametrize("first", [0, 1])
async def test_of_two_workers_one_reports_and_when_it_stops_the_other_does(
    sampling: MakeTraced, make_backend: Callable[[], Backend], workers: Workers, first: int
) -> None:
    second = 1 - first
    backends = [make_backend(), make_backend()]
    apps = [
        sampling(tracer_provider=b.tracer_provider, meter_provider=b.meter_provider)
        for b in backends
    ]

    @apps[0].job(queue="busy")
    async def job() -> None: ...

    await apps[0].enqueue(job)
    workers.start(apps[first])
    await until(lambda: bool(depth(backends[first])))
    workers.start(apps[second])
    for _ in range(20):  # more than one renewal of the election
        await asyncio.sleep(0.05)
        assert depth(backends[first])
        assert not depth(backends[second])
    await workers.stop(apps[first])
    await until(lambda: not depth(backends[first]))
    await until(lambda: bool(depth(backends[second])))
    assert not depth(backends[first])


async def test_the_apps_of_a_process_share_the_gauges_of_a_provider(
    sampling: MakeTraced, backend: Backend, workers: Workers
) -> None:
    for queue in ("busy", "other"):
        app = sampling()
        await app.enqueue(app.job(name=queue, queue=queue)(_nothing))
        workers.start(app)
        await until(lambda queue=queue: depth(backend, queue).get("waiting") == 1)  # type: ignore[misc]
        await workers.stop(app)
        assert depth(backend, queue) == {}


async def _nothing() -> None: ...


# --- bounds --------------------------------------------------------------------------------------


async def test_a_queue_that_stays_empty_is_forgotten(
    sampling: MakeTraced, backend: Backend, workers: Workers, connection: Any, schema: str
) -> None:
    app = sampling()
    await app.enqueue(app.job(queue="busy")(_nothing))
    workers.start(app)
    await until(lambda: depth(backend).get("waiting") == 1)
    await connection.execute(f"delete from {schema}.job")
    await until(lambda: depth(backend).get("waiting") == 0)
    await until(lambda: depth(backend) == {})


async def test_of_the_queues_of_five_hundred_tenants_a_hundred_have_series_of_their_own(
    sampling: MakeTraced, backend: Backend, workers: Workers
) -> None:
    app = sampling()
    job = app.job(name="each")(_nothing)
    for tenant in range(500):
        await app.enqueue(job, queue=f"tenant {tenant}")
    await app.enqueue_many(job, [{}] * 3, queue="tenant 499")
    workers.start(app)
    await until(lambda: bool(depth(backend, "tenant 499")))
    assert depth(backend, "tenant 499")["waiting"] == 4, "one of those with the most jobs"
    assert depth(backend, "_OTHER")["waiting"] == 503 - 4 - 99
    assert len(backend.points("soniq.queue.jobs")) == 4 * 101
    assert len(backend.points("soniq.queue.oldest_waiting")) == 101


async def test_counters_tell_a_hundred_queues_and_a_hundred_jobs_apart_and_spans_all(
    app: Soniq, backend: Backend
) -> None:
    for number in range(120):
        app.job(name=f"job {number}", queue=f"queue {number}")(_nothing)
    for number in range(120):
        await app.enqueue(f"job {number}")
    assert await app.run_worker(run_once=True) == 120

    for metric in (
        "messaging.client.sent.messages",
        "messaging.client.consumed.messages",
        "soniq.job.outcomes",
    ):
        points = {each.attributes["soniq.job.name"]: each for each in backend.points(metric)}
        assert len(points) == 101
        assert points["_OTHER"].value == 20
        assert points["_OTHER"].attributes["messaging.destination.name"] == "_OTHER"
    assert len({each.name for each in backend.spans("process")}) == 120


async def test_jobs_of_several_names_in_one_call_are_counted_as_what_they_are(
    app: Soniq, backend: Backend
) -> None:
    mail = app.job(name="mail", queue="post")(_nothing)
    bill = app.job(name="bill", queue="money")(_nothing)
    await app.enqueue_all([mail.call(), bill.call(), bill.call()])
    sent = {
        (point.attributes["messaging.destination.name"], point.attributes["soniq.job.name"]): (
            point.value
        )
        for point in backend.points("messaging.client.sent.messages")
    }
    assert sent == {("post", "mail"): 1, ("money", "bill"): 2}
    (took,) = backend.points("messaging.client.operation.duration")
    assert took.measured == 1
    assert not took.attributes.keys() & {"messaging.destination.name", "soniq.job.name"}

    assert backend.span("send").name == "send"
    assert "soniq.job.name" not in backend.span("send").attributes
    created = [(span.name, span.attributes["soniq.job.name"]) for span in backend.spans("create")]
    assert created == [("create post", "mail"), ("create money", "bill"), ("create money", "bill")]
