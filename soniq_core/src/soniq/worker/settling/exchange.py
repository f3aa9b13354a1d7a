"""An exchange with the database: settle what has ended, claim what is next, and go on when that
fails.
"""

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import asyncpg

from soniq.errors import DatabaseUnavailable, PluginError
from soniq.postgres.connections import close_quietly, transaction
from soniq.postgres.gaps import fill_gaps, is_gap
from soniq.postgres.sql import KEY_WAIT
from soniq.text import counted
from soniq.worker.claimed import Claimed
from soniq.worker.held import HeldJobs
from soniq.worker.lanes import NO_LANES, Arrays, Lanes
from soniq.worker.services import Services
from soniq.worker.settling.settlement import Settlement
from soniq.worker.settling.statement import settle, settle_and_claim
from soniq.worker.settling.ways import ERRORS, LONGEST_PAUSE, Failure, Progress, Way
from soniq.worker.state import WorkerState

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

log = logging.getLogger("soniq.worker")

LOCK_WAIT = "2s"
"""How long settling waits for a lock, as the function that settles does."""

TELL_AGAIN = 60.0
"""Seconds between two messages of one kind about locks: one that is held for long is met by each
exchange.
"""

FOLLOWS: Mapping[Way | None, str] = {
    Way.AROUND_LOCKS: "what nobody else has locked is settled, the rest with the next exchange",
    Way.AROUND_KEYS: "jobs with children are settled one by one, then the others",
    None: "the same is tried again after a pause",
}
"""What follows from a failure to get a lock, in words."""


class Exchange(NamedTuple):
    """What one exchange with the database brought."""

    claimed: Sequence[Claimed] = ()
    looked: bool = False
    """Whether the lanes were looked into; not where a settlement was refused."""
    registered: bool = True
    """Whether the worker's row was still there; if not, nothing was claimed, and its jobs have
    been requeued.
    """
    lost: Set[UUID] = frozenset()
    """Settlements that changed nothing: the jobs had been taken from this worker."""
    left: Sequence[Settlement] = ()
    """Settlements whose rows another session has locked; to be sent again."""
    refused: Sequence[tuple[Settlement, Exception]] = ()
    """Settlements that PostgreSQL does not take, and why."""

    def with_more(self, later: "Exchange") -> "Exchange":
        """What came of this one and of one after it, neither of which claimed anything."""
        return Exchange(
            registered=later.registered,
            lost=self.lost | later.lost,
            left=[*self.left, *later.left],
            refused=[*self.refused, *later.refused],
        )


class Claimer:
    """A connection of its own, and the statement on it. Waits out a database that is away."""

    def __init__(
        self,
        services: Services,
        state: WorkerState,
        held: HeldJobs,
        lanes: Lanes,
    ) -> None:
        self._services = services
        self._lanes = lanes
        self._database = services.database
        self._state = state
        self._held = held
        self._connection: Connection | None = None
        self._was_lost = False
        self._told: dict[tuple[str, str], float] = {}  # when it was last logged
        self.freed: set[str] = set()
        """Where jobs are to be looked for that plugins have let go, as workers are told of it."""
        self.tried = 0.0
        """When the database was last tried, as monotonic time."""

    async def exchange(
        self,
        settlements: Sequence[Settlement],
        lanes: Arrays,
        limit: int,
        *,
        around_locks: bool = False,
    ) -> Exchange:
        """Settle and claim. Tried again until it has been done, for as long as the database is
        away.

        `around_locks` leaves the settlements whose rows another session has locked, and does not
        wait for one first. Raises `DatabaseUnavailable` only between being told to stop and winding
        down, and `DatabaseError` where PostgreSQL refuses a claim without settlements.
        """
        way = Way.AROUND_LOCKS if around_locks else Way.PLAIN
        progress = Progress(settlements, way, self._database.settings.command_timeout)
        filled = False
        while True:
            connection = None
            try:
                connection = await self._ready()
                exchanged = await self._try(connection, progress, lanes, limit)
                self._database.outage.over(wrote=True)
                return exchanged
            except ERRORS as error:
                if not filled and is_gap(error, self._database.settings.schema):
                    filled = True
                    await fill_gaps(self._database)
                    continue
                failure, next_way = progress.met(
                    error, connection, unavailable=not self._state.waits_for_database
                )
                self._tell(failure, error, progress, next_way)
                if failure is Failure.LOST or (
                    failure is Failure.REFUSED and progress.has_no_connection()
                ):
                    self._drop()
                if next_way is Way.NOT_AT_ALL:
                    raise self._translated(failure, error) from error
                if next_way in (Way.ONE_BY_ONE, Way.HALVED):
                    return await self._apart(next_way, progress, error)

            if next_way is not None:
                progress.way = next_way
                continue
            await asyncio.sleep(progress.pause)
            progress.pause = min(progress.pause * 2, LONGEST_PAUSE)

    async def _try(
        self, connection: "Connection", progress: Progress, lanes: Arrays, limit: int
    ) -> Exchange:
        """Settle and claim once, the way that it goes now."""
        if progress.way is Way.AROUND_KEYS:
            return await self._around_keys(connection, progress.settlements, lanes, limit)
        if progress.way is Way.AROUND_LOCKS:
            return await self._around_locks(connection, progress.settlements, lanes, limit)
        return await self._once(connection, progress.settlements, lanes, limit)

    def _tell(
        self, failure: Failure, error: Exception, progress: Progress, next_way: Way | None
    ) -> None:
        """Log an error, with what follows from it."""
        pause = progress.pause
        if failure is Failure.LOST:
            self._database.lost(error, f"trying again in {pause:.1f} s")
        elif failure is Failure.INTERRUPTED:
            log.info("the settle and claim statement was interrupted, and is sent again: %s", error)
        elif failure is Failure.LOCK:
            self._tell_lock(error, FOLLOWS[next_way])
        elif next_way is None:
            log.warning(
                "the outcomes could not be written; trying again in %.1f s: %s", pause, error
            )

    def _tell_lock(self, error: Exception, follows: str) -> None:
        """Log a deadlock or a lock timeout, with what follows from it; the same once a minute."""
        what = "deadlock" if isinstance(error, asyncpg.DeadlockDetectedError) else "lock timeout"
        now = time.monotonic()
        if now - self._told.get((what, follows), -math.inf) < TELL_AGAIN:
            return

        self._told[what, follows] = now
        log.info("%s: %s: %s", what, follows, error)

    def _translated(self, failure: Failure, error: Exception) -> Exception:
        """An error as the caller gets it."""
        if failure is Failure.LOST:
            reason = self._database.reason(error)
            return DatabaseUnavailable(f"{self._database.place} is unavailable: {reason}")
        return self._database.translated(error)

    async def _apart(self, way: Way, progress: Progress, error: Exception) -> Exchange:
        """Find the settlement that is refused, or that ends each connection, so that it keeps no
        other from being written: one by one, or by halving.
        """
        settlements = progress.settlements
        if len(settlements) == 1:
            only = settlements[0]
            if isinstance(error, asyncpg.UntranslatableCharacterError) and not only.is_ascii:
                settlements = [only.escaped()]  # the database's encoding does not have it
            else:
                return Exchange(refused=[(only, error)])

        half = len(settlements) // 2
        parts = (
            [settlements[:half], settlements[half:]]
            if way is Way.HALVED and half
            else [[each] for each in settlements]
        )
        exchange = Exchange()
        for part in parts:
            exchange = exchange.with_more(
                await self.exchange(part, NO_LANES, 0, around_locks=not progress.is_plain())
            )
        return exchange

    def _drop(self) -> None:
        """Leave a connection that is lost, and with it claims whose answer may have been."""
        connection, self._connection = self._connection, None
        self._was_lost = True
        if connection is not None:
            connection.terminate()

    async def leave(self) -> None:
        """Give back what was claimed by an exchange that was cut off, and remove the worker's row.

        It stays where outcomes are not written: its jobs are rescued once its lease is over.
        """
        connection = await self._ready()
        await self.give_back_unheld(connection, claimed_for=0)
        if not self._held.pending:
            await connection.fetch(self._database.sql["unregister_worker"], self._state.id)

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        await close_quietly(connection)

    async def _once(
        self, connection: "Connection", settlements: Sequence[Settlement], lanes: Arrays, limit: int
    ) -> Exchange:
        if more := self._with_more(settlements):
            lost = await self._settle(connection, more)
            apart = {id(each) for each in more}
            rest = [each for each in settlements if id(each) not in apart]
            exchange = await self._once(connection, rest, lanes, limit)
            return exchange._replace(lost=exchange.lost | lost)

        now = time.monotonic()
        header, rows = await settle_and_claim(
            connection, self._database, self._state.id, settlements, lanes, limit
        )
        some_lost = header.settled < len(settlements)
        return Exchange(
            [Claimed._make((*row, now)) for row in rows],
            looked=limit > 0,
            registered=header.registered,
            lost=await self._lost(connection, settlements) if some_lost else set(),
        )

    def _with_more(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Those with which more is written than the one statement does."""
        hears_all = self._services.settle_tx.hears_all
        return [
            each
            for each in settlements
            if each.children
            or each.holders
            or (each.outcome is not None and (hears_all or each.outcome.marks))
        ]

    async def _settle(
        self, connection: "Connection", settlements: Sequence[Settlement]
    ) -> set[UUID]:
        """Settle in a transaction in which children are inserted and `settle_tx` writes; which
        changed nothing.
        """
        try:
            async with transaction(connection):
                await self._write(connection, settlements)
            return set()
        except _SomeChangeNothing:  # rare: find out which, and leave them out
            sql = self._database.sql

        async with transaction(connection):
            await connection.fetch(sql["lock_timeout"], LOCK_WAIT)
            rows = await connection.fetch(
                sql["running"], [s.id for s in settlements], [s.claim for s in settlements]
            )
            running = {row["id"] for row in rows}
            await self._write(connection, [s for s in settlements if s.id in running])
        return await self._lost(connection, settlements)

    async def _write(self, connection: "Connection", settlements: Sequence[Settlement]) -> None:
        """Settle, insert children and call `settle_tx`, in the open transaction. Raises
        `_SomeChangeNothing`.
        """
        header = await settle(connection, self._database, self._state.id, settlements)
        if header.settled != len(settlements):
            raise _SomeChangeNothing

        await self._hold(connection, settlements)
        if children := [child for s in settlements for child in s.children]:
            sql, keyed = self._database.sql["lock_timeout"], any(child.dedup for child in children)
            before = await connection.fetchval(sql, KEY_WAIT) if keyed else None
            await self._services.insert(children, connection)
            if before is not None:
                await connection.fetch(sql, before)
        try:
            freed = await self._services.settle_tx(
                connection,
                [(s.outcome, s.given_up) for s in settlements if s.outcome],
                self._lanes.cursors(),
            )
            self.freed.update(freed.lines)
        except PluginError as error:
            if connection.is_closed():
                raise asyncpg.ConnectionDoesNotExistError(str(error)) from error
            raise

    async def _hold(self, connection: "Connection", settlements: Sequence[Settlement]) -> None:
        """Hold what was requeued to be held: nobody has seen it in its queue before the commit."""
        by_holders: dict[tuple[str, ...], list[UUID]] = {}
        for each in settlements:
            if each.holders:
                by_holders.setdefault(each.holders, []).append(each.id)
        for holders, ids in by_holders.items():
            await connection.fetch(self._database.sql["hold"], ids, list(holders), False)

    async def _lost(self, connection: "Connection", settlements: Sequence[Settlement]) -> set[UUID]:
        """Which settlements changed nothing. One that was sent twice, after a lost connection,
        did.
        """
        ids, claims = [s.id for s in settlements], [s.claim for s in settlements]
        rows = await connection.fetch(self._database.sql["lost_settlements"], ids, claims)
        return {row["id"] for row in rows}

    async def _around_locks(
        self, connection: "Connection", settlements: Sequence[Settlement], lanes: Arrays, limit: int
    ) -> Exchange:
        """Settle what nobody else has locked, and claim."""
        async with transaction(connection):
            rows = await connection.fetch(self._database.sql["locked"], [s.id for s in settlements])
            locked = {row["id"] for row in rows}
            free = [s for s in settlements if s.id not in locked]
            exchange = await self._once(connection, free, lanes, limit)
        return exchange._replace(left=[s for s in settlements if s.id in locked])

    async def _around_keys(
        self, connection: "Connection", settlements: Sequence[Settlement], lanes: Arrays, limit: int
    ) -> Exchange:
        """Settle one by one what brings children, up to one whose dedup key a transaction holds, or
        that meets a deadlock; then the rest.
        """
        left: list[Settlement] = []
        lost: set[UUID] = set()
        parents = [each for each in settlements if each.children]
        while parents and not left:
            parent = parents.pop(0)
            try:
                lost |= await self._settle(connection, [parent])
            except (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError) as error:
                self._tell_lock(error, "a job with children is left for the next exchange")
                left.append(parent)

        rest = [each for each in settlements if not each.children]
        exchange = await self.exchange(rest, lanes, limit, around_locks=True)
        return exchange._replace(left=[*exchange.left, *parents, *left], lost=exchange.lost | lost)

    async def _ready(self) -> "Connection":
        self.tried = time.monotonic()
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect()
        if self._was_lost:
            await self.give_back_unheld(self._connection, claimed_for=0)
            self._was_lost = False
        return self._connection

    async def give_back_unheld(self, connection: "Connection", *, claimed_for: float) -> None:
        """Give back jobs that were claimed for this worker and never arrived: the answer was lost
        on its way.
        """
        rows = await connection.fetch(
            self._database.sql["give_back_unheld"],
            self._state.id,
            self._held.ids(),
            float(claimed_for),
        )
        if rows:
            log.warning("requeued %s, claimed and never arrived", counted(len(rows), "job"))


class _SomeChangeNothing(Exception):
    """Some of the settlements are of jobs that were taken away, or were written before."""
