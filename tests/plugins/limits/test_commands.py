"""`soniq limits` in a project: what it prints, and how it ends."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from soniq.cli.commands import soniq

APP = """
from soniq import Soniq
from soniq_limits import Limit, Limits

eq = Soniq(plugins=[Limits], discover=False)

@eq.job(Limit(5, by="customer"), name="send")
async def send(customer: int) -> None: ...
"""

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, database_url: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `soniq ...` with the app above; its tables are there."""
    module = f"app_{schema}"
    (tmp_path / f"{module}.py").write_text(APP)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SONIQ_APP", f"{module}:eq")
    monkeypatch.setenv("SONIQ_DATABASE_URL", database_url)
    monkeypatch.setenv("SONIQ_SCHEMA", schema)
    invoke = CliRunner().invoke
    assert invoke(soniq, ["setup"]).exit_code == 0

    def run(*words: str, code: int = 0) -> Result:
        done = invoke(soniq, words)
        assert done.exit_code == code, done.output
        return done

    return run


def test_limits_are_listed_and_set(run: Run) -> None:
    (listed,) = json.loads(run("limits", "--json").stdout)
    assert listed == {
        "name": "send/customer", "n": 5, "declared": 5, "keys": 0, "running": 0, "waiting": 0,
    }  # fmt: skip
    assert run("limits", "set", "send/customer", "2").stdout == "send/customer: 2 at once\n"
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
