"""The command itself: version, help, the script."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from soniq.cli.commands import CORE, soniq

from .conftest import Project

NOWHERE = "postgresql://127.0.0.1:1/nowhere"


def test_the_version_is_that_of_the_distribution(project: Project) -> None:
    done = project.soniq("--version", SONIQ_DATABASE_URL=NOWHERE)
    assert (done.returncode, done.stdout) == (0, f"soniq {version('soniq-core')}\n")


def test_the_script_does_what_the_module_does_and_finds_the_app_in_the_current_directory(
    project: Project,
) -> None:
    for arguments in (["--help"], ["status", "--app", "app:qe"]):
        script = subprocess.run(
            [Path(sys.executable).parent / "soniq", *arguments],
            cwd=project.folder, env=project.environment, capture_output=True, text=True,
        )  # fmt: skip
        module = project.soniq(*arguments)
        assert (script.returncode, script.stdout, script.stderr) == (
            module.returncode,
            module.stdout,
            module.stderr,
        )
    assert "did you mean app:eq?" in script.stderr


def test_help_needs_no_database(project: Project) -> None:
    done = project.soniq("status", "--help", SONIQ_DATABASE_URL=NOWHERE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--json" in done.stdout


def test_each_command_documents_its_exit_codes_and_has_a_short_line_for_the_list() -> None:
    assert {command.name for command in CORE} == {
        "worker", "setup", "status", "enqueue", "jobs", "inspect", "cancel", "retry", "delete",
        "pause", "prune", "resume", "release", "plugins",
    }  # fmt: skip
    for command in (soniq, *CORE):
        assert "Exit codes: 0 fine; 1 an error" in (command.epilog or "")
    for command in CORE:
        assert not command.get_short_help_str(60).endswith("...")


def test_each_command_but_worker_takes_json() -> None:
    taking = {
        command.name for command in CORE if any("--json" in each.opts for each in command.params)
    }
    assert taking == {command.name for command in CORE} - {"worker"}


def test_a_command_that_does_not_exist_is_wrong_usage(project: Project) -> None:
    done = project.soniq("statsu")
    assert done.returncode == 2
    assert "No such command 'statsu'" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", [["--help"], ["jobs", "--help"], ["plugins", "--json"]])
def test_output_that_cannot_be_written_is_an_error_in_one_line(
    project: Project, arguments: list[str], unbuffered: str
) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "soniq", *arguments], cwd=project.folder,
            env=project.environment | {"PYTHONUNBUFFERED": unbuffered}, stdout=full,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1,
        "error: the output cannot be written: No space left on device\n",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("pause", ""),
        ("pause", "a\nb"),
        ("jobs", "--queue", ""),
        ("enqueue", "add", '{"a": 1, "b": 2}', "--queue", ""),
        ("enqueue", "add", '{"a": 1, "b": 2}', "--priority", "99999"),
        ("worker", "app:eq", "--once", "--queues", "media:99999"),
    ],
)
def test_a_value_that_cannot_be_is_wrong_usage(
    project: Project, arguments: tuple[str, ...]
) -> None:
    project.soniq("setup", "--app", "app:eq")
    done = project.soniq(*arguments)
    assert done.returncode == 2
    assert "Error: " in done.stderr
