"""An exchange with the database: settle what has ended, claim what is next, and go on when that
fails.
"""

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from soniq.errors import DatabaseUnavailable, PluginError
from soniq.postgres.away import causes
from soniq.postgres.connections import close_quietly, transaction
from soniq.postgres.gaps import fill_gaps, is_gap
from soniq.text import counted
from soniq.worker.claimed import Claimed
from soniq.worker.claims import Claims
from soniq.worker.lanes import NO_LANES, Arrays, Lanes
from soniq.worker.services import Services
from soniq.worker.settling.settlement import Settlement
from soniq.worker.settling.statement import settle_and_claim
from soniq.worker.settling.ways import ERRORS, LONGEST_PAUSE, ExchangeState, Failure, Way
from soniq.worker.settling.writing import Writing
from soniq.worker.state import WorkerState

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

log = logging.getLogger("soniq.worker")

TELL_AGAIN = 60.0
"""Seconds between two messages of one kind about locks: one that is held for long is met by each
exchange.
"""

FOLLOWS: Mapping[Way | None, str] = {
    Way.AROUND_LOCKS: "what nobody else has locked is settled, the rest with the next exchange",
    Way.ASIDE: "what that plugin hears of is settled by itself, as soon as that can be",
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

    def and_then(self, later: "Exchange") -> "Exchange":
        """What came of this one and of one after it, neither of which claimed anything."""
        return Exchange(
            registered=later.registered,
            lost=self.lost | later.lost,
            left=[*self.left, *later.left],
            refused=[*self.refused, *later.refused],
        )

    def and_aside(self, lost: Set[UUID], left: Sequence[Settlement]) -> "Exchange":
        """This one, and what came of settlements that were put aside."""
        return self._replace(lost=self.lost | lost, left=[*self.left, *left])


class Claimer:
    """A connection of its own, and the statement on it. Waits out a database that is away."""

    def __init__(
        self,
        services: Services,
        worker: WorkerState,
        claims: Claims,
        lanes: Lanes,
    ) -> None:
        self._writing = Writing(services, worker, lanes)
        self._database = services.database
        self._worker = worker
        self._claims = claims
        self._connection: Connection | None = None
        self._was_lost = False
        self._told: dict[tuple[str, str], float] = {}  # when it was last logged
        self.tried = 0.0
        """When the database was last tried, as monotonic time."""

    def take_freed(self) -> set[str]:
        """Where jobs are to be looked for that plugins have let go, as workers are told of it."""
        freed, self._writing.freed = self._writing.freed, set()
        return freed

    async def exchange(
        self,
        settlements: Sequence[Settlement],
        lanes: Arrays,
        limit: int,
        *,
        around_locks: bool = False,
        in_sql: bool = True,
    ) -> Exchange:
        """Settle and claim. Tried again until it has been done, for as long as the database is
        away.

        `around_locks` leaves the settlements whose rows another session has locked, and does not
        wait for one first. `in_sql`: plugins are told by the functions that they have in the
        database. Raises `DatabaseUnavailable` only between being told to stop and winding down, and
        `DatabaseError` where PostgreSQL refuses a claim without settlements.
        """
        way = Way.AROUND_LOCKS if around_locks else Way.PLAIN
        state = ExchangeState(
            settlements, way, self._database.settings.command_timeout, in_sql=in_sql
        )
        filled = False
        while True:
            connection = None
            try:
                connection = await self._ready()
                return await self._try(connection, state, lanes, limit)
            except ERRORS as error:
                if not filled and is_gap(error, self._database.settings.schema):
                    filled = True
                    await fill_gaps(self._database)
                    continue
                failure, next_way = self._met(error, connection, state)
                if next_way is Way.NOT_AT_ALL:
                    raise self._translated(failure, error) from error
                if next_way is Way.ASIDE and isinstance(error, PluginError):
                    self._put_aside(state, error.plugin)
                    continue
                if next_way in (Way.ONE_BY_ONE, Way.HALVED):
                    apart = await self._apart(next_way, state, error)
                    return apart.and_aside(set(), state.aside)

            if next_way is not None:
                state.way = next_way
                continue
            await asyncio.sleep(state.pause)
            state.pause = min(state.pause * 2, LONGEST_PAUSE)

    async def _try(
        self, connection: "Connection", state: ExchangeState, lanes: Arrays, limit: int
    ) -> Exchange:
        """Settle and claim once, and settle apart what was put aside."""
        asked = time.monotonic()
        exchange = await self._by_way(connection, state, lanes, limit)
        self._database.outage.over(asked, wrote=True)
        if state.aside:
            lost, left = await self._writing.settle_aside(connection, state.aside)
            exchange = exchange.and_aside(lost, left)
        return exchange

    def _met(
        self, error: Exception, connection: "Connection | None", state: ExchangeState
    ) -> tuple[Failure, Way | None]:
        """Note and log an error, and leave a connection that is lost; its kind, and what
        follows.
        """
        failure, next_way = state.met(
            error, connection, unavailable=not self._worker.waits_for_database
        )
        self._tell(failure, error, state, next_way)
        if failure is Failure.LOST or (failure is Failure.REFUSED and state.has_no_connection()):
            self._drop()
        return failure, next_way

    async def _by_way(
        self, connection: "Connection", state: ExchangeState, lanes: Arrays, limit: int
    ) -> Exchange:
        """Settle and claim once, in the way that is tried now."""
        if state.way is Way.AROUND_KEYS:
            return await self._around_keys(connection, state.settlements, lanes, limit)
        if state.way is Way.AROUND_LOCKS:
            return await self._around_locks(connection, state.settlements, lanes, limit)
        return await self._once(connection, state.settlements, lanes, limit, in_sql=state.in_sql)

    def _put_aside(self, state: ExchangeState, plugin: str) -> None:
        """Let what a plugin hears of go by itself, so that nothing else waits for its locks."""
        settlements = state.settlements
        aside = [each for each in settlements if self._writing.concerned(plugin, each)]
        state.aside += [msgspec.structs.replace(each, aside=True) for each in aside]
        state.settlements = [each for each in settlements if each not in aside]

    def _tell(
        self, failure: Failure, error: Exception, state: ExchangeState, next_way: Way | None
    ) -> None:
        """Log an error, with what follows from it."""
        pause = state.pause
        if failure is Failure.LOST:
            self._database.lost(error, f"trying again in {pause:.1f} s")
        elif failure is Failure.INTERRUPTED:
            log.info("the settle and claim statement was interrupted, and is sent again: %s", error)
        elif failure in (Failure.LOCK, Failure.IN_THE_WAY):
            self._tell_lock(error, FOLLOWS[next_way])
        elif next_way is None:
            log.warning(
                "the outcomes could not be written; trying again in %.1f s: %s", pause, error
            )

    def _tell_lock(self, error: Exception, follows: str) -> None:
        """Log a deadlock or a lock timeout, with what follows from it; the same once a minute."""
        deadlock = any(isinstance(each, asyncpg.DeadlockDetectedError) for each in causes(error))
        what = "deadlock" if deadlock else "lock timeout"
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

    async def _apart(self, way: Way, state: ExchangeState, error: Exception) -> Exchange:
        """Find the settlement that is refused, or that ends each connection, so that it keeps no
        other from being written: one by one, or by halving. It may be a plugin's function that does
        not take it: the hook is called instead.
        """
        settlements = state.settlements
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
            exchange = exchange.and_then(
                await self.exchange(
                    part, NO_LANES, 0, around_locks=not state.is_plain(), in_sql=False
                )
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
        await self.requeue_unreceived(connection, claimed_for=0)
        if not self._claims.pending:
            await connection.fetch(self._database.sql["unregister_worker"], self._worker.id)

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        await close_quietly(connection)

    async def _once(
        self,
        connection: "Connection",
        settlements: Sequence[Settlement],
        lanes: Arrays,
        limit: int,
        *,
        in_sql: bool = True,
    ) -> Exchange:
        """Settle and claim, in one statement where that can be. `in_sql`: also what plugins hear
        of, where their functions do what is to be done; what they hear of otherwise goes before.
        """
        more = self._writing.bringing_more(settlements)
        told = self._writing.told_in_sql(more) if in_sql else None
        quick = {id(each) for each in (told.ended if told else ())}
        if slow := {id(each): each for each in more if id(each) not in quick}:
            lost = await self._writing.settle(connection, [*slow.values()])
            rest = [each for each in settlements if id(each) not in slow]
            if not (rest or limit):
                return Exchange(lost=lost)
            exchange = await self._once(connection, rest, lanes, limit, in_sql=in_sql)
            return exchange._replace(lost=exchange.lost | lost)

        now = time.monotonic()
        rows: Sequence[Any]
        if told is None:
            header, rows = await settle_and_claim(
                connection, self._database, self._worker.id, settlements, lanes, limit
            )
        elif done := await self._writing.settle_tell_and_claim(
            connection, settlements, told, lanes, limit
        ):
            header, rows = done
        else:
            return await self._once(connection, settlements, lanes, limit, in_sql=False)

        some_lost = header.settled < len(settlements)
        return Exchange(
            [tuple.__new__(Claimed, (*row, now)) for row in rows],
            looked=limit > 0,
            registered=header.registered,
            lost=await self._writing.lost(connection, settlements) if some_lost else set(),
        )

    async def _around_locks(
        self, connection: "Connection", settlements: Sequence[Settlement], lanes: Arrays, limit: int
    ) -> Exchange:
        """Settle what nobody else has locked, and claim."""
        async with transaction(connection):
            rows = await connection.fetch(self._database.sql["locked"], [s.id for s in settlements])
            locked = {row["id"] for row in rows}
            free = [s for s in settlements if s.id not in locked]
            exchange = await self._once(connection, free, lanes, limit, in_sql=False)
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
                lost |= await self._writing.settle(connection, [parent])
            except (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError) as error:
                self._tell_lock(error, "a job with children is left for the next exchange")
                left.append(parent)

        rest = [each for each in settlements if not each.children]
        exchange = await self.exchange(rest, lanes, limit, around_locks=True)
        return exchange._replace(left=[*exchange.left, *parents, *left], lost=exchange.lost | lost)

    async def _ready(self) -> "Connection":
        """The connection, made if need be. After a loss, jobs whose claim may have been answered on
        the lost one are given back first.
        """
        self.tried = time.monotonic()
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect()
        if self._was_lost:
            await self.requeue_unreceived(self._connection, claimed_for=0)
            self._was_lost = False
        return self._connection

    async def requeue_unreceived(self, connection: "Connection", *, claimed_for: float) -> None:
        """Give back jobs that were claimed for this worker at least `claimed_for` seconds ago and
        never arrived: the answer was lost on its way.
        """
        rows = await connection.fetch(
            self._database.sql["requeue_unreceived"],
            self._worker.id,
            self._claims.ids(),
            float(claimed_for),
        )
        if rows:
            log.warning("requeued %s, claimed and never arrived", counted(len(rows), "job"))
