"""A FastAPI service whose process also works: one program to deploy, for jobs that are few and
mostly wait.

    pip install fastapi uvicorn gunicorn
    uvicorn examples.worker_in_web:api
    gunicorn --worker-class uvicorn.workers.UvicornWorker --graceful-timeout 50 \
        examples.worker_in_web:api

Either uses SONIQ_DATABASE_URL, or the embedded PostgreSQL where soniq-embedded is installed.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from soniq import Soniq

eq = Soniq()


@eq.job()
async def greet(name: str, seconds: float = 0.0) -> str:
    """Says hello, after a while."""
    await asyncio.sleep(seconds)
    return f"hello {name}"


def end_together(worker: "asyncio.Task[int]") -> None:
    """Have a server whose worker failed end as well: what supervises the process starts both
    again.
    """
    if not worker.cancelled() and worker.exception() is not None:
        os.kill(os.getpid(), signal.SIGTERM)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """The worker begins and ends with the service; what runs when that ends has SONIQ_GRACE
    seconds.
    """
    async with eq:
        worker = asyncio.create_task(eq.run_worker(concurrency=10))
        worker.add_done_callback(end_together)
        yield
        eq.stop_workers()
        await worker


api = FastAPI(lifespan=lifespan)


@api.post("/greetings", status_code=202)
async def order(name: str, seconds: float = 0.0) -> dict[str, str]:
    """Enqueues a job, which a worker of this process runs, or one of another."""
    return {"job": await eq.enqueue(greet, name=name, seconds=seconds)}


@api.get("/greetings/{job_id}")
async def show(job_id: str) -> dict[str, str | None]:
    """What came of it; None as long as nothing has."""
    return {"result": await eq.get_result(job_id)}
