"""`sys.exit` in a task that a handler made, and errors that raise it when they are shown: failures
of the job, under an application's own `asyncio.run` as under `soniq worker`.
"""

import asyncio
import logging
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from soniq import JobContext, Soniq


class Leaving(Exception):
    """It leaves the program when it is shown."""

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


async def leave() -> None:
    await asyncio.sleep(0)
    sys.exit(3)


async def forgotten() -> None:
    task = asyncio.create_task(leave())
    await asyncio.sleep(0.05)
    assert task.done()


async def awaited() -> None:
    await asyncio.create_task(leave())


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(leave())


async def gathered() -> None:
    await asyncio.gather(leave(), asyncio.sleep(0))


async def at_once() -> None:
    async def now() -> None:
        sys.exit(3)

    await asyncio.create_task(now())


async def of_a_task() -> None:
    await asyncio.create_task(awaited())


async def when_cancelled() -> None:
    async def stays() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            sys.exit(3)

    task = asyncio.create_task(stays())
    await asyncio.sleep(0)
    task.cancel()
    await task


async def shown() -> None:
    raise Leaving


async def shown_in_a_group() -> None:
    raise ExceptionGroup("several", [Leaving(), ValueError("x")])


async def caused() -> None:
    raise ValueError("x") from Leaving()


HANDLERS = [
    forgotten, awaited, in_a_group, gathered, at_once, of_a_task, when_cancelled, shown,
    shown_in_a_group, caused,
]  # fmt: skip


def from_a_thread() -> None:
    async def start() -> None:
        await asyncio.create_task(leave())

    asyncio.run_coroutine_threadsafe(start(), LOOPS[-1]).result(10)


LOOPS: list[asyncio.AbstractEventLoop] = []


@contextmanager
def a_loop() -> Iterator[Any]:
    """Runs as an application does, in a loop of its own."""
    with asyncio.Runner() as runner:
        LOOPS.append(runner.get_loop())
        yield runner.run
        LOOPS.pop()


def run(own_app: Any, work: Any) -> Any:
    async def main() -> Any:
        app = own_app()
        try:
            return await work(app)
        finally:
            await app.close()

    with a_loop() as runs:
        return runs(main())


@pytest.fixture
def own_app(database_url: str, schema: str) -> Any:
    """Makes the app of a loop of its own."""
    return lambda **options: Soniq(
        database_url=database_url, schema=schema, discover=False, poll_interval=0.1, **options
    )


@pytest.mark.parametrize("signals", [True, False])
def test_each_is_a_failure_of_its_job_under_the_applications_own_run(
    own_app: Any, signals: bool
) -> None:
    async def work(app: Soniq) -> None:
        app.on_error(lambda ctx, error: logging.getLogger("soniq.worker").warning("%s", error))

        @app.job(name="neighbour")
        async def neighbour(ctx: JobContext) -> int:
            await asyncio.sleep(0.3)
            return ctx.attempt

        ids = {}
        for handler in (*HANDLERS, from_a_thread):
            ids[handler.__name__] = await app.enqueue(
                app.job(name=handler.__name__, max_attempts=1)(handler)
            )
        beside = await app.enqueue(neighbour)
        assert (
            await asyncio.wait_for(
                app.run_worker(run_once=True, concurrency=20, signals=signals), 20
            )
            == len(ids) + 1
        )
        assert await app.get_result(beside) == 1
        for name, job_id in ids.items():
            status = await app.get_job_status(job_id)
            assert status is not None
            assert status["status"] == ("done" if name == "forgotten" else "dead"), name

    run(own_app, work)


def test_what_is_no_handlers_leaves_the_program_as_ever(own_app: Any) -> None:
    async def work(app: Soniq) -> None:
        worker = asyncio.create_task(app.run_worker())
        await asyncio.sleep(0.2)
        asyncio.create_task(leave())  # noqa: RUF006 # it ends the loop
        await worker

    with pytest.raises(SystemExit):
        run(own_app, work)


def test_the_applications_own_factory_of_tasks_makes_them_and_is_put_back(own_app: Any) -> None:
    made = []

    def factory(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **keywords: Any
    ) -> "asyncio.Task[Any]":
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **keywords)

    async def work(app: Soniq) -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)  # type: ignore[arg-type] # it makes what it is given
        failed = await app.enqueue(app.job(name="fails", max_attempts=1)(awaited))
        before = len(made)
        await app.run_worker(run_once=True)
        assert len(made) > before
        assert loop.get_task_factory() is factory
        status = await app.get_job_status(failed)
        assert status is not None
        assert status["error"] is not None
        assert status["error"]["message"] == "a task raised SystemExit (3)"

    run(own_app, work)
