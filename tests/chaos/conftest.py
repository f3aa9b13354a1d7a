"""Worker processes, and a database of each test's own."""

import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.core.postgres.support import own_database

ROOT = Path(__file__).parent.parent.parent


class StartWorker(Protocol):
    def __call__(self, **settings: Any) -> "subprocess.Popen[str]": ...


@pytest.fixture
async def own_database_url(database_url: str) -> AsyncIterator[str]:
    """The URL of a database that only this test uses."""
    async with own_database(database_url) as url:
        yield url


@pytest.fixture
def start_worker(own_database_url: str) -> Iterator[StartWorker]:
    """Starts worker processes on the test's database; those that still run at the end are
    killed.
    """
    started: list[subprocess.Popen[str]] = []

    def start(**settings: Any) -> "subprocess.Popen[str]":
        command = [
            sys.executable,
            "-m",
            "tests.chaos.program",
            own_database_url,
            json.dumps(settings),
        ]
        started.append(
            subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            if process.stdout:
                process.stdout.close()
