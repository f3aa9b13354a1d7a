"""Fixtures of the store's tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from soniq import Soniq
from soniq.postgres.reading import Reading
from tests.core.postgres.support import own_database

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


HAND_ON = (
    "test_bulk", "test_claims", "test_delete", "test_hold", "test_many_by_id", "test_races",
    "test_sql_enqueue", "test_survey", "test_unreadable",
)  # fmt: skip
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


FINISHED_JOBS = """
insert into {schema}.history (id, forget_at, created_at, scheduled_at, finished_at, claim, keep, priority, attempt,
    max_attempts, name, queue, status, serializer, args, tags, error)
select {schema}.new_id_1(), now() + n % 7 * interval '1 day', now(), now(), now() - make_interval(secs => 20000 - n), 1,
    86400, 0, 1, 1, case when n <= 10 then 'rare' else 'job' end, 'usual', case n % 200 when 0 then 'dead' else 'done' end,
    'json', convert_to('{{"customer": ' || n || '}}', 'UTF8'), case when n = 7 then array['seven'] else array['any'] end,
    case n % 200 when 0 then jsonb_build_object('type', 'ValueError', 'message', repeat('x', 10000), 'traceback', '...') end
from generate_series(1, 20000) n
"""
LIVE_JOBS = """
insert into {schema}.job (id, name, queue, priority, max_attempts, serializer, keep, args, scheduled_at, status, started_at)
select {schema}.new_id_1(), 'job', 'queue ' || n % 5, n % 2, 5, 'json', 60, '', now() - make_interval(secs => n),
    case n % 100 when 0 then 'running' else 'queued' end, case n % 100 when 0 then now() end
from generate_series(1, 2000) n
"""


@pytest.fixture
async def much(app: Soniq, connection: "Connection", schema: str) -> Soniq:
    """The app with twenty thousand finished jobs, of which 100 are dead, and two thousand live."""
    await app.start()
    await connection.execute(FINISHED_JOBS.format(schema=schema))
    await connection.execute(LIVE_JOBS.format(schema=schema))
    await connection.execute(f"vacuum analyze {schema}.history, {schema}.job")
    return app


class Explained:
    """A connection that keeps the plan of each query."""

    def __init__(self, connection: "Connection", plans: list[str]) -> None:
        self._connection = connection
        self._plans = plans

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._connection, name)
        if name == "execute":
            return call

        async def explained(query: str, *values: object) -> Any:
            if "lanes_1" not in query:
                rows = await self._connection.fetch(f"explain {query}", *values)
                self._plans.append("\n".join(row[0] for row in rows))
            return await call(query, *values)

        return explained


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The plans of what is read for people from now on."""
    plans: list[str] = []
    snapshot = Reading.snapshot

    @asynccontextmanager
    async def explained(reading: Reading, seconds: float, **options: bool) -> AsyncIterator[Any]:
        async with snapshot(reading, seconds, **options) as connection:
            yield Explained(connection, plans)

    monkeypatch.setattr(Reading, "snapshot", explained)
    return plans
