"""Held jobs, released by their holders, or by an operator."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import asyncpg

from soniq.checks import check_text
from soniq.ids import parse_id, parse_ids
from soniq.postgres.database import Database
from soniq.postgres.notify import OWED, Notifier, place_line
from soniq.postgres.theirs import fetch_in_theirs
from soniq.transaction import TransactionConnection

BATCH = 500
"""The most jobs that one statement releases."""

FIRST_ID = "00000000-0000-0000-0000-000000000000"

Cursors = tuple[Sequence[object], ...]
"""Lanes as the statement takes them: queues, priorities, and the places that were passed."""

NO_CURSORS: Cursors = ([], [], [], [])


class Release:
    """Lets held jobs go, and tells the workers."""

    def __init__(self, database: Database, notifier: Notifier) -> None:
        self._database = database
        self._notifier = notifier

    async def those(
        self,
        ids: str | Iterable[str],
        holder: str | None,
        tx: TransactionConnection | None,
        *,
        last: bool,
    ) -> int:
        """Release some jobs, of one holder or of all, `last`: behind all that are due; how many are
        queued now, or are at the commit of `tx`.
        """
        parsed = [parse_id(ids)] if isinstance(ids, str) else parse_ids(ids)
        if holder is not None:
            check_text("holder", holder, 200)
        if tx is not None:
            failed, query = "the jobs cannot be released", "release_in_theirs"
            rows = await fetch_in_theirs(self._database, tx, failed, query, parsed, holder, last)
            return int(rows[0][0])

        batches = (parsed[at : at + BATCH] for at in range(0, len(parsed), BATCH))
        return sum([await self._batch(batch, holder, last=last) for batch in batches])

    async def held_by(self, holder: str) -> int:
        """Release all jobs of a holder; how many are queued now."""
        check_text("holder", holder, 200)
        released, last = 0, FIRST_ID
        while rows := await self._database.fetch("held_by", holder, last, BATCH):
            ids = [str(row["id"]) for row in rows]
            released += await self._batch(ids, holder)
            last = ids[-1]
        return released

    async def forget(self, plugin: str) -> None:
        """Take a plugin's mark off all jobs that are not finished, and drop what it is owed."""
        check_text("held_by", plugin, 200)
        await self._database.fetch("forget_plugin", plugin)

    async def _batch(self, ids: Sequence[str], holder: str | None, *, last: bool = False) -> int:
        rows = await self._database.fetch("release", ids, holder, *NO_CURSORS, last)
        free = [row for row in rows if row["held_by"] is None]
        self._notifier.wake(lines(free))
        if len(free) < len(rows):  # somebody may be the first holder now
            self._notifier.wake([OWED])
        return len(free)


def lines(rows: Iterable[asyncpg.Record]) -> list[str]:
    """What workers are told of jobs that nobody holds any more: their lanes, and where to look."""
    places: dict[tuple[str, int], datetime] = {}
    for row in rows:
        lane, place = (row["queue"], row["priority"]), row["scheduled_at"]
        places[lane] = min(place, places.get(lane, place))
    return [place_line(*lane, place) for lane, place in places.items()]
