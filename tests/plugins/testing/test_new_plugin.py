"""`soniq new-plugin`: the package that it writes is installed, found, linted, typed and tested, as
it is.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import soniq
from tests.core.cli.conftest import LIMIT, Project
from tests.support.processes import PYTEST

Run = Callable[[Sequence[str], Path], str]


@pytest.fixture(scope="module")
def run(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a program in a folder; what it printed. It succeeds. What mypy has found of the libraries
    stays for its next run.
    """
    cache = str(tmp_path_factory.mktemp("mypy"))

    def run(words: Sequence[str], folder: Path) -> str:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("SONIQ_")
        }
        environment |= {"SONIQ_TEST_DATABASE_URL": database_url, "MYPY_CACHE_DIR": cache}
        done = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def python(tmp_path: Path) -> str:
    """The interpreter of a new environment, which has what is installed in that of the tests as
    well.
    """
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False)
    python = str(folder / "bin" / "python")
    site = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    ).strip()
    outer = sysconfig.get_path("purelib")
    (Path(site) / "outer.pth").write_text(f"import site; site.addsitedir({outer!r})\n")
    return python


def test_a_new_plugin_is_installed_found_and_passes_its_own_tests(
    project: Project, run: Run, python: str
) -> None:
    done = project.soniq("new-plugin", "slow-jobs")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("wrote 8 files to soniq-slow-jobs")
    folder = project.folder / "soniq-slow-jobs"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
    ]
    run([*pip, "--no-build-isolation", "--disable-pip-version-check", str(folder)], folder)
    listed = run([python, "-m", "soniq", "plugins"], project.folder)
    (line,) = [line.split() for line in listed.splitlines() if line.startswith("slow-jobs ")]
    assert line == [
        "slow-jobs", "0.1.0", "soniq-slow-jobs", "discovered", "soniq_slow_jobs:SlowJobsPlugin",
        "loaded", "around_job,", "configure_job", "-",
    ]  # fmt: skip
    assert "4 passed" in run([python, "-m", *PYTEST, "-p", "no:cacheprovider"], folder)


@pytest.mark.parametrize("name", ["qa", "a-very-long-name-of-all-that-are-allowed"])
def test_a_new_plugin_has_nothing_for_linters_and_the_type_checker_to_say(
    project: Project, run: Run, name: str
) -> None:
    project.soniq("new-plugin", name, "--folder", "plugin")
    folder = project.folder / "plugin"
    run([sys.executable, "-m", "ruff", "check", "."], folder)
    run([sys.executable, "-m", "ruff", "format", "--check", "."], folder)
    assert "no issues" in run([sys.executable, "-m", "mypy", "src", "tests"], folder)


def test_what_to_do_next_works_while_the_core_is_on_no_registry(project: Project) -> None:
    said = project.soniq("new-plugin", "audit").stdout
    core = Path(soniq.__file__).parents[2]
    plugins = core.parent / "plugins"
    first = shlex.join(map(str, (core, plugins / "testing", plugins / "embedded")))
    assert f"python -m pip install {first} --editable '.[test]'" in said


@pytest.mark.parametrize(
    "url", ["soniq.example", "ftp://soniq.example", 'https://"soniq', "https://a b"]
)
def test_an_address_that_is_none_is_refused(project: Project, url: str) -> None:
    done = project.soniq("new-plugin", "audit", "--url", url)
    assert done.returncode == 2
    assert "a URL that begins with https://" in " ".join(done.stderr.split())
    assert not list(project.folder.glob("soniq-*"))


def test_what_was_written_is_told_in_json(project: Project) -> None:
    assert project.json("new-plugin", "audit-log") == {
        "folder": "soniq-audit-log", "module": "soniq_audit_log", "files": 8,
    }  # fmt: skip


def test_the_package_has_bounds_for_the_core_and_one_entry_point(project: Project) -> None:
    project.soniq("new-plugin", "audit")
    text = (project.folder / "soniq-audit" / "pyproject.toml").read_text()
    assert 'dependencies = ["soniq-core>=0.1,<0.2"]' in text
    assert '[project.entry-points.soniq]\naudit = "soniq_audit:AuditPlugin"\n' in text
    assert (project.folder / "soniq-audit" / ".gitignore").exists()
    assert not list((project.folder / "soniq-audit").rglob("*.tmpl"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Audit", "lower-case letters"),
        ("audit_log", "lower-case letters"),
        ("2fast", "lower-case letters"),
        ("-audit", "No such option"),
        ("audit-", "lower-case letters"),
        ("../audit", "lower-case letters"),
        ("a" * 41, "at most 40"),
        ("soniq-audit", "soniq- comes by itself: audit"),
        ("core", "is taken by Soniq itself"),
        ("application", "is taken by Soniq itself"),
        ("json", "is taken by Soniq itself"),
        ("embedded", "a plugin named 'embedded' is installed, from soniq-embedded"),
    ],
)
def test_a_name_that_cannot_be_is_refused(project: Project, name: str, said: str) -> None:
    done = project.soniq("new-plugin", name)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert not list(project.folder.glob("soniq-*"))


def test_a_folder_that_exists_is_not_touched(project: Project) -> None:
    project.write("soniq-audit/notes.txt", "mine")
    done = project.soniq("new-plugin", "audit")
    assert (done.returncode, done.stderr) == (
        1,
        "error: soniq-audit exists already; --folder names another\n",
    )
    assert [path.name for path in (project.folder / "soniq-audit").iterdir()] == ["notes.txt"]
