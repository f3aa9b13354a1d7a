"""Tasks that handlers make: one that leaves the program (`sys.exit`) fails, as a handler that does
so itself. Left to asyncio, it would end the event loop, and with it the worker and all beside it.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any

from soniq.errors import SoniqError

if TYPE_CHECKING:
    from soniq.postgres.database import Database

log = logging.getLogger("soniq.worker")

of_a_handler: ContextVar["Database | None"] = ContextVar("soniq_of_a_handler", default=None)
"""The database of the worker whose handler began what runs; None where no handler did."""


class TaskLeft(SoniqError):
    """A task that a handler made raised `SystemExit`, which is the cause of this."""


def contain(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Keep tasks that handlers make in this loop from ending it, until the function that is
    returned is called.

    Another factory of the loop goes on to make the tasks.
    """
    factory: Any = loop.get_task_factory()
    if not isinstance(factory, _Factory):
        factory = _Factory(factory)
        loop.set_task_factory(factory)
    factory.workers += 1

    def release() -> None:
        factory.workers -= 1
        now: Any = loop.get_task_factory()
        if not factory.workers and now is factory:
            loop.set_task_factory(factory.before)

    return release


class _Factory:
    """Makes the tasks of a loop while it has workers."""

    def __init__(self, before: Any) -> None:
        self.before = before
        self.workers = 0

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **keywords: Any
    ) -> "asyncio.Future[Any]":
        if self.workers and of_a_handler.get() is not None:
            coroutine = _Contained(coroutine)
        if self.before is not None:
            made: asyncio.Future[Any] = self.before(loop, coroutine, **keywords)
            return made
        return asyncio.Task(coroutine, loop=loop, **keywords)


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine that raises `TaskLeft` where the one inside it raises `SystemExit`."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)  # what debuggers and `Task.get_stack` look at

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        try:
            return self._coroutine.send(value)
        except SystemExit as error:
            raise _left(error) from error

    def throw(
        self,
        kind: Any,
        value: Any = None,
        trace: TracebackType | None = None,
    ) -> Any:
        try:
            return self._coroutine.throw(kind if value is None else value)
        except SystemExit as error:
            raise _left(error) from error

    def close(self) -> None:
        self._coroutine.close()


def _left(error: SystemExit) -> TaskLeft:
    log.error("a task that a handler made raised SystemExit, which does not end the worker")
    return TaskLeft(f"a task raised SystemExit ({error.code!r:.200})")
