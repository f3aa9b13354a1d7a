"""The one statement: it settles what has ended, then claims what is next."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from soniq.hooks.values import ROW
from soniq.postgres.database import Database
from soniq.postgres.notify import OWED, place_line
from soniq.transaction import TransactionConnection
from soniq.worker.lanes import Arrays
from soniq.worker.settling.settlement import Finish, Requeue, Settlement

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection


FREED = -1
"""In the place of a claimed job's flags: jobs were let go in a lane, and not claimed."""


class Header(NamedTuple):
    """The first row of the answer: what was done beside claiming."""

    settled: int
    """How many rows of jobs the settlements changed."""
    registered: bool
    """Whether the worker's row was there; if not, nothing was claimed."""


def _header(row: asyncpg.Record) -> Header:
    """It is in the columns of a claimed job: the claim's number, and the flags."""
    return Header(row[1], row[2] == 1)


async def settle_and_claim(
    connection: "Connection",
    database: Database,
    worker_id: str,
    settlements: Sequence[Settlement],
    lanes: Arrays,
    limit: int,
) -> tuple[Header, list[asyncpg.Record]]:
    """Settle, and claim up to `limit` jobs of these lanes; the header, and the rows of the
    claimed.
    """
    header, *rows = await connection.fetch(
        database.sql["settle_and_claim"], worker_id, *arrays(settlements), *lanes, limit
    )
    return _header(header), rows


class Told(NamedTuple):
    """What a plugin's function in the database is told, in place of its `settle_tx`."""

    plugin: str
    function: str
    ended: Sequence[Finish]


async def settle_tell_and_claim(
    connection: "Connection",
    database: Database,
    worker_id: str,
    settlements: Sequence[Settlement],
    told: Told,
    lanes: Arrays,
    cursors: Arrays,
    limit: int,
) -> tuple[Header, list[asyncpg.Record], list[str]]:
    """Settle, let a plugin's function say what may go, and claim; the header, the rows of the
    claimed, and what workers are to be told of what was let go and not claimed.
    """
    header, *rows = await connection.fetch(
        database.sql["settle_tell_and_claim"],
        told.plugin,
        told.function,
        [each.id for each in told.ended],
        [each.status for each in told.ended],
        [each.claim for each in told.ended],
        *cursors,
        worker_id,
        *arrays(settlements),
        *lanes,
        limit,
    )
    claimed = [row for row in rows if row["r_id"] is not None]
    freed = [
        place_line(row["r_queue"], row["r_priority"], row["r_scheduled_at"])
        if row["r_flags"] == FREED
        else OWED
        for row in rows[len(claimed) :]
    ]
    return _header(header), claimed, freed


async def settle(
    connection: TransactionConnection,
    database: Database,
    worker_id: str,
    settlements: Sequence[Settlement],
    lock_wait: str | None = None,
) -> Header:
    """Settle in an open transaction, and claim nothing. `lock_wait`: how long what follows in it
    waits for a lock.
    """
    header, *_ = await connection.fetch(
        database.sql["settle"], worker_id, *arrays(settlements), database.lease_ms, lock_wait
    )
    return _header(header)


def arrays(settlements: Sequence[Settlement]) -> tuple[Sequence[Any] | None, ...]:
    """Settlements as the arrays that the SQL function takes."""
    finished = [s for s in settlements if isinstance(s, Finish)]
    all_are = len(finished) == len(settlements)
    back = [] if all_are else [s for s in settlements if isinstance(s, Requeue)]
    return *_finished(finished), *_requeued(back)


def _finished(settlements: Sequence[Finish]) -> tuple[Sequence[Any] | None, ...]:
    return (
        [s.id for s in settlements],
        [s.claim for s in settlements],
        _sparse([None if s.status == "done" else s.status for s in settlements]),
        [s.result for s in settlements],
        _sparse([None if s.store == ROW else s.store for s in settlements]),
        _sparse([s.error for s in settlements]),
        [s.age for s in settlements],
    )


def _requeued(settlements: Sequence[Requeue]) -> tuple[Sequence[Any], ...]:
    return (
        [s.id for s in settlements],
        [s.claim for s in settlements],
        [s.kind for s in settlements],
        [s.delay for s in settlements],
        [s.error for s in settlements],
        [s.age for s in settlements],
    )


def _sparse(values: list[str | None]) -> list[str | None] | None:
    """No array at all where every value is the usual one: the driver looks at each element."""
    return values if any(values) else None
