"""An app with the plugin and two jobs, a table of the application's, and what others see of
both.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeAlias

import psycopg
import pytest

from soniq import Soniq
from soniq_psycopg import PsycopgPlugin
from tests.conftest import MakeApp
from tests.support.orders import (
    Committed,
    PlainConnection,
    define_jobs,
    first_arguments,
    kept_orders,
    make_orders,
)

Asynchronous: TypeAlias = "psycopg.AsyncConnection[Any]"
Blocking: TypeAlias = "psycopg.Connection[Any]"


@pytest.fixture
async def orders(connection: PlainConnection, schema: str) -> str:
    """The application's table, in a schema that the test drops."""
    return f"{await make_orders(connection, schema)}.orders"


@pytest.fixture
async def asynchronous(database_url: str) -> AsyncIterator[Asynchronous]:
    """A connection that has not begun a transaction."""
    connection = await psycopg.AsyncConnection.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def blocking(database_url: str) -> Iterator[Blocking]:
    """A connection whose calls block."""
    connection = psycopg.connect(database_url)
    yield connection
    connection.close()


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    """An app with the plugin, and the jobs `ship` and `report`."""
    app = make_app(plugins=[PsycopgPlugin()])
    define_jobs(app)
    return app


@pytest.fixture
def committed(app: Soniq, connection: PlainConnection, orders: str) -> Committed:
    async def committed() -> tuple[list[str], list[Any]]:
        return await kept_orders(connection, orders), await first_arguments(app)

    return committed
