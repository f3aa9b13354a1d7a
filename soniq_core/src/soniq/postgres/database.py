"""The database of an app: its pools, connections apart from them, and what the errors of the driver
mean; they say where it happened, and never show a password.
"""

import asyncio
import contextlib
import logging
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from soniq.errors import DatabaseError, DatabaseUnavailable, DatabaseUnsupported, SchemaMissing
from soniq.postgres.connections import (
    CLEANUP_TIMEOUT,
    HANDLER_SESSION,
    OWN_SESSION,
    Checkout,
    Pooled,
    close_quietly,
    dial,
    keep_as_it_is,
    milliseconds,
)
from soniq.postgres.driver_errors import (
    CONNECTION_ERRORS,
    STATEMENT_MISSING,
    TABLES_MISSING,
    is_lost,
    words,
)
from soniq.postgres.outage import Outage
from soniq.postgres.sql import Statements
from soniq.secret import Secret
from soniq.settings import Settings, describe_url, driver_url

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection, Pool

log = logging.getLogger("soniq.database")

T = TypeVar("T")

OLDEST_SERVER = 15

POOL_MARGIN = 1.0
"""Seconds that a pool waits longer than a connection does, whose error says more."""
LONGEST_SILENCE = 30.0
"""Seconds for which a session of Soniq's waits at most before it sends something."""
CLOSE_TIMEOUT = 3.0
"""Seconds that connections in use have to come back when the app is closed."""

BEHIND_POOLER = (
    "Is there a PgBouncer, or another pooler in transaction mode, in between (PgCat, Supavisor)?"
    " Then set SONIQ_PGBOUNCER=true, or pgbouncer=True"
)

CANNOT_CONNECT = "cannot connect to PostgreSQL at {}: "
CONNECTION_LOST = "the connection to PostgreSQL at {} was lost: "
SESSION_LOST = "The session was one of Soniq's, with PostgreSQL at {}."


class Database:
    """One PostgreSQL: a pool that opens at first use, and connections of one's own."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = Secret(driver_url(url))
        self.place = describe_url(url)
        self._note = SESSION_LOST.format(self.place)
        self.settings = settings
        self.sql = Statements(settings.schema)
        self._pool: Pool | None = None
        self._lent: list[Pool] = []
        self._sessions: Pool | None = None
        self._making = asyncio.Lock()
        self._used: weakref.WeakSet[Pooled] = weakref.WeakSet()
        self._idle: weakref.WeakSet[Pooled] = weakref.WeakSet()
        self._leaving: set[asyncio.Task[None]] = set()
        self.outage = Outage(
            self.place, settings.command_timeout + max(settings.lease, LONGEST_SILENCE)
        )
        self.lease_ms = milliseconds(settings.lease)
        self.handlers = 0
        """The most connections that handlers hold at once: the slots of the process's workers."""

    async def open(self) -> None:
        """Open the pool and check the server. Raises `DatabaseUnavailable` or
        `DatabaseUnsupported`.
        """
        try:
            self._pool = await self._make_pool(
                self.settings.pool_size, self._connect_pooled, keep_as_it_is
            )
            async with self.acquire() as connection:
                await self.guard(self._check(connection))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the pool; connections in use have a few seconds to come back."""
        pools = [self._pool, self._sessions, *self._lent]
        self.abandon()
        for pool in pools:
            if pool is not None:
                try:
                    async with asyncio.timeout(CLOSE_TIMEOUT):
                        await pool.close()
                except CONNECTION_ERRORS:
                    pool.terminate()

    def abandon(self) -> None:
        """Forget pools whose event loop is gone."""
        self._pool, self._sessions, self._lent = None, None, []

    async def connect(self) -> "Connection":
        """A connection of one's own. Raises `DatabaseUnavailable`, naming host and database."""
        return await self._connect_pooled(self.url)

    async def _connect_pooled(self, *args: Any, **kwargs: Any) -> "Connection":
        limit = milliseconds(self.settings.command_timeout + CLOSE_TIMEOUT)
        session = {**OWN_SESSION, **self._idle_limit(), "statement_timeout": limit}
        return await self._connect(session, *args, **kwargs)

    async def _connect_session(self, *args: Any, **kwargs: Any) -> "Connection":
        return await self._connect({**HANDLER_SESSION, **self._idle_limit()}, *args, **kwargs)

    def _idle_limit(self) -> dict[str, str]:
        seconds = max(self.settings.lease, self.settings.command_timeout)
        return {"idle_in_transaction_session_timeout": milliseconds(seconds)}

    async def _connect_lent(self, *args: Any, **kwargs: Any) -> "Connection":
        return await self._connect(HANDLER_SESSION, *args, **kwargs)

    async def _connect(self, session: Mapping[str, str], *args: Any, **kwargs: Any) -> "Connection":
        options: dict[str, Any] = {"server_settings": dict(session)}
        if self.settings.pgbouncer:
            options = {"statement_cache_size": 0}
        kwargs |= {
            "timeout": self.settings.connect_timeout,
            "command_timeout": self.settings.command_timeout,
            "connection_class": Pooled,
        }

        cannot = CANNOT_CONNECT.format(self.place)
        try:
            return await dial(*args, **kwargs, **options)
        except asyncpg.ProtocolViolationError as error:
            what = cannot + words(error)
            if "startup parameter" in what and not self.settings.pgbouncer:
                raise DatabaseError(f"{what}. {BEHIND_POOLER}") from error
            raise DatabaseUnavailable(what) from error
        except asyncpg.InvalidCatalogNameError as error:
            what = f"{cannot}{error}; `soniq setup --create-database` creates it"
            raise DatabaseUnavailable(what) from error
        except (*CONNECTION_ERRORS, asyncpg.InvalidAuthorizationSpecificationError) as error:
            what = cannot + self.reason(error, self.settings.connect_timeout)
            raise DatabaseUnavailable(what) from error
        except (ValueError, KeyError, asyncpg.PostgresError) as error:  # KeyError: no user
            raise DatabaseError(f"{cannot}{error}") from error

    def acquire(self) -> "contextlib.AbstractAsyncContextManager[Connection]":
        """A connection of the pool, for Soniq's own statements. Raises `DatabaseUnavailable` if
        none is free, or none can be made, in time.
        """
        return self._borrowed(self._opened())

    @contextlib.asynccontextmanager
    async def apart(self) -> "AsyncIterator[Connection]":
        """A connection of one's own, for work within which others may need one of the pool."""
        connection = await self.connect()
        try:
            yield connection
        except BaseException as error:
            if is_lost(error):
                connection.terminate()
            raise
        finally:
            await close_quietly(connection)

    @contextlib.asynccontextmanager
    async def session(self) -> "AsyncIterator[Connection]":
        """A connection for statements of the application's or a plugin's, of a pool as large as
        Soniq's own; what they set in the session is undone.
        """
        self._opened()
        async with self._making:
            if self._sessions is None:
                self._sessions = await self._make_pool(
                    self.settings.pool_size, self._connect_session, None
                )
            pool = self._sessions
        follows = "a session of the application's or a plugin's ends"
        async with self._borrowed(pool, follows) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def lend(self) -> "AsyncIterator[Connection]":
        """A connection for a handler, of a pool that has one for each; what it sets in the session
        is undone.
        """
        self._opened()
        async with self._making:
            if not self._lent or self._lent[-1].get_max_size() < self.handlers:  # a worker has come
                self._lent.append(
                    await self._make_pool(max(1, self.handlers), self._connect_lent, None)
                )
            pool = self._lent[-1]
        async with self._borrowed(pool) as connection:
            yield connection

    def was_told(self, error: BaseException) -> bool:
        """Whether an error ended a `session` of this database's, and was told as its loss."""
        return self._note in getattr(error, "__notes__", ())

    async def _make_pool(
        self, size: int, connect: Callable[..., Any], reset: Callable[[Any], Awaitable[None]] | None
    ) -> "Pool":
        pool: Pool = asyncpg.create_pool(
            self.url, min_size=0, max_size=size, connect=connect, reset=reset
        )
        await pool
        return pool

    @contextlib.asynccontextmanager
    async def _borrowed(self, pool: "Pool", tell: str | None = None) -> "AsyncIterator[Connection]":
        """A connection for a block; `tell`: what is logged to follow where it is lost meanwhile."""
        checkout = await self._check_out(pool)
        try:
            yield checkout.connection
        except BaseException as error:
            if tell and is_lost(error) and checkout.itself.is_closed():
                self.lost(error, tell)
                error.add_note(self._note)
            await self.check_in(checkout, error)
            raise
        await self.check_in(checkout)

    async def check_out(self) -> "Checkout":
        """A connection of the pool, as of `acquire`, which is in use until its `check_in`."""
        return await self._check_out(self._opened())

    def _opened(self) -> "Pool":
        """The pool. Raises `DatabaseUnavailable` where the app is closed."""
        if self._pool is None:
            raise DatabaseUnavailable("the app is closed")
        return self._pool

    async def check_in(self, checkout: "Checkout", error: BaseException | None = None) -> None:
        """Give a connection back after its use, which ended with this error."""
        pool, connection, itself = checkout
        itself.cut_off = isinstance(error, asyncio.CancelledError)
        if itself.cut_off:
            # What was cut off may take its time, or never answer
            leaving = asyncio.create_task(
                self._release(pool, connection, itself), name="soniq release"
            )
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            return

        if error is not None and is_lost(error):
            itself.terminate()
        await self._release(pool, connection, itself)

    async def _check_out(self, pool: "Pool") -> "Checkout":
        try:
            connection = await pool.acquire(timeout=self.settings.connect_timeout + POOL_MARGIN)
        except TimeoutError as error:
            raise DatabaseUnavailable(
                f"no connection to {self.place} was free for {self.settings.connect_timeout:g} s "
                f"(of {pool.get_max_size()} in the pool)"
            ) from error
        except CONNECTION_ERRORS as error:
            raise self.translated(error) from error
        itself: Pooled = connection.itself()  # type: ignore[attr-defined]
        self._idle.discard(itself)
        self._used.add(itself)
        return Checkout(pool, connection, itself)  # type: ignore[arg-type] # a proxy of one

    async def _release(self, pool: "Pool", connection: Any, itself: "Pooled") -> None:
        """Give a connection back; where that is not done soon, it is ended instead."""
        self._used.discard(itself)
        try:
            await pool.release(connection, timeout=CLEANUP_TIMEOUT)
        except (asyncpg.PostgresError, *CONNECTION_ERRORS):
            itself.terminate()
        # Who waited for it may have it already
        if not itself.is_closed() and itself not in self._used:
            self._idle.add(itself)

    def drop_idle(self) -> None:
        """End the pools' connections that nobody uses: where one was lost, they may be, and say
        nothing of it.
        """
        for connection in list(self._idle):
            connection.terminate()
        self._idle.clear()

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Run one statement of queries/ on the pool; its rows. Raises `DatabaseError`."""
        async with self.acquire() as connection:
            return await self.guard(connection.fetch(self.sql[statement], *values))

    async def guard(self, waiting: Awaitable[T], *, wrote: bool = False) -> T:
        """Await a call of the driver's, and say in our words when the database is not there.

        `wrote`: an answer says that the database can be written to.
        """
        asked = time.monotonic()
        try:
            answer = await waiting
        except (asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
            raise self.translated(error) from error
        self.outage.over(asked, wrote=wrote)
        return answer

    @contextlib.contextmanager
    def guarding(self) -> Iterator[None]:
        """Say in our words what goes wrong in a block of calls of the driver's."""
        try:
            yield
        except (asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
            raise self.translated(error) from error

    def translated(self, error: Exception) -> DatabaseError:
        """An error of the driver's in our words; one that means a loss ends the pools' idle
        connections, too.
        """
        if isinstance(error, TABLES_MISSING):
            schema = self.settings.schema
            return SchemaMissing(
                f"Soniq's tables in schema {schema!r} of {self.place} are not there: {words(error)}"
            )
        if not isinstance(error, CONNECTION_ERRORS):
            what = f"PostgreSQL at {self.place} refused a statement: {words(error)}"
            pooled = isinstance(error, STATEMENT_MISSING) and not self.settings.pgbouncer
            return DatabaseError(f"{what}. {BEHIND_POOLER}" if pooled else what)
        if is_lost(error):
            self.drop_idle()
        return DatabaseUnavailable(CONNECTION_LOST.format(self.place) + self.reason(error))

    def lost(self, error: BaseException, what: str, limit: float | None = None) -> None:
        """Log an error after which the caller tries again by itself, and drop idle connections
        where one was lost. `what` says what follows; of an outage only the first is a warning.
        """
        if is_lost(error):
            self.drop_idle()
        self.tell(error, what, limit)

    def tell(self, error: BaseException, what: str, limit: float | None = None) -> None:
        """Log an error after which the caller tries again by itself. From any thread."""
        if isinstance(error, (DatabaseUnavailable, *CONNECTION_ERRORS)):
            ours = isinstance(error, DatabaseUnavailable)
            cause = error.__cause__ if ours else error
            self.outage.lost(
                f"{self.reason(error, limit)}; {what}",
                session=not ours or str(error).startswith(CONNECTION_LOST.format(self.place)),
                read_only=isinstance(cause, asyncpg.ReadOnlySQLTransactionError),
                full=isinstance(cause, asyncpg.TooManyConnectionsError),
            )
        else:
            log.warning("%s: %s", what, self.reason(error))

    def reason(self, error: BaseException, limit: float | None = None) -> str:
        """Why a connection was lost, or none was made. A timeout has no words of its own: it is
        `limit`.
        """
        if (
            isinstance(error, TimeoutError)
            and not isinstance(error, asyncpg.PostgresError)
            and not str(error)
        ):
            return (
                f"no answer within {self.settings.command_timeout if limit is None else limit:g} s"
            )
        text = (
            words(error)
            .removeprefix(CONNECTION_LOST.format(self.place))
            .removeprefix(CANNOT_CONNECT.format(self.place))
        )
        return text or type(error).__name__

    async def _check(self, connection: "Connection") -> None:
        version = connection.get_server_version()
        if version.major < OLDEST_SERVER:
            raise DatabaseUnsupported(
                f"PostgreSQL at {self.place} is version {version.major}; Soniq needs"
                f" {OLDEST_SERVER} or later"
            )
        isolation = await connection.fetchval("show default_transaction_isolation")
        if isolation != "read committed":
            raise DatabaseUnsupported(
                f"PostgreSQL at {self.place} begins transactions as {isolation}; Soniq needs read"
                " committed. Behind PgBouncer: alter role ... set default_transaction_isolation ="
                " 'read committed'"
            )
