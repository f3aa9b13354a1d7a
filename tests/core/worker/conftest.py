"""Worker processes for the tests of leases and of stopping."""

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.forks import Forks
from tests.support.processes import Process

StartWorker = Callable[..., Process]

HEAD = """
import asyncio, os, sys, time
from soniq import Soniq, Snooze
from soniq.job import JobContext

def say(*words):
    print(*words, flush=True)

app = Soniq(discover=False, poll_interval=0.1, **{settings!r})
"""

END = """
if __name__ == "__main__":
    say("count", asyncio.run(app.run_worker(**{options!r})))
"""


@pytest.fixture
def start_worker(
    database_url: str, schema: str, tmp_path: Path, forks: Forks
) -> Iterator[StartWorker]:
    """Starts a process that defines the jobs of `code` on an app called `app`, and works. All are
    ended.
    """
    made: list[Process] = []

    def start(
        code: str, *, options: dict[str, object] | None = None, **settings: object
    ) -> Process:
        script = tmp_path / f"worker{len(made)}.py"
        script.write_text(
            HEAD.format(settings=settings)
            + textwrap.dedent(code)
            + END.format(options=options or {})
        )
        environment = {"SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema}
        made.append(Process(forks, script, environment))
        return made[-1]

    yield start
    for process in made:
        process.close()
