"""The types of what the fixtures here give."""

import uuid
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

from soniq import JobContext, JobStatus, Soniq
from soniq_results import ResultsPlugin

LIMIT = 20.0
"""Seconds after which a test here gives up waiting."""

StartWorker = Callable[..., Awaitable[Process]]
"""`await start_worker(store_url, die="after_job")`: a worker process on this test's schema that
kills itself there.
"""

AppWith = Callable[..., Soniq]
"""`app_with(store, threshold=0, timeout=20, grace=86_400, **settings)`: an app and its store, or a
URL.
"""

Run = Callable[..., Awaitable[JobStatus]]
"""`run(app, job, **arguments)`: enqueue, work off all that is due, and how the job stands then,
without its result.
"""

Until = Callable[[Callable[[], Any]], Awaitable[None]]
"""`await until(lambda: ...)`: wait until it holds; it may be awaitable."""


class Upload(NamedTuple):
    """A row of the plugin's table."""

    key: str
    job_id: str
    objects: int


class Uploads(Protocol):
    """What the plugin's table holds, and a way to make all of it two days older."""

    async def all(self) -> list[Upload]: ...

    async def age(self) -> None: ...


async def leave_orphan(plugin: ResultsPlugin, size: int = 3) -> str:
    """Store a result whose job will never be settled; the job's id."""
    job_id = str(uuid.uuid4())
    [results] = plugin.result_stores()
    assert await results.put(JobContext(job_id=job_id, job_name="orphan"), b"x" * size)
    return job_id
