"""`soniq schedules` in a project: what it prints, and how it ends."""

import json
from functools import partial
from pathlib import Path

import pytest

from tests.support.commands import Run, runner

APP = """
from soniq import Soniq
from soniq_schedules import Cron, Schedules

eq = Soniq(plugins=[Schedules], discover=False)

@eq.job(Cron("@yearly"), name="yearly")
async def yearly() -> None: ...

@eq.job(name="report")
async def report(customer: int) -> None: ...
"""


@pytest.fixture
def run(tmp_path: Path, database_url: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `soniq schedules ...` with the app above; its tables are there."""
    return partial(runner(APP, tmp_path, database_url, schema, monkeypatch), "schedules")


def test_a_schedule_is_added_listed_paused_run_and_removed(run: Run) -> None:
    assert run().stdout == "there are no schedules\n"
    words = ("report-42", "report", '{"customer": 42}', "--cron", "0 8 * * mon")
    run("add", *words, "--tz", "Europe/Berlin", "--overlap", "skip")
    (listed,) = json.loads(run("--json").stdout)
    assert listed["name"] == "report-42"
    assert listed["when"]["overlap"] == "skip"
    assert (listed["cron"], listed["tz"]) == ("0 8 * * mon", "Europe/Berlin")
    assert listed["state"] == "no live worker has it"
    assert "0 8 * * mon Europe/Berlin" in run("list", "--job", "report").stdout
    assert run("list", "--job", "other").stdout == "no schedule matches\n"

    assert run("pause", "report-42").stdout == "paused: report-42\n"
    assert json.loads(run("list", "--json").stdout)[0]["state"] == "paused"
    assert run("resume", "report-42").stdout == "resumed: report-42\n"
    made = json.loads(run("run", "report-42", "--json").stdout)
    assert made["inserted"]
    assert json.loads(run("--json").stdout)[0]["last_job_id"] == made["job_id"]
    assert run("remove", "report-42").stdout == "removed: report-42\n"
    assert run().stdout == "there are no schedules\n"


def test_an_interval_is_added_and_its_next_ticks_are_so_far_apart(run: Run) -> None:
    run("add", "often", "report", '{"customer": 1}', "--every", "90s", "--jitter", "0.5")
    ticks = json.loads(run("next", "often", "--count", "3", "--json").stdout)
    assert len(ticks) == 3
    (listed,) = json.loads(run("--json").stdout)
    assert listed["every"] == 90
    assert listed["next_at"] == ticks[0]


def test_the_next_ticks_of_an_expression_are_shown_without_a_schedule(run: Run) -> None:
    shown = run("next", "--cron", "@yearly", "--tz", "America/New_York", "--count", "1").stdout
    assert shown.strip().endswith("-01-01 00:00:00-05:00")


@pytest.mark.parametrize("command", ["pause", "resume", "remove", "run", "next"])
def test_a_name_that_there_is_not_is_exit_code_3(run: Run, command: str) -> None:
    assert "no schedule is named 'nightly'" in run(command, "nightly", code=3).stderr


def test_the_others_are_changed_where_one_is_not_there(run: Run) -> None:
    run("add", "a", "report", '{"customer": 1}', "--cron", "@daily")
    done = run("pause", "a", "b", "--json", code=3)
    assert json.loads(done.stdout) == {"paused": ["a"], "missing": ["b"]}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["add", "x", "report", "{}", "--cron", "@daily"], 1, "missing required field `customer`"),
        (["add", "x", "reprot", "{}", "--cron", "@daily"], 1, "did you mean 'report'"),
        (["add", "x", "report", '{"customer": 1}', "--cron", "61 * * * *"], 2, "minute '61'"),
        (["add", "x", "report", '{"customer": 1}'], 2, "--cron or --every"),
        (["add", "x", "report", '{"customer": "a"}', "--every", "1m"], 1, "customer"),
        (["add", "x", "report", "[]", "--every", "1m"], 2, "JSON object"),
        (["next"], 2, "NAME of a schedule"),
        (["next", "--cron", "@daily", "--tz", "Europe/Berln"], 2, "'Europe/Berlin'"),
    ],
)
def test_what_cannot_be_is_told_and_changes_nothing(
    run: Run, words: list[str], code: int, said: str
) -> None:
    assert said in run(*words, code=code).stderr
    assert run().stdout == "there are no schedules\n"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_help_is_that_of_all_commands(run: Run, option: str) -> None:
    assert run(option).stdout.startswith("Usage: soniq schedules [OPTIONS] COMMAND")
