"""What is published: every wheel and sdist, really built, with what a registry and a lawyer look
for.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [
    ROOT / "soniq_core",
    *sorted(file.parent for file in ROOT.glob("plugins/*/pyproject.toml")),
]
EXAMPLES = sorted(file.parent for file in ROOT.glob("examples/plugins/*/pyproject.toml"))
READMES = [
    *(folder / "README.md" for folder in (*PACKAGES, *EXAMPLES)),
    ROOT / "plugins/testing/src/soniq_testing/template/README.md.tmpl",
]
ADDRESS = "https://soniq.example/source"
LINK = re.compile(
    r"\]\(\s*<?([^)\s>]+)|^\[[^\]]+\]:\s*(\S+)|(?:href|src)=[\"']([^\"']+)", re.MULTILINE
)


def run(*words: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run this environment's Python in a folder: a file, or a module."""
    first = () if words[0].endswith(".py") else ("-m",)
    return subprocess.run(
        [sys.executable, *first, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def copy(folder: Path) -> Path:
    """The checkout, as far as packages are made of it."""
    left_out = shutil.ignore_patterns(".venv", "__pycache__", "*.egg-info", "dist")
    for name in ("soniq_core", "plugins"):
        shutil.copytree(ROOT / name, folder / name, ignore=left_out)
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/release.py", folder / ".ci")
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every wheel and sdist, built and checked by the command that publishes."""
    checkout = copy(tmp_path_factory.mktemp("checkout"))
    assert run(".ci/release.py", "address", f"Source={ADDRESS}", folder=checkout).returncode == 0
    done = run(".ci/release.py", "build", folder=checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout / "dist"


def metadata(built: Path) -> Mapping[str, Message]:
    """The metadata of each built file, by its name."""
    found: dict[str, Message] = {}
    for wheel in built.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            found[wheel.name] = message_from_bytes(archive.read(name))
    for sdist in built.glob("*.tar.gz"):
        with tarfile.open(sdist) as archive:
            info = archive.extractfile(f"{sdist.name.removesuffix('.tar.gz')}/PKG-INFO")
            assert info is not None
            found[sdist.name] = message_from_bytes(info.read())
    return found


@pytest.mark.timeout(600)  # it waits for all of them to be built
def test_each_package_is_built_as_a_wheel_and_an_sdist_with_all_that_a_registry_shows(
    built: Path,
) -> None:
    found = metadata(built)
    assert len(found) == 2 * len(PACKAGES)
    for name, about in found.items():
        classifiers = about.get_all("Classifier", [])
        assert about["License-Expression"] == "MIT", name
        assert about.get_all("License-File") == ["LICENSE"], name
        assert about.get_all("Project-URL") == [f"Source, {ADDRESS}"], name
        assert about["Author"] == "The Soniq authors", name
        assert about["Summary"], name
        assert about["Keywords"], name
        assert about["Description-Content-Type"] == "text/markdown", name
        assert {"Typing :: Typed", "Programming Language :: Python :: 3.13"} <= set(classifiers), (
            name
        )


def test_each_wheel_and_sdist_holds_the_licence_itself(built: Path) -> None:
    licence = (ROOT / "LICENSE").read_bytes()
    for wheel in built.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
            assert archive.read(name) == licence
            assert any(name.endswith("/py.typed") for name in archive.namelist()), wheel.name
    for sdist in built.glob("*.tar.gz"):
        with tarfile.open(sdist) as archive:
            held = archive.extractfile(f"{sdist.name.removesuffix('.tar.gz')}/LICENSE")
            assert held is not None
            assert held.read() == licence


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_the_licence_lies_beside_each_example_plugin(folder: Path) -> None:
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_nothing_is_built_while_a_package_has_no_address(tmp_path: Path) -> None:
    checkout = copy(tmp_path)
    for file in checkout.glob("**/pyproject.toml"):
        file.write_text(re.sub(r"\[project\.urls\]\n(?:.+\n)*\n?", "", file.read_text()))
    done = run(".ci/release.py", "build", folder=checkout)
    assert done.returncode == 1
    assert "no address in soniq_core, dashboard, doctor, embedded" in done.stderr
    assert not (checkout / "dist").exists()


def test_an_address_that_is_none_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    checkout = copy(tmp_path)
    before = (checkout / "soniq_core/pyproject.toml").read_text()
    for words in ([], ["https://soniq.example"], ["Source=soniq.example"], ['Source=https://"x"']):
        done = run(".ci/release.py", "address", *words, folder=checkout)
        assert (done.returncode, "Label=https://" in done.stderr) == (1, True)
    assert (checkout / "soniq_core/pyproject.toml").read_text() == before


def test_an_address_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    checkout = copy(tmp_path)
    for words in (
        ["Source=https://old.example", "Issues=https://old.example/issues"],
        [f"Source={ADDRESS}"],
    ):
        assert run(".ci/release.py", "address", *words, folder=checkout).returncode == 0
    for file in checkout.glob("**/pyproject.toml"):
        assert tomllib.loads(file.read_text())["project"]["urls"] == {"Source": ADDRESS}, file


def test_all_packages_have_the_same_addresses() -> None:
    projects = [
        tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in PACKAGES
    ]
    assert all(project.get("urls") == projects[0].get("urls") for project in projects)


@pytest.mark.parametrize("readme", READMES, ids=lambda readme: readme.relative_to(ROOT).as_posix())
def test_the_readme_of_a_package_has_no_link_that_needs_the_repository(readme: Path) -> None:
    links = [
        next(filter(None, groups)) for groups in LINK.findall(readme.read_text(encoding="utf-8"))
    ]
    assert [link for link in links if not link.startswith("https://")] == []


def test_the_search_for_links_finds_each_form() -> None:
    text = "[a](b.md) ![c](<d.png>)\n[e]: f.md\n<img src='g.png'>"
    assert [next(filter(None, groups)) for groups in LINK.findall(text)] == [
        "b.md",
        "d.png",
        "f.md",
        "g.png",
    ]


def test_a_new_plugin_can_be_built_and_passes_the_check_of_a_registry(tmp_path: Path) -> None:
    options = ("--author", 'Ada "the first" Łovelace', "--url", "https://soniq.example/audit")
    made = run("soniq", "new-plugin", "audit", *options, folder=tmp_path)
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "soniq-audit"
    assert f"author {options[1]}." in " ".join(made.stdout.split())
    files = ("dist/soniq_audit-0.1.0.tar.gz", "dist/soniq_audit-0.1.0-py3-none-any.whl")
    for words in (["hatchling", "build"], ["twine", "check", "--strict", *files]):
        done = run(*words, folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    for about in metadata(folder / "dist").values():
        assert about["License-Expression"] == "MIT"
        assert about.get_all("License-File") == ["LICENSE"]
        assert about.get_all("Project-URL") == ["Source, https://soniq.example/audit"]
        assert "Typing :: Typed" in about.get_all("Classifier", [])
    assert options[1] in (folder / "LICENSE").read_text(encoding="utf-8")
