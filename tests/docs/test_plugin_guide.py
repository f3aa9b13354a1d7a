"""The commands of the guide for authors of plugins, done with a checkout, as before the core is
published.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

from tests.support.dependencies import link_dependencies, pack_dependencies

from .pages import DOCS, ROOT, section

GUIDE = DOCS / "how-to" / "write-a-plugin.md"


def indented(heading: str) -> list[str]:
    """The commands below a heading, which are indented."""
    return [
        line.strip() for line in section(GUIDE, heading).splitlines() if line.startswith("    ")
    ]


def make_environment(folder: Path, *requirements: str) -> None:
    """A new environment with links to this one's pip and what these require, which is quicker than
    to install it.
    """
    venv.create(folder)
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", paths))
    link_dependencies(site, "pip", *requirements)


@pytest.mark.timeout(600)  # it builds seven times, and makes two environments
def test_a_plugin_is_made_tested_and_built_with_a_checkout(
    tmp_path: Path, database_url: str
) -> None:
    bin_ = tmp_path / "venv" / "bin"
    wheels = tmp_path / "wheels"
    outside = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SONIQ_", "PYTHON"))
    }
    environment = {
        **outside, "PATH": f"{bin_}:{os.environ['PATH']}", "SONIQ_TEST_DATABASE_URL": database_url,
        "PIP_CONSTRAINT": (ROOT / "constraints.txt").as_uri(), "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COMPILE": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_BUILD_ISOLATION": "0",  # for pip: there is none, as `build` has it anyway
    }  # fmt: skip

    def run(line: str, folder: Path) -> str:
        root = shlex.quote(str(ROOT))
        line = line.replace("$HOME/soniq", root).replace("~/soniq", root)
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    run(f"{shlex.quote(sys.executable)} -m soniq new-plugin obituary", tmp_path)
    folder = tmp_path / "soniq-obituary"
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    backend = project["build-system"]["requires"]
    test = project["project"]["optional-dependencies"]["test"]
    make_environment(tmp_path / "venv", *test, *backend, "editables", "build", "twine")
    wheels.mkdir()
    pack_dependencies(wheels, *backend, "soniq-core")

    (install,) = indented("## A package")
    run(install, folder)
    assert "passed" in run("python -m pytest -q -p no:cacheprovider", folder)

    tools, *build, try_it, upload = indented("## Publish it")
    assert "upload" in upload
    for line in (tools, *build):
        run(line, folder)

    make, _, line = try_it.partition(" && ")
    assert make == "python -m venv try-it"
    make_environment(folder / "try-it", *backend)
    said = run(
        line.replace("bin/pip install", f"bin/python -m pip install {ROOT}/soniq_core"), folder
    )
    assert "soniq-obituary" in said
    assert "loaded" in said


def test_the_guide_says_how_with_a_checkout() -> None:
    text = " ".join(section(GUIDE, "## Publish it").split())
    assert "`try-it/bin/pip install ~/soniq/soniq_core dist/*.whl`" in text
