"""Forgetting finished jobs: partitions whose time is past are dropped, and a person may prune; results go with them."""

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg

from soniq.hooks.values import ROW
from soniq.postgres.connections import Database
from soniq.postgres.schema import drop_partitions, ensure_partitions, past_partitions
from soniq.postgres.sql import quote
from soniq.results import Results

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

log = logging.getLogger("soniq.worker")

BATCH = 5_000
"""The most jobs that one statement forgets."""


class Retention:
    """Forgets finished jobs, and has the stores outside the row remove their results."""

    def __init__(self, database: Database, results: Results) -> None:
        self._database = database
        self._results = results

    async def prune(self, older_than: float | None, status: str | None) -> int:
        """Forget those past their time, or all that finished `older_than` seconds ago; how many.

        Partitions in which nothing is left because their time is past are dropped where this role owns them.
        """
        count = await self._forget("prune", older_than, status)
        if older_than is None and status is None:
            async with self._database.acquire() as connection:
                with suppress(asyncpg.InsufficientPrivilegeError):
                    await self._drop_past(connection)
        return count

    async def sweep(self) -> None:
        """Forget what lies in no partition, make those of history well ahead, and drop those whose time is past."""
        schema, keep = self._database.settings.schema, self._database.settings.keep
        await self._forget("forget_beyond")
        async with self._database.acquire() as connection:
            await ensure_partitions(connection, schema, keep)
            await self._drop_past(connection)

    async def _drop_past(self, connection: "Connection") -> None:
        schema = self._database.settings.schema
        for partition in await past_partitions(connection, schema):
            references = await self._references(connection, partition)
            if unknown := {row["result_store"] for row in references} - set(self._results.known):
                log.warning("%s stays: no plugin here provides the store %s", partition, ", ".join(sorted(unknown)))
                continue
            await self._results.delete(references)
            await drop_partitions(connection, schema, [partition])
            log.info("dropped %s: all its jobs are past their time", partition)

    async def _forget(self, statement: str, *values: object) -> int:
        total = 0
        while True:
            async with self._database.acquire() as connection, connection.transaction():
                rows = await connection.fetch(self._database.sql[statement], *values, self._results.known, BATCH)
                await self._results.delete(rows)  # if it fails the rows stay, and it is tried again
            total += len(rows)
            if len(rows) < BATCH:
                return total

    async def _references(self, connection: "Connection", partition: str) -> list[asyncpg.Record]:
        table = f"{quote(self._database.settings.schema)}.{quote(partition)}"
        return await connection.fetch(
            f"select result_store, result from {table} where result_store <> '{ROW}' and result is not null"
        )
