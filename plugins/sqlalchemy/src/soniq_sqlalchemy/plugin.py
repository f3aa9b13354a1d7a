"""The plugin: what `connection=` takes, and the sessions that handlers ask for."""

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from soniq import ConfigurationError, JobContext, Soniq, hookimpl
from soniq.errors import JobDefinitionError
from soniq.plugin import JobDefinition, TransactionConnection

from .engines import Engines
from .sessions import for_coroutine, for_thread
from .transaction import adapted


class SQLAlchemyPlugin:
    """Enqueues in the transactions of sessions, and gives handlers a session.

    The commit of a handler's session completes the job.

    `engines`: what those sessions are on: an `AsyncEngine` on asyncpg or psycopg for `async def`
    handlers, an `Engine` on psycopg for plain `def`, or both. They must lead to the app's database.
    What is not given is made: of `url`, of SONIQ_SQLALCHEMY_URL, or of the app's own URL. One
    plugin for each app. Raises `ConfigurationError`.
    """

    name = "sqlalchemy"

    def __init__(self, *engines: AsyncEngine | Engine, url: str | None = None) -> None:
        self._engines = Engines(engines, url)
        self._app: Soniq | None = None

    def __repr__(self) -> str:
        return f"<SQLAlchemyPlugin {self._engines}>"

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        """Belongs to this app from now on; its own engines are closed with the app."""
        if self._app not in (None, app):
            raise ConfigurationError(
                "one SQLAlchemyPlugin was passed to two apps; make one for each"
            )
        self._app = app
        await self._engines.dispose(close=False)  # of an event loop or a process that is gone
        yield
        await self._engines.dispose()

    @hookimpl
    async def adapt_connection(self, obj: object) -> TransactionConnection | None:
        return await adapted(obj)

    @hookimpl
    def provide(
        self, annotation: object, job: JobDefinition
    ) -> Callable[[JobContext], AbstractAsyncContextManager[Any]] | None:
        if not inspect.isclass(annotation) or not issubclass(annotation, AsyncSession | Session):
            return None
        if issubclass(annotation, AsyncSession) is job.threaded:
            raise JobDefinitionError(
                f"{job.name}: an `async def` job is given an AsyncSession, and a plain `def` a"
                f" Session; {annotation.__name__} is for the other",
                job=job.name,
            )
        assert self._app is not None, "jobs are looked at while the app is started"
        if issubclass(annotation, AsyncSession):
            return partial(for_coroutine, self._engines.awaiting(self._app), annotation)
        return partial(for_thread, self._engines.blocking(self._app), annotation)
