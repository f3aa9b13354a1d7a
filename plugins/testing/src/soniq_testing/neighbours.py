"""Plugins that stand beside the one that is checked, and misbehave wherever the contract says that
it is borne.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from soniq import JobContext, Soniq, hookimpl
from soniq.plugin import Task, TransactionConnection

FAILS, SUCCEEDS = "check.fail", "check.large"
"""The jobs for which the one that hangs does so; it is ended each time, which takes its time."""


class Raising:
    """Raises in every hook whose errors are logged."""

    def __init__(self, name: str) -> None:
        self.name = name

    @hookimpl
    def before_job(self) -> None:
        raise RuntimeError(self.name)

    @hookimpl
    def after_job(self) -> None:
        raise RuntimeError(self.name)

    @hookimpl
    def on_error(self) -> None:
        raise RuntimeError(self.name)

    @hookimpl
    def retry_delay(self) -> float | None:
        raise RuntimeError(self.name)

    @hookimpl
    async def around_job(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            raise RuntimeError(self.name)

    @hookimpl
    def claimed(self) -> None:
        raise RuntimeError(self.name)

    @hookimpl
    def settled(self) -> None:
        raise RuntimeError(self.name)

    @hookimpl
    async def lifespan(self) -> AsyncIterator[None]:
        yield
        raise RuntimeError(self.name)

    @hookimpl
    def background_tasks(self) -> list[Task]:
        return [Task(name="raise", run=self._fail)]

    async def _fail(self) -> None:
        raise RuntimeError(self.name)


class Hanging:
    """Waits in the observers until it is ended: for some jobs in each, and once in those of
    batches.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._waited: set[str] = set()

    @hookimpl
    async def before_job(self, ctx: JobContext) -> None:
        if ctx.job_name == FAILS:
            await _for_ever()

    @hookimpl
    async def after_job(self, ctx: JobContext) -> None:
        if ctx.job_name == SUCCEEDS:
            await _for_ever()

    @hookimpl
    async def on_error(self, ctx: JobContext) -> None:
        if ctx.job_name == FAILS:
            await _for_ever()

    @hookimpl
    async def claimed(self) -> None:
        await self._once("claimed")

    @hookimpl
    async def settled(self) -> None:
        await self._once("settled")

    @hookimpl
    def background_tasks(self) -> list[Task]:
        return [Task(name="hang", run=_for_ever)]

    async def _once(self, hook: str) -> None:
        if hook not in self._waited:
            self._waited.add(hook)
            await _for_ever()


async def _for_ever() -> None:
    await asyncio.Event().wait()


class Foreign:
    """A connection of another driver: what `TransactionConnection` promises, and no more."""

    def __init__(self, connection: TransactionConnection) -> None:
        self._connection = connection

    async def fetch(self, query: str, /, *args: Any) -> Sequence[Any]:
        return await self._connection.fetch(query, *args)

    async def execute(self, query: str, /, *args: Any) -> None:
        await self._connection.execute(query, *args)


class ForeignConnections:
    """Takes connections of another driver for `connection=`, and gives handlers one that completes
    the job.
    """

    name = "foreign-connections"

    def __init__(self) -> None:
        self._app: Soniq | None = None

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        self._app = app
        yield

    @hookimpl
    def adapt_connection(self, obj: object) -> TransactionConnection | None:
        return obj if isinstance(obj, Foreign) else None

    @hookimpl
    def provide(
        self, annotation: object
    ) -> Callable[[JobContext], AbstractAsyncContextManager[Foreign]] | None:
        return self._connection if annotation is Foreign else None

    @asynccontextmanager
    async def _connection(self, ctx: JobContext) -> AsyncIterator[Foreign]:
        assert self._app is not None, "jobs run while the app is started"
        async with (
            self._app.connection() as connection,
            connection.transaction(isolation="read_committed"),
        ):
            foreign = Foreign(connection)
            ctx.complete_in(foreign)
            yield foreign
