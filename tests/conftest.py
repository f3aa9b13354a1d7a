"""A real PostgreSQL for every test: the one in SONIQ_TEST_DATABASE_URL, or an embedded one in a temporary folder.

Each test that asks for `app` or `schema` has a schema of its own, which is dropped afterwards.
"""

import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from soniq import Soniq
from soniq_embedded import EmbeddedServer

MakeApp = Callable[..., Soniq]


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """The URL of the server that the tests run on."""
    given = os.environ.get("SONIQ_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with (
        tempfile.TemporaryDirectory(prefix="soniq-tests-") as folder,
        EmbeddedServer(Path(folder), options={"max_connections": "200"}) as server,
    ):
        yield server.start()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of whoever runs the tests does not configure the apps in them."""
    for name in list(os.environ):
        if name.startswith("SONIQ_") and name != "SONIQ_TEST_DATABASE_URL":
            monkeypatch.delenv(name)


@pytest.fixture
async def connection(database_url: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A plain connection, for looking at what is in the tables and for business writes of the test's own."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def schema(database_url: str) -> AsyncIterator[str]:
    """The name of a schema for this test alone; it and those of plugins are dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "select quote_ident(nspname) as quoted from pg_namespace where starts_with(nspname, $1)", name
        )
        for row in rows:
            await connection.execute("drop schema {} cascade".format(row["quoted"]))
    finally:
        await connection.close()


@pytest.fixture
async def make_app(database_url: str, schema: str) -> AsyncIterator[MakeApp]:
    """Makes apps on this test's schema: no discovered plugins, quick polls; any keyword overrides. All are closed."""
    made: list[Soniq] = []

    def make(**arguments: Any) -> Soniq:
        defaults = {"database_url": database_url, "schema": schema, "discover": False, "poll_interval": 0.1, "grace": 5}
        made.append(Soniq(**{**defaults, **arguments}))
        return made[-1]

    yield make
    for app in made:
        await app.close()


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    """One app on this test's schema."""
    return make_app()
