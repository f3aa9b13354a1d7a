"""Calls that are awaited in one event loop and run in another: that in which the app is in use."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from soniq.errors import AppClosed


class InLoop(Protocol):
    """What belongs to one event loop, once it is in use."""

    def _loop_elsewhere(self) -> asyncio.AbstractEventLoop | None:
        """The running event loop of another thread in which it is in use."""
        ...


P = ParamSpec("P")
T = TypeVar("T")
Caller = TypeVar("Caller", bound=InLoop)

CHECK_INTERVAL = 1.0
"""Seconds between two looks whether the other event loop still runs."""


def bridged(
    method: Callable[Concatenate[Caller, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Caller, P], Coroutine[Any, Any, T]]:
    """The same method, for callers in any event loop, as long as that of the app runs in another
    thread.
    """

    @wraps(method)
    def call(app: Caller, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        if asyncio._get_running_loop() is None:  # as in `asyncio.run(app.enqueue(...))`
            later = awaited(app, *args, **kwargs)
            # Where nobody awaits it, Python names it
            later.__qualname__ = method.__qualname__  # type: ignore[attr-defined] # as all have
            return later
        there = app._loop_elsewhere()
        coroutine = method(app, *args, **kwargs)
        return coroutine if there is None else _across(coroutine, there)

    async def awaited(app: Caller, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Made before there was an event loop: which one it is shows where it is awaited."""
        return await call(app, *args, **kwargs)

    return call


async def _across(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Await a coroutine that runs in another thread's event loop, in a copy of this task's
    context.
    """
    try:
        future = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))
    except RuntimeError as error:
        coroutine.close()
        raise _closed() from error
    try:
        while not (await asyncio.wait([future], timeout=CHECK_INTERVAL))[0]:
            if not loop.is_running():
                raise _closed()
    finally:
        future.cancel()  # where this task was cancelled; of one that is done nothing is changed

    if future.cancelled():
        raise _closed()
    value = future.result()
    return _chunks(value, loop) if isinstance(value, AsyncIterator) else value  # type: ignore[return-value] # as it was


async def _chunks(
    chunks: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop
) -> AsyncIterator[bytes]:
    async def following() -> bytes | None:
        return await anext(chunks, None)

    try:
        while (chunk := await _across(following(), loop)) is not None:
            yield chunk
    finally:
        close: Callable[[], Coroutine[Any, Any, None]] | None = getattr(chunks, "aclose", None)
        if close is not None:
            await _across(close(), loop)


def _closed() -> AppClosed:
    return AppClosed(
        "the app, or the event loop that it is in use in, was closed before this call was done;"
        " where each call comes from an event loop that ends with it (asyncio.run, async views of"
        " Flask), call app.sync.start() first, and the app lives in a thread of its own"
    )
