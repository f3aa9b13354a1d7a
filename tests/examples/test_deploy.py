"""The files for a deployment: each checked by a tool of its own, and their commands run."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from soniq import Settings
from soniq.cli.commands import soniq

FOLDER = Path(__file__).parents[2] / "examples" / "deploy"
BIN = Path(sys.executable).parent
UNIT = (FOLDER / "soniq-worker.service").read_text()
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
MANIFESTS = [yaml.safe_load(file.read_text()) for file in sorted(FOLDER.glob("kubernetes/*.yaml"))]
LONGEST = Settings().grace + 20


def check(*words: str) -> None:
    """Run a tool; it has nothing to say."""
    done = subprocess.run(
        words, cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def pods() -> Iterator[dict[str, Any]]:
    for manifest in MANIFESTS:
        yield manifest["spec"]["template"]["spec"]


def commands() -> list[list[str]]:
    """Every command of Soniq's in the files."""
    (unit,) = re.findall(r"^ExecStart=\S+/soniq (.*)$", UNIT, re.MULTILINE)
    (image,) = re.findall(r"^CMD (\[.*\])$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    composed = [
        service["command"] for service in COMPOSE["services"].values() if "command" in service
    ]
    manifests = [container["command"] for pod in pods() for container in pod["containers"]]
    return [["soniq", *shlex.split(unit)], yaml.safe_load(image), *composed, *manifests]


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    assert shutil.which("systemd-analyze"), "systemd-analyze checks the unit"
    (tmp_path / "soniq-worker.service").write_text(
        UNIT.replace("/srv/app/venv/bin/soniq", f'"{BIN}/soniq"')
    )
    check("systemd-analyze", "verify", "--man=no", str(tmp_path / "soniq-worker.service"))


def test_the_unit_never_gives_up_and_waits_for_the_grace_time() -> None:
    for line in (
        "StartLimitIntervalSec=0",
        "Restart=always",
        "RestartSec=5",
        "User=app",
        f"TimeoutStopSec={LONGEST:g}",
    ):
        assert f"\n{line}\n" in UNIT
    assert re.findall(r"^\[(\w+)\]$", UNIT, re.MULTILINE) == ["Unit", "Service", "Install"]
    assert UNIT.index("StartLimitIntervalSec") < UNIT.index("[Service]"), (
        "it belongs to [Unit], and is ignored elsewhere"
    )


def test_the_page_shows_the_unit_as_it_is() -> None:
    page = (FOLDER.parents[1] / "docs/how-to/deploy.md").read_text()
    assert "\n".join(line for line in UNIT.splitlines() if not line.startswith("#")) in page


def test_the_dockerfile_passes_its_linter() -> None:
    check(str(BIN / "hadolint"), "Dockerfile")


def test_the_compose_file_keeps_to_its_schema() -> None:
    check(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml")
    assert COMPOSE["services"]["worker"]["stop_grace_period"] == f"{LONGEST:g}s"


def test_the_manifests_keep_to_their_schemas() -> None:
    check(
        str(BIN / "kubernetes-validate"),
        "--strict",
        *map(str, sorted(FOLDER.glob("kubernetes/*.yaml"))),
    )


def test_a_pod_has_more_time_than_its_worker() -> None:
    (worker,) = [pod for pod in pods() if pod["containers"][0]["command"][1] == "worker"]
    environment = {each["name"]: each.get("value") for each in worker["containers"][0]["env"]}
    assert worker["terminationGracePeriodSeconds"] == float(environment["SONIQ_GRACE"]) + 20


def test_the_probe_looks_at_the_file_that_the_worker_touches() -> None:
    (worker,) = [pod["containers"][0] for pod in pods() if "livenessProbe" in pod["containers"][0]]
    file = worker["command"][worker["command"].index("--health-file") + 1]
    assert f"stat -c %Y {file})" in worker["livenessProbe"]["exec"]["command"][-1]


def test_what_a_manifest_selects_is_what_it_makes() -> None:
    for manifest in MANIFESTS:
        labels = manifest["spec"]["template"]["metadata"]["labels"]
        assert manifest["spec"].get("selector", {"matchLabels": labels})["matchLabels"] == labels


@pytest.mark.parametrize("command", commands(), ids=shlex.join)
def test_each_command_exists_with_its_options(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delitem(sys.modules, "app", raising=False)
    assert command[0] == "soniq"
    parent = click.Context(soniq, **soniq.context_settings)
    soniq.commands[command[1]].make_context(command[1], command[2:], parent=parent)


def test_each_variable_is_a_setting() -> None:
    known = {f"SONIQ_{field.upper()}" for field in Settings.__struct_fields__}
    composed = [
        name for service in COMPOSE["services"].values() for name in service.get("environment", {})
    ]
    manifests = [
        each["name"]
        for pod in pods()
        for container in pod["containers"]
        for each in container["env"]
    ]
    named = {name for name in (*composed, *manifests) if name.startswith("SONIQ_")}
    assert named <= known
    assert "SONIQ_DATABASE_URL" in named


def test_the_commands_of_the_files_make_the_tables_and_run_a_worker(
    database_url: str, schema: str
) -> None:
    environment = {
        **os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "SONIQ_DATABASE_URL": database_url,
        "SONIQ_SCHEMA": schema
    }  # fmt: skip
    services = COMPOSE["services"]
    subprocess.run(
        services["setup"]["command"], cwd=FOLDER, env=environment, check=True, timeout=60
    )

    without_setup = {**environment, "SONIQ_SETUP": services["worker"]["environment"]["SONIQ_SETUP"]}
    worker = subprocess.Popen(services["worker"]["command"], cwd=FOLDER, env=without_setup)
    try:
        ask = (
            "from app import eq; print(eq.sync.wait_for(eq.sync.enqueue('app.greet', name='Ada')));"
            " eq.sync.close()"
        )
        done = subprocess.run(
            [sys.executable, "-c", ask], cwd=FOLDER, env=without_setup, capture_output=True,
            text=True, timeout=60, check=True,
        )  # fmt: skip
        assert done.stdout == "Hello, Ada\n"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait()
