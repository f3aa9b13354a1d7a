"""A project of its own, as for the tests of the command line, in which this plugin is switched on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.cli.conftest import Project
from tests.support.forks import Forks


@pytest.fixture
def project(tmp_path: Path, database_url: str, schema: str, forks: Forks) -> Iterator[Project]:
    """A project whose environment leads to this test's schema."""
    environment = {
        "SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema, "SONIQ_PLUGINS": "testing",
    }  # fmt: skip
    project = Project(tmp_path, environment, forks)
    yield project
    project.close()
