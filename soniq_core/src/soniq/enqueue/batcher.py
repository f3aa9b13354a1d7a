"""The shared INSERT: jobs that wait at the same moment are written and committed together."""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import asyncpg

from soniq.enqueue.insert import Insert
from soniq.enqueue.kept import KeptConnection
from soniq.errors import DatabaseError, DatabaseUnavailable
from soniq.job.new import NewJob
from soniq.postgres.connections import CLEANUP_TIMEOUT, Checkout
from soniq.postgres.database import Database
from soniq.postgres.driver_errors import CONNECTION_ERRORS, TRANSIENT_ERRORS, words
from soniq.postgres.sql import KEY_WAIT
from soniq.tracebacks import without_traceback

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

BATCH = 500
"""The most jobs of one INSERT."""
BATCH_BYTES = 4_000_000
"""The most bytes of arguments of one INSERT, beside those of its first job."""
FLUSHERS = 2
"""How many INSERTs run at once."""

TRIES = 3
"""How often a shared INSERT is tried on a lost connection."""
RETRY_PAUSE = 0.2
"""Seconds between two tries."""
FIRST_SHARE = 0.5
"""The share of `command_timeout` for the first try: what is lost is tried again in the rest."""

CLOSED = "the app was closed before the job was enqueued"

TRANSIENT_AFTER_FIRST = (*TRANSIENT_ERRORS, asyncpg.UniqueViolationError)
"""What a later try may meet that passes: also the rows of the first one, which may still arrive."""

Waiting = tuple[NewJob, "asyncio.Future[None]"]


class Batcher:
    """Jobs that wait for the next shared INSERT, and the tasks that write them."""

    def __init__(self, database: Database, insert: Insert, *, keyed: bool) -> None:
        self._database = database
        self._insert = insert
        self._connection = KeptConnection(database)
        self._keyed = keyed
        self._waiting: list[Waiting] = []
        self._flushers: set[asyncio.Task[None]] = set()
        self._alone: set[asyncio.Task[None]] = set()
        self._few = asyncio.Semaphore(FLUSHERS)
        self._in_caller = False
        """Whether an INSERT runs in the task of who enqueues."""
        self._lonely = True
        """Whether the latest INSERT was of one job."""

    async def add(self, job: NewJob) -> None:
        """Wait until the job is committed. Raises `DatabaseError` where it cannot be."""
        future = asyncio.get_running_loop().create_future()
        try:
            if self._lonely and not (self._waiting or self._flushers or self._in_caller):
                await self._write_here((job, future))
            else:
                self._waiting.append((job, future))
                self._wake()
            await future
        finally:
            del future  # breaks the cycle: error, traceback, this frame, future, error

    async def _write_here(self, each: Waiting) -> None:
        """Write a job in its caller's task, as no other is there to share an INSERT with: that
        spares the way to another task and back.
        """
        self._in_caller = True
        try:
            await self._write([each])
        except BaseException:
            each[1].cancel()
            raise
        finally:
            self._in_caller = False
            if self._waiting:
                self._wake()

    def _wake(self) -> None:
        """Have what waits written, as soon as fewer than `FLUSHERS` INSERTs run."""
        if len(self._busy()) + self._in_caller < FLUSHERS:
            self._flushers.add(asyncio.create_task(self._flush(), name="soniq outbox"))

    async def close(self) -> None:
        """Wait for what is being written, for a moment; what nobody will write any more fails."""
        if busy := [*self._busy(), *self._alone]:
            _, busy_still = await asyncio.wait(busy, timeout=CLEANUP_TIMEOUT)
            for task in busy_still:
                task.cancel()
            if busy_still:
                await asyncio.wait(busy_still, timeout=CLEANUP_TIMEOUT)
        await self._connection.close()
        _fail(self._waiting, DatabaseUnavailable(CLOSED))
        self._waiting = []

    def _busy(self) -> set["asyncio.Task[None]"]:
        """The tasks that write, without those that were cancelled before their first step."""
        self._flushers = {task for task in self._flushers if not task.done()}
        return self._flushers

    async def _flush(self) -> None:
        try:
            while self._waiting:
                if batch := self._next():
                    self._lonely = len(batch) == 1
                    try:
                        await self._write(batch)
                    except BaseException:
                        _fail(batch, DatabaseUnavailable(CLOSED))
                        raise
        finally:  # in the step that found nothing waiting: the next job starts another
            self._flushers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _next(self) -> list[Waiting]:
        """The jobs of the next INSERT, without those whose callers were cancelled."""
        size = count = 0
        self._waiting = [each for each in self._waiting if not each[1].done()]
        for job, _ in self._waiting[:BATCH]:
            size += len(job.payload)
            if count and size > BATCH_BYTES:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _write(
        self, batch: list[Waiting], tries: int = TRIES, ends: float | None = None
    ) -> None:
        """Write a batch and tell those who wait. What fails together is tried in smaller parts.

        `ends`: when the last try, also of the last part, must have ended, by the monotonic clock;
        None: after `command_timeout`.
        """
        now, whole = time.monotonic(), self._database.settings.command_timeout
        first = tries == TRIES
        ends = now + whole if ends is None else ends
        limit = max(0.0, min(ends - now, whole * FIRST_SHARE if first else whole))
        again = TRANSIENT_ERRORS if first else TRANSIENT_AFTER_FIRST

        try:
            await self._try([job for job, _ in batch], limit, first=first)
        except asyncpg.LockNotAvailableError:
            for each in batch:
                task = asyncio.create_task(self._write_alone(each), name="soniq outbox")
                self._alone.add(task)
                task.add_done_callback(self._alone.discard)
        except again as error:
            if isinstance(error, CONNECTION_ERRORS):
                self._database.lost(error, "jobs that are being enqueued wait for it", limit)
            await self._write_again(batch, tries, ends, error)
        except DatabaseUnavailable as error:
            _fail(batch, error)
        except Exception as error:
            await self._write_halves(batch, tries, ends, error)
        else:
            self._database.outage.over(now, wrote=True)
            _done(batch)

    async def _write_again(
        self, batch: list[Waiting], tries: int, ends: float, error: BaseException
    ) -> None:
        """Write a batch once more after a pause, if there are tries and time left."""
        if tries > 1 and time.monotonic() + RETRY_PAUSE < ends:
            await asyncio.sleep(RETRY_PAUSE)
            await self._write(batch, tries - 1, ends)
        else:
            _fail(batch, self._unavailable(error))

    async def _try(self, jobs: list[NewJob], limit: float, *, first: bool) -> None:
        """Insert jobs once, within `limit` seconds."""
        alone = first and not self._keyed and len(jobs) == 1 and not jobs[0].extra
        if alone and (kept := self._connection.take()) is not None:
            await self._insert_one(kept, jobs[0], limit)
            return

        async with asyncio.timeout(limit), self._connection.acquire() as connection:
            if not first:  # the commit may have happened, and only its answer been lost
                jobs = await self._without_written(connection, jobs)
            if jobs and self._keyed:
                await self._insert.keyed(connection, jobs, KEY_WAIT)
            elif jobs:
                await self._insert.plain(connection, jobs, again=not first)

    async def _insert_one(self, kept: Checkout, job: NewJob, limit: float) -> None:
        """The usual case, without what the others need: the driver has the timer."""
        try:
            await self._insert.one(kept.itself, job, limit)
        except BaseException as error:
            await self._connection.leave(kept, error)
            raise
        await self._connection.leave(kept)

    async def _without_written(self, connection: "Connection", jobs: list[NewJob]) -> list[NewJob]:
        """The jobs that are not there yet.

        If commits wait for a standby, it has the others, too, when this returns.
        """
        sql = self._database.sql
        rows = await connection.fetch(sql["existing"], [job.made_id for job in jobs])
        if not rows:
            return jobs
        await connection.execute(sql["acknowledged"])
        there = {str(row["id"]) for row in rows}
        return [job for job in jobs if job.made_id not in there]

    async def _write_halves(
        self, batch: list[Waiting], tries: int, ends: float, error: Exception
    ) -> None:
        """Write a batch that failed as its two halves, so that one bad row fails alone."""
        if len(batch) == 1:
            _fail(batch, _cannot_be_enqueued(batch[0][0], error))
        else:
            half = len(batch) // 2
            await self._write(batch[:half], tries, ends)
            await self._write(batch[half:], tries, ends)

    async def _write_alone(self, each: Waiting) -> None:
        """Write a job whose key an open transaction may hold.

        It is tried for a short time, again and again, so that it keeps no connection.
        """
        job, future = each
        database = self._database
        ends = time.monotonic() + database.settings.command_timeout

        while not future.done():
            try:
                limit = ends - time.monotonic() + CLEANUP_TIMEOUT
                async with asyncio.timeout(limit), self._few, database.acquire() as connection:
                    await self._insert.keyed(connection, [job], KEY_WAIT)
            except asyncpg.LockNotAvailableError as error:
                if time.monotonic() > ends:
                    message = f"{job.name}: an open transaction holds its dedup key"
                    _fail([each], _because(DatabaseError, message, error))
                await asyncio.sleep(RETRY_PAUSE)
            except CONNECTION_ERRORS as error:
                _fail([each], _because(DatabaseUnavailable, str(database.translated(error)), error))
            except Exception as error:
                _fail([each], _cannot_be_enqueued(job, error))
            else:
                _done([each])

    def _unavailable(self, error: BaseException) -> DatabaseError:
        place, limit = self._database.place, self._database.settings.command_timeout
        reason = self._database.reason(error, limit)
        message = f"cannot write jobs to PostgreSQL at {place}: {reason}"
        return _because(DatabaseUnavailable, message, error)


def _cannot_be_enqueued(job: NewJob, error: Exception) -> DatabaseError:
    return _because(DatabaseError, f"{job.name} cannot be enqueued: {words(error)}", error)


def _because(kind: type[DatabaseError], message: str, cause: BaseException) -> DatabaseError:
    """An error with its cause, whose traceback would keep the whole batch in memory."""
    error = kind(message)
    error.__cause__ = without_traceback(cause)
    return error


def _done(batch: Sequence[Waiting]) -> None:
    for _, future in batch:
        if not future.done():
            future.set_result(None)


def _fail(batch: Sequence[Waiting], error: BaseException) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(without_traceback(error))
