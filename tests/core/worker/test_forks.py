"""Processes that a handler forks: signals end them as they end any other, and the worker goes
on.
"""

import signal

import pytest

from soniq import Soniq
from tests.conftest import MakeApp
from tests.core.worker.conftest import StartWorker
from tests.support.waiting import LIMIT

JOBS = """
import multiprocessing, signal

fork = multiprocessing.get_context("fork")

def ended(child):
    child.join(10)
    code, alive = child.exitcode, child.is_alive()
    child.kill()
    return "alive" if alive else code

@app.job(name="terminated", max_attempts=1)
def terminated(number: int) -> object:
    child = fork.Process(target=time.sleep, args=(60,))
    child.start()
    time.sleep(0.3)
    os.kill(child.pid, number)
    return ended(child)

@app.job(name="terminated_by_a_coroutine", max_attempts=1)
async def terminated_by_a_coroutine(number: int) -> object:
    return terminated(number)

@app.job(name="pooled", max_attempts=1, timeout=20)
def pooled() -> str:
    pool = fork.Pool(2)
    pool.map_async(time.sleep, [60] * 4)
    time.sleep(0.3)
    pool.terminate()
    pool.join()
    return "came back"

@app.job(name="returned_in", max_attempts=1)
def returned_in() -> object:
    child = os.fork()
    return ("parent", child) if child else "child"

@app.job(name="returned_in_by_a_coroutine", max_attempts=1)
async def returned_in_by_a_coroutine() -> object:
    return returned_in()

@app.job(name="reaped", max_attempts=1)
def reaped(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

@app.job(name="handled", max_attempts=1)
def handled() -> object:
    def own():
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
        time.sleep(60)
    child = fork.Process(target=own)
    child.start()
    time.sleep(0.3)
    child.terminate()
    return ended(child)
"""


@pytest.fixture
def app(make_app: MakeApp, start_worker: StartWorker) -> Soniq:
    """An app that enqueues by name, for a worker in a process of its own."""
    start_worker(JOBS, grace=1)
    return make_app(unknown_jobs="allow")


@pytest.mark.parametrize("name", ["terminated", "terminated_by_a_coroutine"])
async def test_a_forked_child_dies_of_sigterm(app: Soniq, name: str) -> None:
    job_id = await app.enqueue(name, args={"number": signal.SIGTERM})
    assert await app.wait_for(job_id, LIMIT) == -signal.SIGTERM


async def test_a_forked_child_is_interrupted_by_sigint(app: Soniq) -> None:
    job_id = await app.enqueue("terminated", args={"number": signal.SIGINT})
    assert await app.wait_for(job_id, LIMIT) == 1  # KeyboardInterrupt


async def test_a_pool_whose_children_are_busy_can_be_terminated(app: Soniq) -> None:
    assert await app.wait_for(await app.enqueue("pooled"), LIMIT) == "came back"


async def test_a_childs_own_handler_is_called(app: Soniq) -> None:
    assert await app.wait_for(await app.enqueue("handled"), LIMIT) == 7


@pytest.mark.parametrize("name", ["returned_in", "returned_in_by_a_coroutine"])
async def test_a_process_that_returns_from_the_handler_that_forked_it_ends_there(
    app: Soniq, name: str
) -> None:
    job_id = await app.enqueue(name)
    who, child = await app.wait_for(job_id, LIMIT)
    assert who == "parent"
    assert await app.wait_for(await app.enqueue("reaped", args={"child": child}), LIMIT) == 1


async def test_the_parents_worker_still_stops_at_a_signal(
    make_app: MakeApp, start_worker: StartWorker
) -> None:
    app = make_app(unknown_jobs="allow")
    worker = start_worker(JOBS, grace=1)
    await app.wait_for(await app.enqueue("terminated", args={"number": signal.SIGTERM}), LIMIT)
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0
    assert "count 1" in worker.said()
