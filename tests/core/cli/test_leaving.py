"""`soniq worker` ends in time, whatever a handler left behind, and hands its jobs back."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from soniq import Soniq
from soniq.status import JobStatus
from tests.support.jobs import finished
from tests.support.waiting import eventually, in_time

from .conftest import LIMIT, Project, Running

# A process that is killed may leave one that has not ended yet
pytestmark = pytest.mark.new_schema

APP = """
import asyncio, atexit, sys, threading, time
from soniq import Soniq

eq = Soniq()

@eq.on_error
def told(ctx, error):
    print("told", type(error).__name__, flush=True)

@eq.job(name="in_another_thread")
async def in_another_thread() -> None:
    print("began", flush=True)
    await asyncio.to_thread(time.sleep, 600)

@eq.job(name="leaves_a_thread")
async def leaves_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(600,)).start()
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
    print("began", flush=True)

@eq.job(name="blocks_the_loop")
async def blocks_the_loop() -> None:
    print("began", flush=True)
    time.sleep(600)

@eq.job(name="leaves_a_task")
async def leaves_a_task() -> None:
    async def deaf():
        while True:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                pass
    eq.task = asyncio.create_task(deaf())
    print("began", flush=True)

@eq.job(name="waits")
async def waits() -> None:
    await asyncio.sleep(600)

@eq.job(name="done")
async def done() -> str:
    return "done"

@atexit.register
def at_exit():
    print("exit function", flush=True)
"""


SHORT_MARGIN = """
import soniq.cli.leaving
soniq.cli.leaving.STOP_MARGIN = 2.0
"""
"""A worker whose loop stands still cannot use the time that it has beyond its grace."""


async def status(producer: Soniq, job_id: str) -> JobStatus:
    found = await producer.get_job_status(job_id)
    assert found is not None
    return found


def end(running: Running, limit: float) -> int:
    """The exit code of a worker that has to end within a time."""
    code = running.process.wait(limit)
    assert running.process.stdout is not None
    assert running.process.stderr is not None
    running.errors += running.process.stderr.read()
    return code


@pytest.fixture
def slow(project: Project) -> Project:
    """A project whose jobs leave things behind."""
    project.write("app.py", APP)
    return project


@pytest.mark.parametrize("signals", [1, 2])
@pytest.mark.parametrize(
    "name", ["in_another_thread", "blocks_the_loop", "leaves_a_task", "leaves_a_thread"]
)
async def test_a_signal_ends_the_process_some_seconds_after_the_grace_time(
    slow: Project, producer: Soniq, name: str, signals: int
) -> None:
    if name == "blocks_the_loop":
        slow.write("app.py", APP + SHORT_MARGIN)
    job_id = await producer.enqueue(name, max_attempts=1)
    worker = slow.start("worker", "app:eq", SONIQ_GRACE="1" if signals == 1 else "600")
    worker.printed("began")
    if name.startswith("leaves"):
        await finished(producer, job_id)
    other = await producer.enqueue("waits", max_attempts=1)
    if name != "blocks_the_loop":
        await eventually(lambda: runs(producer, other))
    for _ in range(signals):
        worker.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    assert end(worker, 40) == 0
    assert "ending the process although these did not stop" in worker.errors
    for each in (other,) if name.startswith("leaves") else (job_id, other):
        found = await status(producer, each)
        assert (found["status"], found["attempt"], found["worker_id"]) == ("queued", 0, None)
    assert (await producer.overview())["workers"] == []


async def runs(producer: Soniq, job_id: str) -> bool:
    return (await status(producer, job_id))["status"] == "running"


@pytest.mark.parametrize("name", ["in_another_thread", "blocks_the_loop"])
async def test_a_third_signal_ends_the_process_at_once_and_its_jobs_go_back(
    slow: Project, producer: Soniq, name: str
) -> None:
    job_id = await producer.enqueue(name, max_attempts=1)
    worker = slow.start("worker", "app:eq", SONIQ_GRACE="600")
    worker.printed("began")
    for _ in range(3):
        worker.process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    assert end(worker, 15) == 0
    found = await status(producer, job_id)
    assert (found["status"], found["attempt"], found["worker_id"]) == ("queued", 0, None)


async def test_what_a_handler_left_keeps_no_process_whose_limit_is_reached(
    slow: Project, producer: Soniq
) -> None:
    job_id = await producer.enqueue("leaves_a_thread")
    worker = slow.start("worker", "app:eq", "--max-jobs", "1")
    assert end(worker, 40) == 0
    assert (await status(producer, job_id))["status"] == "done"
    assert "the thread Thread-" in worker.errors or "the thread asyncio_0" in worker.errors


async def test_the_place_that_blocks_is_named(slow: Project, producer: Soniq) -> None:
    await producer.enqueue("blocks_the_loop")
    worker = slow.start("worker", "app:eq", SONIQ_GRACE="600")
    worker.printed("began")
    for _ in range(3):
        worker.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    assert end(worker, 15) == 0
    assert "the thread MainThread (app.py line 25 in blocks_the_loop)" in worker.errors


@pytest.mark.parametrize("name", ["in_another_thread", "blocks_the_loop"])
async def test_exit_functions_are_called_on_the_hard_way_out_too(
    slow: Project, producer: Soniq, name: str
) -> None:
    await producer.enqueue(name)
    worker = slow.start("worker", "app:eq", SONIQ_GRACE="0.1")
    worker.printed("began")
    for _ in range(3):
        worker.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    worker.printed("exit function")
    assert end(worker, 20) == 0


async def test_an_exit_function_that_hangs_keeps_no_process(slow: Project, producer: Soniq) -> None:
    slow.write("app.py", APP + "\natexit.register(time.sleep, 600)\n")
    await producer.enqueue("done")
    worker = slow.start("worker", "app:eq", "--once")
    assert end(worker, 40) == 0
    assert "its exit functions" in worker.errors


async def test_the_failure_is_told_where_a_thread_is_left_as_well(
    slow: Project, producer: Soniq
) -> None:
    slow.write("app.py", APP + "\nthreading.Thread(target=time.sleep, args=(600,)).start()\n")
    worker = slow.start("worker", "app:eq", SONIQ_SCHEMA="nothing_here", SONIQ_SETUP="false")
    assert end(worker, 40) == 1
    assert "nothing_here" in worker.errors


# --- before the worker has begun -----------------------------------------------------------------

SLOW_IMPORT = """
import sys, time
print("importing", flush=True)
try:
    time.sleep(600)
except BaseException:
    if {swallows}:
        pass
    else:
        raise
from soniq import Soniq
eq = Soniq()
"""


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_app_is_imported_ends_the_process(
    project: Project, number: signal.Signals, swallows: bool
) -> None:
    project.write("app.py", SLOW_IMPORT.format(swallows=swallows))
    running = project.launch("worker", "app:eq", preexec_fn=ignore_signals)
    running.printed("importing")
    running.process.send_signal(number)
    assert running.end() == 128 + number
    assert "Traceback" not in running.errors


def ignore_signals() -> None:
    """As for the first process of a container: a signal without a handler does nothing."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a process number 1")
def test_as_the_first_process_of_a_container_it_ends_while_the_app_is_imported(
    project: Project,
) -> None:
    project.write("app.py", SLOW_IMPORT.format(swallows=False))
    # A process of its own kind tells its child, which is number 1 in its name space, to end.
    script = project.write(
        "contained.py",
        """
        import ctypes, os, signal, subprocess, sys
        if ctypes.CDLL(None, use_errno=True).unshare(0x20000000):  # CLONE_NEWPID: for the children
            sys.exit(77)
        child = subprocess.Popen(
            [sys.executable, "-m", "soniq", "worker", "app:eq"], stdout=subprocess.PIPE, text=True
        )
        assert "importing" in child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        sys.exit(child.wait(20))
        """,
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=project.folder, env=project.environment, text=True,
        capture_output=True, timeout=LIMIT,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip("no name space of processes can be made here")
    assert done.returncode == 128 + signal.SIGTERM, done.stderr


# --- what leaves the program ---------------------------------------------------------------------

LEAVES = """
import asyncio, os, sys
from soniq import Soniq

eq = Soniq()

class Rude(Exception):
    def __str__(self):
        sys.exit(5)

@eq.job(name="rude", max_attempts=1)
async def rude() -> None:
    raise Rude

@eq.job(name="rude_in_a_thread", max_attempts=1)
def rude_in_a_thread() -> None:
    raise Rude

@eq.job(name="exits_in_a_task", max_attempts=1)
async def exits_in_a_task(interrupt: bool = False) -> None:
    async def leaves():
        if interrupt:
            raise KeyboardInterrupt
        sys.exit(5)
    await asyncio.create_task(leaves())

@eq.job(name="exits_in_a_task_of_nobody", max_attempts=1)
async def exits_in_a_task_of_nobody() -> str:
    async def leaves():
        sys.exit(5)
    eq.task = asyncio.create_task(leaves())
    await asyncio.sleep(0.1)
    return "done"

@eq.job(name="exits_in_a_callback", max_attempts=1)
async def exits_in_a_callback() -> str:
    asyncio.get_running_loop().call_soon(sys.exit, 5)
    await asyncio.sleep(0.1)
    return "done"

@eq.job(name="done")
async def done() -> str:
    return "done"
"""


@pytest.mark.parametrize(
    ("name", "arguments", "became"),
    [
        ("rude", {}, "dead"),
        ("rude_in_a_thread", {}, "dead"),
        ("exits_in_a_task", {}, "dead"),
        ("exits_in_a_task", {"interrupt": True}, "dead"),
        ("exits_in_a_task_of_nobody", {}, "done"),
        ("exits_in_a_callback", {}, "done"),
    ],
)
async def test_what_would_leave_the_program_is_a_failure_as_any_other(
    project: Project, producer: Soniq, name: str, arguments: dict[str, object], became: str
) -> None:
    project.write("app.py", LEAVES)
    worker = project.start("worker", "app:eq")
    job_id = await producer.enqueue(name, args=arguments, max_attempts=1)
    assert (await finished(producer, job_id))["status"] == became
    after = await producer.enqueue("done")
    assert await in_time(producer.wait_for(after)) == "done"
    worker.process.send_signal(signal.SIGTERM)
    assert worker.end() == 0


async def test_a_terminal_that_is_closed_stops_a_worker_as_a_deploy_does(
    slow: Project, producer: Soniq
) -> None:
    job_id = await producer.enqueue("waits")
    running = slow.start("worker", "app:eq", SONIQ_GRACE="0.5")
    await eventually(lambda: runs(producer, job_id))
    running.process.send_signal(signal.SIGHUP)
    assert end(running, 15) == 0
    after = await status(producer, job_id)
    assert (after["status"], after["attempt"]) == ("queued", 0)


async def test_a_worker_under_nohup_goes_on(slow: Project, producer: Soniq) -> None:
    running = slow.launch(
        "worker", "app:eq", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    running.logged("started")
    running.process.send_signal(signal.SIGHUP)
    job_id = await producer.enqueue("done")
    await finished(producer, job_id)
    assert running.process.poll() is None


def test_the_end_needs_no_new_thread(tmp_path: Path) -> None:
    program = tmp_path / "ending.py"
    program.write_text(
        """
import threading, time
from soniq.cli.leaving import Leaving

leaving = Leaving(1.0, lambda seconds: print("handed back", flush=True))

def refuse(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")

threading.Thread.start = refuse  # as Python 3.12 does where the process ends
leaving.within(0.0)
time.sleep(60)
"""
    )
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=40
    )
    assert (done.returncode, done.stdout) == (0, "handed back\n"), done.stderr
