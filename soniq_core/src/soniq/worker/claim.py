"""The one statement: settle what has ended, then claim what is next; and what to do when it fails."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence, Set
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import asyncpg

from soniq.enqueue.outbox import KEY_WAIT
from soniq.errors import DatabaseError, DatabaseUnavailable, PluginError
from soniq.hooks.dispatch import InTransaction
from soniq.hooks.values import NewJob, TransactionConnection
from soniq.job import JobContext
from soniq.postgres.connections import LOST, PASSES, Database, close_quietly
from soniq.worker.lanes import Arrays
from soniq.worker.settle import Settlement, arrays

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection
    from soniq.worker.state import WorkerState

log = logging.getLogger("soniq.worker")

Insert = Callable[[Sequence[NewJob], TransactionConnection], Awaitable[None]]
"""Inserts jobs in someone's transaction."""

LOCK_WAIT = "2s"
"""How long settling waits for a lock, as the function that settles does."""

SUSPECT, CANCELLED = 1, 2

NO_LANES: Arrays = ([], [], [], [])


class Claimed(NamedTuple):
    """A claimed row, as the SQL function returns it."""

    id: UUID
    claim: int
    flags: int
    name: str
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    args: bytes
    serializer: str
    headers: str | None
    created_at: datetime
    scheduled_at: datetime
    queued_for: float
    timeout: float | None
    unknown_for: float | None
    expires_in: float | None
    claimed_at: float
    """Monotonic time."""

    @property
    def expired(self) -> bool:
        """Whether it is too late to start the job."""
        return self.expires_in is not None and time.monotonic() - self.claimed_at >= self.expires_in

    def context(self, worker_id: str, state: "WorkerState | None" = None) -> JobContext:
        """The context of the attempt that this claim begins."""
        return JobContext(
            job_id=str(self.id), job_name=self.name, attempt=self.attempt + 1, max_attempts=self.max_attempts,
            queue=self.queue, worker_id=worker_id, scheduled_at=self.scheduled_at, created_at=self.created_at,
            headers=self.headers, payload_size=len(self.args), queued_for=self.queued_for,
            state=state,
        )  # fmt: skip


class Exchange(NamedTuple):
    """What one exchange with the database brought."""

    claimed: Sequence[Claimed] = ()
    looked: bool = False
    """Whether the lanes were looked into; not where a settlement was refused."""
    registered: bool = True
    """Whether the worker's row was still there; if not, nothing was claimed, and its jobs are others' now."""
    lost: Set[UUID] = frozenset()
    """Settlements that changed nothing: the jobs had been taken from this worker."""
    left: Sequence[Settlement] = ()
    """Settlements whose rows somebody else has locked; to be sent again."""
    refused: Sequence[tuple[Settlement, Exception]] = ()
    """Settlements that PostgreSQL does not take, and why."""


class Claimer:
    """A connection of its own, and the statement on it. Waits out a database that is away."""

    def __init__(
        self,
        database: Database,
        worker_id: Callable[[], str],
        held: Callable[[], list[UUID]],
        settle_tx: InTransaction,
        insert: Insert,
        patient: Callable[[], bool] = lambda: True,
    ) -> None:
        self._database = database
        self._worker_id = worker_id
        self._held = held
        self._settle_tx = settle_tx
        self._insert = insert
        self._patient = patient
        self._connection: Connection | None = None
        self._was_lost = False

    async def exchange(
        self, settlements: Sequence[Settlement], lanes: Arrays, limit: int, *, around_locks: bool = False
    ) -> Exchange:
        """Settle and claim. Tried again until it has been done, for as long as the database is away.

        `around_locks` leaves the settlements whose rows somebody else has locked, and does not wait for one first.
        Raises `DatabaseUnavailable` only where `patient` says that it is not worth waiting.
        """
        settlements = [each for each in settlements if not each.written]
        pause, began, around_keys = 0.05, time.monotonic(), False
        while True:
            try:
                connection = await self._ready()
                if around_keys:
                    return await self._around_keys(connection, settlements, lanes, limit)
                if around_locks:
                    return await self._around_locks(connection, settlements, lanes, limit)
                return await self._once(connection, settlements, lanes, limit)
            except (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError) as error:
                if not around_locks:
                    log.info("a settlement waits for a lock, and the others go on without it: %s", error)
                    around_locks = True
                    continue
                if not around_keys and any(each.children for each in settlements):
                    around_keys = True
                    continue
            except (asyncpg.SerializationError, asyncpg.QueryCanceledError) as error:
                log.info("the exchange with the database is tried again: %s", error)
            except (*LOST, DatabaseError) as error:
                reason = str(error) or type(error).__name__
                log.warning("the database is away, trying again in %.1f s: %s", pause, reason)
                await self.close()
                self._was_lost = True
                if not self._patient():
                    raise DatabaseUnavailable(f"{self._database.place} is away: {reason}") from error
            except (asyncpg.PostgresError, PluginError) as error:
                if not settlements:
                    raise
                patient = time.monotonic() - began < self._database.settings.command_timeout
                if not (isinstance(error.__cause__, PASSES) and patient):
                    return await self._halved(settlements, error, around_locks)
                log.warning("the outcomes are written again in %.1f s: %s", pause, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        await close_quietly(connection)

    async def _once(
        self, connection: "Connection", settlements: Sequence[Settlement], lanes: Arrays, limit: int
    ) -> Exchange:
        if any(each.children or (self._settle_tx and each.outcome) for each in settlements):
            lost = await self._settle(connection, settlements)
            return (await self._once(connection, (), lanes, limit))._replace(lost=lost)
        now = time.monotonic()
        header, *rows = await connection.fetch(
            self._database.sql["settle_and_claim"], self._worker_id(), *arrays(settlements), *lanes, limit
        )
        lost = await self._lost(connection, settlements) if header[1] < len(settlements) else set()
        return Exchange(
            [Claimed._make((*row, now)) for row in rows], looked=limit > 0, registered=header[2] == 1, lost=lost
        )

    async def _settle(self, connection: "Connection", settlements: Sequence[Settlement]) -> set[UUID]:
        """Settle in a transaction in which children are inserted and `settle_tx` writes; which changed nothing."""
        try:
            async with connection.transaction(isolation="read_committed"):
                await self._write(connection, settlements)
            return set()
        except _SomeChangeNothing:  # rare: find out which, and leave them out
            sql = self._database.sql
        async with connection.transaction(isolation="read_committed"):
            await connection.fetch(sql["lock_timeout"], LOCK_WAIT)
            rows = await connection.fetch(sql["running"], [s.id for s in settlements], [s.claim for s in settlements])
            running = {row["id"] for row in rows}
            await self._write(connection, [s for s in settlements if s.id in running])
        return await self._lost(connection, settlements)

    async def _write(self, connection: "Connection", settlements: Sequence[Settlement]) -> None:
        """Settle, insert children and call `settle_tx`, in the open transaction. Raises `_SomeChangeNothing`."""
        header, *_ = await connection.fetch(
            self._database.sql["settle_and_claim"], self._worker_id(), *arrays(settlements), *NO_LANES, 0
        )
        if header[1] != len(settlements):
            raise _SomeChangeNothing
        if children := [child for s in settlements for child in s.children]:
            sql, keyed = self._database.sql["lock_timeout"], any(child.dedup for child in children)
            before = await connection.fetchval(sql, KEY_WAIT) if keyed else None
            await self._insert(children, connection)
            if before is not None:
                await connection.fetch(sql, before)
        try:
            await self._settle_tx(connection, [(s.outcome, s.given_up) for s in settlements if s.outcome])
        except PluginError as error:
            if connection.is_closed():
                raise asyncpg.ConnectionDoesNotExistError(str(error)) from error
            raise

    async def _lost(self, connection: "Connection", settlements: Sequence[Settlement]) -> set[UUID]:
        """Which settlements changed nothing. One that was sent twice, after a lost connection, did."""
        ids, claims = [s.id for s in settlements], [s.claim for s in settlements]
        rows = await connection.fetch(self._database.sql["lost_settlements"], ids, claims)
        return {row["id"] for row in rows}

    async def _around_locks(
        self, connection: "Connection", settlements: Sequence[Settlement], lanes: Arrays, limit: int
    ) -> Exchange:
        """Settle what nobody else has locked, and claim."""
        async with connection.transaction(isolation="read_committed"):
            rows = await connection.fetch(self._database.sql["locked"], [s.id for s in settlements])
            locked = {row["id"] for row in rows}
            free = [s for s in settlements if s.id not in locked]
            exchange = await self._once(connection, free, lanes, limit)
        return exchange._replace(left=[s for s in settlements if s.id in locked])

    async def _around_keys(
        self, connection: "Connection", settlements: Sequence[Settlement], lanes: Arrays, limit: int
    ) -> Exchange:
        """Settle one by one what brings children, up to one whose dedup key a transaction holds; then the rest."""
        left: list[Settlement] = []
        lost: set[UUID] = set()
        parents = [each for each in settlements if each.children]
        while parents and not left:
            parent = parents.pop(0)
            try:
                lost |= await self._settle(connection, [parent])
            except asyncpg.LockNotAvailableError:
                left.append(parent)
        rest = [each for each in settlements if not each.children]
        exchange = await self.exchange(rest, lanes, limit, around_locks=True)
        return exchange._replace(left=[*exchange.left, *parents, *left], lost=exchange.lost | lost)

    async def _halved(self, settlements: Sequence[Settlement], error: Exception, around_locks: bool) -> Exchange:
        """Find the settlement that is refused by halving, so that it takes no other with it."""
        if len(settlements) == 1:
            return Exchange(refused=[(settlements[0], error)])
        half = len(settlements) // 2
        one = await self.exchange(settlements[:half], NO_LANES, 0, around_locks=around_locks)
        two = await self.exchange(settlements[half:], NO_LANES, 0, around_locks=around_locks)
        return Exchange(
            registered=two.registered,
            lost=one.lost | two.lost,
            left=[*one.left, *two.left],
            refused=[*one.refused, *two.refused],
        )

    async def _ready(self) -> "Connection":
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect()
        if self._was_lost:
            await self.give_back_unheld(self._connection, claimed_for=0)
            self._was_lost = False
        return self._connection

    async def give_back_unheld(self, connection: "Connection", *, claimed_for: float) -> None:
        """Give back jobs that were claimed for this worker and never arrived: the answer was lost on its way."""
        rows = await connection.fetch(
            self._database.sql["give_back_unheld"], self._worker_id(), self._held(), float(claimed_for)
        )
        if rows:
            log.warning("gave back %d jobs that were claimed and never arrived", len(rows))


class _SomeChangeNothing(Exception):
    """Some of the settlements are of jobs that were taken away, or were written before."""
