"""Rows on their way in: enqueues that wait at the same moment share one INSERT, and return after its commit.

Jobs with a dedup key have a lane of their own, because a key that an open transaction holds makes them wait.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, cast

import asyncpg
import msgspec

from soniq.enqueue.notify import Notifier
from soniq.errors import DatabaseError, DatabaseUnavailable, InvalidOption
from soniq.hooks.values import NewJob, TransactionConnection
from soniq.ids import JobId
from soniq.job import NUL
from soniq.postgres.connections import LOST, TRANSIENT, Database, is_asyncpg, words

log = logging.getLogger("soniq.enqueue")

BATCH = 500
BATCH_BYTES = 4_000_000
FLUSHERS = 2
COPY_FROM = 64
"""Jobs in one call from which COPY is faster than INSERT."""
KEY_WAIT = "200ms"
"""How long what is shared waits for a dedup key that an open transaction holds, before it goes on one by one."""

NO_TABLES = ("42P01", "3F000", "42883")
"""No such table, schema or function: what an INSERT meets in a database that is not the app's."""

TRIES = 3
PAUSE = 0.2
"""How often a shared INSERT is tried on a lost connection, and the seconds in between."""

COLUMNS = ("id", "name", "queue", "priority", "max_attempts", "serializer", "keep", "args", "headers")

Waiting = tuple[NewJob, "asyncio.Future[None]"]


class Outbox:
    """Inserts jobs, on the app's pool or on a connection of the caller's."""

    def __init__(self, database: Database, notifier: Notifier) -> None:
        self._database = database
        self._notifier = notifier
        self._lanes: set[tuple[str, int]] = set()
        """Queues and priorities that are known to be in the table, and committed."""
        self._plain = _Batcher(self, keyed=False)
        self._keyed = _Batcher(self, keyed=True)
        self._inserting = 0
        self._idle = asyncio.Event()
        self._made: str | None = None
        """When the app's tables were made, once it has been asked."""

    async def insert(
        self, jobs: Sequence[NewJob], connection: TransactionConnection | None, *, notify: bool, atomic: bool
    ) -> None:
        """Insert jobs and set what became of their ids; done at the commit, or inside the caller's transaction."""
        self._inserting += 1
        try:
            await self._insert(jobs, connection, notify=notify, atomic=atomic)
        finally:
            self._inserting -= 1
            if not self._inserting:
                self._idle.set()

    async def _insert(
        self, jobs: Sequence[NewJob], connection: TransactionConnection | None, *, notify: bool, atomic: bool
    ) -> None:
        for job in jobs:
            _headers(job)
        due = {job.queue for job in jobs if not job.extra or not ("delay" in job.extra or "at" in job.extra)}
        new = {(job.queue, job.priority) for job in jobs} - self._lanes
        lanes = [queue for queue, _ in new], [priority for _, priority in new]
        if new:
            due.add("")  # for workers to learn the lanes anew
        if connection is not None:
            try:
                there = await connection.fetch(self._database.sql["add_lanes"], *lanes) if new else ()
                await self._insert_all(connection, jobs, theirs=True)
            except Exception as error:
                if getattr(error, "sqlstate", None) not in NO_TABLES:
                    raise
                schema = self._database.settings.schema
                raise self._elsewhere(f"a database without Soniq's tables in schema {schema!r}") from error
            if notify and due:
                told = self._database.sql["notify_waiting"], self._notifier.channel, "\n".join(due)
                rows = await connection.fetch(*told)
                if rows and rows[0][0] != self._made:  # the first of all, or the tables were made anew
                    async with self._database.apart() as own:  # the pool may have no other than the caller's
                        self._made = await self._database.guard(own.fetchval(self._database.sql["made"]))
                    if rows[0][0] != self._made:
                        raise self._elsewhere("another database")
                self._lanes |= {(queue, priority) for queue, priority in there}
            return
        if new:
            await self._database.fetch("add_lanes", *lanes)
            self._lanes |= new
        if atomic:
            await self._database.guard(self._insert_together(jobs))
        else:
            for job in jobs:  # one: more than one are atomic
                await (self._keyed if job.dedup else self._plain).add(job)
        if notify:
            self._notifier.wake(due)

    def _elsewhere(self, where: str) -> DatabaseError:
        return DatabaseError(f"connection= leads to {where}; it must lead to that of the app, {self._database.place}")

    async def close(self) -> None:
        """Wait for what is being inserted."""
        while self._inserting:
            self._idle.clear()
            await self._idle.wait()
        await self._plain.close()
        await self._keyed.close()

    async def _insert_together(self, jobs: Sequence[NewJob], tries: int = TRIES) -> None:
        """Insert jobs in a transaction of Soniq's own, again where it met another one crosswise."""
        try:
            async with self._database.acquire() as own:
                await self._insert_all(own, jobs, theirs=False)
        except asyncpg.DeadlockDetectedError:
            if tries == 1:
                raise
            await asyncio.sleep(PAUSE)
            await self._insert_together(jobs, tries - 1)

    async def _insert_all(self, connection: TransactionConnection, jobs: Sequence[NewJob], *, theirs: bool) -> None:
        """Insert jobs on one connection, all or none."""
        plain = [job for job in jobs if job.dedup is None]
        keyed = [job for job in jobs if job.dedup is not None]
        async with AsyncExitStack() as stack:
            if plain and keyed and is_asyncpg(connection):  # any other is in a transaction, which fails as a whole
                await stack.enter_async_context(connection.transaction())
            if plain:
                await self.insert_plain(connection, plain, theirs=theirs)
            if keyed:
                await self.insert_keyed(connection, keyed, None)

    async def insert_plain(
        self, connection: TransactionConnection, jobs: Sequence[NewJob], *, theirs: bool = False
    ) -> None:
        """`theirs`: a connection of the caller's, which may have a codec of its own for jsonb: COPY would use it."""
        if (
            is_asyncpg(connection)
            and len(jobs) >= COPY_FROM
            and not any(job.extra or (theirs and job.headers) for job in jobs)
        ):
            records = [
                (str(j.id), j.name, j.queue, j.priority, j.max_attempts, j.serializer, j.keep, j.payload, _headers(j))
                for j in jobs
            ]
            await connection.copy_records_to_table(
                "job", schema_name=self._database.settings.schema, records=records, columns=COLUMNS
            )
        else:
            await connection.execute(self._database.sql["insert"], *_arrays(jobs))

    async def insert_keyed(
        self, connection: TransactionConnection, jobs: Sequence[NewJob], lock_timeout: str | None
    ) -> None:
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

    @property
    def database(self) -> Database:
        return self._database


class _Batcher:
    """Jobs that wait for the next shared INSERT, and the tasks that write them."""

    def __init__(self, outbox: Outbox, *, keyed: bool) -> None:
        self._outbox = outbox
        self._waiting: list[Waiting] = []
        self._flushers: set[asyncio.Task[None]] = set()
        self._alone: set[asyncio.Task[None]] = set()
        self._few = asyncio.Semaphore(FLUSHERS)
        self._keyed = keyed

    async def add(self, job: NewJob) -> None:
        """Wait until the job is committed, or why it cannot be is raised."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((job, future))
        if len(self._busy()) < FLUSHERS:
            self._flushers.add(asyncio.create_task(self._flush(), name="soniq outbox"))
        await future

    async def close(self) -> None:
        """Wait for what is being written; what nobody will write any more fails."""
        while busy := [*self._busy(), *self._alone]:
            await asyncio.wait(busy)
        _fail(self._waiting, DatabaseUnavailable("the app was closed before the job was enqueued"))
        self._waiting = []

    def _busy(self) -> set["asyncio.Task[None]"]:
        """The tasks that write; one that was cancelled before its first step did not say goodbye."""
        self._flushers = {task for task in self._flushers if not task.done()}
        return self._flushers

    async def _flush(self) -> None:
        try:
            while self._waiting:
                if batch := self._next():
                    await self._write(batch)
        finally:  # in the step that found nothing waiting: whoever comes next starts another
            self._flushers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _next(self) -> list[Waiting]:
        size = count = 0
        self._waiting = [each for each in self._waiting if not each[1].done()]  # whoever waited was cancelled
        for job, _ in self._waiting[:BATCH]:
            size += len(job.payload)
            if count and size > BATCH_BYTES:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _write(self, batch: list[Waiting], tries: int = TRIES) -> None:
        """Write a batch and tell those who wait. What fails together is tried apart: one bad row fails alone."""
        name = batch[0][0].name
        try:
            async with self._outbox.database.acquire() as connection:
                jobs = [job for job, _ in batch]
                if tries < TRIES:  # the commit may have happened, and only its answer been lost
                    rows = await connection.fetch(self._outbox.database.sql["existing"], [str(job.id) for job in jobs])
                    there = {str(row["id"]) for row in rows}
                    jobs = [job for job in jobs if job.id not in there]
                if jobs and self._keyed:
                    await self._outbox.insert_keyed(connection, jobs, KEY_WAIT)
                elif jobs:
                    await self._outbox.insert_plain(connection, jobs)
        except asyncpg.LockNotAvailableError:
            for each in batch:
                task = asyncio.create_task(self._write_alone(each), name="soniq outbox")
                self._alone.add(task)
                task.add_done_callback(self._alone.discard)
        except TRANSIENT as error:
            if tries > 1:
                await asyncio.sleep(PAUSE)
                await self._write(batch, tries - 1)
            else:
                reason = f"{type(error).__name__}: {words(error)}" if isinstance(error, LOST) else words(error)
                message = f"cannot write jobs to PostgreSQL at {self._outbox.database.place}: {reason}"
                _fail(batch, _because(DatabaseUnavailable, message, error))
        except DatabaseUnavailable as error:
            _fail(batch, error)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch, _because(DatabaseError, f"{name} cannot be enqueued: {words(error)}", error))
            else:
                half = len(batch) // 2
                await self._write(batch[:half])
                await self._write(batch[half:])
        except BaseException as error:
            _fail(batch, error)
            raise
        else:
            for _, future in batch:
                if not future.done():
                    future.set_result(None)

    async def _write_alone(self, each: Waiting) -> None:
        """Write a job whose key an open transaction may hold: in short tries, so that it keeps no connection."""
        job, future = each
        database = self._outbox.database
        ends = time.monotonic() + database.settings.command_timeout
        while not future.done():
            try:
                async with self._few, database.acquire() as connection:
                    await self._outbox.insert_keyed(connection, [job], KEY_WAIT)
            except asyncpg.LockNotAvailableError as error:
                if time.monotonic() > ends:
                    _fail(
                        [each], _because(DatabaseError, f"{job.name}: an open transaction holds its dedup key", error)
                    )
                await asyncio.sleep(PAUSE)
            except Exception as error:
                _fail([each], _because(DatabaseError, f"{job.name} cannot be enqueued: {words(error)}", error))
            else:
                if not future.done():
                    future.set_result(None)


def _because(kind: type[DatabaseError], message: str, cause: BaseException) -> DatabaseError:
    error = kind(message)
    error.__cause__ = cause
    return error


def _fail(batch: Sequence[Waiting], error: BaseException) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)


def _headers(job: NewJob) -> str | None:
    """The headers as JSON. Raises `InvalidOption` for what JSON, or PostgreSQL's form of it, cannot hold."""
    if not job.headers:
        return None
    try:
        text = msgspec.json.encode(job.headers, enc_hook=_plain).decode()
    except (TypeError, ValueError) as error:
        raise InvalidOption(f"{job.name}: headers= holds what is no JSON: {error}", option="headers") from error
    if "\\u0000" in text and NUL.search(text):
        raise InvalidOption(f"{job.name}: headers= cannot hold the character NUL", option="headers")
    return text


def _plain(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__}")


def _arrays(jobs: Sequence[NewJob]) -> tuple[list[Any], ...]:
    return (
        [str(job.id) for job in jobs],
        [job.name for job in jobs],
        [job.queue for job in jobs],
        [job.priority for job in jobs],
        [job.max_attempts for job in jobs],
        [job.serializer for job in jobs],
        [float(job.keep) for job in jobs],
        [job.payload for job in jobs],
        [_headers(job) for job in jobs],
        [msgspec.json.encode(job.extra).decode() if job.extra else None for job in jobs],
    )
