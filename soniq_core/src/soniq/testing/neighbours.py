"""Plugins that stand beside the one that is checked, and misbehave wherever the contract says that it is borne."""

import asyncio
from collections.abc import AsyncIterator

from soniq.hooks.markers import hookimpl
from soniq.hooks.values import Task
from soniq.job import JobContext

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
    """Waits in the observers until it is ended: for some jobs in each, and once in those of batches."""

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
