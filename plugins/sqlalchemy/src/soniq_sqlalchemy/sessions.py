"""The sessions that handlers are given, in one transaction with the job's completion.

The transaction is committed here, when the completion has been written in it; what a handler
commits is a savepoint.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg
from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from soniq import DatabaseUnavailable, JobContext
from soniq.plugin import TransactionConnection

from .threads import in_thread
from .transaction import transaction, transaction_of_thread

ISOLATION = "READ COMMITTED"
"""Whatever the engine begins: the completion must see what was committed meanwhile."""

READ_ONLY = "25006"
"""What a session meets whose server was a standby when it began; a new one finds the primary."""

WITHIN: dict[str, Any] = {"join_transaction_mode": "create_savepoint", "expire_on_commit": False}
"""What makes a handler's commit a savepoint."""

QUICK = 2.0
"""Seconds for a rollback. Then the connection is ended without a word."""


@asynccontextmanager
async def for_coroutine(
    engine: AsyncEngine, kind: type[AsyncSession], ctx: JobContext
) -> AsyncIterator[AsyncSession]:
    """A session for an `async def` handler."""
    async with (
        _connected(engine) as connection,
        connection.begin(),
        kind(connection, **WITHIN) as session,
    ):
        with _reaching():
            completing = await transaction(connection)
        ctx.complete_in(completing)

        try:
            yield session
        except BaseException as error:
            await _let_go(connection, error)
            raise
        await session.commit()


async def _let_go(connection: AsyncConnection, error: BaseException) -> None:
    """Roll back. A connection that is of no use, or takes too long for it, is ended instead."""
    driver = None
    if not connection.invalidated:
        driver = (await connection.get_raw_connection()).driver_connection
    if not isinstance(driver, asyncpg.Connection):
        if is_lost(error) and not connection.invalidated:
            await connection.invalidate()
        return

    with suppress(SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        if not is_lost(error):
            async with asyncio.timeout(QUICK):
                await connection.rollback()
            return
    driver.terminate()
    await connection.invalidate()


@asynccontextmanager
async def _connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    connection = engine.connect()
    with _reaching():
        await connection.start()
    try:
        await connection.execution_options(isolation_level=ISOLATION)
        yield connection
    finally:
        await connection.close()


@contextmanager
def _reaching() -> Iterator[None]:
    """What keeps a handler from its session is no fault of the job's.

    `DatabaseUnavailable` puts it off.
    """
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        reason = getattr(error, "orig", None) or error
        raise DatabaseUnavailable(f"a session cannot be had: {reason}") from error


@asynccontextmanager
async def for_thread(
    engine: Engine, kind: type[Session], ctx: JobContext
) -> AsyncIterator[Session]:
    """A session for a plain `def` handler."""
    manager = _blocking(engine, kind)
    try:
        session, completing = await in_thread(manager.__enter__)
        ctx.complete_in(completing)
        yield session
    except BaseException as error:
        await in_thread(manager.__exit__, type(error), error, error.__traceback__)
        raise
    await in_thread(manager.__exit__, None, None, None)


@contextmanager
def _blocking(
    engine: Engine, kind: type[Session]
) -> Iterator[tuple[Session, TransactionConnection]]:
    with _reaching():
        connected = engine.connect()
    with (
        connected.execution_options(isolation_level=ISOLATION) as connection,
        connection.begin(),
        kind(connection, **WITHIN) as session,
    ):
        with _reaching():
            completing = transaction_of_thread(connection)

        try:
            yield session, completing
            session.commit()
        except BaseException as error:
            if is_lost(error) and not connection.invalidated:
                connection.invalidate()
            raise


def is_lost(error: BaseException | None) -> bool:
    """Whether an error, or what it comes from, means that a connection is of no use any more."""
    while error is not None:
        at_fault = getattr(error, "orig", None) or error
        if isinstance(at_fault, OSError) or getattr(at_fault, "sqlstate", None) == READ_ONLY:
            return True
        error = error.__cause__
    return False
