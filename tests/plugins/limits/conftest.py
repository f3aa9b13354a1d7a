"""Apps with limits, and an observer who counts how many jobs run at once."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from soniq import Soniq
from soniq_limits import Limits
from tests.conftest import MakeApp
from tests.support.schemas import Plugins

Connection = asyncpg.Connection


class Observer:
    """Counts the jobs of each key that run at once, and how many did at most."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.order: list[object] = []

    @contextmanager
    def running(self, *keys: str) -> Iterator[None]:
        self.now.update(keys)
        for key in keys:
            self.most[key] = max(self.most[key], self.now[key])
        try:
            yield
        finally:
            self.now.subtract(keys)

    async def run(self, *keys: str, seconds: float = 0.01) -> None:
        with self.running(*keys):
            await asyncio.sleep(seconds)


@pytest.fixture
def tables_of() -> Plugins:
    return (Limits,)


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    """An app with the plugin."""
    return make_app(plugins=[Limits()])


async def rows(connection: "Connection[asyncpg.Record]", schema: str, *tables: str) -> list[int]:
    """How many rows tables of the plugin have."""
    return [
        int(await connection.fetchval(f"select count(*) from {schema}_limits.{table}"))
        for table in tables
    ]


async def left(app: Soniq, connection: "Connection[asyncpg.Record]", schema: str) -> list[int]:
    """What is in the plugin's tables when all jobs have ended: nothing. What was locked as the last
    of them ended is looked at once more, as the next worker does.
    """
    tables = "slot", "waiting", "again"
    if (await rows(connection, schema, *tables))[-1]:
        looking = app.plugin(Limits)._looking
        assert looking is not None
        await looking.turn()
    return await rows(connection, schema, *tables)
