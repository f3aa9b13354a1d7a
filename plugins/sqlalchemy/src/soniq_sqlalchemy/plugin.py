"""The plugin: what `connection=` takes, and the sessions that handlers ask for.

SQLAlchemy takes longer to import than Soniq itself. So it is left to the application: where that
has not imported it, nothing is a session.
"""

import inspect
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from soniq import ConfigurationError, JobContext, Soniq, hookimpl
from soniq.errors import JobDefinitionError
from soniq.plugin import JobDefinition, Secret, TransactionConnection

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from .engines import Engines

VARIABLE = "SONIQ_SQLALCHEMY_URL"


class SQLAlchemyPlugin:
    """Enqueues in the transactions of sessions, and gives handlers a session.

    The commit of a handler's session completes the job.

    `engines`: what those sessions are on: an `AsyncEngine` on asyncpg or psycopg for `async def`
    handlers, an `Engine` on psycopg for plain `def`, or both. They must lead to the app's database.
    What is not given is made: of `url`, of SONIQ_SQLALCHEMY_URL, or of the app's own URL. One
    plugin for each app. Raises `ConfigurationError`.
    """

    name = "sqlalchemy"

    def __init__(self, *engines: "AsyncEngine | Engine", url: str | None = None) -> None:
        source = "url="
        if url is None and not engines:
            url, source = os.environ.get(VARIABLE, "").strip() or None, VARIABLE
        url = Secret(url) if url is not None else None

        self._engines = _engines(engines, url, source) if engines or url is not None else None
        """Those that were given; else None until a job asks for a session."""
        self._app: Soniq | None = None

    def __repr__(self) -> str:
        return f"<SQLAlchemyPlugin {self._engines or 'of the app'}>"

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        """Belongs to this app from now on; its own engines are closed with the app."""
        if self._app not in (None, app):
            raise ConfigurationError(
                "one SQLAlchemyPlugin was passed to two apps; make one for each"
            )
        self._app = app
        if self._engines is not None:  # of an event loop or a process that is gone
            await self._engines.dispose(close=False)
        yield
        if self._engines is not None:
            await self._engines.dispose()

    @hookimpl
    async def adapt_connection(self, obj: object) -> TransactionConnection | None:
        if sys.modules.get("sqlalchemy") is None:
            return None
        from .transaction import adapted  # it imports what is left of SQLAlchemy

        return await adapted(obj)

    @hookimpl
    def provide(
        self, annotation: object, job: JobDefinition
    ) -> Callable[[JobContext], AbstractAsyncContextManager[Any]] | None:
        if not inspect.isclass(annotation) or sys.modules.get("sqlalchemy.orm") is None:
            return None
        from sqlalchemy.ext.asyncio import AsyncSession  # not before the application has
        from sqlalchemy.orm import Session

        if not issubclass(annotation, AsyncSession | Session):
            return None
        if issubclass(annotation, AsyncSession) is job.threaded:
            raise JobDefinitionError(
                f"{job.name}: an `async def` job is given an AsyncSession, and a plain `def` a"
                f" Session; {annotation.__name__} is for the other",
                job=job.name,
            )
        assert self._app is not None, "jobs are looked at while the app is started"
        from .sessions import for_coroutine, for_thread

        self._engines = self._engines or _engines((), None, VARIABLE)
        if issubclass(annotation, AsyncSession):
            return partial(for_coroutine, self._engines.awaiting(self._app), annotation)
        return partial(for_thread, self._engines.blocking(self._app), annotation)


def _engines(given: "Sequence[AsyncEngine | Engine]", url: str | None, source: str) -> "Engines":
    from .engines import Engines  # it imports SQLAlchemy

    return Engines(given, url, source)
