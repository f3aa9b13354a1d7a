"""The plugin: what `connection=` takes, and the sessions that handlers ask for."""

import inspect
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from soniq import ConfigurationError, JobContext, Soniq, TransactionConnection, hookimpl

from .transaction import adapted, transaction

VARIABLE = "SONIQ_SQLALCHEMY_URL"
UNLIMITED = 0
"""The pool of an engine of the plugin's own is as large as the attempts that run at once."""


class SQLAlchemyPlugin:
    """Enqueues in the transactions of sessions, and gives handlers an `AsyncSession` whose commit completes the job.

    `engine`: what those sessions are on, on asyncpg or psycopg; it must lead to the app's database. Without one an
    engine is made: from `url`, from SONIQ_SQLALCHEMY_URL, or of the app's own URL with asyncpg. One for each app.
    Raises `ConfigurationError`.
    """

    name = "sqlalchemy"

    def __init__(self, engine: AsyncEngine | None = None, *, url: str | None = None) -> None:
        if engine is not None and not isinstance(engine, AsyncEngine):
            raise ConfigurationError(f"engine= takes an AsyncEngine; got {type(engine).__name__}")
        if engine is not None and url is not None:
            raise ConfigurationError("engine= and url= are two ways to say one thing; give one")
        self._engine = engine
        self._own: AsyncEngine | None = None
        if engine is None and (given := url if url is not None else os.environ.get(VARIABLE)):
            self._own = _engine_of(given, "url=" if url is not None else VARIABLE)
        used = engine or self._own
        if used is not None and (used.dialect.name, used.dialect.driver) not in _DIALECTS:
            raise ConfigurationError(
                f"the engine is on {used.dialect.name}+{used.dialect.driver}; "
                "it must be on postgresql+asyncpg or postgresql+psycopg"
            )
        self._app: Soniq | None = None

    def __repr__(self) -> str:
        used = self._engine or self._own
        return f"<SQLAlchemyPlugin {used.dialect.driver if used else 'of the app'}>"

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        """Belongs to this app from now on; at the close, the connections of its own engine are closed."""
        if self._app not in (None, app):
            raise ConfigurationError("one SQLAlchemyPlugin was passed to two apps; make one for each")
        self._app = app
        if self._own is not None:
            await self._own.dispose(close=False)  # connections of an event loop that is gone
        yield
        if self._own is not None:
            await self._own.dispose()

    @hookimpl
    async def adapt_connection(self, obj: object) -> TransactionConnection | None:
        return await adapted(obj)

    @hookimpl
    def provide(self, annotation: object) -> Callable[[JobContext], AbstractAsyncContextManager[AsyncSession]] | None:
        if not inspect.isclass(annotation) or not issubclass(annotation, AsyncSession):
            return None
        if not (self._engine or self._own) and self._app is not None and self._app.settings.pgbouncer:
            raise ConfigurationError(
                "behind PgBouncer the sessions need an engine that is set up for it: SQLAlchemyPlugin(engine=...)"
            )
        return partial(self._session, annotation)

    @asynccontextmanager
    async def _session(self, kind: type[AsyncSession], ctx: JobContext) -> AsyncIterator[AsyncSession]:
        """A session in a transaction that is committed here: what the handler commits is a savepoint in it."""
        async with self._used_engine().connect() as connection:
            await connection.execution_options(isolation_level="READ COMMITTED")
            async with (
                connection.begin(),
                kind(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session,
            ):
                ctx.complete_in(await transaction(connection))
                yield session
                await session.commit()

    def _used_engine(self) -> AsyncEngine:
        if self._engine is not None:
            return self._engine
        if self._own is None:
            self._own = create_async_engine("postgresql+asyncpg://", async_creator=self._connect, pool_size=UNLIMITED)
        return self._own

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection to the app's own database, as its own URL says."""
        assert self._app is not None, "sessions are for an app's handlers"
        return await asyncpg.connect(
            self._app.database.url,
            timeout=self._app.settings.connect_timeout,
            server_settings={"application_name": "soniq"},
        )


_DIALECTS = {("postgresql", "asyncpg"), ("postgresql", "psycopg")}


def _engine_of(url: str, source: str) -> AsyncEngine:
    """An engine of a URL. Raises `ConfigurationError`, which does not show it."""
    try:
        return create_async_engine(url, pool_size=UNLIMITED)
    except (SQLAlchemyError, ImportError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{source} cannot be used ({type(error).__name__}): it takes a URL of SQLAlchemy's, as "
            "postgresql+asyncpg://user:password@host/database, and its driver must be installed"
        ) from None
