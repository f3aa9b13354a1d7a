"""Plain `def` handlers run in threads."""

import asyncio
import threading
import time
from contextvars import ContextVar

from soniq import Soniq
from soniq.job import JobContext
from tests.support.jobs import working
from tests.support.waiting import in_time

tenant: ContextVar[str] = ContextVar("tenant", default="none")


async def test_a_def_handler_runs_in_a_thread_and_has_its_context(app: Soniq) -> None:
    @app.job()
    def where(word: str, ctx: JobContext) -> list[str]:
        return [word, ctx.job_name, threading.current_thread().name]

    job_id = await app.enqueue(where, word="hello")
    await app.run_worker(run_once=True)
    word, name, thread = await app.get_result(job_id)
    assert (word, name) == ("hello", where.name)
    assert thread != threading.current_thread().name


async def test_context_variables_reach_a_thread_and_leak_nowhere(app: Soniq) -> None:
    @app.before_job
    def set_tenant(ctx: JobContext) -> None:
        if "tenant" in ctx.headers:
            tenant.set(ctx.headers["tenant"])

    @app.job()
    def read() -> str:
        found = tenant.get()
        tenant.set("left behind")
        return found

    first = await app.enqueue(read, headers={"tenant": "acme"})
    second = await app.enqueue(read)
    await app.run_worker(run_once=True, concurrency=1)
    assert await app.get_result(first) == "acme"
    assert await app.get_result(second) == "none"


async def test_a_blocking_thread_holds_up_nobody(app: Soniq) -> None:
    release = threading.Event()

    @app.job()
    def blocking() -> str:
        return "released" if release.wait(20) else "never released"

    @app.job()
    async def releases() -> None:
        release.set()

    blocked = await app.enqueue(blocking)
    await app.enqueue(releases)
    await in_time(app.run_worker(run_once=True, concurrency=2))
    assert await app.get_result(blocked) == "released"


async def test_as_many_threads_run_at_once_as_attempts_may(app: Soniq) -> None:
    together = threading.Barrier(5)

    @app.job(max_attempts=1)
    def meets() -> int:
        return together.wait(20)

    ids = await app.enqueue_many(meets, [{} for _ in range(5)])
    await in_time(app.run_worker(run_once=True, concurrency=5))
    assert sorted([await app.get_result(each) for each in ids]) == [0, 1, 2, 3, 4]


async def test_the_event_loop_runs_on_while_threads_block(app: Soniq) -> None:
    release = threading.Event()

    @app.job()
    def blocking() -> None:
        assert release.wait(20)

    await app.enqueue(blocking)
    async with working(app):
        ticks = 0
        began = time.monotonic()
        while time.monotonic() - began < 0.3:
            await asyncio.sleep(0.01)
            ticks += 1
        release.set()
    assert ticks > 3
