"""`soniq setup`, and how commands find the database."""

import asyncpg
import pytest

from soniq import Soniq

from .conftest import Project

pytestmark = pytest.mark.new_schema


async def test_setup_makes_the_tables_and_then_says_that_all_is_current(
    project: Project, schema: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    first = project.soniq("setup", SONIQ_SETUP="false")
    assert first.returncode == 0, first.stderr
    assert f"schema {schema} of " in first.stdout
    assert "took the steps: soniq 1" in first.stdout
    assert await connection.fetchval("select to_regclass($1) is not null", f"{schema}.job")
    second = project.soniq("setup")
    assert second.returncode == 0
    assert second.stdout.endswith(": all is current\n")
    found = project.json("setup")
    assert (found["schema"], found["steps"]) == (schema, [])


def test_setup_tells_scripts_which_steps_it_took(project: Project, schema: str) -> None:
    found = project.json("setup", "--app", "app:eq")
    assert found["schema"] == schema
    assert {"owner": "soniq", "version": 1} in found["steps"]


async def test_no_command_but_setup_and_worker_makes_tables(
    project: Project, schema: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    for options in ([], ["--app", "app:eq"]):
        done = project.soniq("status", *options)
        assert done.returncode == 1
        assert "run `soniq setup`" in done.stderr
    assert not await connection.fetchval("select to_regnamespace($1) is not null", schema)


def test_the_options_take_the_place_of_the_environment(
    project: Project, producer: Soniq, database_url: str, schema: str
) -> None:
    done = project.soniq(
        "status", "--database-url", database_url, "--schema", schema, SONIQ_APP="nowhere:eq",
        SONIQ_DATABASE_URL="postgresql://127.0.0.1:1/nowhere", SONIQ_SCHEMA="nowhere",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("no jobs")


def test_an_app_together_with_other_settings_is_wrong_usage(project: Project) -> None:
    done = project.soniq("status", "--app", "app:eq", "--schema", "other")
    assert done.returncode == 2
    assert "--app brings its own settings" in done.stderr


def test_the_app_of_the_environment_is_used(project: Project) -> None:
    done = project.soniq("status", SONIQ_APP="app:qe")
    assert done.returncode == 2
    assert "did you mean app:eq?" in done.stderr


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "postgresql://eva:s3cret@127.0.0.1:1/shop",
            "cannot connect to PostgreSQL at 127.0.0.1:1/shop: ",
        ),
        (
            "mysql://eva:s3cret@127.0.0.1/shop",
            "the database URL must begin with postgresql://; this is mysql://...",
        ),
        ("postgresql://eva:s3cret@127.0.0.1:http/shop", "the database URL cannot be read: "),
    ],
)
def test_a_url_that_leads_nowhere_is_an_error_without_the_password(
    project: Project, url: str, said: str
) -> None:
    done = project.soniq("jobs", "--database-url", url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {said}")
    assert "s3cret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_no_database_at_all_is_an_error_that_names_the_ways_out(project: Project) -> None:
    del project.environment["SONIQ_DATABASE_URL"]
    done = project.soniq("status")
    assert done.returncode == 1
    assert "SONIQ_DATABASE_URL" in done.stderr
    assert "soniq-embedded" in done.stderr
