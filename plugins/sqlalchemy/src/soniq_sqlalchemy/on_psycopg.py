"""psycopg's connections as Soniq uses them: with `$n` placeholders, and rows that are read by name, too.

psycopg leaves it to the server of what type a string is, and a list of them, as `TransactionConnection` wants it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from psycopg import AsyncConnection, AsyncRawCursor, Connection, RawCursor
from psycopg.pq import Conninfo

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
        async with AsyncRawCursor(self._connection, row_factory=_rows) as cursor:
            await cursor.execute(query.encode(), args)
            return await cursor.fetchall() if cursor.description else ()

    async def execute(self, query: str, /, *args: Any) -> None:
        await self.fetch(query, *args)


class ThreadedPsycopg:
    """A connection of psycopg that blocks, each call in a thread."""

    def __init__(self, connection: Any) -> None:
        self._connection: Connection[Any] = connection

    async def fetch(self, query: str, /, *args: Any) -> Sequence[Row]:
        return await in_thread(self._fetch, query, args)

    async def execute(self, query: str, /, *args: Any) -> None:
        await self.fetch(query, *args)

    def _fetch(self, query: str, args: Sequence[Any]) -> Sequence[Row]:
        with RawCursor(self._connection, row_factory=_rows) as cursor:
            cursor.execute(query.encode(), args)
            return cursor.fetchall() if cursor.description else ()


def conninfo(url: str) -> str:
    """A URL that asyncpg takes, as psycopg takes it: a name that libpq does not know is a setting of the server's."""
    address, _, given = url.partition("?")
    query = dict(parse_qsl(given, keep_blank_values=True))
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    settings = [f"-c {name}={_escaped(query.pop(name))}" for name in [*query] if name not in known]
    options = {"options": " ".join([*filter(None, [query.get("options")]), *settings])} if settings else {}
    return f"{address}?{urlencode({**query, **options}, quote_via=quote)}"


def _escaped(value: str) -> str:
    return re.sub(r"([\\ ])", r"\\\1", value)


def _rows(cursor: Any) -> Callable[[Sequence[Any]], Row]:
    places = {column.name: place for place, column in enumerate(cursor.description or ())}
    return lambda values: Row(values, places)
