"""Whether an error says that a database is away, whichever driver or library it comes from."""

from collections.abc import Iterator

import asyncpg

from soniq.errors import DatabaseUnavailable
from soniq.tracebacks import CAUSE, CONTEXT
from soniq.transaction import is_asyncpg

CLASSES = ("08", "53", "57P", "25P03", "25006")
"""SQLSTATEs, or how they begin: connection lost, too few resources, shut down, ended while idle, a
standby.
"""

DRIVERS = (
    DatabaseUnavailable,
    ConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""Those that have no SQLSTATE."""


def is_away(error: BaseException) -> bool:
    """Whether this error says so, or what caused it."""
    return any(_says_so(each) for each in causes(error))


def has_ended(connection: object) -> bool:
    """Whether it is a connection of asyncpg's that is closed; not one that went back to its
    pool.
    """
    try:
        return is_asyncpg(connection) and connection.is_closed()
    except asyncpg.InterfaceError:
        return False


def _says_so(error: BaseException) -> bool:
    if isinstance(error, DRIVERS):
        return True
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str) and state.startswith(CLASSES):
        return True
    return getattr(error, "connection_invalidated", None) is True  # SQLAlchemy's


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it stands for, and what caused it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        original = getattr(error, "orig", None)  # SQLAlchemy's
        followed = CAUSE(error) or (None if error.__suppress_context__ else CONTEXT(error))
        error = original if isinstance(original, BaseException) else followed
