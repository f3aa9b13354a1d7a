"""The typed form of hooks and jobs, as mypy and pyright see it: neither error more nor less than
the files expect.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FILES = tuple(
    HERE / f"{name}.py"
    for name in (
        "hooks_ok",
        "hooks_wrong",
        "jobs_ok",
        "jobs_wrong",
        "own_hooks_ok",
        "own_hooks_wrong",
    )
)

Found = tuple[str, int, str]
"""File, line, code of the error."""


@pytest.mark.timeout(300)  # a first run without any cache, on a busy machine
def test_mypy_finds_the_expected_errors_and_no_others() -> None:
    assert list(mypy()) == list(expected("mypy"))


@pytest.mark.timeout(300)
def test_pyright_finds_the_expected_errors_and_no_others() -> None:
    assert list(pyright()) == list(expected("pyright"))


def expected(checker: str) -> Iterator[Found]:
    """What the comments say: `# mypy: code; pyright: code`."""
    for file in FILES:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            for code in re.findall(rf"\S  # .*\b{checker}: ([\w-]+)", line):
                yield file.name, number, code


def mypy() -> Iterator[Found]:
    """mypy's errors, with the settings of the checks."""
    output = run("-m", "mypy", "--output=json", *(str(file) for file in FILES))
    errors = [json.loads(line) for line in output.splitlines()]
    yield from sorted(
        (Path(e["file"]).name, e["line"], e["code"]) for e in errors if e["severity"] == "error"
    )


def pyright() -> Iterator[Found]:
    """pyright's errors and warnings, in its strict mode (pyrightconfig.json)."""
    output = run(
        "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(HERE)
    )
    report = json.loads(output)
    assert report["summary"]["filesAnalyzed"] == len(FILES)
    yield from sorted(
        (Path(e["file"]).name, e["range"]["start"]["line"] + 1, e.get("rule", "syntax"))
        for e in report["generalDiagnostics"]
    )


def run(*command: str) -> str:
    """What a tool prints. It ends with 1 where it has found errors; anything else is a failure of
    its own.
    """
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout
