"""Celery with Redis: a worker of processes, which takes jobs ahead and acknowledges them before
they run; it keeps nothing.

The worker imports this file. Its handlers write to the pipe in BENCH_PIPE: a byte for a job that
does nothing, the time for a stamp.
"""

import asyncio
import os
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from celery import Celery

from tests.benchmarks.queues.queue import Arrived, Queue

PROCESSES = os.cpu_count() or 1
PREFETCH = 64
"""Jobs that are taken ahead for each process: what Celery's page on optimizing says of short ones."""

STARTS = 60
"""Seconds within which a worker must be there."""

app = Celery("bench", broker=os.environ["BENCH_URL"])
app.conf.update(
    task_ignore_result=True, worker_prefetch_multiplier=PREFETCH,
    broker_connection_retry_on_startup=True,
)  # fmt: skip


@cache
def pipe() -> int:
    """The reader has it open for writing too, so that neither side waits for the other, nor ends
    with it.
    """
    return os.open(os.environ["BENCH_PIPE"], os.O_RDWR)


def count(number: int) -> int:
    os.write(pipe(), b".")
    return number


def arrive() -> None:
    os.write(pipe(), struct.pack("d", time.perf_counter()))


noop = app.task(name="noop")(count)
stamp = app.task(name="stamp")(arrive)


class CeleryQueue:
    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="soniq-bench-")

    async def open(self, connections: int) -> None:
        path = Path(self._folder.name, "pipe")
        os.mkfifo(path)
        os.environ["BENCH_PIPE"] = str(path)
        pipe()

    async def close(self) -> None:
        app.close()
        self._folder.cleanup()

    async def enqueue(self, number: int) -> None:
        noop.delay(number)

    async def enqueue_many(self, count: int) -> None:
        """Celery has nothing for many: each is sent by itself, on one connection."""
        with app.producer_pool.acquire(block=True) as producer:
            for number in range(count):
                noop.apply_async((number,), producer=producer)

    async def process(self, count: int) -> float:
        """The clock begins when the worker, which is there, is told to take from the queue."""
        async with self._running("idle"):
            began = time.perf_counter()
            app.control.add_consumer("celery")
            done = 0
            while done < count:
                done += len(os.read(pipe(), 65_536))
                took = time.perf_counter() - began
                await asyncio.sleep(0.005)
        return took

    async def enqueue_stamp(self) -> None:
        stamp.delay()

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Arrived]:
        async def arrived() -> float:
            assert select.select([pipe()], [], [], STARTS)[0], "the stamp was not handled"
            (at,) = struct.unpack("d", os.read(pipe(), 8))
            return float(at)

        async with self._running("celery"):
            yield arrived

    @asynccontextmanager
    async def _running(self, queue: str) -> AsyncIterator[None]:
        """A worker that takes from one queue."""
        process = subprocess.Popen(
            [
                sys.executable, "-m", "celery", "--quiet", "-A", __name__, "worker", "--pool", "prefork",
                "--concurrency", str(PROCESSES), "--queues", queue, "--loglevel", "ERROR",
                "--without-gossip", "--without-mingle", "--without-heartbeat",
            ],
            stdout=subprocess.DEVNULL, stderr=sys.stderr,
        )  # fmt: skip
        try:
            ends = time.monotonic() + STARTS
            while not app.control.ping(timeout=0.5):
                assert process.poll() is None, "Celery's worker ended"
                assert time.monotonic() < ends, "Celery's worker does not answer"
            yield
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 30)


def make(url: str) -> Queue:
    return CeleryQueue()
