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

SETTINGS = "set local enable_seqscan = off; set local enable_bitmapscan = off; set local jit = off"
"""What is read is found by an index, whatever the planner takes the tables for."""


class Reading:
    """The readings of one app."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._places = asyncio.Semaphore(max(1, min(MOST, database.settings.pool_size // 2)))

    @asynccontextmanager
    async def snapshot(self, seconds: float) -> "AsyncIterator[Connection]":
        """A connection in a transaction that only reads, and sees one moment; each statement may
        take so many seconds.
        """
        await self._take_place()
        try:
            with self.database.guarding():
                async with (
                    self.database.acquire() as connection,
                    transaction(connection, "repeatable_read", read_only=True),
                ):
                    await connection.execute(SETTINGS)
                    await limit(connection, seconds)
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
    await connection.execute(f"set local statement_timeout = {milliseconds(max(seconds, 0.001))}")
