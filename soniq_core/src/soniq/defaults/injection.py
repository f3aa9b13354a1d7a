"""What a handler may ask for by annotation: its `JobContext`, or an `asyncpg.Connection` that completes the job."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import asyncpg

from soniq.definition import JobDefinition
from soniq.errors import JobDefinitionError
from soniq.hooks.markers import hookimpl
from soniq.job import JobContext

if TYPE_CHECKING:
    from soniq.app import Soniq
    from soniq.postgres.connections import Connection


class InjectionPlugin:
    """Provides the context, and a connection whose transaction also commits the job's completion."""

    name = "injection"

    def __init__(self, app: "Soniq") -> None:
        self._app = app

    @hookimpl
    def provide(
        self, annotation: object, job: JobDefinition
    ) -> Callable[[JobContext], AbstractAsyncContextManager[Any]] | None:
        if annotation is JobContext:
            return nullcontext
        if annotation is asyncpg.Connection:
            if job.threaded:
                raise JobDefinitionError(
                    f"{job.name}: only an `async def` job is given an asyncpg.Connection; a plain `def` runs in a "
                    "thread, and the connection belongs to the event loop",
                    job=job.name,
                )
            return self._connection
        return None

    @asynccontextmanager
    async def _connection(self, ctx: JobContext) -> "AsyncIterator[Connection]":
        async with self._app.database.lend() as connection, connection.transaction(isolation="read_committed"):
            ctx.complete_in(connection)
            yield connection
