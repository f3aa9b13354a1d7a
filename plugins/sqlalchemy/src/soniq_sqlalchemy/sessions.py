"""The sessions that handlers are given, in one transaction with the job's completion.

The transaction is committed here, when the completion has been written in it; what a handler commits is a savepoint.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from soniq import JobContext, TransactionConnection

from .threads import in_thread
from .transaction import transaction, transaction_of_thread

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
def _blocking(engine: Engine, kind: type[Session]) -> Iterator[tuple[Session, TransactionConnection]]:
    with (
        engine.connect().execution_options(isolation_level=ISOLATION) as connection,
        connection.begin(),
        kind(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session,
    ):
        yield session, transaction_of_thread(connection)
        session.commit()
