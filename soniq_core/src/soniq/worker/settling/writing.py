"""Settlements that bring more than the one statement writes: children, holders, and what plugins
are told; each lot in a transaction of its own.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import msgspec

from soniq.errors import PluginError
from soniq.postgres.connections import transaction
from soniq.postgres.driver_errors import CONNECTION_ERRORS, LOCK_ERRORS
from soniq.postgres.gaps import is_gap
from soniq.postgres.notify import OWED
from soniq.postgres.sql import KEY_WAIT
from soniq.worker.functions import Functions
from soniq.worker.lanes import Arrays, Lanes
from soniq.worker.services import Services
from soniq.worker.settling.settlement import Finish, Settlement
from soniq.worker.settling.statement import Header, Told, settle, settle_tell_and_claim
from soniq.worker.settling.ways import ERRORS, is_in_the_way
from soniq.worker.state import WorkerState

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

LOCK_WAIT = "2s"
"""How long settling waits for a lock, as the function that settles does."""
PLUGIN_LOCK_WAIT = "500ms"
"""How long a plugin's statement waits for a lock while jobs are settled: the worker claims nothing
meanwhile.
"""
ASIDE_LOCK_WAIT = "20ms"
"""How long it waits with a settlement that was put aside."""
MOST_WAITS = 5
"""How many settlements that were put aside may meet a lock in one exchange, before the rest is left
for the next.
"""

SOME_CHANGE_NOTHING = "SQ002"
"""The SQLSTATE of `settle_tell_and_claim` where some of the settlements change nothing."""


class Writing:
    """Writes settlements that bring more, on a connection that it is given."""

    def __init__(self, services: Services, state: WorkerState, lanes: Lanes) -> None:
        self._services = services
        self._database = services.database
        self._state = state
        self._lanes = lanes
        self._functions = Functions()
        self.freed: set[str] = set()
        """Where jobs are to be looked for that plugins have let go, as workers are told of it."""

    def bringing_more(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Those that bring more than the one statement writes."""
        hears_all = self._services.settle_tx.hears_all
        return [
            each
            for each in settlements
            if each.children
            or each.holders
            or each.marks
            or (each.outcome is not None and (hears_all or each.outcome.marks))
        ]

    def told_in_sql(self, more: Sequence[Settlement]) -> Told | None:
        """Those of which one plugin alone is told, by its function in the database."""
        plugin, function, ended = "", "", list[Finish]()
        for each in more:
            if not (found := self._function(each)):
                continue
            if not ended:
                plugin, function = found
            if found[0] == plugin and isinstance(each, Finish):
                ended.append(each)
        return Told(plugin, function, ended) if ended else None

    def _function(self, settlement: Settlement) -> tuple[str, str] | None:
        """The plugin, and its function in the database, that can be told of a settlement in place
        of the hook.
        """
        outcome = settlement.outcome
        if settlement.children or settlement.refusals or settlement.aside or outcome is None:
            return None
        found = self._services.settle_tx.in_sql(outcome)
        return found if found and self._functions.works(found[1]) else None

    async def settle_tell_and_claim(
        self,
        connection: "Connection",
        settlements: Sequence[Settlement],
        told: Told,
        lanes: Arrays,
        limit: int,
    ) -> tuple[Header, Sequence[Any]] | None:
        """Settle and claim in one statement, in which a plugin's function is called; the header,
        and the rows of the claimed. None where that fails: nothing is done then.
        """
        cursors = self._lanes.cursors()
        try:
            header, rows, freed = await settle_tell_and_claim(
                connection,
                self._database,
                self._state.id,
                settlements,
                told,
                lanes,
                cursors,
                limit,
            )
        except (*CONNECTION_ERRORS, asyncpg.QueryCanceledError):
            raise
        except asyncpg.PostgresError as error:
            if is_gap(error, self._database.settings.schema):
                raise
            if error.sqlstate != SOME_CHANGE_NOTHING:
                self._functions.failed(told.function, told.plugin, "settle_tx", error)
            return None
        self.freed.update(freed)
        return header, rows

    async def settle(
        self,
        connection: "Connection",
        settlements: Sequence[Settlement],
        lock_wait: str = PLUGIN_LOCK_WAIT,
    ) -> set[UUID]:
        """Settle in a transaction in which children are inserted and `settle_tx` writes. Returns
        the ids of those that changed nothing.
        """
        try:
            async with transaction(connection):
                await self._write(connection, settlements, lock_wait)
            return set()
        except _SomeChangeNothing:  # rare: find out which, and leave them out
            sql = self._database.sql

        async with transaction(connection):
            await connection.fetch(sql["lock_timeout"], LOCK_WAIT)
            rows = await connection.fetch(
                sql["running"], [s.id for s in settlements], [s.claim for s in settlements]
            )
            running = {row["id"] for row in rows}
            running_ones = [s for s in settlements if s.id in running]
            await self._write(connection, running_ones, lock_wait)
        return await self.lost(connection, settlements)

    async def _write(
        self, connection: "Connection", settlements: Sequence[Settlement], lock_wait: str
    ) -> None:
        """Settle, insert children and call `settle_tx`, in the open transaction. Raises
        `_SomeChangeNothing`.
        """
        header = await settle(connection, self._database, self._state.id, settlements, lock_wait)
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
        """Mark and hold what was requeued for that: nobody has seen it in its queue before the
        commit.
        """
        by_names: dict[tuple[tuple[str, ...], tuple[str, ...]], list[UUID]] = {}
        for each in settlements:
            if each.holders or each.marks:
                by_names.setdefault((each.holders, each.marks), []).append(each.id)

        sql = self._database.sql
        for (holders, marks), ids in by_names.items():
            if holders:
                await connection.fetch(sql["hold"], ids, list(holders), False)
            if marks:
                await connection.fetch(sql["mark"], ids, list(marks))
                self.freed.add(OWED)

    async def lost(self, connection: "Connection", settlements: Sequence[Settlement]) -> set[UUID]:
        """The ids of settlements that changed nothing. One that was written by an earlier try,
        whose answer was lost, is not among them.
        """
        ids, claims = [s.id for s in settlements], [s.claim for s in settlements]
        rows = await connection.fetch(self._database.sql["lost_settlements"], ids, claims)
        return {row["id"] for row in rows}

    def concerned(self, plugin: str, settlement: Settlement) -> bool:
        """Whether a plugin hears of a settlement."""
        outcome = settlement.outcome
        return outcome is not None and self._services.settle_tx.hears(plugin, outcome)

    async def settle_aside(
        self, connection: "Connection", settlements: Sequence[Settlement]
    ) -> tuple[set[UUID], Sequence[Settlement]]:
        """Settle one by one what met a lock before. Returns the ids of those that changed nothing,
        and those that are left, the ones that were not tried first.

        What meets another error than a lock goes the usual way with the next exchange.
        """
        lost: set[UUID] = set()
        waited: list[Settlement] = []
        for place, each in enumerate(settlements):
            if len(waited) == MOST_WAITS or connection.is_closed():
                return lost, [*settlements[place:], *waited]
            try:
                lost |= await self.settle(connection, [each], ASIDE_LOCK_WAIT)
            except ERRORS as error:
                in_the_way = is_in_the_way(error) or isinstance(error, LOCK_ERRORS)
                waited.append(msgspec.structs.replace(each, aside=in_the_way))
        return lost, waited


class _SomeChangeNothing(Exception):
    """Some of the settlements are of jobs that were taken away, or were written before."""
