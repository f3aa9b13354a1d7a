"""`soniq setup --check` and `--sql`: for people whose database changes go through review."""

import subprocess
from typing import TYPE_CHECKING

import asyncpg
import pytest

from soniq import Soniq
from soniq_embedded.binaries import install_folder
from tests.conftest import MakeApp

from .conftest import Project

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

pytestmark = pytest.mark.new_schema

PLUGIN = """
from soniq import hookimpl
from soniq.plugin import Migration

@hookimpl
def migrations():
    return [
        Migration(
            version=1, sql="create table {schema}.note (text text default ':a;''') -- the first"),
        Migration(version=2, sql="create view {schema}.waiting as select id from {soniq}.job"),
    ]
"""


@pytest.fixture
def with_plugin(project: Project) -> Project:
    """The project, with a plugin that has tables of its own."""
    project.plugin("notes", PLUGIN)
    project.environment["SONIQ_PLUGINS"] = "notes"
    return project


def psql(url: str, script: str) -> None:
    """Send a script as a person would."""
    done = subprocess.run(
        [str(install_folder() / "bin" / "psql"), url, "--no-psqlrc", "--set=ON_ERROR_STOP=1"],
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


async def columns(connection: "Connection", schema: str) -> list[tuple[object, ...]]:
    """All that is in a schema and its plugin's: tables with their columns, indexes, functions,
    partitions.
    """
    rows = await connection.fetch(
        """
        select relname, relkind, attname, format_type(atttypid, atttypmod), attnotnull
        from pg_class join pg_attribute on attrelid = pg_class.oid and attnum > 0
        where relnamespace::regnamespace::text in ($1, $1 || '_notes')
        union all
        select proname, 'f', proargnames::text, md5(replace(prosrc, $1, '')), proisstrict
        from pg_proc where pronamespace::regnamespace::text = $1
        order by 1, 2, 3
        """,
        schema,
    )
    return [tuple(row) for row in rows]


async def test_the_sql_that_is_printed_makes_what_setup_makes(
    with_plugin: Project, database_url: str, schema: str, connection: "Connection"
) -> None:
    printed = with_plugin.soniq("setup", "--sql")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert not await connection.fetchval("select to_regnamespace($1) is not null", schema)
    psql(database_url, printed.stdout)
    check = with_plugin.soniq("setup", "--check")
    assert (check.returncode, check.stderr) == (0, "")
    assert check.stdout.endswith(": all is current\n")
    assert with_plugin.soniq("setup", SONIQ_SCHEMA=f"{schema}_other").returncode == 0
    made = await columns(connection, schema)
    assert made == await columns(connection, f"{schema}_other")
    assert {row[0] for row in made} > {
        "job",
        "history",
        "migration",
        "note",
        "waiting",
        "settle_and_claim_2",
    }


async def test_an_app_that_sets_nothing_up_works_on_what_the_sql_made(
    project: Project, connection: "Connection", make_app: MakeApp
) -> None:
    await connection.execute(project.soniq("setup", "--sql").stdout)
    app = make_app(setup=False)

    @app.job(name="add", unique=True)
    async def add(a: int, b: int) -> int:
        return a + b

    job_id = await app.enqueue(add, 1, 2)
    assert await app.run_worker(run_once=True) == 1
    assert await app.get_result(job_id) == 3


async def test_the_sql_holds_only_what_is_missing(
    with_plugin: Project, database_url: str, schema: str, connection: "Connection"
) -> None:
    assert with_plugin.soniq("setup", SONIQ_PLUGINS="").returncode == 0
    printed = with_plugin.soniq("setup", "--sql").stdout
    assert f'create schema "{schema}_notes";' in printed
    assert "settle_and_claim" not in printed
    await connection.execute(printed)
    printed = with_plugin.soniq("setup", "--sql").stdout
    assert printed.startswith("-- ")
    assert printed.endswith(": all is current\n")
    assert printed.count("\n") == 1


async def test_sql_that_is_sent_twice_changes_nothing_the_second_time(
    project: Project, schema: str, connection: "Connection"
) -> None:
    printed = project.soniq("setup", "--sql").stdout
    await connection.execute(printed)
    before = await columns(connection, schema)
    with pytest.raises(asyncpg.DuplicateSchemaError):
        await connection.execute(printed)
    await connection.execute("rollback")
    assert await columns(connection, schema) == before


def test_check_says_which_steps_are_missing_and_takes_none(with_plugin: Project) -> None:
    for _ in range(2):
        done = with_plugin.soniq("setup", "--check")
        assert done.returncode == 4
        assert "missing: soniq 1" in done.stdout
        assert done.stdout.endswith("notes 1, notes 2\n")
    with_plugin.soniq("setup", SONIQ_PLUGINS="")
    done = with_plugin.soniq("setup", "--check", "--json")
    assert done.returncode == 4
    assert '"owner": "soniq"' not in done.stdout
    assert done.stdout.count('"owner": "notes"') == 2


def test_a_command_does_not_say_that_a_setting_is_off_which_nobody_set(project: Project) -> None:
    done = project.soniq("status")
    assert done.returncode == 1
    assert "are not made by this command, or because SONIQ_SETUP is off" in done.stderr
    assert "run `soniq setup`" in done.stderr


async def test_check_says_when_the_partitions_end_too_early(
    project: Project, producer: Soniq, schema: str, connection: "Connection"
) -> None:
    await connection.execute(f"update {schema}.retention set bound = now() + interval '6 days'")
    done = project.soniq("setup", "--check")
    assert done.returncode == 4
    assert ": missing: partitions of history after " in done.stdout
    assert project.soniq("setup", "--check", SONIQ_KEEP="400000").returncode == 0


@pytest.mark.parametrize("option", ["--check", "--sql"])
async def test_tables_that_are_too_new_are_an_error_and_nothing_is_missing(
    project: Project, producer: Soniq, schema: str, connection: "Connection", option: str
) -> None:
    await connection.execute(
        f"insert into {schema}.migration (namespace, version, oldest) values ('soniq', 999, 999)"
    )
    done = project.soniq("setup", option)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Upgrade soniq-core" in done.stderr


@pytest.mark.parametrize("option", ["--check", "--sql"])
def test_a_database_that_is_not_there_is_an_error(project: Project, option: str) -> None:
    done = project.soniq(
        "setup", option, SONIQ_DATABASE_URL="postgresql://eva:s3cret@127.0.0.1:1/shop"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot connect to PostgreSQL at 127.0.0.1:1/shop" in done.stderr
    assert "s3cret" not in done.stderr


def test_sql_goes_with_nothing_else(project: Project) -> None:
    assert project.soniq("setup", "--sql", "--check").returncode == 2
    assert project.soniq("setup", "--sql", "--json").returncode == 2


async def test_setup_makes_the_partitions_ahead_where_the_tables_are_current(
    project: Project, producer: Soniq, schema: str, connection: "Connection"
) -> None:
    (last,) = await connection.fetch(
        f"update {schema}.retention set bound = bound - interval '1 day' "
        "returning 'history_' || to_char(bound at time zone 'UTC', 'YYYYMMDD') as name"
    )
    await connection.execute(f"drop table {schema}.{last['name']}")
    found = project.json("setup")
    assert (found["steps"], found["partitions"]) == ([], [last["name"]])
    assert await connection.fetchval(
        "select to_regclass($1) is not null", f"{schema}.{last['name']}"
    )
    assert project.soniq("setup").stdout.endswith(": all is current\n")
