"""The connections that handlers are given, in one transaction with the job's completion.

The transaction is committed here, when the completion has been written in it; psycopg refuses
`commit()` within it.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from psycopg import AsyncConnection, Connection, IsolationLevel, OperationalError

from soniq import DatabaseUnavailable, JobContext, Soniq

from .limited import connect, connect_async
from .threads import in_thread
from .transaction import AsyncPsycopg, ThreadedPsycopg


@asynccontextmanager
async def for_coroutine(app: Soniq, ctx: JobContext) -> "AsyncIterator[AsyncConnection[Any]]":
    """A connection for an `async def` handler."""
    try:
        connection = await connect_async(app)
    except OperationalError as error:
        raise _unavailable(app, error) from error.with_traceback(None)
    async with connection:
        await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
        async with connection.transaction():
            ctx.complete_in(AsyncPsycopg(connection))
            yield connection


@asynccontextmanager
async def for_thread(app: Soniq, ctx: JobContext) -> "AsyncIterator[Connection[Any]]":
    """A connection for a plain `def` handler."""
    manager = _blocking(app)
    try:
        connection = await in_thread(manager.__enter__)
        ctx.complete_in(ThreadedPsycopg(connection))
        yield connection
    except BaseException as error:
        await in_thread(manager.__exit__, type(error), error, error.__traceback__)
        raise
    await in_thread(manager.__exit__, None, None, None)


@contextmanager
def _blocking(app: Soniq) -> "Iterator[Connection[Any]]":
    try:
        connection = connect(app)
    except OperationalError as error:
        raise _unavailable(app, error) from error.with_traceback(None)
    with connection:
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        with connection.transaction():
            yield connection


def _unavailable(app: Soniq, error: OperationalError) -> DatabaseUnavailable:
    """In Soniq's words; the driver's frames hold the password, and are left out of the chain."""
    host, port = app.server_address
    place = host if port is None else f"{host}:{port}"
    return DatabaseUnavailable(f"cannot connect to PostgreSQL at {place}: {error}")
