"""Wake-ups for waiting workers: after the commit, gathered, on a connection of their own, and never
waited for. Workers of the same app are told at once.

A NOTIFY takes a lock that is the whole cluster's at its commit; gathered, and with an asynchronous
commit, it costs the enqueues next to nothing. One that is lost costs a poll interval.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context, copy_context
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg

from soniq.errors import DatabaseError
from soniq.hooks.housekeeping import Housekeeping
from soniq.postgres.connections import CLEANUP_TIMEOUT, close_quietly
from soniq.postgres.database import Database
from soniq.postgres.driver_errors import CONNECTION_ERRORS

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

NOTIFY_INTERVAL = 0.005
"""Seconds between two notifications; the first after a pause goes at once, or after `NEAR_FIRST`.
"""
NEAR_FIRST = 0.002
"""Seconds that workers of the same app have before others are told: beside the notification their
claim takes longer.
"""
LONGEST_PAYLOAD = 7_000
"""Bytes of a notification; PostgreSQL takes 8,000 at most."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

CANCEL = "\x01cancel "
"""Begins a notification that asks the worker of a job to end it; no queue's name begins so."""

OWED = "\x01owed"
"""Says that a plugin may be owed something."""


def payload(messages: Iterable[str]) -> str:
    """What a notification says: a message in each line; nothing where that would be too long, which
    means that there is something to do somewhere.
    """
    text = "\n".join(sorted(messages))
    return text if len(text.encode()) <= LONGEST_PAYLOAD else ""


def lane_line(queue: str, priority: int) -> str:
    """The line of a notification that says where jobs are due. A queue's name alone means all its
    priorities.
    """
    return f"{queue}\t{priority}"


def place_line(queue: str, priority: int, place: datetime) -> str:
    """The same, where jobs came into a lane at this place, which may have been passed already."""
    return f"{queue}\t{priority}\t{(place - EPOCH) // timedelta(microseconds=1)}"


Hear = Callable[[Sequence[str]], None]


class Near:
    """A worker of the same app, which hears once of all that comes in one step of the event loop,
    in its own context.
    """

    def __init__(self, hear: Hear) -> None:
        self._hear = hear
        self._context: Context = copy_context()
        self._lines: set[str] = set()

    def tell(self, lines: Iterable[str]) -> None:
        """Have it hear these soon."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._told, context=self._context)
        self._lines.update(lines)

    def _told(self) -> None:
        lines, self._lines = self._lines, set()
        self._hear([*lines])


class Notifier:
    """Sends which queues and priorities have new jobs."""

    def __init__(self, database: Database, housekeeping: Housekeeping) -> None:
        self._housekeeping = housekeeping
        self.channel = database.settings.schema
        self._database = database
        self._connection: Connection | None = None
        self._pending: set[str] = set()
        self._near: set[Near] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of its session, whose notifications the near ones need not hear again."""
        connection = self._connection
        if connection is None or connection.is_closed():
            return None
        return connection.get_server_pid()

    def add(self, hear: Hear) -> Near:
        """Tell a worker of this app at once, from now on, in the context of this call."""
        near = Near(hear)
        self._near.add(near)
        return near

    def remove(self, near: Near | None) -> None:
        """It hears no more."""
        if near is not None:
            self._near.discard(near)

    def wake(self, messages: Iterable[str], heard_by: Near | None = None) -> None:
        """Send these soon; returns at once. `heard_by`: the near one that knows them already."""
        messages = set(messages)
        told = [near for near in self._near if near is not heard_by] if messages else []
        for near in told:
            near.tell(messages)
        self._pending.update(messages)
        if self._pending and (self._task is None or self._task.done()):
            after = NEAR_FIRST if told else 0.0
            self._task = asyncio.create_task(self._send(after), name="soniq notify")

    async def close(self) -> None:
        """Send what is pending, for `CLEANUP_TIMEOUT` at most; none of it while the database is
        unavailable.
        """
        if self._task is not None:
            await asyncio.wait(
                [self._task], timeout=0 if self._database.outage.on else CLEANUP_TIMEOUT
            )
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CLEANUP_TIMEOUT)
        await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        await close_quietly(connection)

    async def _send(self, after: float) -> None:
        with self._housekeeping():
            await asyncio.sleep(after)
            await self._send_all()

    async def _send_all(self) -> None:
        while self._pending:
            messages = payload(self._pending)
            self._pending.clear()
            try:
                connection = await self._ready()
                await connection.execute(self._database.sql["notify"], self.channel, messages)
            except (DatabaseError, asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
                self._database.lost(
                    error, "workers are not notified, and find the jobs with their next poll"
                )
                await self._drop()
            await asyncio.sleep(NOTIFY_INTERVAL)

    async def _ready(self) -> "Connection":
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect()
            if not self._database.settings.pgbouncer:
                await self._connection.execute("set synchronous_commit = off")
        return self._connection
