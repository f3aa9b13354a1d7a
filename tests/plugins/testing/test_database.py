"""`app_on_test_schema`: an app that is led to a schema of its own, and is afterwards what it
was.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from soniq import ConfigurationError, Soniq, SoniqError, hookimpl
from soniq.plugin import Migration
from soniq_testing import app_on_test_schema, database_url_for_tests, drain

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


async def schemas(connection: "Connection", name: str) -> list[str]:
    """The schemas that begin with a name."""
    rows = await connection.fetch(
        "select nspname from pg_namespace where starts_with(nspname, $1)", name
    )
    return sorted(row["nspname"] for row in rows)


class Tables:
    """A plugin with tables of its own."""

    name = "tables"

    @hookimpl
    def migrations(self) -> list[Migration]:
        return [Migration(version=1, sql="create table {schema}.note ()")]


async def test_the_schema_and_those_of_plugins_are_dropped_afterwards(
    database_url: str, connection: "Connection"
) -> None:
    async with app_on_test_schema(
        Soniq(plugins=[Tables()], discover=False), database_url=database_url
    ) as app:
        await app.start()
        schema = app.settings.schema
        assert await schemas(connection, schema) == [schema, f"{schema}_tables"]
    assert await schemas(connection, schema) == []


async def test_the_schema_is_dropped_after_a_test_that_failed(
    database_url: str, connection: "Connection"
) -> None:
    seen: list[str] = []

    async def fail() -> None:
        async with app_on_test_schema(Soniq(discover=False), database_url=database_url) as app:
            await app.start()
            seen.append(app.settings.schema)
            raise AssertionError

    with pytest.raises(AssertionError):
        await fail()
    assert await schemas(connection, seen[0]) == []


async def test_an_app_of_a_module_is_afterwards_what_it_was(database_url: str) -> None:
    eq = Soniq("postgresql://nowhere.invalid/shop", schema="shop", setup=False, discover=False)

    @eq.job(name="greet")
    async def greet() -> str:
        return "hello"

    async with app_on_test_schema(eq, database_url=database_url) as app:
        assert app is eq
        job_id = await eq.enqueue(greet)
        assert await drain(eq) == 1
        assert await eq.get_result(job_id) == "hello"
    assert (eq.settings.schema, eq.settings.setup) == ("shop", False)
    assert eq.settings.database_url == "postgresql://nowhere.invalid/shop"


async def test_the_app_may_be_closed_and_used_again_inside(database_url: str) -> None:
    """As the lifespan of a web application does it."""
    eq = Soniq(discover=False, unknown_jobs="allow")
    async with app_on_test_schema(eq, database_url=database_url):
        async with eq:
            job_id = await eq.enqueue("order")
        status = await eq.get_job_status(job_id)
        assert status is not None


async def test_an_app_that_was_in_use_is_closed_first(app: Soniq, database_url: str) -> None:
    await app.start()
    own = app.settings.schema
    async with app_on_test_schema(app, database_url=database_url):
        await app.start()
        assert app.settings.schema != own
    await app.start()
    assert app.settings.schema == own


async def test_an_app_that_another_event_loop_uses_is_an_error(
    app: Soniq, database_url: str
) -> None:
    await app.start()

    async def elsewhere() -> None:
        async with app_on_test_schema(app, database_url=database_url):
            raise AssertionError("not reached")

    with pytest.raises(SoniqError, match="another event loop"):
        await asyncio.to_thread(asyncio.run, elsewhere())


class TestUrl:
    """Which PostgreSQL tests run on."""

    @pytest.fixture(autouse=True)
    def _asked_afresh(self) -> Iterator[None]:
        database_url_for_tests.cache_clear()
        yield
        database_url_for_tests.cache_clear()

    def test_it_is_the_one_for_tests_and_never_that_of_the_jobs(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SONIQ_TEST_DATABASE_URL", "postgresql://localhost/tests")
        monkeypatch.setenv("SONIQ_DATABASE_URL", "postgresql://localhost/production")
        assert database_url_for_tests() == "postgresql://localhost/tests"

    def test_without_any_the_error_says_what_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SONIQ_TEST_DATABASE_URL", raising=False)
        monkeypatch.setenv("SONIQ_DATABASE_URL", "postgresql://localhost/production")
        monkeypatch.setattr("soniq_testing.database.entry_points", lambda **_: [])
        with pytest.raises(
            ConfigurationError, match="set SONIQ_TEST_DATABASE_URL, or install soniq-embedded"
        ):
            database_url_for_tests()

    def test_else_it_is_an_embedded_one_that_ends_with_the_process(self, tmp_path: Path) -> None:
        program = (
            "import asyncio, warnings\n"
            "warnings.simplefilter('error')\n"
            "from soniq import Soniq\n"
            "from soniq_testing import app_on_test_schema, database_url_for_tests\n"
            "async def main():\n"
            "    async with app_on_test_schema(Soniq(discover=False)) as app:\n"
            "        print(await app.overview())\n"
            "asyncio.run(main())\n"
            "print(database_url_for_tests())\n"
        )
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("SONIQ_")
        }
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment | {"TMPDIR": str(tmp_path)},
            cwd=tmp_path, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "postgresql://" in done.stdout
        assert list(tmp_path.glob("soniq-test-*")) == []
