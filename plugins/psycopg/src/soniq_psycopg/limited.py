"""Connections whose statements have a time limit, which psycopg's own do not have.

The network's limits end a connection whose peer acknowledges nothing. A peer that acknowledges what
is sent and never answers, as a proxy does that lost its server, is found by the clock alone.
"""

import time
from collections.abc import Generator
from typing import Any

from psycopg import AsyncConnection, Connection
from psycopg.errors import ConnectionFailure
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGconn

from soniq import Soniq

from .url import conninfo, options

FOREVER = float("inf")


class LimitedAsyncConnection(AsyncConnection[Any]):
    """An asynchronous connection that ends if no answer comes within `limit` seconds."""

    limit = FOREVER

    async def wait(self, gen: Generator[Any, Any, Any], *args: Any, **keywords: Any) -> Any:
        """Await an answer. Raises `psycopg.errors.ConnectionFailure` if none comes in time."""
        try:
            return await super().wait(_until(gen, self.pgconn, self.limit), *args, **keywords)
        except NoAnswer as error:
            self.pgconn.finish()
            raise _failure(self.limit) from error


class LimitedConnection(Connection[Any]):
    """A connection that blocks, and ends where a statement has no answer within `limit` seconds."""

    limit = FOREVER

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **keywords: Any) -> Any:
        """Wait for an answer. Raises `psycopg.errors.ConnectionFailure` if none comes in time."""
        try:
            return super().wait(_until(gen, self.pgconn, self.limit), *args, **keywords)
        except NoAnswer as error:
            self.pgconn.finish()
            raise _failure(self.limit) from error


async def connect_async(app: Soniq) -> LimitedAsyncConnection:
    """A new connection to the app's database, with the app's limits: `command_timeout` for each
    statement, and none for `notifies()`. Raises `psycopg.OperationalError`.
    """
    connection = await LimitedAsyncConnection.connect(conninfo(app.database_url), **options(app))
    connection.limit = app.settings.command_timeout
    return connection


def connect(app: Soniq) -> LimitedConnection:
    """The same for a thread."""
    connection = LimitedConnection.connect(conninfo(app.database_url), **options(app))
    connection.limit = app.settings.command_timeout
    return connection


class NoAnswer(Exception):
    """The time is over."""


def _failure(limit: float) -> ConnectionFailure:
    return ConnectionFailure(f"no answer within {limit:g} s; the connection was ended")


def _until(gen: Generator[Any, Any, Any], pgconn: PGconn, limit: float) -> Generator[Any, Any, Any]:
    """What psycopg waits for, until the time is over: it asks some times a second anyway.

    One that is idle meanwhile has asked nothing: it waits for notifications, without a limit.
    """
    ends = time.monotonic() + limit
    try:
        waiting = next(gen)
        while True:
            ready = yield waiting
            if (
                not ready
                and time.monotonic() > ends
                and pgconn.transaction_status != TransactionStatus.IDLE
            ):
                raise NoAnswer
            waiting = gen.send(ready)
    except StopIteration as end:
        return end.value
