"""An application that writes an order and enqueues a job in one transaction, through a driver of
its own: its table, its jobs, and what others see of both.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import asyncpg

from soniq import Soniq
from tests.support.jobs import falls_asleep, working
from tests.support.waiting import in_time

PlainConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

Committed = Callable[[], Awaitable[tuple[list[str], list[Any]]]]
"""`await committed()`: the orders, and the first arguments of the jobs, that others see."""


async def make_orders(connection: PlainConnection, schema: str) -> str:
    """Make the application's table, in a schema of its own, which goes with that of the test; the
    name of the schema.
    """
    await connection.execute(f"create schema {schema}_app")
    await connection.execute(
        f"create table {schema}_app.orders (id serial primary key, what text unique not null)"
    )
    return f"{schema}_app"


def define_jobs(app: Soniq) -> None:
    """The jobs `ship` and `report`, of which each `report` is unique by its arguments."""

    @app.job(name="ship")
    async def ship(order: str) -> str:
        return order

    @app.job(name="report", unique=True)
    async def report(order: str) -> str:
        return order


async def kept_orders(connection: PlainConnection, table: str) -> list[str]:
    """The orders that are committed."""
    return [row["what"] for row in await connection.fetch(f"select what from {table} order by id")]


async def first_arguments(app: Soniq) -> list[Any]:
    """The first argument of every job that is committed, in the order of their ids."""
    jobs = await app.jobs(limit=1000)
    return [next(iter((await app.get_args(job["job_id"])).values())) for job in reversed(jobs)]


async def wakes_a_sleeping_worker(
    app: Soniq, connection: object, commit: Callable[[], Awaitable[object]]
) -> None:
    """A job that is enqueued with a connection of the caller's runs as soon as that has committed,
    on a worker that sleeps, and polls seldom.
    """
    ran = asyncio.Event()

    @app.job(name="one")
    async def one() -> None:
        ran.set()

    async with working(app):
        await app.enqueue("one")
        await in_time(ran.wait())
        ran.clear()
        await falls_asleep(app)
        await app.enqueue("one", connection=connection)
        await commit()
        await in_time(ran.wait())
