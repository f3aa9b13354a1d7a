"""An app with the plugin and one job, a table of the application's, and engines on both drivers."""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from soniq import Soniq
from soniq_sqlalchemy import SQLAlchemyPlugin
from tests.conftest import MakeApp
from tests.plugins.sqlalchemy.support import Kept, url_for
from tests.support.orders import (
    Committed,
    PlainConnection,
    define_jobs,
    first_arguments,
    kept_orders,
    make_orders,
)


@pytest.fixture
async def orders(connection: PlainConnection, schema: str) -> str:
    """The schema of the application's table."""
    return await make_orders(connection, schema)


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    """The driver below SQLAlchemy."""
    return str(request.param)


@pytest.fixture
async def engine(database_url: str, driver: str, orders: str) -> AsyncIterator[AsyncEngine]:
    """An asynchronous engine on which `Order` is in this test's own table."""
    engine = create_async_engine(url_for(database_url, driver))
    yield engine.execution_options(schema_translate_map={None: orders})
    await engine.dispose()


@pytest.fixture
async def session(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """A session that has not begun."""
    async with AsyncSession(engine) as session:
        yield session


@pytest.fixture
def blocking_engine(database_url: str, orders: str) -> Iterator[Engine]:
    """An engine whose calls block, on psycopg."""
    engine = create_engine(url_for(database_url, "psycopg"))
    yield engine.execution_options(schema_translate_map={None: orders})
    engine.dispose()


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    """An app with the plugin, and the jobs `ship` and `report`."""
    app = make_app(plugins=[SQLAlchemyPlugin()])
    define_jobs(app)
    return app


@pytest.fixture
def committed(app: Soniq, connection: PlainConnection, orders: str) -> Committed:
    """The orders, and the arguments of the jobs, that others see."""

    async def committed() -> tuple[list[str], list[str]]:
        return await kept_orders(connection, f"{orders}.orders"), await first_arguments(app)

    return committed


@pytest.fixture
def kept(connection: PlainConnection, orders: str) -> Kept:
    """The orders that others see."""

    async def kept() -> list[str]:
        return await kept_orders(connection, f"{orders}.orders")

    return kept
