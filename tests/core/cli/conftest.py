"""A project of its own for each test: a folder with an app, and the command line in it as a real
process.
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from soniq import Soniq
from tests.conftest import MakeApp
from tests.support.forks import Fork, Forks

APP = """
import asyncio, time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from soniq import Soniq

eq = Soniq()

@dataclass
class Invoice:
    due: date
    lines: list[str]

@eq.job(name="add")
async def add(a: int, b: int) -> int:
    return a + b

@eq.job(name="bill")
async def bill(due: date) -> Invoice:
    return Invoice(due, ["one", "two"])

@eq.job(name="fail", max_attempts=1)
async def fail() -> None:
    raise ValueError("the \\x1b[31mfuse\\nis blown")

@eq.job(name="wait_for_file", tags=["slow"])
async def wait_for_file(path: str) -> str:
    print("waiting", flush=True)
    while not Path(path).exists():
        await asyncio.sleep(0.01)
    return "seen"

@eq.job(name="block_thread")
def block_thread() -> None:
    print("waiting", flush=True)
    time.sleep(600)

@eq.job(name="refuse_to_end")
async def refuse_to_end() -> None:
    print("waiting", flush=True)
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass
"""

LIMIT = 60
"""Seconds after which a process counts as hanging."""


class Running:
    """A command that runs on."""

    def __init__(self, process: "subprocess.Popen[str] | Fork") -> None:
        self.process = process
        self.errors = ""
        """What was read of stderr."""

    def printed(self, text: str) -> None:
        """Read stdout until a line holds the text."""
        self._read(self.process.stdout, text)

    def logged(self, text: str) -> None:
        """Read stderr until a line holds the text."""
        self.errors += self._read(self.process.stderr, text)

    def end(self) -> int:
        """Wait for its end; the exit code."""
        _, errors = self.process.communicate(timeout=LIMIT)
        self.errors += errors
        return self.process.wait(LIMIT)

    def _read(self, stream: IO[str] | None, text: str) -> str:
        assert stream is not None
        read = ""
        for line in stream:
            read += line
            if text in line:
                return read
        raise AssertionError(f"no line with {text!r} in:\n{read}")


class Project:
    """A folder with the module `app`, and the environment in which commands run there."""

    def __init__(self, folder: Path, environment: dict[str, str], forks: Forks) -> None:
        self.folder = folder
        self._forks = forks
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SONIQ_")},
            "SONIQ_PLUGINS": "",
            "SONIQ_POLL_INTERVAL": "0.1",
            **environment,
        }
        self.write("app.py", APP)
        self._running: list[Running] = []

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project. What was compiled of it goes: in one second a module of the same
        size counts as the same.
        """
        path = self.folder / name
        shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def plugin(
        self, name: str, text: str, *, distribution: str | None = None, version: str = "1.0"
    ) -> None:
        """Install a plugin as an installer would: a module, and metadata with an entry point that
        leads to it.
        """
        distribution = distribution or f"soniq-{name}"
        module = distribution.replace("-", "_")
        self.write(f"plugins/{module}.py", text)
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        self.write(f"plugins/{module}-{version}.dist-info/METADATA", metadata)
        self.write(
            f"plugins/{module}-{version}.dist-info/entry_points.txt",
            f"[soniq]\n{name} = {module}\n",
        )
        paths = [str(self.folder / "plugins"), os.environ.get("PYTHONPATH", "")]
        self.environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))

    def soniq(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return self._forks.run(
            ["-m", "soniq", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            timeout=LIMIT,
        )

    def json(self, *arguments: str, **environment: str) -> Any:
        """What a command that succeeds prints with --json."""
        done = self.soniq(*arguments, "--json", **environment)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def start(self, *arguments: str, **environment: str) -> Running:
        """Start a command; it is killed at the end of the test if it has not ended."""
        process = self._forks.start(
            ["-m", "soniq", *arguments], cwd=self.folder, env=self.environment | environment
        )
        self._running.append(Running(process))
        return self._running[-1]

    def launch(self, *arguments: str, preexec_fn: Callable[[], object]) -> Running:
        """Start a command in a process that inherits nothing but what this function does in it."""
        process = subprocess.Popen(
            [sys.executable, "-m", "soniq", *arguments], cwd=self.folder, env=self.environment,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=preexec_fn,
        )  # fmt: skip
        self._running.append(Running(process))
        return self._running[-1]

    def close(self) -> None:
        for running in self._running:
            running.process.kill()
            running.process.communicate()


@pytest.fixture
def project(tmp_path: Path, database_url: str, schema: str, forks: Forks) -> Iterator[Project]:
    """A project whose environment leads to this test's schema."""
    environment = {"SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema}
    project = Project(tmp_path, environment, forks)
    yield project
    project.close()


@pytest.fixture
async def producer(make_app: MakeApp) -> Soniq:
    """An app that enqueues the project's jobs by name, in a process of its own; the tables are
    there.
    """
    producer = make_app(unknown_jobs="allow")
    await producer.start()
    return producer
