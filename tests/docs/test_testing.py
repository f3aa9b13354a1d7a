"""The tests in the how-to about testing jobs pass, in the files that it says."""

import os
import subprocess
import sys
from pathlib import Path

from .pages import DOCS, FILE, blocks

PAGE = DOCS / "how-to" / "testing-jobs.md"


def test_the_tests_of_the_page_pass(tmp_path: Path, database_url: str) -> None:
    for block in blocks(PAGE, "python", "ini"):
        for word in block.words:
            (tmp_path / word.removeprefix(FILE)).write_text(block.text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        cwd=tmp_path, env={**os.environ, "SONIQ_TEST_DATABASE_URL": database_url}, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
