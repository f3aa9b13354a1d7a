"""Calls from an event loop beside the app's: they run in the app's, and are awaited where they
are.
"""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from soniq import JobContext, Soniq, SoniqError, hookimpl
from soniq.plugin import EnqueueBatch
from tests.conftest import MakeApp

request_id: ContextVar[str] = ContextVar("request_id", default="none")


class RequestIds:
    """Puts the caller's request id into the headers, as a tracing plugin does."""

    name = "request-ids"

    @hookimpl
    async def around_enqueue(self, batch: EnqueueBatch) -> AsyncIterator[None]:
        for job in batch.jobs:
            job.headers["request"] = request_id.get()
        yield


@pytest.fixture
def app(make_app: MakeApp) -> Iterator[Soniq]:
    """An app that `app.sync` has in use, in a thread."""
    app = make_app(plugins=[RequestIds()])

    @app.job(name="double")
    async def double(n: int) -> int:
        return 2 * n

    @app.job(name="stream")
    async def stream() -> AsyncIterator[bytes]:
        for part in (b"one", b"two"):
            yield part

    app.sync.start()
    yield app
    app.sync.close()


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


def test_after_a_call_of_sync_an_event_loop_enqueues_and_reads(app: Soniq) -> None:
    async def main() -> None:
        one = await app.enqueue("double", n=2)
        two = await app.registry["double"].using(delay=0).enqueue(n=3)
        (three,) = await app.enqueue_many("double", [{"n": 4}])
        streamed = await app.enqueue("stream")
        assert len(await app.jobs()) == 4
        await asyncio.to_thread(app.sync.run_worker, run_once=True)
        assert [await app.get_result(each) for each in (one, two, three)] == [4, 6, 8]
        assert await app.wait_for(one, timeout=5) == 4
        chunks = await app.get_result(streamed, stream=True)
        assert chunks is not None
        assert b"".join([chunk async for chunk in chunks]) == b"onetwo"
        assert (await app.overview())["queues"]["default"]["done"] == 4

    run(main())


def test_a_call_that_is_made_before_its_event_loop_runs_in_that_of_the_app(app: Soniq) -> None:
    job_id = asyncio.run(app.enqueue("double", n=2))
    asyncio.run(app.registry["double"].using(delay=3600).enqueue(n=3))
    (other,) = asyncio.run(app.enqueue_many("double", [{"n": 4}]))
    assert app.sync.run_worker(run_once=True) == 2
    assert asyncio.run(app.get_result(job_id)) == 4
    assert asyncio.run(app.cancel(other)) is False  # it is done


def test_python_names_a_call_that_nobody_awaits(app: Soniq) -> None:
    with pytest.warns(RuntimeWarning, match=r"enqueue' was never awaited"):
        str(app.enqueue("double", n=2))


def test_the_callers_context_goes_along(app: Soniq) -> None:
    async def main() -> None:
        request_id.set("42")
        await app.enqueue("seen")

    seen: list[object] = []

    @app.job(name="seen")
    async def look(ctx: JobContext) -> None:
        seen.append(ctx.headers["request"])

    run(main())
    app.sync.run_worker(run_once=True)
    assert seen == ["42"]


def test_errors_are_those_of_the_call(app: Soniq) -> None:
    async def main() -> None:
        with pytest.raises(SoniqError, match="nobody"):
            await app.enqueue("nobody")
        connection = await asyncpg.connect(app.database_url)
        with pytest.raises(SoniqError, match="another event loop"):
            await app.enqueue("double", n=1, connection=connection)
        await connection.close()

    run(main())


def test_a_call_that_is_cancelled_ends_in_the_other_loop_too(app: Soniq) -> None:
    job_id = app.sync.enqueue("double", n=1, delay=3600)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await app.wait_for(job_id)
        loop = app._loop_in_use()
        assert loop is not None
        while any("wait_for" in str(task.get_coro()) for task in asyncio.all_tasks(loop)):
            await asyncio.sleep(0.01)

    run(main())


def test_where_the_app_is_closed_meanwhile_the_call_ends(app: Soniq) -> None:
    job_id = app.sync.enqueue("double", n=1, delay=3600)

    async def main() -> None:
        waiting = asyncio.create_task(app.wait_for(job_id))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(app.sync.close)
        with pytest.raises(SoniqError):
            await waiting

    run(main())


async def test_a_loop_in_a_thread_beside_the_apps_enqueues(make_app: MakeApp) -> None:
    app = make_app(unknown_jobs="allow")
    await app.start()
    found: list[str] = []

    async def beside() -> None:
        found.append(await app.enqueue("double", n=1))

    await asyncio.to_thread(asyncio.run, beside())
    status = await app.get_job_status(found[0])
    assert status is not None


def test_a_loop_for_each_test_goes_on_with_the_app(make_app: MakeApp) -> None:
    app = make_app(unknown_jobs="allow")
    for number in range(3):
        assert asyncio.run(enqueued(app)) == number + 1


async def enqueued(app: Soniq) -> int:
    await app.enqueue("double", n=1)
    jobs = len(await app.jobs())
    await app.close()
    return jobs


DJANGO = """
import asyncio, sys, threading
import django, httpx
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import path
from soniq import Soniq

eq = Soniq(discover=False)

@eq.job(name="double")
def double(n: int) -> int:
    return 2 * n

def sync_view(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"job": eq.sync.enqueue(double, 1)})

async def async_view(request: HttpRequest) -> JsonResponse:
    job = await eq.enqueue(double, 2)
    return JsonResponse({"job": job, "status": (await eq.get_job_status(job))["status"]})

urlpatterns = [path("sync", sync_view), path("async", async_view)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", DEBUG_PROPAGATE_EXCEPTIONS=True)
django.setup()

from django.core.asgi import get_asgi_application

async def main(views):
    transport = httpx.ASGITransport(get_asgi_application())
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        for view in views:
            print(view, (await client.get(f"/{view}")).status_code, flush=True)

asyncio.run(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("views", [["sync", "async", "sync", "async"], ["async", "sync", "async"]])
def test_views_of_django_that_are_async_and_those_that_are_not_share_an_app(
    views: list[str], tmp_path: Path, database_url: str, schema: str
) -> None:
    program = tmp_path / "shop.py"
    program.write_text(DJANGO)
    done = subprocess.run(
        [sys.executable, str(program), *views], capture_output=True, text=True, timeout=60,
        env={**os.environ, "SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema},
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"{view} 200" for view in views], done.stderr
    assert done.returncode == 0


def test_many_loops_enqueue_at_once(app: Soniq) -> None:
    async def main() -> None:
        await asyncio.gather(*(app.enqueue("double", n=n) for n in range(50)))

    threads = [threading.Thread(target=run, args=(main(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert app.sync.backlog()["default"]["waiting"] == 200


class SlowToStart:
    """Takes a while where it is the first time that the app starts."""

    name = "slow-to-start"

    def __init__(self) -> None:
        self.starts = threading.Event()

    @hookimpl
    async def started(self, app: Soniq) -> None:
        if not self.starts.is_set():
            self.starts.set()
            await asyncio.sleep(60)


def enqueue_in_a_loop(app: Soniq) -> str:
    return asyncio.run(app.enqueue("double", args={}))


def enqueue_with_sync(app: Soniq) -> str:
    return app.sync.enqueue("double", args={})


@pytest.mark.parametrize("enqueue", [enqueue_in_a_loop, enqueue_with_sync])
def test_a_call_that_has_not_begun_when_the_loop_of_the_app_ends_runs_in_another(
    make_app: MakeApp, enqueue: Callable[[Soniq], str]
) -> None:
    slow = SlowToStart()
    app = make_app(plugins=[slow], unknown_jobs="allow")
    over = asyncio.Event()

    async def comes_and_goes() -> None:
        starting = asyncio.create_task(app.start())
        await over.wait()
        assert not starting.done()

    with ThreadPoolExecutor(2) as threads:
        loop = asyncio.new_event_loop()
        first = threads.submit(in_loop, loop, comes_and_goes())
        assert slow.starts.wait(10)
        job_id = threads.submit(enqueue, app)
        time.sleep(0.3)
        assert not job_id.done()
        loop.call_soon_threadsafe(over.set)
        first.result(10)
        assert job_id.result(10) in {each["job_id"] for each in app.sync.jobs()}
    app.sync.close()


def in_loop(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main)


LOOPS = """
import asyncio, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from soniq import Soniq, SoniqError

eq = Soniq(discover=False, unknown_jobs="allow", poll_interval=0.05)

def told(call):
    try:
        return call()
    except SoniqError as error:
        return type(error).__name__

def amid_a_call():
    over, is_in_use = asyncio.Event(), threading.Event()
    loop = asyncio.new_event_loop()

    async def comes_and_goes():
        await eq.enqueue("double", args={})
        is_in_use.set()
        await over.wait()

    async def waits():
        await eq.wait_for((await eq.jobs())[0]["job_id"])

    def first():
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(comes_and_goes())

    with ThreadPoolExecutor(2) as threads:
        threads.submit(first)
        is_in_use.wait(10)
        waiting = threads.submit(told, lambda: asyncio.run(waits()))
        time.sleep(0.5)
        loop.call_soon_threadsafe(over.set)
        print(waiting.result(10))
    print(len(asyncio.run(eq.jobs())))

def at_once():
    def call(number):
        return told(lambda: asyncio.run(eq.enqueue("double", args={"n": number})))

    with ThreadPoolExecutor(8) as threads:
        first = {each for each in threads.map(call, range(100)) if each != "AppClosed"}
        then = set(threads.map(call, range(100)))
    print(len(then), first | then <= {each["job_id"] for each in eq.sync.jobs(limit=500)})
    print([each.name for each in threading.enumerate()])

{"amid_a_call": amid_a_call, "at_once": at_once}[sys.argv[1]]()
"""


@pytest.mark.parametrize(
    ("what", "printed"),
    [
        ("amid_a_call", ["AppClosed", "1"]),
        ("at_once", ["100 True", "['MainThread', 'soniq sync']"]),
    ],
)
def test_where_loops_come_and_go_the_app_lives_in_a_thread_of_its_own(
    what: str, printed: list[str], tmp_path: Path, database_url: str, schema: str
) -> None:
    program = tmp_path / "loops.py"
    program.write_text(LOOPS)
    done = subprocess.run(
        [sys.executable, str(program), what], capture_output=True, text=True, timeout=60,
        env={**os.environ, "SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema},
    )  # fmt: skip
    assert done.stdout.splitlines() == printed, done.stderr
    assert done.returncode == 0
