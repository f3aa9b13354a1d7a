"""psycopg's connections as Soniq uses them: with `$n` placeholders, and rows by place and name.

psycopg leaves it to the server of what type a string is, and a list of them, as
`TransactionConnection` wants it. The cursors are Soniq's own: row factories and cursor factories of
the connection's are of no concern.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection, AsyncRawCursor, Connection, RawCursor

from .threads import in_thread


class Row(Sequence[Any]):
    """A row whose columns are read by position or by name."""

    def __init__(self, values: Sequence[Any], places: Mapping[str, int]) -> None:
        self._values = values
        self._places = places

    def __getitem__(self, column: Any) -> Any:
        return self._values[self._places[column] if isinstance(column, str) else column]

    def __len__(self) -> int:
        return len(self._values)


class AsyncPsycopg:
    """An asynchronous connection of psycopg."""

    def __init__(self, connection: Any) -> None:
        self._connection: AsyncConnection[Any] = connection

    async def fetch(self, query: str, /, *args: Any) -> Sequence[Row]:
        """Run one statement in the connection's transaction; its rows."""
        async with AsyncRawCursor(self._connection, row_factory=_rows) as cursor:
            await cursor.execute(query.encode(), args)
            return await cursor.fetchall() if cursor.description else ()

    async def execute(self, query: str, /, *args: Any) -> None:
        """Run one statement in the connection's transaction."""
        await self.fetch(query, *args)


class ThreadedPsycopg:
    """A connection of psycopg that blocks, each call in a thread."""

    def __init__(self, connection: Any) -> None:
        self._connection: Connection[Any] = connection

    async def fetch(self, query: str, /, *args: Any) -> Sequence[Row]:
        """Run one statement in the connection's transaction; its rows."""
        return await in_thread(self._fetch, query, args)

    async def execute(self, query: str, /, *args: Any) -> None:
        """Run one statement in the connection's transaction."""
        await self.fetch(query, *args)

    def _fetch(self, query: str, args: Sequence[Any]) -> Sequence[Row]:
        with RawCursor(self._connection, row_factory=_rows) as cursor:
            cursor.execute(query.encode(), args)
            return cursor.fetchall() if cursor.description else ()


def _rows(cursor: Any) -> Callable[[Sequence[Any]], Row]:
    places = {column.name: place for place, column in enumerate(cursor.description or ())}
    return lambda values: Row(values, places)
