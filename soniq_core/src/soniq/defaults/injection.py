"""What a handler may ask for by annotation: its `JobContext`, an `asyncpg.Connection` that
completes the job, or a plugin of the app.
"""

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import asyncpg

from soniq.errors import CompletionError, DatabaseUnavailable, JobDefinitionError
from soniq.hooks.definition import JobDefinition
from soniq.hooks.hooks import Hooks
from soniq.hooks.markers import hookimpl
from soniq.hooks.validation import is_plugin
from soniq.job.context import JobContext
from soniq.postgres.connections import Pooled, transaction
from soniq.postgres.database import Database

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection


LOST = (
    "the connection that was to complete {} ended while it ran. PostgreSQL ends one that is idle"
    " for longer than idle_in_transaction_session_timeout, or whose transaction takes longer than"
    " transaction_timeout, where the role or the database sets these"
)


class InjectionPlugin:
    """Provides the context, a connection whose transaction also commits the job's completion, and
    the plugins by their classes.
    """

    name = "injection"

    def __init__(self, database: Callable[[], Database], hooks: Hooks) -> None:
        self._database = database
        self._hooks = hooks

    @hookimpl
    def provide(
        self, annotation: object, job: JobDefinition
    ) -> Callable[[JobContext], AbstractAsyncContextManager[Any]] | None:
        if annotation is JobContext:
            return nullcontext
        if annotation is asyncpg.Connection:
            if job.threaded:
                raise JobDefinitionError(
                    f"{job.name}: only an `async def` job is given an asyncpg.Connection; a plain"
                    " `def` runs in a thread, and the connection belongs to the event loop",
                    job=job.name,
                )
            return self._connection
        if inspect.isclass(annotation) and is_plugin(annotation):
            plugin = self._hooks.plugin(annotation)
            return lambda ctx: nullcontext(plugin)
        return None

    @asynccontextmanager
    async def _connection(self, ctx: JobContext) -> "AsyncIterator[Connection]":
        async with self._database().lend() as connection, transaction(connection):
            ctx.complete_in(connection)
            itself: Pooled = connection.itself()  # type: ignore[attr-defined] # of every pool here
            try:
                yield connection
            except asyncpg.InterfaceError as error:
                if itself.was_closed:
                    raise CompletionError(
                        f"{ctx.job_name} closed the connection that was to complete it; nothing is"
                        " completed"
                    ) from None
                if itself.is_closed():
                    raise DatabaseUnavailable(LOST.format(ctx.job_name)) from error
                raise
