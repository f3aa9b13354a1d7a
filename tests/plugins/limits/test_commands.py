"""`soniq limits` in a project: what it prints, and how it ends."""

import json
from pathlib import Path

import pytest

from tests.support.commands import Run, runner

APP = """
from soniq import Soniq
from soniq_limits import Limit, Limits

eq = Soniq(plugins=[Limits], discover=False)

@eq.job(Limit(5, by="customer"), name="send")
async def send(customer: int) -> None: ...
"""


@pytest.fixture
def run(tmp_path: Path, database_url: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `soniq ...` with the app above; its tables are there."""
    return runner(APP, tmp_path, database_url, schema, monkeypatch)


def test_limits_are_listed_and_set(run: Run) -> None:
    (listed,) = json.loads(run("limits", "--json").stdout)
    assert listed == {
        "name": "send/customer", "kind": "limit", "n": 5, "declared": 5, "per": None, "keys": 0,
        "running": 0, "waiting": 0,
    }  # fmt: skip
    assert run("limits", "set", "send/customer", "2").stdout == "send/customer: 2\n"
    assert json.loads(run("limits", "set", "send/customer", "3", "--json").stdout) == {
        "name": "send/customer",
        "n": 3,
    }
    shown = run("limits", "list").stdout
    assert "IN THE CODE" in shown
    assert "send/customer" in shown


def test_a_limit_that_there_is_not_ends_with_3_and_a_wrong_number_with_2(run: Run) -> None:
    assert "no limit is named 'other'" in run("limits", "set", "other", "2", code=3).output
    run("limits", "set", "send/customer", "-1", code=2)
    run("limits", "set", "send/customer", "many", code=2)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_help_is_that_of_all_commands(run: Run, option: str) -> None:
    assert run("limits", option).stdout.startswith("Usage: soniq limits [OPTIONS] COMMAND")
