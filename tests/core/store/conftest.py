"""Fixtures of the store's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.core.store.support import own_database


@pytest.fixture
async def own_database_url(database_url: str) -> AsyncIterator[str]:
    """The URL of a database that only this test uses."""
    async with own_database(database_url) as url:
        yield url
