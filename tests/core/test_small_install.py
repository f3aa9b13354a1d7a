"""A process that only enqueues loads nothing of the worker, and nothing of the command line."""

import json
import os
import subprocess
import sys

import pytest

SEEN = """
def seen():
    return sorted(
        name for name in sys.modules
        if name.startswith(("soniq.worker", "soniq.cli.", "soniq.__main__")) or name == "soniq.cli"
        or name == "click"
    )
"""
IMPORT = (
    """
import json, sys
from soniq import Soniq, JobContext, Jobs, Unique, Backoff, Retry, Snooze, Cancel, hookimpl
from soniq.job import JobContext
"""
    + SEEN
)
ENQUEUE = """
async def main():
    async with Soniq(discover=False) as eq:

        @eq.job(name="add", unique=True)
        async def add(a: int, b: int) -> int:
            return a + b

        first = await eq.enqueue(add, 1, b=2, delay=60)
        assert (await eq.get_job_status(first))["status"] == "queued"
        assert len(await eq.enqueue_many(add, [{"a": 1, "b": 3}, {"a": 1, "b": 4}])) == 2
        assert await eq.cancel(first)
        assert await eq.get_result(first) is None

import asyncio
asyncio.run(main())
"""
WAITING = """
eq = Soniq(discover=False, unknown_jobs="allow")
job_id = eq.sync.enqueue("add", a=1, b=2)
assert eq.sync.get_job_status(job_id)["status"] == "queued"
assert eq.sync.overview()["workers"] == []
eq.sync.close()
"""
WORK = """
eq = Soniq(discover=False)
assert eq.sync.run_worker(run_once=True) == 0
eq.sync.close()
"""
COMMAND = """
from soniq.plugin import takes_app
"""


def loaded(program: str, database_url: str, schema: str) -> list[str]:
    """What a fresh process has loaded of the worker and of the command line at the end of a
    program.
    """
    done = subprocess.run(
        [sys.executable, "-c", f"{IMPORT}{program}\nprint(json.dumps(seen()))"],
        env={**os.environ, "SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("program", ["", ENQUEUE, WAITING], ids=["import", "enqueue", "sync"])
def test_what_enqueues_needs_neither_the_worker_nor_the_command_line(
    program: str, database_url: str, schema: str
) -> None:
    assert loaded(program, database_url, schema) == []


def test_the_worker_is_loaded_where_one_runs(database_url: str, schema: str) -> None:
    found = loaded(WORK, database_url, schema)
    assert "soniq.worker.worker" in found
    assert "click" not in found


def test_the_command_line_is_loaded_where_a_command_is_made(database_url: str, schema: str) -> None:
    assert "click" in loaded(COMMAND, database_url, schema)


def test_a_name_that_is_none_is_an_error() -> None:
    with pytest.raises(ImportError, match="cannot import name 'takes_apps'"):
        from soniq.plugin import takes_apps  # type: ignore[attr-defined] # noqa: F401
