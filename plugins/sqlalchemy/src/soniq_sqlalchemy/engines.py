"""The engines that handlers' sessions are on: for `async def` and for `def`, each one given or of the plugin's own."""

import math
import os
from collections.abc import Sequence
from typing import TypeVar

import asyncpg
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from soniq import ConfigurationError, Soniq

VARIABLE = "SONIQ_SQLALCHEMY_URL"
E = TypeVar("E", AsyncEngine, Engine)
UNLIMITED = 0
"""The pool of an engine of the plugin's own is as large as the attempts that run at once."""


class Engines:
    """Those that were given, those of the URL that was given, or else of the app's own URL.

    Raises `ConfigurationError`, which shows no URL.
    """

    def __init__(self, given: Sequence[AsyncEngine | Engine], url: str | None) -> None:
        for engine in given:
            if not isinstance(engine, AsyncEngine | Engine):
                raise ConfigurationError(
                    f"SQLAlchemyPlugin takes an AsyncEngine or Engine; got {type(engine).__name__}"
                )
        if given and url is not None:
            raise ConfigurationError("an engine and url= are two ways to say one thing; give one")
        source = "url=" if url is not None else VARIABLE
        url = url if url is not None else os.environ.get(VARIABLE)
        self._own: list[AsyncEngine | Engine] = [] if given or not url else _engines_of(url, source)
        self._awaiting: AsyncEngine | None = None
        self._blocking: Engine | None = None
        for engine in (*given, *self._own):
            if isinstance(engine, Engine):
                self._blocking = _usable(engine, self._blocking, {"psycopg"})
            else:
                self._awaiting = _usable(engine, self._awaiting, {"asyncpg", "psycopg"})

    def __str__(self) -> str:
        return ", ".join(each.dialect.driver for each in (self._awaiting, self._blocking) if each) or "of the app"

    def awaiting(self, app: Soniq) -> AsyncEngine:
        """The engine for `async def` handlers."""
        if self._awaiting is None:
            if app.settings.pgbouncer:
                raise ConfigurationError(
                    "behind PgBouncer an AsyncSession needs an engine that is set up for it: SQLAlchemyPlugin(engine)"
                )

            async def connect() -> "asyncpg.Connection[asyncpg.Record]":
                name = {"application_name": "soniq"}
                return await asyncpg.connect(
                    app.database.url, timeout=app.settings.connect_timeout, server_settings=name
                )

            self._awaiting = create_async_engine("postgresql+asyncpg://", async_creator=connect, pool_size=UNLIMITED)
            self._own.append(self._awaiting)
        return self._awaiting

    def blocking(self, app: Soniq) -> Engine:
        """The engine for `def` handlers."""
        if self._blocking is None:
            try:
                import psycopg

                from .on_psycopg import conninfo
            except ImportError as error:
                raise ConfigurationError(
                    "a Session for a plain `def` job is on psycopg: pip install 'soniq-sqlalchemy[psycopg]'"
                ) from error

            def connect() -> "psycopg.Connection[tuple[object, ...]]":
                return psycopg.connect(
                    conninfo(app.database.url),
                    connect_timeout=math.ceil(app.settings.connect_timeout),
                    application_name="soniq",
                    prepare_threshold=None if app.settings.pgbouncer else 5,
                )

            self._blocking = create_engine("postgresql+psycopg://", creator=connect, pool_size=UNLIMITED)
            self._own.append(self._blocking)
        return self._blocking

    async def dispose(self, *, close: bool = True) -> None:
        """Let the connections of the plugin's own engines go; `close=False` in a loop or process that is not theirs."""
        for engine in self._own:
            if isinstance(engine, Engine):
                engine.dispose(close=close)
            else:
                await engine.dispose(close=close)


def _engines_of(url: str, source: str) -> list[AsyncEngine | Engine]:
    """An engine of a URL, or both where the driver can be both."""
    try:
        awaiting = create_async_engine(url, pool_size=UNLIMITED)
        return (
            [awaiting, create_engine(url, pool_size=UNLIMITED)] if awaiting.dialect.driver == "psycopg" else [awaiting]
        )
    except (SQLAlchemyError, ImportError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{source} cannot be used ({type(error).__name__}): it takes a URL of SQLAlchemy's, as "
            "postgresql+asyncpg://user:password@host/database, and its driver must be installed"
        ) from None


def _usable(engine: E, other: E | None, drivers: set[str]) -> E:
    """This engine, if its driver can be used and there is no other one of its kind."""
    kind, dialect = type(engine).__name__, engine.dialect
    if dialect.name != "postgresql" or dialect.driver not in drivers:
        names = " or ".join(f"postgresql+{driver}" for driver in sorted(drivers))
        raise ConfigurationError(f"the {kind} is on {dialect.name}+{dialect.driver}; it must be on {names}")
    if other is not None:
        raise ConfigurationError(f"two engines of one kind, {kind}, were given; one is used")
    return engine
