"""What the worker's tests share: a worker beside the test, worker processes, and waiting for what is in the tables."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from soniq import Soniq
from soniq.lookup import JobStatus

T = TypeVar("T")

LIMIT = 20.0
"""Seconds after which what a test waits for will not come any more."""


async def status_of(app: Soniq, job_id: str) -> JobStatus:
    """The status of a job that exists."""
    status = await app.get_job_status(job_id)
    assert status is not None
    return status


async def eventually(ask: Callable[[], Awaitable[T]], limit: float = LIMIT) -> T:
    """The first answer that is true; the test fails where none is in time."""
    ends = time.monotonic() + limit
    while True:
        answer = await ask()
        if answer:
            return answer
        assert time.monotonic() < ends, "it did not happen in time"
        await asyncio.sleep(0.02)


async def finished(app: Soniq, job_id: str, limit: float = LIMIT) -> JobStatus:
    """The status of a job once it is done, dead or cancelled."""

    async def ask() -> JobStatus | None:
        status = await status_of(app, job_id)
        return status if status["status"] in ("done", "dead", "cancelled") else None

    found = await eventually(ask, limit)
    assert found is not None
    return found


async def in_time(awaited: Awaitable[T], limit: float = LIMIT) -> T:
    """Await something that must come."""
    return await asyncio.wait_for(awaited, limit)


@asynccontextmanager
async def working(app: Soniq, **options: Any) -> "AsyncIterator[asyncio.Task[int]]":
    """A worker of `app` beside the test; afterwards it is stopped, and has to end without an error."""
    await app.start()
    task = asyncio.create_task(app.run_worker(**options))
    try:
        yield task
    finally:
        while not task.done():  # also where it has not begun yet
            app.stop_workers()
            await asyncio.wait([task], timeout=0.1)
    task.result()


class Process:
    """A worker in a process of its own, made from a script; it says on its output what happens."""

    def __init__(self, script: Path, environment: dict[str, str]) -> None:
        self.output = script.with_suffix(f".{time.monotonic_ns()}.log")
        with self.output.open("w") as output:
            self.popen = subprocess.Popen(
                [sys.executable, str(script)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )

    def said(self) -> str:
        return self.output.read_text()

    async def says(self, words: str, limit: float = LIMIT) -> None:
        """Wait until it has said `words`."""
        ends = time.monotonic() + limit
        while words not in self.said():
            assert time.monotonic() < ends, f"it did not say {words!r} but:\n{self.said()}"
            assert self.popen.poll() is None or words in self.said(), f"it ended, and said:\n{self.said()}"
            await asyncio.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    async def ended(self, limit: float = LIMIT) -> int:
        """Wait for its end; the exit code."""
        return await asyncio.to_thread(self.popen.wait, limit)

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(10)
