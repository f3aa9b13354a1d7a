"""`soniq ...` in this process, with an app in a module of its own."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from soniq.cli.commands import soniq

Run = Callable[..., Result]
"""Runs `soniq` with these words, which has to end with the exit code `code=`, by default 0."""


def runner(
    app: str, folder: Path, database_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Runs `soniq ...` with the app `eq` of a module with this text; its tables are there."""
    module = f"app_{uuid4().hex}"  # schemas are used again, and modules are kept
    (folder / f"{module}.py").write_text(app)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("SONIQ_APP", f"{module}:eq")
    monkeypatch.setenv("SONIQ_DATABASE_URL", database_url)
    monkeypatch.setenv("SONIQ_SCHEMA", schema)

    def run(*words: str, code: int = 0) -> Result:
        done = CliRunner().invoke(soniq, words)
        assert done.exit_code == code, done.output
        return done

    run("setup")
    return run
