"""Looking at jobs and keys, and giving out what room there is: in `owed_tx` and beside a worker."""

import asyncio
import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from soniq import Soniq
from soniq.plugin import TransactionConnection

from .database import NAME, statement
from .keys import Keys

AT_ONCE = 500
"""The most jobs or keys of one look."""
LOOK = 0.5
"""The longest time between two looks of the elected worker, in seconds."""
SOON = 0.01
"""Seconds until the next look where somebody had a row locked; twice as many each time."""
SWEEP = 60.0
"""Seconds between two sweeps."""
PAUSED = 1.0
"""Seconds between two looks for slots that a pause has made idle."""


class Going(msgspec.Struct, frozen=True):
    """The jobs that may go: to where they would be by now, and behind all that are due."""

    released: Sequence[str]
    behind: Sequence[str]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Going":
        """As a statement says it."""
        return cls([*map(str, row["released"])], [*map(str, row["behind"])])

    def parts(self) -> Iterator[tuple[Sequence[str], bool]]:
        """What is to be released, and whether behind the others."""
        for ids, last in ((self.released, False), (self.behind, True)):
            if ids:
                yield ids, last


class Arrived(msgspec.Struct, frozen=True):
    """What became of jobs that came in."""

    free: Sequence[str] = ()
    """Those that may go: to be released before anything else is counted."""
    told: Sequence[str] = ()
    """Those that need no other look."""
    busy: Sequence[str] = ()
    """Keys that do."""


class Looking:
    """Gives out slots to what comes in, falls due, or was locked."""

    def __init__(self, app: Soniq, keys: Keys) -> None:
        self._app = app
        self._keys = keys
        self.locked = asyncio.Event()
        """Set where something that was locked is to be looked at again, soon."""

    async def arrived(
        self, tx: TransactionConnection, known: Mapping[str, Sequence[str]]
    ) -> "Arrived":
        """Give slots to jobs that came in, each with one plain limit, or let them wait."""
        alone = {each: its[0] for each, its in known.items() if len(its) == 1}
        if not alone:
            return Arrived()
        (row,) = await tx.fetch(self._sql("arrived"), [*alone], [*alone.values()])
        return Arrived([*map(str, row["free"])], [*map(str, row["told"])], row["busy"])

    async def look(
        self,
        tx: TransactionConnection,
        ids: Collection[str],
        keys: Collection[str],
        known: Mapping[str, Sequence[str]],
    ) -> "Going":
        """Look at jobs, whatever has become of them, and at keys; the jobs that may go.

        `known`: keys of some of the jobs.
        """
        unknown = [each for each in ids if each not in known]
        found = await self._keys.of_rows(self._app, tx, unknown) if unknown else {}
        of_jobs = {**{each: known[each] for each in ids if each in known}, **found}
        free = [each for each, its in of_jobs.items() if not its]

        pairs = [(each, key) for each, its in of_jobs.items() for key in its]
        (row,) = await tx.fetch(
            self._sql("look"),
            [*ids],
            [each for each, _ in pairs],
            [key for _, key in pairs],
            [*keys],
        )
        if row["remains"]:
            self.locked.set()
        going = Going.of(row)
        return Going([*free, *going.released], going.behind)

    async def elected(self) -> None:
        """Look again and again, in one worker at a time."""
        swept = asked = -math.inf
        while True:
            if time.monotonic() - swept > SWEEP:
                swept = time.monotonic()
                await self._sweep()
            if time.monotonic() - asked > PAUSED:
                asked = time.monotonic()
                async with self._app.connection() as connection:
                    await connection.execute(self._sql("hold_paused"), AT_ONCE)
            await asyncio.sleep(await self.turn())

    async def beside(self) -> None:
        """Look again, soon, at what was locked when this process looked."""
        while True:
            await self.locked.wait()
            pause = SOON
            while self.locked.is_set() and pause < LOOK:
                self.locked.clear()
                await asyncio.sleep(pause)
                await self.turn()
                pause *= 2
            self.locked.clear()  # the elected worker has it

    async def turn(self) -> float:
        """Look at all that is due; seconds until the next look."""
        async with self._app.connection() as connection, connection.transaction():
            (row,) = await connection.fetch(self._sql("due"), AT_ONCE)
            ids, keys = [*map(str, row["ids"])], row["keys"]
            if ids or keys:
                await self._let_go(connection, ids, keys)
            wait = await connection.fetchval(self._sql("wait"))  # now that keys are due again
        if len(ids) >= AT_ONCE or len(keys) >= AT_ONCE:
            return 0.0
        return LOOK if wait is None else min(LOOK, max(SOON, wait))

    async def _sweep(self) -> None:
        async with self._app.connection() as connection, connection.transaction():
            await connection.execute(self._sql("set_back"), AT_ONCE)
            keys = await connection.fetchval(self._sql("sweep"), AT_ONCE)
            if keys:
                await self._let_go(connection, [], keys)

    async def _let_go(self, connection: Any, ids: Collection[str], keys: Collection[str]) -> None:
        going = await self.look(connection, ids, keys, {})
        for each, last in going.parts():
            await self._app.release(each, holder=NAME, last=last, connection=connection)

    def _sql(self, name: str) -> str:
        return statement(self._app.plugin_schema(NAME), name)
