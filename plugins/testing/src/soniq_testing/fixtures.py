"""The fixtures, a plugin of pytest. They work with pytest-asyncio and with anyio's plugin,
whichever runs the test that asks for them.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from soniq import Soniq

    from .jobs import Drain, Travel

    asyncio_fixture = pytest.fixture
else:
    try:
        from pytest_asyncio import fixture as asyncio_fixture
    except ImportError:
        asyncio_fixture = pytest.fixture


@pytest.fixture(scope="session")
def soniq_database_url() -> str:
    """The PostgreSQL that tests run on: SONIQ_TEST_DATABASE_URL, else an embedded one for this
    run.
    """
    from .database import database_url_for_tests

    return database_url_for_tests()


@pytest.fixture
def soniq_under_test() -> "Soniq":
    """The app that `soniq_app` leads to a throw-away schema. Override it to test an app of
    yours.
    """
    from soniq import Soniq

    return Soniq(discover=False)


@pytest.fixture
def soniq_app(request: pytest.FixtureRequest) -> "Soniq":
    """An app on a schema that is this test's alone, and is dropped after it."""
    runner = "anyio" if "anyio_backend" in request.fixturenames else "asyncio"
    return cast("Soniq", request.getfixturevalue(f"soniq_app_of_{runner}"))


@pytest.fixture
async def soniq_app_of_anyio(
    soniq_under_test: "Soniq", soniq_database_url: str
) -> "AsyncIterator[Soniq]":
    """What `soniq_app` is in a test that anyio runs."""
    from .database import app_on_test_schema

    async with app_on_test_schema(soniq_under_test, database_url=soniq_database_url) as app:
        yield app


@asyncio_fixture
async def soniq_app_of_asyncio(
    soniq_under_test: "Soniq", soniq_database_url: str
) -> "AsyncIterator[Soniq]":
    """What `soniq_app` is in a test that pytest-asyncio runs."""
    from .database import app_on_test_schema

    async with app_on_test_schema(soniq_under_test, database_url=soniq_database_url) as app:
        yield app


@pytest.fixture(name="drain")
def drain_of_app(soniq_app: "Soniq") -> "Drain":
    """`await drain()`: run what is due of `soniq_app`."""
    from .jobs import drain

    async def drain_(*, timeout: float = 30.0, check: bool = False) -> int:
        return await drain(soniq_app, timeout=timeout, check=check)

    return drain_


@pytest.fixture(name="travel")
def travel_of_app(soniq_app: "Soniq") -> "Travel":
    """`await travel(3600)`: let an hour pass for the jobs of `soniq_app`."""
    from .jobs import travel

    async def travel_(seconds: float) -> None:
        await travel(soniq_app, seconds)

    return travel_
