"""What SQLAlchemy's sessions and connections are on, as a connection that Soniq can insert through.

SQLAlchemy begins late: a transaction is PostgreSQL's only with its first statement, and one that
SQLAlchemy does not know of it does not commit. So each is made to begin before the driver's own
connection is handed out.
"""

import sys

import asyncpg
from sqlalchemy import Connection, Dialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from soniq import InvalidOption
from soniq.plugin import TransactionConnection

from .threads import in_thread

BEGIN = "select 1"
"""Any statement will do."""


async def adapted(obj: object) -> TransactionConnection | None:
    """The transaction of a session or a connection; None for what is neither.

    What a session has pending is flushed first, if it flushes by itself. Raises `InvalidOption`, or
    what SQLAlchemy or the driver raises.
    """
    if isinstance(obj, async_scoped_session | scoped_session):
        raise InvalidOption(
            "connection= takes a session, and this is a registry of sessions; call it:"
            " connection=session()",
            option="connection",
        )
    if isinstance(obj, AsyncSession):
        _check(obj.get_bind().dialect, asynchronous=True)
        if obj.sync_session.autoflush:
            await obj.flush()
        return await transaction(await obj.connection())
    if isinstance(obj, AsyncConnection):
        return await transaction(obj)
    if isinstance(obj, Session | Connection):
        return await in_thread(transaction_of_thread, obj)
    return _own(obj)


async def transaction(connection: AsyncConnection) -> TransactionConnection:
    """The driver's connection, in the transaction that SQLAlchemy commits or rolls back."""
    _check(connection.dialect, asynchronous=True)
    driver = (await connection.get_raw_connection()).driver_connection
    if isinstance(driver, asyncpg.Connection):
        if not (connection.in_transaction() and driver.is_in_transaction()):
            await connection.exec_driver_sql(BEGIN)
        return driver

    from soniq_psycopg import AsyncPsycopg  # only where a connection of psycopg's is

    if not connection.in_transaction():
        await connection.exec_driver_sql(BEGIN)
    return AsyncPsycopg(driver)


def transaction_of_thread(obj: Session | Connection) -> TransactionConnection:
    """The same for those that block. Runs in a thread, while no other uses the session."""
    _check((obj.get_bind() if isinstance(obj, Session) else obj).dialect, asynchronous=False)
    if isinstance(obj, Session):
        if obj.autoflush:
            obj.flush()
        obj = obj.connection()
    if not obj.in_transaction():
        obj.exec_driver_sql(BEGIN)

    from soniq_psycopg import ThreadedPsycopg

    return ThreadedPsycopg(obj.connection.driver_connection)


def _own(obj: object) -> TransactionConnection | None:
    """What a `settle_tx` was given may be passed to an enqueue in it; psycopg need not be there."""
    if "soniq_psycopg" not in sys.modules or sys.modules.get("psycopg") is None:
        return None
    from soniq_psycopg import AsyncPsycopg, ThreadedPsycopg

    return obj if isinstance(obj, AsyncPsycopg | ThreadedPsycopg) else None


def _check(dialect: Dialect, *, asynchronous: bool) -> None:
    """Raise `InvalidOption` for a dialect whose connections cannot be used."""
    drivers = ("asyncpg", "psycopg") if asynchronous else ("psycopg",)

    if (
        dialect.name != "postgresql"
        or dialect.driver not in drivers
        or dialect.is_async is not asynchronous
    ):
        kind = "an AsyncSession or AsyncConnection" if asynchronous else "a Session or Connection"
        names = " or ".join(f"postgresql+{name}" for name in drivers)
        problem = f"connection= takes {kind} on {names}"
        problem += f"; this one is on {dialect.name}+{dialect.driver}"
        if dialect.is_async:
            problem += ", and belongs to an AsyncSession or AsyncConnection: pass that"
        raise InvalidOption(problem, option="connection")
