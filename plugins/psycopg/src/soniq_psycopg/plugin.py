"""The plugin: psycopg's connections for `connection=`, and those that handlers ask for.

psycopg is left to the application: where that has not imported it, nothing is one of its
connections.
"""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, get_origin

from soniq import ConfigurationError, InvalidOption, JobContext, Soniq, hookimpl
from soniq.errors import JobDefinitionError
from soniq.plugin import JobDefinition, TransactionConnection

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection


class PsycopgPlugin:
    """Enqueues in the transactions of psycopg connections, and gives handlers a connection.

    Its commit completes the job. One plugin for each app.
    """

    name = "psycopg"

    def __init__(self) -> None:
        self._app: Soniq | None = None

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        """Belongs to this app from now on."""
        if self._app not in (None, app):
            raise ConfigurationError("one PsycopgPlugin was passed to two apps; make one for each")
        self._app = app
        yield

    @hookimpl
    def adapt_connection(self, obj: object) -> TransactionConnection | None:
        if sys.modules.get("psycopg") is None:
            return None
        from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor

        from .transaction import AsyncPsycopg, ThreadedPsycopg

        if isinstance(obj, AsyncCursor | Cursor):
            raise InvalidOption(
                "connection= takes the connection, and this is a cursor:"
                " connection=cursor.connection",
                option="connection",
            )

        if isinstance(obj, AsyncPsycopg | ThreadedPsycopg):  # what `settle_tx` was given
            return obj
        if isinstance(obj, AsyncConnection):
            _check(obj)
            return AsyncPsycopg(obj)
        if isinstance(obj, Connection):
            _check(obj)
            return ThreadedPsycopg(obj)
        return None

    @hookimpl
    def provide(
        self, annotation: object, job: JobDefinition
    ) -> Callable[[JobContext], AbstractAsyncContextManager[Any]] | None:
        if sys.modules.get("psycopg") is None:
            return None
        from psycopg import AsyncConnection, Connection

        kind = get_origin(annotation) or annotation
        if kind is not AsyncConnection and kind is not Connection:
            return None
        if (kind is AsyncConnection) is job.threaded:
            raise JobDefinitionError(
                f"{job.name}: an `async def` job is given a psycopg.AsyncConnection, and a plain"
                f" `def` a psycopg.Connection; psycopg.{kind.__name__} is for the other",
                job=job.name,
            )
        assert self._app is not None, "jobs are looked at while the app is started"
        from .handlers import for_coroutine, for_thread

        return partial(for_coroutine if kind is AsyncConnection else for_thread, self._app)


def _check(connection: "AsyncConnection[Any] | Connection[Any]") -> None:
    """Raise `InvalidOption` unless the connection's next statement is in a transaction."""
    from psycopg.pq import TransactionStatus

    status = connection.info.transaction_status

    if connection.closed:
        problem = "is closed"
    elif status == TransactionStatus.INERROR:
        problem = "is in a transaction that has failed: roll it back"
    elif status == TransactionStatus.IDLE and connection.autocommit:
        problem = (
            "is in autocommit mode and in no transaction, so that nothing would hold the job"
            " together with what you write: enqueue inside connection.transaction(), or leave"
            " connection= out"
        )
    else:
        return

    raise InvalidOption(f"connection= is a psycopg connection that {problem}", option="connection")
