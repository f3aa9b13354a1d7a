"""The statements that insert jobs: COPY for many, INSERT, and the function for dedup keys."""

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from soniq.enqueue.copying import copy, record
from soniq.ids import JobId
from soniq.job.new import NewJob
from soniq.postgres.connections import transaction
from soniq.postgres.database import Database
from soniq.postgres.theirs import command_timeout
from soniq.transaction import TransactionConnection, is_asyncpg

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

ROUND_BYTES = 16_000_000
"""Bytes of a call's jobs in one statement: PostgreSQL takes a message of 1 GB at most."""

COPY_FROM = 64
"""Jobs in one call from which COPY is faster than INSERT."""

SHARE_OF_TIMEOUT = 0.5
"""The share of `command_timeout` after which a COPY takes no more of the jobs that are made
meanwhile.
"""

NOT_WRITTEN = "the jobs cannot be written"


class Insert:
    """Inserts jobs on a connection that it is given, and sets what became of their ids."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def together(
        self, connection: TransactionConnection, jobs: Sequence[NewJob], *, theirs: bool
    ) -> None:
        """Insert jobs, all or none, in as many statements as they need; `theirs` as in `plain`."""
        plain = list(_rounds([job for job in jobs if job.dedup is None]))
        keyed = list(_rounds([job for job in jobs if job.dedup is not None]))
        if len(keyed) > 1:  # the function has its order within one statement only
            keyed = list(_rounds(sorted((job for each in keyed for job in each), key=_place)))

        async with AsyncExitStack() as stack:
            # A connection of another driver is in a transaction, which fails as a whole.
            if len(plain) + len(keyed) > 1 and is_asyncpg(connection):
                await stack.enter_async_context(connection.transaction())
            for each in plain:
                async with command_timeout(self._database, NOT_WRITTEN):
                    await self.plain(connection, each, theirs=theirs)
            for each in keyed:
                async with command_timeout(self._database, NOT_WRITTEN):
                    await self.keyed(connection, each, None)

    async def as_made(self, connection: "Connection", made: Iterator[NewJob]) -> datetime:
        """Insert jobs without dedup keys and `extra`, all or none, on a connection of Soniq's own.
        PostgreSQL takes in the first of them while the others are made.

        Returns the earliest time at which one of them is due: until the commit, workers may have
        looked for jobs beyond it.
        """
        settings = self._database.settings
        limit, takes = settings.command_timeout, settings.command_timeout * SHARE_OF_TIMEOUT
        async with transaction(connection):
            begun: datetime = await connection.fetchval("select now()")
            for first in made:
                jobs = chain([first], made)
                await copy(connection, settings.schema, jobs, limit, most=ROUND_BYTES, takes=takes)
        return begun

    async def one(self, connection: "Connection", job: NewJob, limit: float) -> None:
        """Insert a job without dedup key and `extra` for the first time, within `limit` seconds, on
        a connection of Soniq's own.
        """
        await connection.execute(self._database.sql["insert_one"], *record(job), timeout=limit)

    async def plain(
        self,
        connection: TransactionConnection,
        jobs: Sequence[NewJob],
        *,
        theirs: bool = False,
        again: bool = False,
    ) -> None:
        """Insert jobs without dedup keys in one statement.

        `theirs`: the connection is the caller's. It may have its own codec for jsonb, which COPY
        would use. `again`: the rows of an earlier try may still arrive.
        """
        if (
            len(jobs) >= COPY_FROM
            and is_asyncpg(connection)
            and not any(job.extra or (theirs and job.headers) for job in jobs)
        ):
            settings = self._database.settings
            await copy(connection, settings.schema, jobs, settings.command_timeout)
        elif len(jobs) == 1 and not jobs[0].extra and not again:
            await connection.execute(self._database.sql["insert_one"], *record(jobs[0]))
        else:
            await connection.execute(self._database.sql["insert"], *_arrays(jobs))

    async def keyed(
        self, connection: TransactionConnection, jobs: Sequence[NewJob], lock_timeout: str | None
    ) -> None:
        """Insert jobs with dedup keys in one statement, and set the ids that they come to.

        `lock_timeout`: how long it waits for a key that another transaction holds, in PostgreSQL's
        words; None: as long as the session's setting says.
        """
        dedups = [job.dedup for job in jobs if job.dedup is not None]
        rows = await connection.fetch(
            self._database.sql["insert_keyed"],
            *_arrays(jobs),
            [dedup.key for dedup in dedups],
            [dedup.scope for dedup in dedups],
            [dedup.on_conflict for dedup in dedups],
            lock_timeout,
        )
        for place, job_id, inserted, replaced in rows:
            jobs[place - 1].id = JobId(job_id, inserted=inserted, replaced=replaced)


def _rounds(jobs: Sequence[NewJob]) -> Iterator[Sequence[NewJob]]:
    """Jobs in groups, each of which one statement carries."""
    begin = size = 0
    for place, job in enumerate(jobs):
        size += len(job.payload)
        if size > ROUND_BYTES and place > begin:
            yield jobs[begin:place]
            begin, size = place, len(job.payload)
    if begin < len(jobs):
        yield jobs[begin:]


def _place(job: NewJob) -> tuple[bytes, bytes]:
    """Where a job with a dedup key stands in the order that all callers keep.

    They never wait crosswise for each other, then.
    """
    return job.name.encode(), job.dedup.key.encode() if job.dedup else b""


def _arrays(jobs: Sequence[NewJob]) -> tuple[list[Any], ...]:
    """Jobs as the statements take them, an array for each column."""
    return (
        [job.made_id for job in jobs],
        [job.name for job in jobs],
        [job.queue for job in jobs],
        [job.priority for job in jobs],
        [job.max_attempts for job in jobs],
        [job.serializer for job in jobs],
        [float(job.keep) for job in jobs],
        [job.payload for job in jobs],
        [job.encoded_headers for job in jobs],
        [msgspec.json.encode(job.extra).decode() if job.extra else None for job in jobs],
    )
