"""Signs of life of `soniq worker`: a file that is touched, and systemd's watchdog, while the claim
loop turns.
"""

import asyncio
import os
import signal
import socket
from pathlib import Path

from soniq import Soniq
from tests.conftest import MakeApp
from tests.support.jobs import working
from tests.support.waiting import eventually

from .conftest import Project

BLOCKS = """
import time
from app import eq

@eq.job(name="block_loop")
async def block_loop() -> None:
    print("waiting", flush=True)
    time.sleep(600)
"""


def age(file: Path, then: float) -> float:
    """How much later than `then` the file was touched, in seconds."""
    return file.stat().st_mtime - then if file.exists() else -1.0


async def later(file: Path) -> None:
    """Wait until the file is touched once more."""
    before = file.stat().st_mtime if file.exists() else 0.0

    async def touched() -> bool:
        return age(file, before) > 0

    await eventually(touched)


async def test_the_file_is_touched_while_the_worker_turns_and_goes_with_it(
    project: Project, producer: Soniq
) -> None:
    file = project.folder / "alive"
    worker = project.start("worker", "app:eq", "--health-file", str(file))
    worker.logged("started")
    await later(file)
    await later(file)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.end() == 0
    assert not file.exists()


async def test_a_worker_whose_loop_is_blocked_does_not_touch_it(
    project: Project, producer: Soniq
) -> None:
    project.write("blocks.py", BLOCKS)
    file = project.folder / "alive"
    worker = project.start("worker", "blocks:eq", "--health-file", str(file))
    worker.logged("started")
    await later(file)
    await producer.enqueue("block_loop")
    worker.printed("waiting")
    before = file.stat().st_mtime
    await asyncio.sleep(3)
    assert file.stat().st_mtime == before


async def test_what_is_no_file_stays(project: Project, producer: Soniq, tmp_path: Path) -> None:
    """A worker that runs as root would take /dev/null from everybody."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    worker = project.start("worker", "app:eq", "--health-file", str(pipe))
    worker.logged("started")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.end() == 0
    assert pipe.is_fifo()


async def test_each_of_several_processes_has_a_file(project: Project, producer: Soniq) -> None:
    worker = project.start(
        "worker", "app:eq", "--processes", "2", "--health-file", str(project.folder / "alive")
    )
    await later(project.folder / "alive.1")
    await later(project.folder / "alive.2")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.end() == 0


async def test_systemd_is_told_that_the_worker_is_ready_and_lives(
    project: Project, producer: Soniq, tmp_path: Path
) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(path))
        channel.settimeout(30)
        project.start("worker", "app:eq", NOTIFY_SOCKET=str(path), WATCHDOG_USEC="30000000")
        told = ""
        while "READY=1" not in told or told.count("WATCHDOG=1") < 2:
            told += (await asyncio.to_thread(channel.recv, 1000)).decode() + "\n"


async def test_since_the_last_turn_is_none_without_a_worker_and_small_with_one(
    make_app: MakeApp,
) -> None:
    app = make_app()
    assert app.since_last_turn() is None
    async with working(app, queues={"a": 1, "b": 2}):

        async def turning() -> bool:
            since = app.since_last_turn()
            return since is not None and since < 5

        await eventually(turning)
    assert app.since_last_turn() is None
