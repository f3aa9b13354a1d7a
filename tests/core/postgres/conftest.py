"""Fixtures of the store's tests."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.core.postgres.support import own_database

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


HAND_ON = ("test_claims", "test_races", "test_sql_enqueue", "test_survey", "test_unreadable")
"""The files whose tests depend on nothing but rows."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Statistics, bloat and rights in a schema are those of one test."""
    if item.path.stem not in HAND_ON:
        item.add_marker("new_schema")


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
