"""Single connections: what their sessions begin with, how one is made and closed, and a transaction
on it.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import asyncpg

from soniq.postgres.array_types import KnowsArrays
from soniq.postgres.driver_errors import CONNECTION_ERRORS, is_lost
from soniq.secret import without_frames

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]

Isolation = Literal["read_committed", "repeatable_read"]

CLEANUP_TIMEOUT = 2.0
"""Seconds for what leaves a connection behind: a close, a rollback, a reset. Then it is terminated.
"""
ABANDONED_CONNECT_TIMEOUT = 1.0
"""Seconds in which a connect that was cut off comes to its end; then it is cancelled."""

HANDLER_SESSION = {
    "application_name": "soniq", "default_transaction_isolation": "read committed",
    "tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60000",
}  # fmt: skip
"""What the sessions of handlers and of the application's own statements begin with; the rest is as
the role has it, `search_path` too.
"""

OWN_SESSION = {
    **HANDLER_SESSION,
    "lock_timeout": "0", "idle_session_timeout": "0",
    "search_path": "pg_catalog, pg_temp",
}  # fmt: skip
"""What those of Soniq's own statements begin with: they have limits of their own, and search
`pg_catalog` only. The server ends a statement a moment after it is given up here: one that waits
for a lock would stay there otherwise, when its connection is gone.
"""


class Pooled(KnowsArrays):
    """A connection that can be told from what a pool hands out in its place, and that knows whether
    it was closed or lost.
    """

    was_closed = False
    cut_off = False
    """Whether what it was last used for was cancelled."""

    def itself(self) -> "Pooled":
        return self

    async def close(self, *, timeout: float | None = None) -> None:
        self.was_closed = True
        await super().close(timeout=timeout)

    def terminate(self) -> None:
        self.was_closed = True
        super().terminate()


class Checkout(NamedTuple):
    """A connection of a pool while it is in use: as the pool hands it out, and as it is itself."""

    pool: "Pool"
    connection: "Connection"
    itself: Pooled


async def dial(*args: Any, **options: Any) -> "Connection":
    """Connect. An error keeps nothing of the driver's frames, in whose variables the password
    is.
    """
    dialing = asyncio.create_task(_connected(args, options), name="soniq connect")
    try:
        return await asyncio.shield(dialing)
    except asyncio.CancelledError:
        await _let_end(dialing)
        raise
    except BaseException as error:
        without_frames(error)
        raise


async def _connected(args: Sequence[Any], options: Mapping[str, Any]) -> "Connection":
    connection: Connection = await asyncpg.connect(*args, **options)
    return connection


async def _let_end(dialing: "asyncio.Task[Connection]") -> None:
    """Let a connect that nobody waits for any more come to its end, and close what it made.

    Cut off while TCP or TLS is being agreed on, the driver leaves a future behind whose error
    nobody retrieves, which asyncio then logs.
    """
    try:
        await asyncio.wait([dialing], timeout=ABANDONED_CONNECT_TIMEOUT)
    except asyncio.CancelledError:
        _give_up(dialing)
        raise
    if not dialing.done():
        _give_up(dialing)
    elif not dialing.cancelled() and dialing.exception() is None:
        await close_quietly(dialing.result())


def _give_up(dialing: "asyncio.Task[Connection]") -> None:
    dialing.add_done_callback(_hang_up)
    dialing.cancel()


def _hang_up(dialing: "asyncio.Task[Connection]") -> None:
    if not dialing.cancelled() and dialing.exception() is None:
        dialing.result().terminate()


async def close_quietly(connection: "Connection | None") -> None:
    """Close a connection that may be broken; never raises, never waits long."""
    if connection is None or connection.is_closed():
        return
    try:
        # The driver's own timeout leaves out what it waits for first
        async with asyncio.timeout(CLEANUP_TIMEOUT):
            await connection.close()
    except (asyncpg.PostgresError, *CONNECTION_ERRORS):
        connection.terminate()
    except asyncio.CancelledError:
        connection.terminate()
        raise


@contextlib.asynccontextmanager
async def transaction(
    connection: "Connection",
    isolation: Isolation = "read_committed",
    *,
    read_only: bool = False,
) -> AsyncIterator[None]:
    """A transaction. Where it fails it is rolled back; if that is not done soon, the connection is
    ended.
    """
    begun = connection.transaction(isolation=isolation, readonly=read_only)
    await begun.__aenter__()
    try:
        yield
    except BaseException as error:
        await _roll_back(connection, begun, error)
        raise
    await begun.__aexit__(None, None, None)


async def _roll_back(connection: "Connection", begun: Any, error: BaseException) -> None:
    done = False
    try:
        if not is_lost(error) and not connection.is_closed():
            async with asyncio.timeout(CLEANUP_TIMEOUT):
                await begun.__aexit__(type(error), error, error.__traceback__)
            done = True
    except (asyncpg.PostgresError, *CONNECTION_ERRORS):
        pass
    finally:
        if not done:
            with contextlib.suppress(asyncpg.InterfaceError):  # it was closed, and left its pool
                connection.terminate()


async def keep_as_it_is(connection: Pooled) -> None:
    """Soniq's own statements leave nothing behind in a session, and a reset would cost each of them
    a round trip. Of one that was cut off between its preparation and its start the server has a
    transaction, which the driver does not know: the next statement would be in it.
    """
    if connection.cut_off:
        await connection.execute("select")  # the driver has no answer to an empty one


def milliseconds(seconds: float) -> str:
    """Seconds as the text that PostgreSQL takes for a time limit, which is less than 25 days."""
    return str(min(math.ceil(seconds * 1000), 2_147_483_647))
