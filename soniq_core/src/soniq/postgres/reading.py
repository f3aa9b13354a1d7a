"""Reading for people: in one snapshot, bounded in time, and never with more than a share of the
pool.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from soniq.errors import DatabaseUnavailable
from soniq.postgres.connections import milliseconds, transaction
from soniq.postgres.database import POOL_MARGIN, Database

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

MOST = 2
"""The connections of the pool that readings use at once, and never more than half of it: enqueues
and workers have the others, so that no number of readers keeps them waiting. A pool of their own
would do the same with more connections to the server.
"""

TIME_LIMIT = 2.0
"""Seconds for each statement that counts all queues, or tells of them."""

SETTINGS = (
    "set local enable_seqscan = off; set local enable_bitmapscan = off; set local jit = off;"
    " set local timezone = 'UTC'"
)
"""What is read is found by an index, whatever the planner takes the tables for; times in JSON are
in UTC.
"""

PLANNED_ONCE = "set local plan_cache_mode = force_generic_plan"
"""For statements that are the same each time: of a table with many partitions a plan takes longer
to make than to carry out.
"""


class Reading:
    """The readings of one app."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._places = asyncio.Semaphore(max(1, min(MOST, database.settings.pool_size // 2)))

    @asynccontextmanager
    async def snapshot(
        self, seconds: float, *, planned_once: bool = False
    ) -> "AsyncIterator[Connection]":
        """A connection in a transaction that only reads, and sees one moment; each statement may
        take so many seconds.
        """
        settings = [SETTINGS, _limit(seconds), *([PLANNED_ONCE] if planned_once else [])]
        await self._take_place()
        try:
            with self.database.guarding():
                async with (
                    self.database.acquire() as connection,
                    transaction(connection, "repeatable_read", read_only=True),
                ):
                    await connection.execute("; ".join(settings))
                    yield connection
        finally:
            self._places.release()

    async def _take_place(self) -> None:
        wait = self.database.settings.connect_timeout + POOL_MARGIN
        try:
            async with asyncio.timeout(wait):
                await self._places.acquire()
        except TimeoutError as error:
            raise DatabaseUnavailable(
                f"other readings kept this one waiting for {wait:g} s"
            ) from error


async def limit(connection: "Connection", seconds: float) -> None:
    """Let each statement of this transaction take so many seconds from now on."""
    await connection.execute(_limit(seconds))


def _limit(seconds: float) -> str:
    return f"set local statement_timeout = {milliseconds(max(seconds, 0.001))}"
