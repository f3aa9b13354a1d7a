"""Where tests run: a PostgreSQL for them, and a schema of an app's own that is dropped
afterwards.
"""

import asyncio
import atexit
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import entry_points

import asyncpg

from soniq import ConfigurationError, Soniq
from soniq.errors import SoniqWarning

VARIABLE = "SONIQ_TEST_DATABASE_URL"


@asynccontextmanager
async def app_on_test_schema(
    app: Soniq, *, database_url: str | None = None
) -> AsyncIterator[Soniq]:
    """Lead an app to a schema of its own, made at its first use and dropped afterwards; then it is
    as it was.

    `app` is any app, also one that a module defines; it may be closed and used again inside.
    Without `database_url` the schema is in the PostgreSQL of `database_url_for_tests`. Raises
    `SoniqError` for an app that another event loop uses.
    """
    url = database_url or database_url_for_tests()
    schema = f"test_{uuid.uuid4().hex[:12]}"
    try:
        async with app.override(database_url=url, schema=schema, setup=True):
            yield app
    finally:
        await _drop(url, schema)


@cache
def database_url_for_tests() -> str:
    """SONIQ_TEST_DATABASE_URL, else an embedded PostgreSQL in a temporary folder, which ends with
    this process.

    SONIQ_DATABASE_URL is not asked, so that no test writes where real jobs are. Raises
    `ConfigurationError` where there is neither.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return given
    embedded = next(iter(entry_points(group="soniq", name="embedded")), None)
    if embedded is None:
        raise ConfigurationError(
            f"tests need a PostgreSQL: set {VARIABLE}, or install soniq-embedded"
        )
    folder = tempfile.mkdtemp(prefix="soniq-test-")
    atexit.register(
        shutil.rmtree, folder, ignore_errors=True
    )  # after the server, which ends at exit, too
    plugin = embedded.load()(folder)
    app = Soniq()
    # In a thread, as an event loop may run in this one.
    with warnings.catch_warnings(), ThreadPoolExecutor(1) as thread:
        warnings.simplefilter("ignore", SoniqWarning)
        url: str = thread.submit(asyncio.run, plugin.database_url(app)).result()
    return url


async def _drop(url: str, schema: str) -> None:
    """Drop a schema and those of plugins beside it."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "select format('drop schema %I cascade', nspname) as statement from pg_namespace"
            " where starts_with(nspname, $1)",
            schema,
        )
        for row in rows:
            await connection.execute(row["statement"])
    finally:
        await connection.close()
