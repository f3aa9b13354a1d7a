"""The statements on the plugin's tables, each in a file of its own."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import asyncpg

from soniq import Soniq
from soniq.errors import DatabaseError, DatabaseUnavailable, SoniqError
from soniq.plugin import is_lost

from .durations import BOUNDS

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

NAME = "dashboard"
"""The plugin's name."""

PATIENCE = 5.0
"""Seconds for a statement of a page, or for an operation."""

MISSING = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidSchemaNameError,
)
"""What a statement meets whose tables, or what came to them later, were not made yet."""

OF_BUCKETS = re.compile(r"\{(added|packed|summed):(\w+)\}")
"""What stands in a statement for an expression of all buckets: PostgreSQL has no sum of arrays, and
what takes them apart and together takes ten times as long.
"""
DIGITS = 12
"""Of a bucket where all are packed into one number, which PostgreSQL sums up at once: more than any
sum of them has.
"""
PLACES = range(1, len(BOUNDS) + 2)


class CannotRead(DatabaseError):
    """The plugin's tables cannot be read; its text, which says what is missing, is for the user."""


@asynccontextmanager
async def session(app: Soniq) -> "AsyncIterator[Connection]":
    """A connection for the plugin's own statements. Raises `DatabaseUnavailable`, also where it is
    lost meanwhile, and `TimeoutError`.
    """
    try:
        async with app.connection() as connection:
            yield connection
    except (TimeoutError, SoniqError):
        raise
    except Exception as error:
        if not is_lost(error):
            raise
        raise DatabaseUnavailable(f"a statement of {NAME} could not be asked: {error}") from error


@contextmanager
def readable(app: Soniq) -> Iterator[None]:
    """Says what is missing where the plugin's tables cannot be read. Raises `CannotRead`."""
    schema = app.plugin_schema(NAME)
    try:
        yield
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotRead(
            f"This role may not read the tables of soniq-dashboard: grant it usage on schema"
            f" {schema}, and select on all tables in schema {schema}"
        ) from error
    except MISSING as error:
        raise CannotRead(
            f"The tables of soniq-dashboard are not in schema {schema}: soniq setup makes them"
        ) from error


def lacks_right(error: BaseException) -> bool:
    """Whether PostgreSQL refused something because the role may not do it."""
    return any(
        isinstance(each, asyncpg.InsufficientPrivilegeError) for each in (error, error.__cause__)
    )


@cache
def statement(schema: str, name: str) -> str:
    """A statement of queries/, for the plugin's schema."""
    return _read(f"queries/{name}").replace("{schema}", schema)


def _read(name: str) -> str:
    text = (files(__package__) / f"{name}.sql").read_text(encoding="utf-8")
    return OF_BUCKETS.sub(_of_buckets, text)


def _of_buckets(match: re.Match[str]) -> str:
    """`added`: those of a row that is there and of a new one; `packed`: those of a row as one
    number, of which `unpacked` makes buckets again; `summed`: so those of many rows.
    """
    how, column = match.groups()
    if how == "summed":
        return f"sum({column.removesuffix('_buckets')}_packed)::text as {column}"
    if how == "packed":
        number = "0"
        for place in reversed(PLACES):
            number = f"({number} * 1e{DIGITS} + coalesce({column}[{place}], 0))"
        return number

    kept, new = f"kept.{column}", f"excluded.{column}"
    sums = (f"coalesce({kept}[{each}], 0) + coalesce({new}[{each}], 0)" for each in PLACES)
    return f"(array[{', '.join(sums)}])[1:greatest(cardinality({kept}), cardinality({new}))]"


def migration(name: str) -> str:
    """A file of migrations/."""
    return _read(f"migrations/{name}")


def unpacked(number: str) -> list[int]:
    """The buckets that are packed into a number."""
    digits = number.zfill(-(-len(number) // DIGITS) * DIGITS)
    starts = range(len(digits) - DIGITS, -1, -DIGITS)
    found = [int(digits[start : start + DIGITS]) for start in starts]
    return found + [0] * (len(PLACES) - len(found))


@asynccontextmanager
async def bounded(app: Soniq, idle: float = PATIENCE) -> "AsyncIterator[Connection]":
    """A connection in a transaction, of which each statement may take five seconds, and the time
    between two so many. Raises `TimeoutError` for a statement that takes longer, and
    `DatabaseUnavailable`.
    """
    limits = (
        f"set local statement_timeout = {round(PATIENCE * 1000)};"
        f" set local idle_in_transaction_session_timeout = {round(idle * 1000)};"
        " set local plan_cache_mode = force_custom_plan"
    )
    try:
        async with session(app) as connection, connection.transaction():
            await connection.execute(limits)
            yield connection
    except asyncpg.QueryCanceledError as error:
        raise TimeoutError(f"a statement took longer than {PATIENCE:g} s") from error
