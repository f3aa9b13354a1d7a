"""The connection of an open transaction, of whichever driver."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard, runtime_checkable

import asyncpg
from asyncpg.pool import PoolConnectionProxy


@runtime_checkable
class TransactionConnection(Protocol):
    """What Soniq needs of someone's open transaction. asyncpg's connection is one;
    `adapt_connection` makes others.

    Statements have PostgreSQL's own placeholders, `$1` to `$n`, and the server decides of what type
    a parameter is: a `str` may be a uuid, a list of them a `uuid[]`, a list of `bytes` a `bytea[]`.
    Errors are the driver's.

    These two methods are all that may be called: what else asyncpg's has, such as `executemany`,
    others do not have.
    """

    async def fetch(self, query: str, /, *args: Any) -> Sequence[Any]:
        """Run one statement in the transaction; its rows. Each can be unpacked, and read by
        position and by name.
        """
        ...

    async def execute(self, query: str, /, *args: Any) -> object:
        """Run one statement in the transaction, whatever it returns."""
        ...


def is_asyncpg(connection: object) -> "TypeGuard[asyncpg.Connection[asyncpg.Record]]":
    """Whether it is a connection of asyncpg's own, of a pool or not."""
    return isinstance(connection, asyncpg.Connection | PoolConnectionProxy)
