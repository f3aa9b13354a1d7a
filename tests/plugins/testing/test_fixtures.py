"""The fixtures in projects of users: with pytest-asyncio in both modes, with anyio, with an app of
the user's own.
"""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import PYTEST

RunTests = Callable[..., "subprocess.CompletedProcess[str]"]

CONFTEST = """
import pytest
from shop import eq
from soniq import Soniq

@pytest.fixture
def soniq_under_test() -> Soniq:
    return eq
"""
SHOP = """
from soniq import Soniq, hookimpl

life = []

class Life:
    @hookimpl
    async def lifespan(self):
        life.append("entered")
        yield
        life.append("left")

eq = Soniq("postgresql://nowhere.invalid/shop", plugins=[Life()], discover=False)

@eq.job(name="order")
async def order(number: int) -> int:
    return number
"""
TESTS = """
import pytest
from shop import eq, life, order

MARK

@pytest.mark.parametrize("number", [1, 2])
async def test_order(soniq_app, drain, travel, number):
    assert soniq_app is eq
    job_id = await eq.enqueue(order, number, delay=60)
    assert await drain() == 0
    await travel(60)
    assert await drain(check=True) == 1
    assert await eq.get_result(job_id) == number
    assert len(await eq.jobs()) == 1

async def test_the_app_was_closed_after_each():
    assert life == ["entered", "left"] * 2
"""


@pytest.fixture
def run_tests(tmp_path: Path, database_url: str) -> RunTests:
    """Runs pytest in a project with these files; any warning is an error there."""

    def run(*arguments: str, **files: str) -> "subprocess.CompletedProcess[str]":
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        scope = (
            "" if "no:asyncio" in arguments else "asyncio_default_fixture_loop_scope = function\n"
        )
        (tmp_path / "pytest.ini").write_text(f"[pytest]\n{scope}")
        environment = {
            **os.environ,
            "SONIQ_TEST_DATABASE_URL": database_url,
            "PYTHONPATH": str(tmp_path),
        }
        return subprocess.run(
            [sys.executable, "-m", *PYTEST, *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("arguments", "mark"),
    [
        (["-p", "no:anyio", "--asyncio-mode=auto"], ""),
        (["-p", "no:anyio", "--asyncio-mode=strict"], "pytestmark = pytest.mark.asyncio"),
        (["--asyncio-mode=strict"], "pytestmark = pytest.mark.asyncio"),
        (
            ["--asyncio-mode=strict"],
            "pytestmark = pytest.mark.anyio\nanyio_backend = pytest.fixture(lambda: 'asyncio')",
        ),
        (
            ["-p", "anyio", "--asyncio-mode=strict"],
            "pytestmark = pytest.mark.anyio\nanyio_backend = pytest.fixture(lambda: 'asyncio')",
        ),
        (
            ["-p", "no:asyncio"],
            "pytestmark = pytest.mark.anyio\nanyio_backend = pytest.fixture(lambda: 'asyncio')",
        ),
    ],
    ids=[
        "asyncio-auto",
        "asyncio-strict",
        "asyncio-beside-anyio",
        "anyio-beside-asyncio",
        "anyio-before-asyncio",
        "anyio",
    ],
)
def test_a_module_level_app_is_tested_under_every_runner(
    run_tests: RunTests, arguments: list[str], mark: str
) -> None:
    done = run_tests(
        *arguments, conftest=CONFTEST, shop=SHOP, test_shop=TESTS.replace("MARK", mark)
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "3 passed" in done.stdout


def test_a_project_that_does_not_ask_loads_nothing_of_soniq(run_tests: RunTests) -> None:
    asks = "import sys\n\ndef test_modules():\n    assert 'soniq' not in sys.modules\n"
    done = run_tests(test_other=asks)
    assert "1 passed" in done.stdout


def test_the_fixtures_are_a_plugin_of_pytest_that_can_be_left_out(run_tests: RunTests) -> None:
    asks = "def test_nothing(): ...\n"
    assert "soniq_app" in run_tests("--fixtures", test_other=asks).stdout
    done = run_tests("--fixtures", "-p", "no:soniq", test_other=asks)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "soniq_app" not in done.stdout
