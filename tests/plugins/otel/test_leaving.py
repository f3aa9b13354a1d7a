"""What was recorded reaches the backend also where a worker's process ends the hard way."""

import signal
import time

import pytest

from soniq import Soniq
from tests.conftest import MakeApp
from tests.core.cli.conftest import Project, producer, project
from tests.support.waiting import in_time

from .backend import Receiver, receiving

__all__ = ["producer", "project"]

APP = """
import asyncio, os, time
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from soniq import Soniq
from soniq_otel import OtelPlugin

provider = TracerProvider(shutdown_on_exit=os.environ["AT_EXIT"] == "yes")
provider.add_span_processor(
    BatchSpanProcessor(OTLPSpanExporter(os.environ["ENDPOINT"] + "/v1/traces"), schedule_delay_millis=3_600_000)
)
eq = Soniq(plugins=[OtelPlugin(tracer_provider=provider)], discover=False)

@eq.job(name="done")
async def done() -> str:
    return "done"

@eq.job(name="waits")
async def waits() -> None:
    print("began", flush=True)
    await asyncio.sleep(600)

@eq.job(name="in_a_thread")
async def in_a_thread() -> None:
    print("began", flush=True)
    await asyncio.to_thread(time.sleep, 600)

@eq.job(name="blocks")
async def blocks() -> None:
    print("began", flush=True)
    time.sleep(600)
"""

JOBS = 20


async def work(
    project: Project,
    producer: Soniq,
    then: str,
    *arguments: str,
    at_exit: str = "yes",
    signals: int = 1,
) -> Receiver:
    """What arrived once a worker has done jobs, begun another one, and ended."""
    with receiving("http") as (receiver, endpoint):
        project.write("app.py", APP)
        worker = project.start(
            "worker", "app:eq", *arguments, ENDPOINT=endpoint, AT_EXIT=at_exit, SONIQ_GRACE="0.2"
        )
        for id_ in await producer.enqueue_many("done", [{}] * JOBS):
            await in_time(producer.wait_for(id_), 60)
        assert not (signals and receiver.spans)
        if then:
            await producer.enqueue(then)
            worker.printed("began")
        for _ in range(signals):
            worker.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        assert worker.end() == 0
    return receiver


def ended(receiver: Receiver) -> int:
    return sum(
        each.name.startswith("process") and each.attributes["soniq.job.name"] == "done"
        for each in receiver.spans
    )


@pytest.mark.parametrize("then", ["waits", "in_a_thread"])
@pytest.mark.parametrize("at_exit", ["yes", "no"])
async def test_a_worker_that_leaves_after_the_grace_time_sends_its_spans(
    project: Project, producer: Soniq, then: str, at_exit: str
) -> None:
    assert ended(await work(project, producer, then, at_exit=at_exit)) == JOBS


async def test_so_does_one_whose_event_loop_is_blocked(project: Project, producer: Soniq) -> None:
    assert ended(await work(project, producer, "blocks", signals=3)) == JOBS


async def test_so_do_one_at_its_limit_and_supervised_ones(
    project: Project, producer: Soniq
) -> None:
    limited = await work(project, producer, "", "--max-jobs", str(JOBS), signals=0)
    assert ended(limited) == JOBS
    supervised = await work(project, producer, "in_a_thread", "--processes", "2", at_exit="no")
    assert ended(supervised) == JOBS


async def test_a_backend_that_does_not_answer_keeps_no_app_open(make_app: MakeApp) -> None:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    from soniq_otel import OtelPlugin

    class Hangs(SpanProcessor):
        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            time.sleep(30)
            return False

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Hangs())
    app = make_app(plugins=[OtelPlugin(tracer_provider=provider)])
    await app.start()
    began = time.monotonic()
    await app.close()
    assert time.monotonic() - began < 15
