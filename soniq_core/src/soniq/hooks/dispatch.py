"""How hooks are called: implementations compiled into plain tuples, observers isolated, waiting
ones limited.

An implementation that does not wait costs no timer: its coroutine is stepped once, and the timer is
armed only if it is not finished then.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from types import CoroutineType, TracebackType
from typing import Any, cast

from soniq.errors import HookTimeout, PluginError
from soniq.hooks.implementation import Implementation, fail
from soniq.job.context import JobContext, log_fields
from soniq.signals import Signal
from soniq.tracebacks import shown, without_traceback

log = logging.getLogger("soniq.hooks")

HANGS_AFTER = 300.0
"""Seconds after which entering or leaving a provider, or a call of a result store, is given up."""


class Observers:
    """A hook of observers: each is called in turn, none harms the job, and the first signal is
    handed back.
    """

    __slots__ = ("_calls", "_hook", "_limit", "_obeys")

    def __init__(
        self,
        hook: str,
        implementations: Sequence[Implementation],
        *,
        limit: float,
        obeys: bool = False,
    ) -> None:
        self._hook = hook
        self._calls = tuple((each.plugin, each.call) for each in implementations)
        self._limit = limit
        self._obeys = obeys

    def __bool__(self) -> bool:
        return bool(self._calls)

    async def __call__(self, *values: object) -> Signal | None:
        """Call all; the first signal that one of them raised, if the hook obeys signals."""
        first: Signal | None = None
        for plugin, call in self._calls:
            try:
                waiting = call(*values)
                if type(waiting) is CoroutineType:
                    # As in `within_limit`, whose own coroutine would cost more than most hooks do
                    try:
                        waits_for = waiting.send(None)
                    except StopIteration:
                        continue
                    await _finished(waiting, waits_for, self._limit)
                elif waiting is not None:
                    await within_limit(waiting, self._limit)
            except Signal as signal:
                if not self._obeys:
                    log.warning(
                        "%s of %s raised %r, which has no effect there", self._hook, plugin, signal,
                        extra=_about(values),
                    )  # fmt: skip
                elif first is None:
                    first = without_traceback(signal)
            except BaseException as error:
                if cancels_task(error):
                    raise
                log.error(
                    "%s of %s failed: %s",
                    self._hook,
                    plugin,
                    shown(error),
                    exc_info=error,
                    extra=_about(values),
                )

        return first


def _about(values: Sequence[object]) -> dict[str, object] | None:
    """The fields of a log record about what a hook was called with, where that is one attempt."""
    ctx = values[0] if values else None
    return log_fields(ctx, ctx.worker_id) if isinstance(ctx, JobContext) else None


class FirstResult:
    """A hook where the first result wins; the others are not asked."""

    __slots__ = ("calls",)

    def __init__(self, implementations: Sequence[Implementation]) -> None:
        self.calls = tuple((each.plugin, each.call) for each in implementations)

    async def __call__(self, *values: object) -> Any:
        for _, call in self.calls:
            result = call(*values)
            if result is not None:
                result = await resolved(result)
            if result is not None:
                return result
        return None


async def answer(
    hook: str,
    each: Implementation,
    values: Sequence[object],
    seconds: float,
    setting: str = " (hook_timeout)",
) -> Any:
    """What an implementation returns, within so many seconds where it waits. Its error goes to
    who asks: others than Soniq's as `PluginError`.
    """
    try:
        result = each.call(*values)
        if not inspect.isawaitable(result):
            return result
        return await within_limit(result, seconds, setting)
    except BaseException as error:
        if cancels_task(error):
            raise
        if isinstance(error, HookTimeout):
            text = f"{hook} of {each.plugin} failed: {error}"
            raise PluginError(text, plugin=each.plugin) from error
        fail(hook, each.plugin, error)


class Manager:
    """One implementation's context manager: an (async) generator function, or a function that
    returns a manager.
    """

    __slots__ = ("_enter", "plugin")

    def __init__(self, each: Implementation) -> None:
        self.plugin = each.plugin
        self._enter = _as_manager(each)

    async def enter(self, *values: object) -> "Exit | None":
        """Enter it; None where the implementation wants no part in this one."""
        manager = self._enter(*values)
        if manager is None:
            return None
        if inspect.isawaitable(manager) and not hasattr(manager, "__aenter__"):
            manager = await manager
            if manager is None:
                return None
        # Of a generator function that was wrapped.
        if inspect.isasyncgen(manager) or inspect.isgenerator(manager):
            wrap: Any = asynccontextmanager if inspect.isasyncgen(manager) else contextmanager
            manager = wrap(lambda generator=manager: generator)()

        if hasattr(manager, "__aenter__"):
            await manager.__aenter__()
            return manager.__aexit__  # type: ignore[no-any-return]
        manager.__enter__()
        return manager.__exit__  # type: ignore[no-any-return]


Exit = Callable[
    [type[BaseException] | None, BaseException | None, TracebackType | None],
    "Awaitable[bool | None] | bool | None",
]


async def leave(entered: Exit, error: BaseException | None) -> bool:
    """Leave a context manager with an error, or none. Whether it swallowed the error."""
    result = entered(type(error) if error else None, error, error.__traceback__ if error else None)
    return bool(await resolved(result))


class Around:
    """The context managers of a hook, entered in order, left in reverse; leaving never changes what
    happened.
    """

    __slots__ = ("_hook", "_limit", "_managers")

    def __init__(
        self, hook: str, implementations: Sequence[Implementation], *, limit: float
    ) -> None:
        self._hook = hook
        self._limit = limit
        self._managers = tuple(Manager(each) for each in implementations)

    def __bool__(self) -> bool:
        return bool(self._managers)

    async def enter(self, entered: list[tuple[str, Exit]], *values: object) -> None:
        """Enter all, within the limit, and note those entered in `entered`, also when one of them
        raises.
        """
        await within_limit(self._enter(entered, *values), self._limit)

    async def _enter(self, entered: list[tuple[str, Exit]], *values: object) -> None:
        for manager in self._managers:
            leaving = await manager.enter(*values)
            if leaving is not None:
                entered.append((manager.plugin, leaving))

    async def leave(
        self, entered: list[tuple[str, Exit]], error: BaseException | None, *values: object
    ) -> None:
        """Leave all, in reverse; what they raise is logged. `values` are what they were entered
        with.
        """
        while entered:
            plugin, leaving = entered.pop()
            try:
                await within_limit(leave(leaving, error), self._limit)
            except BaseException as failure:
                if cancels_task(failure) and failure is not error:
                    raise
                if failure is not error:
                    log.error(
                        "%s of %s failed while leaving: %s", self._hook, plugin, shown(failure),
                        exc_info=failure, extra=_about(values),
                    )  # fmt: skip


def _as_manager(each: Implementation) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(each.function):
        return asynccontextmanager(each.call)
    if inspect.isgeneratorfunction(each.function):
        return contextmanager(each.call)
    return each.call


async def resolved(value: object) -> Any:
    """What a function returned that may be `def` or `async def`."""
    return await value if inspect.isawaitable(value) else value


def cancels_task(error: BaseException) -> bool:
    """Whether an error is the `CancelledError` with which somebody ends the current task, and not a
    plugin's own.
    """
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def within_limit(
    waiting: Awaitable[Any], seconds: float, setting: str = " (hook_timeout)"
) -> Any:
    """Await what an observer returned; `HookTimeout` if it is not finished after `seconds`.

    The coroutine is stepped here first, in the same task and context. Only if it waits is a timer
    armed. One that goes on all the same, when it is cancelled, is left where it waits after as long
    again.
    """
    if not inspect.iscoroutine(waiting):
        if not inspect.isawaitable(waiting):
            raise TypeError(
                f"it returned {waiting!r}; what an observer returns has no effect, so it returns"
                " nothing"
            )
        waiting = _await(waiting)
    coroutine = cast("Coroutine[Any, Any, object]", waiting)
    try:
        first = coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    return await _finished(coroutine, first, seconds, setting)


async def unless_it_hangs(waiting: Awaitable[Any], what: str) -> Any:
    """Await a provider or a result store, which may take longer than an observer; `HookTimeout`,
    saying what it was, where it hangs.
    """
    return await within_limit(waiting, HANGS_AFTER, f": {what}")


async def _finished(
    coroutine: Coroutine[Any, Any, object],
    first: object,
    seconds: float,
    setting: str = " (hook_timeout)",
) -> Any:
    """What a coroutine returns that was stepped by hand, and now waits for `first`; `HookTimeout`
    if it is not finished after `seconds`.
    """
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            return await _Resumed(coroutine, first, timer, seconds)
    except TimeoutError as error:
        if timer.expired():
            raise HookTimeout(f"it waited longer than {seconds:g} s{setting}") from error
        raise


async def _await(waiting: Awaitable[object]) -> object:
    return await waiting


class _Resumed:
    """Goes on with a coroutine that was stepped by hand and now waits for `first`."""

    __slots__ = ("_coroutine", "_first", "_left", "_seconds", "_timer")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, object],
        first: object,
        timer: asyncio.Timeout,
        seconds: float,
    ) -> None:
        self._coroutine = coroutine
        self._first = first
        self._timer = timer
        self._seconds = seconds
        self._left = False  # whether it had its time twice

    def _leave(self, task: "asyncio.Task[Any]") -> None:
        self._left = True
        task.cancel()

    def __await__(self) -> Generator[Any, Any, object]:
        waits_for, value, thrown = self._first, None, None
        last: asyncio.TimerHandle | None = None
        try:
            while True:
                try:
                    value = yield waits_for
                except BaseException as error:
                    thrown = error
                if thrown is not None and self._left:
                    with suppress(BaseException):
                        self._coroutine.close()
                    _task().uncancel()
                    raise thrown

                try:
                    waits_for = (
                        self._coroutine.throw(thrown) if thrown else self._coroutine.send(value)
                    )
                except StopIteration as stop:
                    return stop.value

                thrown = None
                if last is None and self._timer.expired():
                    last = asyncio.get_running_loop().call_later(
                        self._seconds, self._leave, _task()
                    )
        finally:
            thrown = None  # breaks the cycle: error, traceback, this frame, error
            if last is not None:
                last.cancel()


def _task() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task is not None
    return task
