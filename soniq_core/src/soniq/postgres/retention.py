"""Forgetting finished jobs, with their results: partitions whose time is past, and pruning."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from soniq.hooks.in_transaction import InTransaction
from soniq.hooks.values import ROW, ForgottenJob
from soniq.postgres.connections import transaction
from soniq.postgres.database import Database
from soniq.postgres.partitions import (
    drop_partitions,
    end_too_soon,
    ensure_partitions,
    past_partitions,
)
from soniq.postgres.results import Results
from soniq.postgres.sql import quote
from soniq.status import FinishedStatus

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

log = logging.getLogger("soniq.worker")

BATCH = 5_000
"""The most jobs that one statement forgets."""


class Retention:
    """Forgets finished jobs, tells plugins, and has the stores outside the row remove their
    results.
    """

    def __init__(self, database: Database, results: Results, forgotten_tx: InTransaction) -> None:
        self._database = database
        self._results = results
        self._forgotten_tx = forgotten_tx

    async def prune(self, older_than: float | None, status: FinishedStatus | None) -> int:
        """Forget those past their time, or all that finished `older_than` seconds ago; how many.

        Dead ones go by their own time, and by age only where `status` names them: nobody may have
        looked at them yet. Partitions whose time is past are dropped where this role owns them.
        """
        count = await self._forget("prune", older_than, status)

        if older_than is None and status is None:
            with suppress(asyncpg.InsufficientPrivilegeError):
                await self._drop_past()
        return count

    async def sweep(self) -> None:
        """Forget what lies in no partition, drop those of the past, and make those to come.

        In this order: one that is left over may have the name of one to come. They are made also
        where a result store cannot delete, which keeps others from being dropped.
        """
        await self._forget("forget_beyond")
        try:
            await self._drop_past()
        except Exception:
            await self._make_those_to_come()
            raise
        await self._make_those_to_come()

    async def is_due(self) -> bool:
        """Whether a sweep is due: the partitions end too soon for what is kept now."""
        settings = self._database.settings
        async with self._database.acquire() as connection:
            return await end_too_soon(connection, settings.schema, settings.keep)

    async def _make_those_to_come(self) -> None:
        settings = self._database.settings
        async with self._database.acquire() as connection:
            await ensure_partitions(connection, settings.schema, settings.keep)

    async def _drop_past(self) -> None:
        schema = self._database.settings.schema
        async with self._database.acquire() as connection:
            partitions = await past_partitions(connection, schema)

        for partition in partitions:
            stores = await self._stores(partition)
            if unknown := stores - set(self._results.known):
                log.warning(
                    "the partition %s is not dropped: no plugin here provides the result store %s",
                    partition,
                    ", ".join(sorted(unknown)),
                )
                continue

            if self._forgotten_tx:
                await self._empty(partition)
            elif stores:
                await self._delete_results(partition)
            async with self._database.acquire() as connection:
                await drop_partitions(connection, schema, [partition])
            log.info("dropped the partition %s: the keep time of all its jobs is over", partition)

    async def _forget(self, statement: str, *values: object) -> int:
        total, known, keep_dead = 0, self._results.known, self._database.settings.keep_dead
        while True:
            async with self._forgetting() as connection:
                rows = await connection.fetch(
                    self._database.sql[statement], *values, known, BATCH, keep_dead
                )
                await self._tell(connection, rows)
            total += len(rows)
            if len(rows) < BATCH:
                return total

    async def delete(self, ids: Sequence[str], status: FinishedStatus | None) -> set[str]:
        """Forget those of some jobs that are finished, and of a status where one is given, with
        their results; which those were.

        Raises what a store raises that cannot delete, or `PluginError`: nothing is forgotten then.
        """
        async with self._forgetting() as connection:
            rows = await connection.fetch(
                self._database.sql["delete"], ids, self._results.known, status
            )
            await self._tell(connection, rows)
        return {str(row["id"]) for row in rows}

    async def _empty(self, partition: str) -> None:
        """Forget what is in a partition that is to be dropped, so that plugins are told of it."""
        table = self._table(partition)

        async def batch(after: UUID) -> Sequence[asyncpg.Record]:
            async with self._forgetting() as connection:
                found = await connection.fetch(
                    f"select id from {table} where id > $1 order by id limit $2", after, BATCH
                )
                rows = await connection.fetch(
                    f"delete from {table} where id = any($1)"
                    " returning id, name, queue, status, result_store, result",
                    [row["id"] for row in found],
                )
                await self._tell(connection, rows)
            return found

        await _walk(batch)

    @asynccontextmanager
    async def _forgetting(self) -> "AsyncIterator[Connection]":
        """A connection in the transaction that forgets; not one of the pool where plugins, which
        may need one, are told in it.
        """
        source = self._database.apart if self._forgotten_tx else self._database.acquire
        async with source() as connection, transaction(connection):
            yield connection

    async def _tell(self, connection: "Connection", rows: Sequence[asyncpg.Record]) -> None:
        """Tell plugins of what is forgotten, and delete its results. If that fails the rows stay,
        and it is tried again.
        """
        if self._forgotten_tx:
            jobs = [
                ForgottenJob(
                    job_id=str(row["id"]),
                    job_name=row["name"],
                    queue=row["queue"],
                    status=row["status"],
                )
                for row in rows
            ]
            await self._forgotten_tx(connection, [(job, ()) for job in jobs])
        await self._results.delete(rows)

    def _table(self, partition: str) -> str:
        return f"{quote(self._database.settings.schema)}.{quote(partition)}"

    async def _stores(self, partition: str) -> set[str]:
        """The stores outside the row that have results of a partition."""
        async with self._database.acquire() as connection:
            rows = await connection.fetch(
                f"select distinct result_store from {self._table(partition)}"
                f" where result_store <> '{ROW}' and result is not null"
            )
        return {row["result_store"] for row in rows}

    async def _delete_results(self, partition: str) -> None:
        """Delete the results outside the row of a partition that is to be dropped, some thousand at
        a time, with no connection lent meanwhile.
        """
        table = self._table(partition)

        async def batch(after: UUID) -> Sequence[asyncpg.Record]:
            async with self._database.acquire() as connection:
                rows = await connection.fetch(
                    f"select id, result_store, result from {table}"
                    f" where id > $1 and result_store <> '{ROW}' and result is not null"
                    " order by id limit $2",
                    after,
                    BATCH,
                )
            await self._results.delete(rows)
            return rows

        await _walk(batch)


async def _walk(batch: Callable[[UUID], Awaitable[Sequence[asyncpg.Record]]]) -> None:
    """Go through a partition by ids, a batch at a time: it takes those after an id, and returns
    them.
    """
    last, count = UUID(int=0), BATCH
    while count == BATCH:
        rows = await batch(last)
        count, last = len(rows), max((row["id"] for row in rows), default=last)
