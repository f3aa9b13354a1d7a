"""The outbox: where rows go in, on the app's pool or on a connection of the caller's.

Enqueues that wait at the same moment share one INSERT, and return after its commit. Jobs with a
dedup key have a batcher of their own, because a key that an open transaction holds makes them wait.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

import asyncpg

from soniq.enqueue.batcher import RETRY_PAUSE, TRIES, Batcher
from soniq.enqueue.insert import NOT_WRITTEN, Insert
from soniq.enqueue.kept import SMALL_POOL
from soniq.hooks.in_transaction import InTransaction
from soniq.hooks.values import IncomingJob
from soniq.job.new import NewJob
from soniq.postgres.connections import transaction
from soniq.postgres.database import CLOSE_TIMEOUT, Database
from soniq.postgres.notify import OWED, Notifier, lane_line, payload, place_line
from soniq.postgres.theirs import command_timeout, elsewhere, in_theirs
from soniq.transaction import TransactionConnection

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

log = logging.getLogger("soniq.enqueue")

LATER = {"delay", "at", "held_by"}
"""What says that a job is not due when it is inserted."""


class Outbox:
    """Inserts jobs, on the app's pool or on a connection of the caller's."""

    def __init__(self, database: Database, notifier: Notifier) -> None:
        self._database = database
        self._notifier = notifier
        self._statements = Insert(database)
        self._plain = Batcher(database, self._statements, keyed=False)
        self._keyed = Batcher(database, self._statements, keyed=True)
        self.enqueue_tx = InTransaction("enqueue_tx", (), limit=0.0)
        """Tells plugins of jobs in the transaction that inserts them."""
        self._inserting = 0
        """How many insertions run."""
        self._making = 0
        """In how many of these the jobs are made meanwhile."""
        self._idle = asyncio.Event()
        self._tables_made: str | None = None
        """When the app's tables were made, once it has been asked."""

    async def insert(
        self,
        jobs: Sequence[NewJob],
        connection: TransactionConnection | None,
        *,
        notify: bool,
        atomic: bool,
    ) -> None:
        """Insert jobs and set what became of their ids.

        They are committed when this returns, or are in the caller's transaction.
        """
        self._inserting += 1
        try:
            await self._insert(jobs, connection, notify=notify, atomic=atomic)
        finally:
            self._inserted()

    @property
    def spares_connection(self) -> bool:
        """Whether the pool can do without a connection for as long as the jobs of a call take to be
        made.
        """
        return self._making < self._database.settings.pool_size // SMALL_POOL

    async def insert_as_made(
        self, made: Iterator[NewJob], lane: tuple[str, int], *, notify: bool
    ) -> None:
        """Insert plain jobs of one lane, all or none, which are made while the first of them are
        written.
        """
        self._inserting += 1
        self._making += 1
        try:
            place = await self._database.guard(self._insert_as_made(made), wrote=True)
            if notify:
                self._notifier.wake([place_line(*lane, place)])
        finally:
            self._making -= 1
            self._inserted()

    async def _insert_as_made(self, made: Iterator[NewJob]) -> datetime:
        async with self._database.acquire() as own:
            return await self._statements.as_made(own, made)

    def _inserted(self) -> None:
        """One insertion is over, which `close` may wait for."""
        self._inserting -= 1
        if not self._inserting:
            self._idle.set()

    async def close(self) -> None:
        """Wait for what is being inserted, for some seconds; what is not written then fails."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                while self._inserting:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            log.error("the app is closed before PostgreSQL has answered the last enqueues")
        await asyncio.gather(self._plain.close(), self._keyed.close())

    async def _insert(
        self,
        jobs: Sequence[NewJob],
        connection: TransactionConnection | None,
        *,
        notify: bool,
        atomic: bool,
    ) -> None:
        told = _told(jobs)
        if connection is not None:
            await self._insert_in_theirs(connection, jobs, told if notify else ())
            return

        if atomic or self.enqueue_tx:
            await self._database.guard(self._insert_together(jobs), wrote=True)
        else:
            for job in jobs:  # one: more than one are atomic
                await (self._keyed if job.dedup else self._plain).add(job)
        if notify:
            self._notifier.wake(told)

    async def _insert_together(self, jobs: Sequence[NewJob], tries: int = TRIES) -> None:
        """Insert jobs in a transaction of Soniq's own, again where it met another one crosswise."""
        try:
            async with self._database.acquire() as own:
                if self.enqueue_tx:
                    await self._insert_with_plugins(own, jobs)
                else:
                    await self._statements.together(own, jobs, theirs=False)
        except asyncpg.DeadlockDetectedError:
            if tries == 1:
                raise
            await asyncio.sleep(RETRY_PAUSE)
            await self._insert_together(jobs, tries - 1)

    async def _insert_with_plugins(self, own: "Connection", jobs: Sequence[NewJob]) -> None:
        """Insert jobs in a transaction in which plugins are told of them."""
        async with transaction(own):
            await self.enqueue_tx(own, [(_incoming(job), ()) for job in jobs])
            await self._statements.together(own, jobs, theirs=False)

    async def _insert_in_theirs(
        self,
        connection: TransactionConnection,
        jobs: Sequence[NewJob],
        due: Collection[str],
    ) -> None:
        """Insert jobs in the caller's transaction, and wake workers with it."""
        if self.enqueue_tx:
            await self.enqueue_tx(connection, [(_incoming(job), ()) for job in jobs])
        async with in_theirs(self._database):
            await self._statements.together(connection, jobs, theirs=True)

        if due:
            await self._wake_in_theirs(connection, due)

    async def _wake_in_theirs(
        self, connection: TransactionConnection, due: Collection[str]
    ) -> None:
        """Wake workers at the caller's commit.

        The answer says when the tables were made, which tells the app's database from another one.
        """
        sql, text = self._database.sql["notify_waiting"], payload(due)
        async with command_timeout(self._database, NOT_WRITTEN):
            rows = await connection.fetch(sql, self._notifier.channel, text, OWED in due)
        if not rows or rows[0][0] == self._tables_made:
            return

        # The first of all, or the tables were made anew; the pool may have no other connection.
        async with self._database.apart() as own:
            self._tables_made = await self._database.guard(own.fetchval(self._database.sql["made"]))
        if rows[0][0] != self._tables_made:
            raise elsewhere(self._database, "another database")


def _told(jobs: Sequence[NewJob]) -> set[str]:
    """What workers are told of new jobs: lanes of those that are due, and what plugins are owed."""
    lanes = {
        (job.queue, job.priority)
        for job in jobs
        if not job.extra or not LATER.intersection(job.extra)
    }
    told = {lane_line(queue, priority) for queue, priority in lanes}
    if any(job.extra and job.marks and job.holders for job in jobs):
        told.add(OWED)
    return told


def _incoming(job: NewJob) -> IncomingJob:
    """A job as plugins are told of it."""
    extra = job.extra or {}
    return IncomingJob(
        job_id=job.made_id,
        job_name=job.name,
        queue=job.queue,
        priority=job.priority,
        headers=job.headers,
        tags=cast("Sequence[str]", extra.get("tags", ())),
        marks=job.marks,
        held_by=job.holders,
    )
