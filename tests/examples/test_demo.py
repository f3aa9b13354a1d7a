"""The demo, as `make demo` runs it: a process of its own, on real files."""

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from tests.support.forks import Forks

ROOT = Path(__file__).parent.parent.parent
Demo = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def demo(database_url: str, forks_with_plugins: Forks) -> Demo:
    """Runs the demo with arguments; keywords go to its environment (None: not set)."""

    def run(*arguments: str, **environment: str | None) -> "subprocess.CompletedProcess[str]":
        merged = {**os.environ, "SONIQ_DATABASE_URL": database_url, **environment}
        given = {name: value for name, value in merged.items() if value is not None}
        command = ["-m", "examples.demo", *arguments]
        return forks_with_plugins.run(command, cwd=ROOT, env=given, timeout=60)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a space in its name: two files of the same content, one other, and some that do
    not count.
    """
    folder = tmp_path / "my files"
    (folder / "below").mkdir(parents=True)
    (folder / "one.txt").write_text("a b c\nd\n")
    (folder / "below" / "copy.txt").write_text("a b c\nd\n")
    (folder / "other.bin").write_bytes(bytes(1000))
    (folder / "large.bin").write_bytes(bytes(1_000_001))
    (folder / "link").symlink_to("one.txt")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("hidden")
    return folder


def test_it_shows_a_table_a_retry_and_a_refused_duplicate(demo: Demo, folder: Path) -> None:
    shown = demo(str(folder))
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert lines[0] == f"3 files in {folder}, a job for each"
    assert "5 of 5 jobs" in lines
    assert "        2         4           8  one.txt" in lines
    assert "        5         9       1,016  all 3 files" in lines
    assert "The same content: one.txt, below/copy.txt" in lines
    assert "  attempt 1 of 3 failed: ConnectionError: nobody answers" in lines
    assert "  attempt 2 of 3 failed: ConnectionError: nobody answers" in lines
    assert "  attempt 3: somebody answered" in lines
    assert "  the second one was refused: it is the same job" in lines
    assert "  its result: 1,016 bytes in all" in lines


async def test_it_leaves_nothing_in_the_database(
    demo: Demo, folder: Path, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    schemas = "select count(*) from pg_namespace where starts_with(nspname, 'soniq_demo_')"
    before = await connection.fetchval(schemas)
    assert (await asyncio.to_thread(demo, str(folder))).returncode == 0
    assert await connection.fetchval(schemas) == before


def test_without_a_url_it_runs_on_the_embedded_server_and_stops_it(
    demo: Demo, folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "server"
    for _ in range(2):
        shown = demo(str(folder), SONIQ_DATABASE_URL=None, SONIQ_EMBEDDED_FOLDER=str(data))
        assert shown.returncode == 0, shown.stderr
        assert shown.stderr.count("embedded PostgreSQL") == 1
        assert "Traceback" not in shown.stderr
        assert not (data / "pgdata" / "postmaster.pid").exists()


def test_a_folder_that_is_not_there_is_said_in_one_line(demo: Demo, tmp_path: Path) -> None:
    shown = demo(str(tmp_path / "missing"))
    assert shown.returncode == 2
    assert shown.stderr.endswith(f"demo: error: {tmp_path}/missing is no folder\n")


def test_a_folder_without_files_is_said_in_one_line(demo: Demo, tmp_path: Path) -> None:
    shown = demo(str(tmp_path))
    assert (shown.returncode, shown.stderr) == (1, f"no files to examine in {tmp_path}\n")


def test_a_database_that_is_away_is_said_in_one_line(
    demo: Demo, folder: Path, tmp_path: Path
) -> None:
    shown = demo(str(folder), SONIQ_DATABASE_URL=f"postgresql:///nowhere?host={tmp_path}")
    assert shown.returncode == 1
    assert shown.stderr.startswith("the demo cannot run: cannot connect to PostgreSQL")
    assert "Traceback" not in shown.stderr
