"""The tutorial, done as its reader does it: files, processes, a worker in the background."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from .pages import DOCS, FILE, blocks

PAGE = DOCS / "tutorial" / "first-job.md"
BIN = Path(sys.executable).parent


class Terminals:
    """A folder with two terminals: one for a worker, one for everything else."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self._environment = environment
        self._worker: subprocess.Popen[str] | None = None
        self._log: IO[str] = open(folder / "worker.log", "w+")  # noqa: SIM115 - closed with the terminals

    def run(self, command: str) -> str:
        """Run a command to its end; what it printed. A worker goes on, in place of the one
        before.
        """
        program, *arguments = shlex.split(command)
        words = [str(BIN / program), *arguments]
        if arguments[0] == "worker":
            self.stop_worker()
            self._worker = subprocess.Popen(
                words,
                cwd=self.folder,
                env=self._environment,
                stderr=self._log,
                text=True,
                process_group=0,
            )
            return ""
        ended = subprocess.run(
            words,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, f"{command}: {ended.stderr}\n{self.log()}"
        return ended.stdout

    def stop_worker(self) -> None:
        """Ctrl-C in the worker's terminal."""
        if self._worker is not None:
            self._worker.send_signal(signal.SIGINT)
            assert self._worker.wait(30) == 0, self.log()
            self._worker = None

    def log(self) -> str:
        """What the workers logged."""
        return (self.folder / "worker.log").read_text()

    def close(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
        self._log.close()


@pytest.fixture
def terminals(tmp_path: Path, database_url: str, schema: str) -> Iterator[Terminals]:
    terminals = Terminals(
        tmp_path, {**os.environ, "SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema}
    )
    yield terminals
    terminals.close()


def test_the_tutorial_goes_as_it_says(terminals: Terminals) -> None:
    shown = ""
    for block in blocks(PAGE, "python", "sh", "text"):
        if block.language == "python":
            (file,) = (word.removeprefix(FILE) for word in block.words if word.startswith(FILE))
            (terminals.folder / file).write_text(block.text)
        elif block.language == "sh":
            shown = "".join(terminals.run(line) for line in block.text.splitlines())
        else:
            assert shown == block.text
    terminals.stop_worker()
    assert "greet" in shown
    assert "2 of 3) failed" in terminals.log()
