"""COPY, whose driver does not see by itself that the connection was lost, or that the server takes
in nothing more.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import asyncpg

from soniq.job.new import NewJob
from soniq.postgres.connections import CLEANUP_TIMEOUT

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

YIELD_EVERY = 500
"""Jobs of one call that are prepared before the event loop may do something else."""
YIELD_BYTES = 1_000_000
"""Bytes of arguments after which it may do so, too. It is also seen then whether the connection is
lost: the driver would go on writing to it, and asyncio would log that.
"""

COLUMNS = (
    "id",
    "name",
    "queue",
    "priority",
    "max_attempts",
    "serializer",
    "keep",
    "args",
    "headers",
)

Record = tuple[Any, ...]


def record(job: NewJob) -> Record:
    """A job as COPY and the INSERT of one take it, in the order of `COLUMNS`."""
    return (
        job.made_id,
        job.name,
        job.queue,
        job.priority,
        job.max_attempts,
        job.serializer,
        job.keep,
        job.payload,
        job.encoded_headers,
    )


async def copy(
    connection: "Connection",
    schema: str,
    jobs: Iterable[NewJob],
    limit: float,
    *,
    most: float = math.inf,
    takes: float = math.inf,
) -> None:
    """Write jobs without dedup keys and `extra` in one COPY, within `limit` seconds.

    It takes at least one of them, and no more after about `most` bytes of arguments, or `takes`
    seconds.
    """
    timer = asyncio.timeout(limit)
    try:
        with _woken_by_its_loss(connection):
            async with timer, aclosing(_taken(connection, jobs, most, takes)) as records:
                # The driver's timer does not end its wait for a server that takes in nothing more
                await connection.copy_records_to_table(
                    "job",
                    schema_name=schema,
                    records=records,
                    columns=COLUMNS,
                    timeout=limit + CLEANUP_TIMEOUT,
                )
    except AttributeError as error:  # what the driver raises if the connection ended meanwhile
        if not _is_closed(connection):
            raise
        raise _why_ended(timer) from error


@contextmanager
def _woken_by_its_loss(connection: Any) -> Iterator[None]:
    """The driver waits until it may write more, also where the connection is lost meanwhile."""
    protocol = connection._protocol

    def wake(_connection: object) -> None:
        protocol.resume_writing()

    connection.add_termination_listener(wake)
    try:
        yield
    finally:
        with suppress(asyncpg.InterfaceError):  # its pool has taken it back
            connection.remove_termination_listener(wake)


def _why_ended(timer: asyncio.Timeout) -> BaseException:
    task = asyncio.current_task()
    if timer.expired():
        return TimeoutError()
    if task is not None and task.cancelling():
        return asyncio.CancelledError()
    return asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of a COPY")


async def _taken(
    connection: "Connection", jobs: Iterable[NewJob], most: float, takes: float
) -> AsyncGenerator[Record]:
    """What one COPY takes of these."""
    size = since = 0
    ends = time.monotonic() + takes
    for number, job in enumerate(jobs, 1):
        since += len(job.payload)
        if number % YIELD_EVERY == 0 or since > YIELD_BYTES:
            since = 0
            await asyncio.sleep(0)
            if _is_closed(connection):
                break  # the driver knows why
        yield record(job)

        size += len(job.payload)
        if size > most or time.monotonic() > ends:
            break


def _is_closed(connection: "Connection") -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # its pool has taken it back
        return True
