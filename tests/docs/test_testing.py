"""The tests on the pages about testing, FastAPI and Django pass, in the files that they say."""

import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.processes import PYTEST
from tests.support.urls import of_database

from .pages import DOCS, FILE, blocks

TESTS = (*PYTEST, "-p", "no:cacheprovider")
DJANGO = ("django", "test", "--settings=shop.settings")


@pytest.fixture
async def database(
    database_url: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> AsyncIterator[str]:
    """The URL of a database that is a page's alone."""
    name = f"page_{uuid.uuid4().hex[:12]}"
    await connection.execute(f"create database {name}")
    yield of_database(database_url, name)
    await connection.execute(f"drop database {name} with (force)")


@pytest.mark.parametrize(
    ("page", "command", "passed"),
    [
        ("testing-jobs", TESTS, "2 passed"),
        ("fastapi", TESTS, "5 passed"),
        ("django", DJANGO, "Ran 3 tests"),
    ],
)
def test_the_tests_of_a_page_pass(
    page: str, command: tuple[str, ...], passed: str, tmp_path: Path, database: str
) -> None:
    for block in blocks(DOCS / "how-to" / f"{page}.md", "python", "ini"):
        for word in block.words:
            file = tmp_path / word.removeprefix(FILE)
            if file.parent != tmp_path:
                file.parent.mkdir(exist_ok=True)
                (file.parent / "__init__.py").touch()
            file.write_text(block.text)
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-m", *command], cwd=tmp_path,
        env={**os.environ, "SONIQ_TEST_DATABASE_URL": database, "DATABASE_URL": database},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert passed in done.stdout + done.stderr
