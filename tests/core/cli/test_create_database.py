"""`soniq setup --create-database`, and a `.env` file for the command line."""

import shlex
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.urls import as_hosters_write, as_role, of_database

from .conftest import LIMIT, Project

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def missing(database_url: str) -> AsyncIterator[str]:
    """The URL of a database that is not there; what a test creates is dropped."""
    name = f"shop-{uuid.uuid4().hex[:8]}"
    yield of_database(database_url, name)
    connection = await asyncpg.connect(database_url)
    await connection.execute(f'drop database if exists "{name}" with (force)')
    await connection.close()


def test_a_database_that_is_missing_can_be_created_with_its_tables(
    project: Project, missing: str
) -> None:
    name = urlsplit(missing).path[1:]
    done = project.soniq("setup", "--create-database", SONIQ_DATABASE_URL=missing)
    assert (done.returncode, done.stderr) == (0, f"created the database {name}\n")
    assert "took the steps: soniq 1" in done.stdout
    again = project.soniq("setup", "--create-database", SONIQ_DATABASE_URL=missing)
    assert (again.returncode, again.stderr) == (0, "")
    assert "all is current" in again.stdout


def test_a_url_as_hosters_write_it_leads_to_a_new_database_too(
    project: Project, missing: str
) -> None:
    done = project.soniq("setup", "--create-database", SONIQ_DATABASE_URL=as_hosters_write(missing))
    assert done.returncode == 0, done.stderr


def test_a_database_that_is_missing_is_an_error_that_says_what_creates_it(
    project: Project, missing: str
) -> None:
    for command in (["worker", "app:eq", "--once"], ["setup"]):
        done = project.soniq(*command, SONIQ_DATABASE_URL=missing)
        assert done.returncode == 1
        assert f'database "{urlsplit(missing).path[1:]}" does not exist' in done.stderr
        assert "soniq setup --create-database" in done.stderr


def test_creating_a_database_goes_with_no_check(project: Project) -> None:
    assert project.soniq("setup", "--create-database", "--check").returncode == 2


def test_a_url_that_names_no_database_is_refused(
    project: Project, database_url: str, role: str
) -> None:
    nameless = urlsplit(as_role(database_url, role))._replace(path="").geturl()
    done = project.soniq("setup", "--create-database", SONIQ_DATABASE_URL=nameless)
    assert done.returncode == 1
    assert "names no database" in done.stderr


def test_a_role_that_may_not_create_databases_is_told(
    project: Project, missing: str, role: str
) -> None:
    done = project.soniq("setup", "--create-database", SONIQ_DATABASE_URL=as_role(missing, role))
    assert done.returncode == 1
    assert "cannot be created: permission denied to create database" in done.stderr


@pytest.fixture
async def role(database_url: str) -> AsyncIterator[str]:
    """A role that may log in and nothing else."""
    name = f"poor_{uuid.uuid4().hex[:8]}"
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"create role {name} login")
    yield name
    await connection.execute(f"drop role {name}")
    await connection.close()


def test_the_line_of_the_documentation_takes_settings_from_a_file(
    project: Project, database_url: str
) -> None:
    settings = (
        f"# of this project\nSONIQ_DATABASE_URL='{database_url}'\n"
        f'SONIQ_SCHEMA={project.environment["SONIQ_SCHEMA"]}\nSONIQ_SETUP="true"\n'
    )
    project.write(".env", settings)
    page = (ROOT / "docs/reference/settings.md").read_text()
    assert "\nset -a; . ./.env; set +a\n" in page
    bare = {
        name: value for name, value in project.environment.items() if not name.startswith("SONIQ_")
    }
    script = f"set -a; . ./.env; set +a\n{shlex.quote(sys.executable)} -m soniq setup"
    done = subprocess.run(
        ["sh", "-c", script], cwd=project.folder, env={**bare, "SONIQ_PLUGINS": ""},
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert f"schema {project.environment['SONIQ_SCHEMA']} of " in done.stdout
