"""What keeps PostgreSQL from cleaning up: old transactions, prepared ones, replication slots.
Claims slow down then.

Whatever was deleted or updated since the oldest of them began stays in the tables and indexes that
workers walk.
"""

from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import TypedDict

import asyncpg

from soniq import Soniq

MANY = 100_000
"""Transactions begun since that count as long ago where PostgreSQL does not tell how many seconds
that is.
"""


class HorizonHolder(TypedDict):
    """A transaction, a prepared transaction or a replication slot that keeps PostgreSQL from
    cleaning up.

    What the role may not see is None: times and state of other roles' transactions need
    `pg_monitor`.
    """

    kind: str
    """transaction, prepared transaction, or replication slot."""
    name: str
    """Of a transaction the pid, of a prepared one its gid."""
    user: str | None
    application: str | None
    state: str | None
    began_at: datetime | None
    query_began_at: datetime | None
    xid: str
    """The transaction id that it holds on to."""
    seconds: float | None
    transactions: int
    """How many transactions have begun since."""


async def holders(app: Soniq) -> list[HorizonHolder]:
    """All that hold something now, also for a moment only; the oldest first."""
    async with app.connection() as connection:
        return [_holder(row) for row in await connection.fetch(statement())]


async def old_transactions(app: Soniq, longer_than: float = 300.0) -> list[HorizonHolder]:
    """What has kept PostgreSQL from cleaning up for `longer_than` seconds, the oldest first.

    Where PostgreSQL does not tell since when, that is what has outlived a hundred thousand
    transactions. Raises `DatabaseUnavailable`.
    """
    return [
        each
        for each in await holders(app)
        if (
            each["seconds"] >= longer_than
            if each["seconds"] is not None
            else each["transactions"] >= MANY
        )
    ]


@cache
def statement() -> str:
    """The statement that asks PostgreSQL."""
    return (files("soniq_doctor") / "horizon.sql").read_text(encoding="utf-8")


def described(holder: HorizonHolder) -> str:
    """A holder in words."""
    name = f"pid {holder['name']}" if holder["kind"] == "transaction" else repr(holder["name"])
    told = [f"{holder['kind']} {name}"]
    for what in ("user", "application"):
        if value := holder[what]:
            told.append(f"{what} {value!r}")
    if state := holder["state"]:
        told.append(state)
    for what, at in (("began", holder["began_at"]), ("query began", holder["query_began_at"])):
        if at is not None:
            told.append(f"{what} {at.isoformat(' ', 'seconds')}")
    told.append(f"{holder['transactions']:,} transactions since")
    return ", ".join(told)


def _holder(row: asyncpg.Record) -> HorizonHolder:
    return {
        "kind": row["kind"],
        "name": row["name"],
        "user": row["user"],
        "application": row["application"] or None,
        "state": row["state"],
        "began_at": row["began_at"],
        "query_began_at": row["query_began_at"],
        "xid": row["xid"],
        "seconds": row["seconds"],
        "transactions": row["transactions"],
    }
