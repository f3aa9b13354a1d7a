"""Worker processes among others: signals to all, a supervisor that is killed, modules of the
project.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys

import pytest

from soniq import Soniq, WaitTimeout
from tests.support.jobs import status_of
from tests.support.waiting import eventually

from .conftest import Project

# A process that is killed may leave one that has not ended yet
pytestmark = pytest.mark.new_schema


async def workers(app: Soniq) -> set[int]:
    """The processes of the live workers."""
    return {worker["pid"] for worker in (await app.overview())["workers"]}


async def test_a_signal_to_all_processes_at_once_leaves_the_grace_time(
    project: Project, producer: Soniq
) -> None:
    """What systemd does to a unit whose KillMode is not said."""
    running = project.start("worker", "app:eq", "--processes", "2")

    async def two() -> set[int]:
        found = await workers(producer)
        return found if len(found) == 2 else set()

    pids = await eventually(two, 40)
    path = project.folder / "there"
    job_id = await producer.enqueue("wait_for_file", path=str(path))

    async def runs() -> bool:
        return (await status_of(producer, job_id))["status"] == "running"

    await eventually(runs)
    for pid in [running.process.pid, *pids]:
        os.kill(pid, signal.SIGTERM)
    await asyncio.sleep(1)
    path.touch()
    assert running.end() == 0
    assert (await status_of(producer, job_id))["status"] == "done", running.errors


async def test_a_memory_limit_that_is_reached_at_once_is_told_and_no_storm_of_processes(
    project: Project, producer: Soniq
) -> None:
    job_id = await producer.enqueue("add", a=1, b=1)
    running = project.start("worker", "app:eq", "--processes", "2", "--max-memory", "10M")
    await asyncio.sleep(10)
    running.process.send_signal(signal.SIGTERM)
    running.end()
    assert running.errors.count(" started\n") < 10, await status_of(producer, job_id)
    assert (await status_of(producer, job_id))["status"] == "done"


async def test_a_worker_whose_supervisor_is_killed_while_it_starts_stops(
    project: Project, producer: Soniq
) -> None:
    project.plugin(
        "slow",
        """
        import asyncio
        from contextlib import asynccontextmanager
        from soniq import hookimpl

        @hookimpl
        @asynccontextmanager
        async def lifespan(app):
            print("starting", flush=True)
            await asyncio.sleep(4)
            yield
        """,
    )
    running = project.start("worker", "app:eq", "--processes", "2", SONIQ_PLUGINS="slow")
    running.printed("starting")
    running.process.kill()
    await asyncio.sleep(12)
    left = await workers(producer)
    for pid in left:
        os.kill(pid, signal.SIGTERM)
    assert left == set()


async def test_a_worker_that_a_handler_starts_is_not_supervised(
    project: Project, producer: Soniq
) -> None:
    project.write(
        "other.py",
        """
        import subprocess, sys
        from soniq import Soniq, WaitTimeout
        eq = Soniq()

        @eq.job(name="spawn")
        def spawn() -> str:
            command = [sys.executable, "-m", "soniq", "worker", "app:eq"]
            child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            try:
                return child.communicate(timeout=8)[1]
            except subprocess.TimeoutExpired:
                child.terminate()
                return "works on"
        """,
    )
    running = project.start("worker", "other:eq", "--processes", "2", "--queues", "other")
    job_id = await producer.enqueue("spawn", queue="other")
    said = await producer.wait_for(job_id, 30)
    running.process.send_signal(signal.SIGTERM)
    running.end()
    assert said == "works on"


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_module_of_the_project_does_not_hide_one_of_python(
    project: Project, producer: Soniq, processes: str
) -> None:
    project.write("calendar.py", "days = 7\n")
    project.write("queue.py", "x = 7\n")
    job_id = await producer.enqueue("add", a=1, b=1)
    path = project.write(
        "bin/soniq",
        f"#!{sys.executable}\nimport sys\nfrom soniq.cli import main\nsys.exit(main())\n",
    )
    path.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, str(path), "worker", "app:eq", "--processes", processes],
        cwd=project.folder, env=project.environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    result = None
    with contextlib.suppress(WaitTimeout):
        result = await producer.wait_for(job_id, 30)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=40)
    assert result == 2, errors
