"""Errors reach Sentry also where a worker's process ends the hard way: over HTTP, to a server of
the test's own.
"""

import gzip
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from soniq import Soniq
from tests.core.cli.conftest import Project, producer, project
from tests.support.jobs import finished

__all__ = ["producer", "project"]

APP = """
import asyncio, os, time
import sentry_sdk
from soniq import Soniq
from soniq_sentry import SentryPlugin

sentry_sdk.init(dsn=os.environ["DSN"], auto_enabling_integrations=False)
eq = Soniq(plugins=[SentryPlugin()], discover=False)

@eq.job(name="fails")
async def fails(number: int) -> None:
    raise ValueError(f"failure {number}")

@eq.job(name="in_a_thread")
async def in_a_thread() -> None:
    print("began", flush=True)
    await asyncio.to_thread(time.sleep, 600)

@eq.job(name="blocks")
async def blocks() -> None:
    print("began", flush=True)
    time.sleep(600)
"""

JOBS = 5


@contextmanager
def sentry(slowly: float) -> Iterator[tuple[list[bytes], str]]:
    """A server that takes envelopes, each after a while, and its DSN."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(slowly)
            bodies.append(
                gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
            )
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield bodies, f"http://public@127.0.0.1:{server.server_address[1]}/1"
    finally:
        server.shutdown()
        thread.join(20)
        server.server_close()


@pytest.mark.parametrize(
    ("then", "arguments"), [("in_a_thread", ()), ("blocks", ()), ("blocks", ("--processes", "2"))]
)
async def test_a_worker_that_leaves_the_hard_way_sends_its_events(
    project: Project, producer: Soniq, then: str, arguments: tuple[str, ...]
) -> None:
    project.write("app.py", APP)
    with sentry(0.2) as (bodies, dsn):
        worker = project.start("worker", "app:eq", *arguments, DSN=dsn, SONIQ_GRACE="0.2")
        ids = await producer.enqueue_many(
            "fails", [{"number": n} for n in range(JOBS)], max_attempts=1
        )
        for id_ in ids:
            await finished(producer, id_, 60)
        await producer.enqueue(then)
        worker.printed("began")
        for _ in range(3 if then == "blocks" else 1):
            worker.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        assert worker.end() == 0
    for number in range(JOBS):
        assert any(f"failure {number}".encode() in body for body in bodies), number
