"""The oldest versions that the packages allow: which they are, and that all is there with them."""

import importlib
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECTS = [
    tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    for pattern in ("soniq_core", "plugins/*", "examples/plugins/*")
    for file in sorted(ROOT.glob(f"{pattern}/pyproject.toml"))
]
APART = {"pytest"}
"""The suite itself needs a newer one than soniq-testing does."""


def lower_bounds() -> Iterator[tuple[str, Version]]:
    """The oldest version of each dependency of each package that is not Soniq's own."""
    for project in PROJECTS:
        extras = project.get("optional-dependencies", {}).values()
        for text in (*project["dependencies"], *(each for extra in extras for each in extra)):
            dependency = Requirement(text)
            if not dependency.name.startswith("soniq") and dependency.name not in APART:
                for bound in dependency.specifier:
                    if bound.operator == ">=":
                        yield dependency.name, Version(bound.version)


def test_the_oldest_versions_that_are_tried_are_the_lower_bounds_of_the_packages() -> None:
    lines = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    tried = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert set(lower_bounds()) == {(name, Version(text)) for name, text in tried.items()}


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project["name"])
def test_each_package_is_imported_and_its_dependencies_are_within_the_bounds(
    project: dict[str, object],
) -> None:
    name = str(project["name"])
    importlib.import_module("soniq" if name == "soniq-core" else name.replace("-", "_"))
    for text in project["dependencies"]:  # type: ignore[attr-defined]
        dependency = Requirement(text)
        if dependency.marker is None or dependency.marker.evaluate():
            assert dependency.specifier.contains(version(dependency.name), prereleases=True)
