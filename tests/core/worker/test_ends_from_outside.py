"""A worker whose tasks are cancelled by others: its jobs go back, none is charged, and its row is
gone.
"""

import asyncio

import pytest

from soniq import Soniq
from soniq.job import JobContext
from tests.conftest import MakeApp
from tests.core.worker.conftest import StartWorker
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import in_time

JOBS = """
@app.job(name="wait", max_attempts=1)
async def wait(seconds: float) -> str:
    say("began")
    await asyncio.sleep(seconds)
    return "waited"

@app.job(name="in_a_thread", max_attempts=1)
def in_a_thread() -> None:
    say("began")
    time.sleep(1.5)

@app.job(name="cancels_itself", max_attempts=1)
async def cancels_itself() -> None:
    asyncio.current_task().cancel()
    await asyncio.sleep(60)

def ends(main):
    try:
        asyncio.run(main)
    except BaseException as error:
        say("ended by", type(error).__name__)
    sys.exit(0)
"""

ENDS = {
    "its main has returned": (
        """
async def main():
    worker = asyncio.create_task(app.run_worker())
    await began()
ends(main())
"""
    ),
    "its main has raised": (
        """
async def main():
    worker = asyncio.create_task(app.run_worker(queues={"default": 10, "mail": 2}))
    await began()
    raise LookupError
ends(main())
"""
    ),
    "a task that a handler made has left the program": (
        """
async def main():
    worker = asyncio.create_task(app.run_worker())
    await began()
    asyncio.create_task(leaves())
    await worker
async def leaves():
    sys.exit(3)
ends(main())
"""
    ),
    "a time limit": (
        """
async def main():
    async with asyncio.timeout(None) as limit:
        asyncio.create_task(later(limit))
        await app.run_worker()
async def later(limit):
    await began()
    limit.reschedule(asyncio.get_running_loop().time())
ends(main())
"""
    ),
    "its main is interrupted": (
        """
import signal
async def main():
    worker = asyncio.create_task(app.run_worker(signals=False))
    await began()
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(60)
ends(main())
"""
    ),
}

BEGAN = """
async def began():
    await app.start()
    count = 0
    while count < 6:
        async with app.connection() as connection:
            count = await connection.fetchval(
                "select count(*) from " + os.environ["SONIQ_SCHEMA"] + ".job where status = 'running'"
            )
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)
"""


@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
async def test_when_a_loop_ends_around_a_worker_its_jobs_go_back_uncharged(
    make_app: MakeApp, start_worker: StartWorker, end: str
) -> None:
    app = make_app(unknown_jobs="allow")
    await app.start()
    ids = await app.enqueue_many("wait", [{"seconds": 600.0}] * 5)
    ids.append(await app.enqueue("in_a_thread"))
    process = start_worker(JOBS + BEGAN + end, grace=0.5)
    assert await process.ended() == 0, process.said()
    for id_ in ids:
        status = await status_of(app, id_)
        assert (status["status"], status["attempt"], status["worker_id"]) == (
            "queued",
            0,
            None,
        ), process.said()
    assert (await app.overview())["workers"] == []


CLOSED = """
loop = asyncio.new_event_loop()
worker = loop.create_task(app.run_worker())
loop.run_until_complete(began())
loop.close()
say("closed")
time.sleep(600)
"""


async def test_the_jobs_of_a_worker_whose_loop_was_closed_are_given_to_others(
    make_app: MakeApp, start_worker: StartWorker
) -> None:
    app = make_app(lease=2, unknown_jobs="allow")
    await app.start()
    ids = await app.enqueue_many("wait", [{"seconds": 600.0}] * 6)
    process = start_worker(JOBS + BEGAN + CLOSED, lease=2)
    await process.says("closed")

    @app.job(name="wait")
    async def wait(seconds: float) -> str:
        return "by another"

    async with working(app):
        for id_ in ids:
            assert await app.wait_for(id_, 30) == "by another"


async def test_a_handler_that_cancels_itself_is_charged(
    make_app: MakeApp, start_worker: StartWorker
) -> None:
    app = make_app(unknown_jobs="allow")
    start_worker(JOBS)
    status = await finished(app, await app.enqueue("cancels_itself", max_attempts=1))
    assert (status["status"], status["attempt"]) == ("dead", 1)


@pytest.mark.parametrize("queues", [None, {"default": 10, "mail": 2}])
@pytest.mark.parametrize("times", [2, 3, 10])
async def test_a_worker_that_is_cancelled_while_it_winds_down_says_goodbye_all_the_same(
    make_app: MakeApp, times: int, queues: dict[str, int] | None
) -> None:
    app = make_app(grace=60)
    began: list[str] = []

    @app.job(max_attempts=1)
    async def wait(ctx: JobContext) -> None:
        began.append(ctx.job_id)
        await asyncio.sleep(600)

    ids = await app.enqueue_many(wait, [{}] * 5)
    worker = asyncio.create_task(app.run_worker(queues=queues))
    while len(began) < 5:
        await asyncio.sleep(0.01)
    for _ in range(times):
        worker.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await in_time(worker)
    for id_ in ids:
        status = await status_of(app, id_)
        assert (status["status"], status["attempt"]) == ("queued", 0)
    assert (await app.overview())["workers"] == []


async def test_a_worker_that_was_told_to_stop_and_is_cancelled_then_is_cancelled(
    make_app: MakeApp,
) -> None:
    app = make_app(grace=60)
    began = asyncio.Event()

    @app.job()
    async def wait() -> None:
        began.set()
        await asyncio.sleep(600)

    job_id = await app.enqueue(wait)
    worker = asyncio.create_task(app.run_worker())
    await in_time(began.wait())
    app.stop_workers()
    await asyncio.sleep(0.1)
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await in_time(worker)
    assert (await status_of(app, job_id))["status"] == "queued"


async def test_a_worker_of_a_task_that_was_cancelled_once_works_and_charges(app: Soniq) -> None:
    @app.job(max_attempts=1)
    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await app.run_worker(run_once=True)

    job_id = await app.enqueue(cancelled)
    task = asyncio.create_task(main())
    await asyncio.sleep(0)
    task.cancel()
    await in_time(task)
    assert (await status_of(app, job_id))["status"] == "dead"
