"""The engines of handlers' sessions, for `async def` and for `def`: given, or the plugin's own."""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Dialect, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from soniq import ConfigurationError, Soniq

E = TypeVar("E", AsyncEngine, Engine)
UNLIMITED = 0
"""The pool of an engine of the plugin's own is as large as the attempts that run at once."""


class Engines:
    """Those that were given, those of the URL that was given, or else of the app's own URL.

    `source`: where that URL was given. Raises `ConfigurationError`, which shows no URL.
    """

    def __init__(self, given: Sequence[AsyncEngine | Engine], url: str | None, source: str) -> None:
        _check(given, url)
        self._app: Soniq | None = None
        self._own: list[AsyncEngine | Engine] = [] if given or not url else _engines_of(url, source)
        for own in self._own:
            listened = own.sync_engine if isinstance(own, AsyncEngine) else own
            event.listen(listened, "do_connect", self._limit)

        self._awaiting: AsyncEngine | None = None
        self._blocking: Engine | None = None
        for engine in (*given, *self._own):
            if isinstance(engine, Engine):
                self._blocking = _usable(engine, self._blocking, {"psycopg"})
            else:
                self._awaiting = _usable(engine, self._awaiting, {"asyncpg", "psycopg"})

    def __str__(self) -> str:
        engines = (self._awaiting, self._blocking)
        return ", ".join(each.dialect.driver for each in engines if each) or "of the app"

    def awaiting(self, app: Soniq) -> AsyncEngine:
        """The engine for `async def` handlers."""
        self._app = app
        if self._awaiting is None:
            if app.settings.pgbouncer:
                raise ConfigurationError(
                    "behind PgBouncer an AsyncSession needs an engine that is set up for it:"
                    " SQLAlchemyPlugin(engine)"
                )

            async def connect() -> "asyncpg.Connection[asyncpg.Record]":
                name = {"application_name": "soniq"}
                return await asyncpg.connect(app.database_url, server_settings=name, **_limits(app))  # type: ignore[call-overload,no-any-return]

            self._awaiting = create_async_engine(
                "postgresql+asyncpg://", async_creator=connect, pool_size=UNLIMITED
            )
            self._own.append(self._awaiting)
        return self._awaiting

    def blocking(self, app: Soniq) -> Engine:
        """The engine for `def` handlers."""
        self._app = app
        if self._blocking is None:
            try:
                from soniq_psycopg import connect as connect_psycopg
            except ImportError as error:
                raise ConfigurationError(
                    "a Session for a plain `def` job is on psycopg: pip install"
                    " 'soniq-sqlalchemy[psycopg]'"
                ) from error

            self._blocking = create_engine(
                "postgresql+psycopg://",
                creator=partial(connect_psycopg, app),
                pool_size=UNLIMITED,
            )
            self._own.append(self._blocking)
        return self._blocking

    def _limit(
        self, dialect: Dialect, _record: object, _given: object, options: dict[str, Any]
    ) -> None:
        """Give a connection of a URL the app's limits, where the URL has none of its own."""
        assert self._app is not None, "nobody connects before a job is looked at"
        if dialect.driver == "asyncpg":
            limits = _limits(self._app)
        else:
            from soniq_psycopg import options as limits_of

            limits = limits_of(self._app)
        for name, value in limits.items():
            options.setdefault(name, value)

    async def dispose(self, *, close: bool = True) -> None:
        """Let the connections of the plugin's own engines go.

        `close=False` in a loop or process that is not theirs.
        """
        for engine in self._own:
            if isinstance(engine, Engine):
                engine.dispose(close=close)
            else:
                await engine.dispose(close=close)


def _check(given: Sequence[AsyncEngine | Engine], url: str | None) -> None:
    """Raise `ConfigurationError` for arguments that are no engines, or engines beside a URL."""
    for engine in given:
        if not isinstance(engine, AsyncEngine | Engine):
            raise ConfigurationError(
                f"SQLAlchemyPlugin takes an AsyncEngine or Engine; got {type(engine).__name__}"
            )
    if given and url is not None:
        raise ConfigurationError("an engine and url= exclude each other; give one of them")


def _limits(app: Soniq) -> dict[str, float]:
    """The limits of the core's own connections, as asyncpg takes them."""
    return {
        "timeout": app.settings.connect_timeout,
        "command_timeout": app.settings.command_timeout,
    }


def _engines_of(url: str, source: str) -> list[AsyncEngine | Engine]:
    """An engine of a URL, or both where the driver can be both."""
    try:
        awaiting = create_async_engine(url, pool_size=UNLIMITED)
        if awaiting.dialect.driver != "psycopg":
            return [awaiting]
        return [awaiting, create_engine(url, pool_size=UNLIMITED)]
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
        raise ConfigurationError(
            f"the {kind} is on {dialect.name}+{dialect.driver}; it must be on {names}"
        )
    if other is not None:
        raise ConfigurationError(f"two engines of one kind, {kind}, were given; one is used")
    return engine
