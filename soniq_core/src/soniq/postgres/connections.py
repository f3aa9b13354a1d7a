"""Connections: the app's pool, and single ones for what needs its own. Errors say where, and never show a password."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from soniq.errors import DatabaseError, DatabaseUnavailable, DatabaseUnsupported
from soniq.postgres.sql import Statements
from soniq.settings import Settings, describe_url

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]

T = TypeVar("T")

OLDEST_SERVER = 15

CONNECTING = 1.0
"""Seconds that a pool waits longer than a connection does, which knows better why there is none."""

LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,  # a primary that became a standby: the next connection finds the new one
    OSError,
    asyncio.TimeoutError,
    asyncio.IncompleteReadError,
)
"""What a lost or refused connection looks like; trying again later may help."""

TRANSIENT = (*LOST, asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
"""What may work when it is simply tried again."""

LENT = {"application_name": "soniq", "default_transaction_isolation": "read committed"}
"""What the sessions of handlers begin with; the rest is as the role has it."""

OWN = {**LENT, "statement_timeout": "0", "lock_timeout": "0", "idle_session_timeout": "0"}
"""What those of Soniq's own statements begin with: they have limits of their own."""


class Database:
    """One PostgreSQL: a pool that opens at first use, and connections of one's own."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        self.place = describe_url(url)
        self.settings = settings
        self.sql = Statements(settings.schema)
        self._pool: Pool | None = None
        self._lent: list[Pool] = []
        self._making = asyncio.Lock()
        self.handlers = 0
        """The most connections that handlers of this process hold at once: the slots of its workers."""

    async def open(self) -> None:
        """Open the pool and check the server. Raises `DatabaseUnavailable` or `DatabaseUnsupported`."""
        try:
            self._pool = await self._make_pool(self.settings.pool_size, self._connect_pooled, _keep_as_it_is)
            async with self.acquire() as connection:
                await self._check(connection)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the pool; connections in use have a few seconds to come back."""
        pools, self._pool, self._lent = [self._pool, *self._lent], None, []
        for pool in pools:
            if pool is not None:
                try:
                    async with asyncio.timeout(self.settings.connect_timeout):
                        await pool.close()
                except (TimeoutError, *LOST):
                    pool.terminate()

    def abandon(self) -> None:
        """Forget pools whose event loop is gone."""
        self._pool, self._lent = None, []

    async def connect(self) -> "Connection":
        """A connection of one's own. Raises `DatabaseUnavailable`, naming host and database."""
        return await self._connect_pooled(self.url)

    async def _connect_pooled(self, *args: Any, **kwargs: Any) -> "Connection":
        return await self._connect(OWN, *args, **kwargs)

    async def _connect_lent(self, *args: Any, **kwargs: Any) -> "Connection":
        return await self._connect(LENT, *args, **kwargs)

    async def _connect(self, session: Mapping[str, str], *args: Any, **kwargs: Any) -> "Connection":
        options: dict[str, Any] = {"server_settings": dict(session)}
        if self.settings.pgbouncer:
            options = {"statement_cache_size": 0}
        kwargs |= {"timeout": self.settings.connect_timeout, "command_timeout": self.settings.command_timeout}
        try:
            connection: Connection = await asyncpg.connect(*args, **kwargs, **options)  # type: ignore[call-overload]
            return connection
        except (*LOST, asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
            reason = str(error) or type(error).__name__
            raise DatabaseUnavailable(f"cannot connect to PostgreSQL at {self.place}: {reason}") from error
        except (ValueError, asyncpg.PostgresError) as error:
            raise DatabaseError(f"cannot connect to PostgreSQL at {self.place}: {error}") from error

    @contextlib.asynccontextmanager
    async def acquire(self) -> "AsyncIterator[Connection]":
        """A connection of the pool. Raises `DatabaseUnavailable` if none is free, or none can be made, in time."""
        if self._pool is None:
            raise DatabaseUnavailable("the app is closed")
        async with self._of(self._pool) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def apart(self) -> "AsyncIterator[Connection]":
        """A connection of one's own, for work within which others may need one of the pool."""
        connection = await self.connect()
        try:
            yield connection
        finally:
            await close_quietly(connection)

    @contextlib.asynccontextmanager
    async def lend(self) -> "AsyncIterator[Connection]":
        """A connection for a handler, of a pool that has one for each; what it sets in the session is undone."""
        if self._pool is None:
            raise DatabaseUnavailable("the app is closed")
        async with self._making:
            if not self._lent or self._lent[-1].get_max_size() < self.handlers:  # a worker has come
                self._lent.append(await self._make_pool(max(1, self.handlers), self._connect_lent, None))
            pool = self._lent[-1]
        async with self._of(pool) as connection:
            yield connection

    async def _make_pool(
        self, size: int, connect: Callable[..., Any], reset: Callable[[Any], Awaitable[None]] | None
    ) -> "Pool":
        pool: Pool = asyncpg.create_pool(self.url, min_size=0, max_size=size, connect=connect, reset=reset)
        await pool
        return pool

    @contextlib.asynccontextmanager
    async def _of(self, pool: "Pool") -> "AsyncIterator[Connection]":
        try:
            connection = await pool.acquire(timeout=self.settings.connect_timeout + CONNECTING)
        except TimeoutError as error:
            raise DatabaseUnavailable(
                f"no connection to {self.place} was free for {self.settings.connect_timeout:g} s "
                f"(of {pool.get_max_size()} in the pool)"
            ) from error
        try:
            yield connection  # type: ignore[misc] # a proxy, which has all the methods
        finally:
            await pool.release(connection)

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Run one statement of queries/ on the pool; its rows. A lost connection is a `DatabaseUnavailable`."""
        async with self.acquire() as connection:
            return await self.guard(connection.fetch(self.sql[statement], *values))

    async def guard(self, waiting: Awaitable[T]) -> T:
        """Await a call of the driver's, and say in our words when the database is not there."""
        try:
            return await waiting
        except LOST as error:
            reason = str(error) or type(error).__name__
            raise DatabaseUnavailable(f"the connection to PostgreSQL at {self.place} was lost: {reason}") from error
        except asyncpg.PostgresError as error:
            raise DatabaseError(f"PostgreSQL at {self.place} refused a statement: {words(error)}") from error

    async def _check(self, connection: "Connection") -> None:
        version = connection.get_server_version()
        if version.major < OLDEST_SERVER:
            raise DatabaseUnsupported(
                f"PostgreSQL at {self.place} is version {version.major}; Soniq needs {OLDEST_SERVER} or later"
            )
        isolation = await connection.fetchval("show default_transaction_isolation")
        if isolation != "read committed":
            raise DatabaseUnsupported(
                f"PostgreSQL at {self.place} begins transactions as {isolation}; Soniq needs read committed. Behind "
                "PgBouncer: alter role ... set default_transaction_isolation = 'read committed'"
            )


def is_asyncpg(connection: object) -> "TypeGuard[Connection]":
    """Whether it is a connection of asyncpg's own, of a pool or not."""
    return isinstance(connection, asyncpg.Connection | PoolConnectionProxy)


async def _keep_as_it_is(_connection: object) -> None:
    """Soniq's own statements leave nothing behind in a session, and a reset would cost each of them a round trip."""


PASSES = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, DatabaseUnavailable)
"""What a plugin's own statement may meet, and not meet when all is done again: waited out for `command_timeout`."""


def words(error: BaseException) -> str:
    """What an error of the database says, without the detail, which may quote the row with its arguments."""
    return str(error.args[0]) if isinstance(error, asyncpg.PostgresError) and error.args else str(error)


async def close_quietly(connection: "Connection | None") -> None:
    """Close a connection that may be broken; never raises, never waits long."""
    if connection is not None and not connection.is_closed():
        try:
            await connection.close(timeout=2)
        except (asyncpg.PostgresError, *LOST):
            connection.terminate()
