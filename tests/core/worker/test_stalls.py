"""A handler that blocks the event loop: who it is is told, and what has not started runs
elsewhere.
"""

import asyncio
import re

import pytest

from soniq import Soniq
from tests.conftest import MakeApp
from tests.core.worker.conftest import StartWorker
from tests.support.jobs import finished, status_of
from tests.support.processes import Process
from tests.support.waiting import eventually, in_time

JOBS = """
import logging
logging.basicConfig(level="INFO", format="%(levelname)s %(message)s")

@app.job(name="quick")
async def quick() -> None: ...

@app.job(name="counted")
async def counted(ctx: JobContext) -> None:
    say("ran", ctx.job_id)

@app.job(name="blocks")
async def blocks(seconds: float) -> str:
    say("blocks")
    time.sleep(seconds)
    return "blocked"

@app.job(name="blocks_in_a_task")
async def blocks_in_a_task(seconds: float) -> None:
    async def child():
        say("blocks")
        time.sleep(seconds)
    await asyncio.create_task(child())

@app.job(name="naps", timeout=3, max_attempts=1)
async def naps() -> str:
    say("naps")
    await asyncio.sleep(1)
    return "awake"

@app.job(name="keeps_the_lock")
def keeps_the_lock(seconds: float) -> None:
    import ctypes
    time.sleep(1.5)
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))  # without giving the interpreter's lock away
"""

BLOCKED = 8.0


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    """An app that enqueues by name, for workers in processes of their own."""
    return make_app(unknown_jobs="allow")


async def claims_ahead(app: Soniq, process: Process) -> None:
    """Have a worker learn that its jobs are short."""
    for id_ in await app.enqueue_many("quick", [{}] * 300):
        await app.wait_for(id_, 30)


async def running(app: Soniq) -> int:
    return sum(each["running"] for each in (await app.backlog()).values())


async def blocked_with_many_behind(
    app: Soniq, worker: Process, count: int = 100, **options: object
) -> list[str]:
    """Jobs that a worker has claimed, and cannot start for some seconds."""
    await claims_ahead(app, worker)
    async with app.connection() as connection, connection.transaction():
        first = await app.enqueue(
            "blocks", args={"seconds": BLOCKED}, connection=connection, priority=-5
        )
        ids = [await app.enqueue("counted", connection=connection, **options) for _ in range(count)]
    await worker.says("blocks")
    assert (await status_of(app, first))["status"] == "running"
    return list(map(str, ids))


async def test_what_has_not_started_runs_elsewhere_within_seconds_and_once(
    app: Soniq, start_worker: StartWorker
) -> None:
    blocked = start_worker(JOBS, options={"concurrency": 10})
    ids = await blocked_with_many_behind(app, blocked)
    other = start_worker(JOBS, options={"concurrency": 10})
    for id_ in ids:
        await app.wait_for(id_, 30)
    assert "the event loop was blocked for" not in blocked.said()  # it stands still yet
    await blocked.says("the event loop was blocked for")
    assert int(re.findall("was blocked for ([0-9]+) s while", blocked.said())[0]) in range(5, 20)
    assert re.search(
        r"was blocked for \d+ s while job \S+ \(blocks\) \(worker0.py line \d+ in blocks\) ran",
        blocked.said(),
    )
    await asyncio.sleep(0.5)
    ran = re.findall("ran (.*)", blocked.said() + other.said())
    assert sorted(ran) == sorted(ids)
    assert "changed nothing" not in blocked.said()


async def test_a_task_that_a_handler_made_is_named_by_its_place(
    app: Soniq, start_worker: StartWorker
) -> None:
    worker = start_worker(JOBS)
    await app.enqueue("blocks_in_a_task", args={"seconds": 4.0})
    await worker.says("the event loop was blocked for")
    assert re.search(
        r"while a task or callback \(worker0.py line \d+ in child\) ran", worker.said()
    )


async def test_what_waits_behind_a_blocked_loop_can_be_cancelled_and_paused(
    app: Soniq, start_worker: StartWorker
) -> None:
    worker = start_worker(JOBS, options={"concurrency": 10})
    ids = await blocked_with_many_behind(app, worker, 50, queue="mail")

    async def all_wait() -> bool:
        return await running(app) == 1

    await app.pause("mail")
    await eventually(all_wait)
    assert await app.cancel(ids[0])
    assert (await status_of(app, ids[0]))["status"] == "cancelled"
    await worker.says("the event loop was blocked for")
    await asyncio.sleep(0.5)
    assert "\nran" not in worker.said()
    assert {(await status_of(app, id_))["status"] for id_ in ids[1:]} == {"queued"}
    assert {(await status_of(app, id_))["attempt"] for id_ in ids[1:]} == {0}
    await app.resume("mail")
    for id_ in ids[1:]:
        assert (await finished(app, id_))["status"] == "done"


async def test_an_attempt_beside_it_whose_time_has_passed_takes_what_has_come(
    app: Soniq, start_worker: StartWorker
) -> None:
    worker = start_worker(JOBS)
    nap = await app.enqueue("naps")
    await worker.says("naps")
    await app.enqueue("blocks", args={"seconds": 5.0})
    assert (await finished(app, nap))["result"] == "awake"


async def test_jobs_that_block_now_and_then_let_no_other_run_twice(
    app: Soniq, start_worker: StartWorker
) -> None:
    workers = [start_worker(JOBS, options={"concurrency": 20}) for _ in range(2)]
    ids = []
    for _ in range(3):
        ids += await app.enqueue_many("counted", [{}] * 700)
        await app.enqueue("blocks", args={"seconds": 3.0})
        ids += await app.enqueue_many("counted", [{}] * 300)
    for id_ in ids:
        await in_time(app.wait_for(id_), 60)
    ran = re.findall("ran (.*)", "".join(worker.said() for worker in workers))
    assert sorted(ran) == sorted(map(str, ids))


async def test_a_process_in_which_nothing_ran_for_a_while_says_so(
    app: Soniq, start_worker: StartWorker
) -> None:
    worker = start_worker(JOBS)
    job_id = await app.enqueue("keeps_the_lock", args={"seconds": 4.0})
    await worker.says("nothing in this process ran for")
    assert f"running attempts: job {job_id} (keeps_the_lock)" in worker.said()
