"""Real wheels in a fresh environment: installing a plugin switches it on, uninstalling off, SONIQ_PLUGINS blocks it."""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = ("otel", "results", "sentry")

PROGRAM = """
import asyncio
from soniq import Soniq

eq = Soniq()

@eq.job(name="double")
async def double(number: int) -> int:
    return number * 2

async def main() -> None:
    async with eq:
        job_id = await eq.enqueue(double, number=21)
        await eq.run_worker(run_once=True)
        print(await eq.get_result(job_id))

asyncio.run(main())
"""


class Environment:
    """A fresh virtual environment, and a folder to which results go."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.results = folder / "results"
        self.results.mkdir()
        self._folder = folder
        self._settings = {**settings, "SONIQ_RESULTS_URL": self.results.as_uri(), "SONIQ_RESULTS_THRESHOLD": "0"}
        venv.create(folder / "venv", with_pip=True)
        (folder / "program.py").write_text(PROGRAM)

    def run(self, *arguments: str, **settings: str) -> str:
        """What a command of the environment prints."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("SONIQ_", "PYTHON"))}
        command = [str(self._folder / "venv" / "bin" / arguments[0]), *arguments[1:]]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=170, cwd=self._folder,
            env={**outside, **self._settings, **settings},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def pip(self, *arguments: str) -> None:
        """Run pip in it."""
        self.run("python", "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)

    def plugins(self, **settings: str) -> dict[str, dict[str, Any]]:
        """What `soniq plugins` says, without the core's own."""
        listed = json.loads(self.run("soniq", "plugins", "--json", **settings))["plugins"]
        return {each["name"]: each for each in listed if each["source"] == "discovered"}

    def stored(self, **settings: str) -> int:
        """Run the program; how many results more lie in the folder then."""
        before = self._files()
        assert self.run("python", "program.py", **settings) == "42\n"
        return self._files() - before

    def _files(self) -> int:
        return sum(each.is_file() for each in self.results.rglob("*"))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The wheels of the core and of the plugins, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheels")
    projects = [ROOT / "soniq_core", *(ROOT / "plugins" / name for name in PLUGINS)]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--no-build-isolation", "--wheel-dir", str(folder), *map(str, projects)],
        check=True, timeout=170,
    )  # fmt: skip
    return {wheel.name.split("-")[0].removeprefix("soniq_"): wheel for wheel in folder.glob("*.whl")}


@pytest.fixture
def environment(tmp_path: Path, wheels: Mapping[str, Path], database_url: str, schema: str) -> Environment:
    """A fresh environment with the core."""
    environment = Environment(tmp_path, {"SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema})
    environment.pip("install", "--constraint", str(ROOT / "constraints.txt"), str(wheels["core"]))
    return environment


def install(environment: Environment, wheels: Mapping[str, Path], names: Sequence[str]) -> None:
    """Install plugins and what they depend on."""
    environment.pip("install", "--constraint", str(ROOT / "constraints.txt"), *(str(wheels[name]) for name in names))


def test_installing_switches_a_plugin_on_and_uninstalling_off(
    environment: Environment, wheels: Mapping[str, Path]
) -> None:
    assert environment.plugins() == {}
    assert environment.stored() == 0

    install(environment, wheels, PLUGINS)
    found = environment.plugins()
    assert {name: each["distribution"] for name, each in found.items()} == {name: f"soniq-{name}" for name in PLUGINS}
    assert all(each["blocked"] is None and each["error"] is None and each["hooks"] for each in found.values())
    assert environment.stored() == 1

    assert environment.plugins(SONIQ_PLUGINS="-results")["results"]["blocked"] == "SONIQ_PLUGINS=-results"
    assert environment.stored(SONIQ_PLUGINS="-results") == 0
    assert environment.stored(SONIQ_PLUGINS="otel,sentry") == 0
    assert environment.stored(SONIQ_PLUGINS="results") == 1

    environment.pip("uninstall", "--yes", "soniq-results")
    assert set(environment.plugins()) == {"otel", "sentry"}
    assert environment.stored() == 0
