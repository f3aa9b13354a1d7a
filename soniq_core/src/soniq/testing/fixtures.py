"""The fixtures. They work with pytest-asyncio and with anyio's plugin, whichever runs the test that asks for them."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol, cast

import pytest

from soniq.app import Soniq
from soniq.testing.database import app_on_test_schema, database_url_for_tests
from soniq.testing.jobs import drain, travel

if TYPE_CHECKING:
    asyncio_fixture = pytest.fixture
else:
    try:
        from pytest_asyncio import fixture as asyncio_fixture
    except ImportError:
        asyncio_fixture = pytest.fixture


class Drain(Protocol):
    """The type of the fixture `drain`: `drain` of `soniq_app`."""

    async def __call__(self, *, timeout: float = 30.0, check: bool = False) -> int: ...


class Travel(Protocol):
    """The type of the fixture `travel`: `travel` of `soniq_app`."""

    async def __call__(self, seconds: float) -> None: ...


@pytest.fixture(scope="session")
def soniq_database_url() -> str:
    """The PostgreSQL that tests run on: SONIQ_TEST_DATABASE_URL, else an embedded one for this run."""
    return database_url_for_tests()


@pytest.fixture
def soniq_under_test() -> Soniq:
    """The app that `soniq_app` leads to a throw-away schema. Override it to test an app of yours."""
    return Soniq(discover=False)


@pytest.fixture
def soniq_app(request: pytest.FixtureRequest) -> Soniq:
    """An app on a schema that is this test's alone, and is dropped after it."""
    runner = "anyio" if "anyio_backend" in request.fixturenames else "asyncio"
    return cast("Soniq", request.getfixturevalue(f"soniq_app_of_{runner}"))


@pytest.fixture
async def soniq_app_of_anyio(soniq_under_test: Soniq, soniq_database_url: str) -> AsyncIterator[Soniq]:
    """What `soniq_app` is in a test that anyio runs."""
    async with app_on_test_schema(soniq_under_test, database_url=soniq_database_url) as app:
        yield app


@asyncio_fixture
async def soniq_app_of_asyncio(soniq_under_test: Soniq, soniq_database_url: str) -> AsyncIterator[Soniq]:
    """What `soniq_app` is in a test that pytest-asyncio runs."""
    async with app_on_test_schema(soniq_under_test, database_url=soniq_database_url) as app:
        yield app


@pytest.fixture(name="drain")
def drain_of_app(soniq_app: Soniq) -> Drain:
    """`await drain()`: run what is due of `soniq_app`."""

    async def drain_(*, timeout: float = 30.0, check: bool = False) -> int:
        return await drain(soniq_app, timeout=timeout, check=check)

    return drain_


@pytest.fixture(name="travel")
def travel_of_app(soniq_app: Soniq) -> Travel:
    """`await travel(3600)`: let an hour pass for the jobs of `soniq_app`."""

    async def travel_(seconds: float) -> None:
        await travel(soniq_app, seconds)

    return travel_
