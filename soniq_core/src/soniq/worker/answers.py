"""Waiting for answers of the database: without end, and for a moment only once a worker stops."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from soniq.worker.services import Services

LAST_ANSWER = 2.0
"""Seconds that the database has for an answer to what was asked before the worker was told to stop.
"""


class Answers:
    """Asks the database for a worker's loop, one thing after the other."""

    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._limit: asyncio.Timeout | None = None

    async def ask(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Run a statement of queries/; its rows."""
        async with self.awaited():
            return await self._database.fetch(statement, *values)

    @asynccontextmanager
    async def awaited(self) -> AsyncIterator[None]:
        """Wait for an answer. Raises TimeoutError where the worker is told to stop meanwhile, and
        none comes in `LAST_ANSWER`.
        """
        try:
            async with asyncio.timeout(None) as self._limit:
                yield
        finally:
            self._limit = None

    def hurry(self) -> None:
        """Wait for the answer that is awaited now for a moment more, and no longer."""
        if self._limit is not None and self._limit.when() is None:
            self._limit.reschedule(asyncio.get_running_loop().time() + LAST_ANSWER)
