"""How limits stand in the database, and changing them there."""

from collections.abc import Sequence

import msgspec

from soniq import Soniq

from .database import NAME, statement
from .errors import LimitNotFound
from .limit import MOST, MOST_STARTS, Kind, check_number, kind_of


class LimitState(msgspec.Struct, frozen=True, kw_only=True):
    """A limit as it is in the database."""

    name: str
    kind: Kind
    n: int
    """How many jobs of one key run at once, now; of a rate how many start in `per`, of a fair one
    how many wait in their queue.
    """
    declared: int
    """What the code said last."""
    per: float | None
    """The seconds of a rate."""
    keys: int
    """How many keys have jobs that run or wait."""
    running: int
    """Jobs that run, or are about to."""
    waiting: int
    """Jobs that wait for a slot, or to be due."""


async def limit_states(app: Soniq) -> Sequence[LimitState]:
    """All limits by name."""
    async with app.connection() as connection:
        rows = await connection.fetch(statement(app.plugin_schema(NAME), "list"))
    return [LimitState(**row) for row in rows]


async def set_limit(app: Soniq, name: str, n: int) -> None:
    """Let so many jobs of each key run at once. Raises `InvalidOption` or `LimitNotFound`."""
    check_number("n", n, 0, MOST_STARTS if kind_of(name) == "rate" else MOST)
    schema = app.plugin_schema(NAME)
    async with app.connection() as connection, connection.transaction():
        if not await connection.fetch(statement(schema, "set"), name, n):
            raise LimitNotFound(name)
        await connection.execute(statement(schema, "again_for"), [name])
