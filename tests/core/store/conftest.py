"""Fixtures of the store's tests."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.core.store.support import own_database

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


@pytest.fixture
async def own_database_url(database_url: str) -> AsyncIterator[str]:
    """The URL of a database that only this test uses."""
    async with own_database(database_url) as url:
        yield url


@pytest.fixture
async def other_connection(database_url: str) -> "AsyncIterator[Connection]":
    """A second plain connection, for a transaction that is left open."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()
