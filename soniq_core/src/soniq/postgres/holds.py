"""What a plugin is given to hold and to release jobs in a transaction of the core's."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from soniq.ids import parse_id
from soniq.postgres.database import Database
from soniq.postgres.notify import OWED
from soniq.postgres.release import Cursors, lines
from soniq.transaction import TransactionConnection


class Freed:
    """The jobs that nobody holds any more once a transaction is committed."""

    def __init__(self) -> None:
        self._rows: list[Any] = []
        self.owes = False
        """Whether a plugin may be owed something then."""

    def add(self, rows: Sequence[Any]) -> list[str]:
        """Add what a release changed; the ids of the jobs that nobody holds any more."""
        free = [row for row in rows if row["held_by"] is None]
        self._rows += free
        self.owes = self.owes or len(free) < len(rows)
        return [str(row["id"]) for row in free]

    @property
    def lines(self) -> Sequence[str]:
        """What workers are to be told after the commit."""
        return [*lines(self._rows), OWED] if self.owes else lines(self._rows)


class TxHolds:
    """Holds and releases jobs under the name of one plugin, in an open transaction."""

    def __init__(
        self,
        database: Database,
        tx: TransactionConnection,
        plugin: str,
        cursors: Cursors,
        freed: Freed,
    ) -> None:
        self._sql = database.sql
        self._tx = tx
        self._plugin = plugin
        self._cursors = cursors
        self._freed = freed

    async def release(self, ids: Iterable[str], *, last: bool = False) -> list[str]:
        """Let jobs go, `last`: behind all that are due; those that nobody holds any more."""
        parsed = [parse_id(each) for each in ids]
        if not parsed:
            return []
        rows = await self._tx.fetch(
            self._sql["release"], parsed, self._plugin, *self._cursors, last
        )
        return self._freed.add(rows)

    async def hold(self, ids: Iterable[str], *, first: bool = False) -> list[str]:
        """Hold jobs that wait, behind or before those who hold them; those that it holds now."""
        parsed = [parse_id(each) for each in ids]
        if not parsed:
            return []
        rows = await self._tx.fetch(self._sql["hold"], parsed, [self._plugin], first)
        return [str(row["id"]) for row in rows]

    async def owe(self, what: Mapping[str, object]) -> None:
        """Note something for itself, to be told of it later, in a transaction of a worker's."""
        text = msgspec.json.encode(dict(what)).decode()
        await self._tx.execute(self._sql["owe"], [self._plugin], [None], ["note"], [text])
        self._freed.owes = True
