"""An app with the plugin and two jobs, a table of the application's, and what others see of
both.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import asyncpg
import psycopg
import pytest

from soniq import Soniq
from soniq_psycopg import PsycopgPlugin
from tests.conftest import MakeApp

Committed = Callable[[], Awaitable[tuple[list[str], list[Any]]]]
"""`await committed()`: the orders, and the first arguments of the jobs, that others see."""

PlainConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Asynchronous: TypeAlias = "psycopg.AsyncConnection[Any]"
Blocking: TypeAlias = "psycopg.Connection[Any]"


@pytest.fixture
async def orders(connection: PlainConnection, schema: str) -> str:
    """The application's table, in a schema that the test drops."""
    await connection.execute(f"create schema {schema}_app")
    await connection.execute(
        f"create table {schema}_app.orders (id serial primary key, what text unique not null)"
    )
    return f"{schema}_app.orders"


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
    """An app with the plugin, and the jobs `ship` and `report`, of which each is unique by its
    arguments.
    """
    app = make_app(plugins=[PsycopgPlugin()])

    @app.job(name="ship")
    async def ship(order: str) -> str:
        return order

    @app.job(name="report", unique=True)
    async def report(order: str) -> str:
        return order

    return app


@pytest.fixture
def committed(app: Soniq, connection: PlainConnection, orders: str) -> Committed:
    async def committed() -> tuple[list[str], list[Any]]:
        rows = await connection.fetch(f"select what from {orders} order by id")
        jobs = [await app.get_args(job["job_id"]) for job in reversed(await app.jobs())]
        return [row["what"] for row in rows], [next(iter(arguments.values())) for arguments in jobs]

    return committed
