"""Wake-ups for waiting workers: after the commit, gathered, on a connection of their own, and never waited for.

A NOTIFY takes a lock that is the whole cluster's at its commit; gathered, and with an asynchronous commit, it costs the
enqueues next to nothing. One that is lost costs a poll interval.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

import asyncpg

from soniq.errors import DatabaseError
from soniq.postgres.connections import LOST, Database, close_quietly

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

log = logging.getLogger("soniq.enqueue")

GATHER = 0.005
"""Seconds between two notifications; the first after a pause goes at once."""
LONGEST_PAYLOAD = 7_000


class Notifier:
    """Sends the names of queues that have new jobs."""

    def __init__(self, database: Database) -> None:
        self.channel = database.settings.schema
        self._database = database
        self._connection: Connection | None = None
        self._pending: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def wake(self, messages: Iterable[str]) -> None:
        """Send these soon; returns at once."""
        self._pending.update(messages)
        if self._pending and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._send(), name="soniq notify")

    async def close(self) -> None:
        """Send what is pending, for two seconds at most."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=2)
            self._task.cancel()
            await asyncio.wait([self._task])
        connection, self._connection = self._connection, None
        await close_quietly(connection)

    async def _send(self) -> None:
        while self._pending:
            messages = "\n".join(sorted(self._pending))
            self._pending.clear()
            try:
                connection = await self._ready()
                await connection.execute(
                    self._database.sql["notify"], self.channel, messages if len(messages) < LONGEST_PAYLOAD else ""
                )
            except (DatabaseError, asyncpg.PostgresError, *LOST) as error:
                log.warning("workers were not notified, and find the jobs with their next poll: %s", error)
                connection, self._connection = self._connection, None  # type: ignore[assignment]
                await close_quietly(connection)
            await asyncio.sleep(GATHER)

    async def _ready(self) -> "Connection":
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect()
            if not self._database.settings.pgbouncer:
                await self._connection.execute("set synchronous_commit = off")
        return self._connection
