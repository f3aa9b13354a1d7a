"""The errors of the driver by what they mean, and what they say."""

import asyncio

import asyncpg

from soniq.errors import DatabaseUnavailable

CONNECTION_ERRORS = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.DatabaseDroppedError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidCachedStatementError,  # the tables changed under a session; a new one knows them
    asyncpg.InsufficientResourcesError,
    # A primary that became a standby: the next connection finds the new one
    asyncpg.ReadOnlySQLTransactionError,
    OSError,
    asyncio.TimeoutError,
    asyncio.IncompleteReadError,
)
"""What a lost or refused connection looks like; trying again later may help."""

OUT_OF_RESOURCES = (asyncpg.DiskFullError, asyncpg.OutOfMemoryError)
"""What a server has too little of: the connection itself is well."""

TABLES_MISSING = (
    asyncpg.UndefinedTableError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedFunctionError,
)
"""What a statement of Soniq's own meets where its tables are not there, or not any more."""

STATEMENT_MISSING = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""What a prepared statement meets that was made in another session."""

LOCK_ERRORS = (
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.SerializationError,
)
"""What a statement meets that others are in the way of, for a while."""

TRANSIENT_ERRORS = (*CONNECTION_ERRORS, *LOCK_ERRORS)
"""What may work when it is simply tried again."""

RETRYABLE_ERRORS = (*LOCK_ERRORS, DatabaseUnavailable)
"""What a plugin's own statement may meet, and not meet when all is done again: waited out for
`command_timeout`.
"""


def is_lost(error: BaseException) -> bool:
    """Whether an error, ours or the driver's, means that the connection is lost, or of no use any
    more.
    """
    if isinstance(error, DatabaseUnavailable) and error.__cause__ is not None:
        error = error.__cause__
    return isinstance(error, CONNECTION_ERRORS) and not isinstance(error, OUT_OF_RESOURCES)


def words(error: BaseException) -> str:
    """What an error of the database says, without the detail, which may quote the row with its
    arguments. A rollback that could not be sent hides why: that is the loss that came before it.
    """
    before = error.__context__
    if isinstance(error, asyncpg.InterfaceError) and isinstance(before, CONNECTION_ERRORS):
        error = before
    return (
        str(error.args[0])
        if isinstance(error, asyncpg.PostgresError) and error.args
        else str(error)
    )
