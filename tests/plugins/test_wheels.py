"""Real wheels in a fresh environment: installing a plugin switches it on, uninstalling off,
SONIQ_PLUGINS blocks it.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.dependencies import link_dependencies

ROOT = Path(__file__).parents[2]
PLUGINS = ("dashboard", "limits", "otel", "psycopg", "pydantic", "results", "schedules", "sentry")

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


BUILD = """
import os, sys
from hatchling.build import build_wheel

for project in sys.argv[2:]:
    os.chdir(project)
    build_wheel(sys.argv[1])
"""
"""What pip has hatchling do, without three processes for each project."""


class Environment:
    """A fresh virtual environment, or a copy of another one, and a folder to which results go."""

    def __init__(
        self, folder: Path, settings: Mapping[str, str], like: "Environment | None" = None
    ) -> None:
        self.results = folder / "results"
        self.results.mkdir()
        self._folder = folder
        self._settings = {
            **settings,
            "SONIQ_RESULTS_URL": self.results.as_uri(),
            "SONIQ_RESULTS_THRESHOLD": "0",
        }
        if like is None:
            venv.create(folder / "venv")
        else:
            self._copy(like)
        paths = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
        self.site = Path(sysconfig.get_path("purelib", "venv", paths))
        (folder / "program.py").write_text(PROGRAM)

    def _copy(self, other: "Environment") -> None:
        """Have what is installed in another one; commands name the interpreter that runs them."""
        shutil.copytree(other._folder / "venv", self._folder / "venv", symlinks=True)
        command = self._folder / "venv" / "bin" / "soniq"
        text = command.read_text()
        assert str(other._folder) in text
        command.write_text(text.replace(str(other._folder), str(self._folder)))

    def run(self, *arguments: str, **settings: str) -> str:
        """What a command of the environment prints, which succeeds."""
        done = self.attempt(*arguments, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def attempt(self, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the environment, whatever comes of it."""
        outside = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SONIQ_", "PYTHON"))
        }
        command = [str(self._folder / "venv" / "bin" / arguments[0]), *arguments[1:]]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=170, cwd=self._folder, check=False,
            env={**outside, **self._settings, **settings},
        )  # fmt: skip

    def pip(self, *arguments: str) -> None:
        """Have this environment's pip change it, which is quicker than to install one there. It has
        no registry.
        """
        there = str(self._folder / "venv" / "bin" / "python")
        pip = [sys.executable, "-m", "pip", "--python", there, "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "--quiet", *arguments], capture_output=True, text=True, timeout=170, check=False,
            env=os.environ | {"PIP_NO_INDEX": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

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
        [sys.executable, "-c", BUILD, str(folder), *map(str, projects)], check=True, timeout=170
    )
    return {
        wheel.name.split("-")[0].removeprefix("soniq_"): wheel for wheel in folder.glob("*.whl")
    }


def install(environment: Environment, wheels: Mapping[str, Path], names: Sequence[str]) -> None:
    """Install the core or plugins where nothing else is than what they depend on."""
    extras = {"psycopg": "[binary]"}  # not every system has PostgreSQL's client library
    link_dependencies(environment.site, *(f"soniq-{name}{extras.get(name, '')}" for name in names))
    paths = [str(wheels[name]) + extras.get(name, "") for name in names]
    environment.pip("install", "--constraint", str(ROOT / "constraints.txt"), *paths)


@pytest.fixture(scope="module")
def with_core(tmp_path_factory: pytest.TempPathFactory, wheels: Mapping[str, Path]) -> Environment:
    """An environment with the core, of which tests have copies."""
    environment = Environment(tmp_path_factory.mktemp("core"), {})
    install(environment, wheels, ["core"])
    return environment


@pytest.fixture
def environment(
    tmp_path: Path, with_core: Environment, database_url: str, schema: str
) -> Environment:
    """A fresh environment with the core."""
    settings = {"SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema}
    return Environment(tmp_path, settings, with_core)


def test_installing_switches_a_plugin_on_and_uninstalling_off(
    environment: Environment, wheels: Mapping[str, Path]
) -> None:
    assert environment.plugins() == {}
    assert environment.stored() == 0

    install(environment, wheels, PLUGINS)
    found = environment.plugins()
    assert {name: each["distribution"] for name, each in found.items()} == {
        name: f"soniq-{name}" for name in PLUGINS
    }
    assert all(
        each["blocked"] is None and each["error"] is None and each["hooks"]
        for each in found.values()
    )
    assert environment.stored() == 1

    assert (
        environment.plugins(SONIQ_PLUGINS="-results")["results"]["blocked"]
        == "SONIQ_PLUGINS=-results"
    )
    assert environment.stored(SONIQ_PLUGINS="-results") == 0
    assert environment.stored(SONIQ_PLUGINS="otel,sentry") == 0
    assert environment.stored(SONIQ_PLUGINS="results") == 1

    environment.pip("uninstall", "--yes", "soniq-results")
    assert set(environment.plugins()) == set(PLUGINS) - {"results"}
    assert environment.stored() == 0


def other_product(folder: Path, *modules: str) -> Path:
    """A wheel of the distribution `soniq`, which has these modules and a command of the same
    name.
    """
    wheel = folder / "soniq-0.9.0-py3-none-any.whl"
    about = "soniq-0.9.0.dist-info"
    files = {f"soniq/{module}": "class Soniq:\n    other = True\n" for module in modules} | {
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: soniq\nVersion: 0.9.0\n",
        f"{about}/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(
            f"{about}/RECORD", "".join(f"{name},,\n" for name in (*files, f"{about}/RECORD"))
        )
    return wheel


@pytest.mark.parametrize(
    "modules",
    [("schedules.py",), ("__init__.py", "app.py", "errors.py", "settings.py", "cli/__init__.py")],
    ids=["leaving ours whole", "taking over ours"],
)
def test_the_other_product_of_this_import_name_is_noticed_and_what_is_said_puts_it_right(
    environment: Environment, wheels: Mapping[str, Path], tmp_path: Path, modules: Sequence[str]
) -> None:
    environment.pip("install", "--no-deps", str(other_product(tmp_path, *modules)))
    done = environment.attempt("python", "-m", "soniq", "status")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: the distribution soniq 0.9.0 is installed beside soniq-core"
    )
    assert "Traceback" not in done.stderr
    if "app.py" not in modules:  # else `import soniq` is the other product
        assert "DistributionConflict" in environment.attempt("python", "program.py").stderr

    environment.pip("uninstall", "--yes", "soniq")
    environment.pip("install", "--force-reinstall", "--no-deps", str(wheels["core"]))
    assert environment.run("python", "program.py") == "42\n"
