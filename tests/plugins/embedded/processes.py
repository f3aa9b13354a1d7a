"""Other processes: those that use a server, and the server itself as seen from outside."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psutil  # type: ignore[import-untyped]

SCRIPT = """
import sys
from soniq_embedded import EmbeddedServer
server = EmbeddedServer(sys.argv[1], options={"fsync": "off"})
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Peer:
    """Another Python process with an EmbeddedServer called `server`, which does line by line what
    it is told.
    """

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self, line: str) -> None:
        """Tell it a line without waiting."""
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def do(self, line: str) -> str:
        """Let it do a line, and return what it printed meanwhile."""
        self.say(line)
        return self.answer()

    def answer(self) -> str:
        """What it printed until its next line was done."""
        assert self.process.stdout
        printed = ""
        while not printed.endswith("done\n"):
            line = self.process.stdout.readline()
            assert line, "the other process has ended with an error"
            printed += line
        return printed.removesuffix("done\n")

    def start(self) -> str:
        return self.do("print(server.start())").strip()

    def end(self) -> int:
        """Let it come to its natural end, without a word about the server."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe and not pipe.closed:
                pipe.close()


def postmaster_pid(folder: Path) -> int | None:
    """The pid of the server that runs on the folder."""
    try:
        pid = int((folder / "pgdata/postmaster.pid").read_text().splitlines()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None
    return pid if is_alive(pid) else None


def is_alive(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "postgres" in process.name()
    except psutil.NoSuchProcess:
        return False


def eventually(condition: Callable[[], object], limit: float = 10) -> bool:
    deadline = time.monotonic() + limit
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


def kill_server(folder: Path) -> int:
    """What a crash or the OOM killer does; returns the pid that was."""
    pid = postmaster_pid(folder)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not is_alive(pid))
    return pid


async def fetch(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
