"""The sessions that handlers are given, in one transaction with the job's completion.

The transaction is committed here, when the completion has been written in it; what a handler commits is a savepoint.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from soniq import JobContext, TransactionConnection

from .transaction import transaction, transaction_of_thread

T = TypeVar("T")
ISOLATION = "READ COMMITTED"
"""Whatever the engine begins: the completion must see what was committed meanwhile."""


@asynccontextmanager
async def for_coroutine(engine: AsyncEngine, kind: type[AsyncSession], ctx: JobContext) -> AsyncIterator[AsyncSession]:
    """A session for an `async def` handler."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level=ISOLATION)
        async with (
            connection.begin(),
            kind(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session,
        ):
            ctx.complete_in(await transaction(connection))
            yield session
            await session.commit()


@asynccontextmanager
async def for_thread(engine: Engine, kind: type[Session], ctx: JobContext) -> AsyncIterator[Session]:
    """A session for a plain `def` handler."""
    async with _in_threads(_blocking(engine, kind)) as (session, completing):
        ctx.complete_in(completing)
        yield session


@contextmanager
def _blocking(engine: Engine, kind: type[Session]) -> Iterator[tuple[Session, TransactionConnection]]:
    with (
        engine.connect().execution_options(isolation_level=ISOLATION) as connection,
        connection.begin(),
        kind(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session,
    ):
        yield session, transaction_of_thread(connection)
        session.commit()


@asynccontextmanager
async def _in_threads(manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """A context manager whose beginning and end block: each in a thread, one after the other."""
    try:
        yield await _to_its_end(manager.__enter__)
    except BaseException as error:
        await _to_its_end(partial(manager.__exit__, type(error), error, error.__traceback__))
        raise
    await _to_its_end(partial(manager.__exit__, None, None, None))


async def _to_its_end(call: Callable[[], T]) -> T:
    """Call in a thread. Cancelled, it still waits for the thread, which uses what would be given up."""
    called = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(called)
    except asyncio.CancelledError:
        await asyncio.wait([called])
        raise
