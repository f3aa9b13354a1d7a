"""Calls that are awaited in one event loop and run in another: that in which the app is in use.

Where event loops come and go, each with a call of its own, one of them ends while others' calls run
in it. From then on the app lives in the thread of `app.sync`, and what had not begun runs there.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from soniq.errors import AppClosed


class InLoop(Protocol):
    """What belongs to one event loop, once it is in use."""

    def _loop_elsewhere(self) -> asyncio.AbstractEventLoop | None:
        """The running event loop of another thread in which it is in use, or is to be used."""
        ...

    def _loop_in_use(self) -> asyncio.AbstractEventLoop | None:
        """The event loop in which it is in use, or being started, while that is not closed."""
        ...

    def _loop_has_ended(self) -> None:
        """The event loop in which it was in use has ended while calls from others ran in it."""
        ...

    async def _ready(self) -> object:
        """Have it in use."""
        ...


P = ParamSpec("P")
T = TypeVar("T")
Caller = TypeVar("Caller", bound=InLoop)

CHECK_INTERVAL = 1.0
"""Seconds between two looks whether the other event loop still runs."""
MOST_LOOPS = 10
"""How many event loops may end before a call has begun in one of them."""
LEFT_WITHIN = 5.0
"""Seconds in which an event loop that ends is closed, and the app in use in it is no more."""
LEFT_INTERVAL = 0.005
"""Seconds between two looks whether it is."""


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
        return coroutine if there is None else _carried(app, coroutine, there)

    async def awaited(app: Caller, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Made before there was an event loop: which one it is shows where it is awaited."""
        return await call(app, *args, **kwargs)

    return call


class BridgedCall(Generic[T]):
    """A call of an app that is to run in an event loop which may end, and whether it has begun: one
    that has may be done, or not.
    """

    def __init__(self, app: InLoop, coroutine: Coroutine[Any, Any, T]) -> None:
        self.app = app
        self.coroutine = coroutine
        self.has_begun = False
        self._ended = 0  # event loops in which it did not begin

    async def run(self) -> T:
        """Run it, once the app is in use."""
        await self.app._ready()
        self.has_begun = True
        return await self.coroutine

    def pauses(self, loop: asyncio.AbstractEventLoop) -> Iterator[float]:
        """Seconds to wait, again and again, until an event loop that has ended is left."""
        self.app._loop_has_ended()
        self._ended += 1
        ends = time.monotonic() + LEFT_WITHIN
        while not self.has_begun and self.is_bound_to(loop) and time.monotonic() < ends:
            yield LEFT_INTERVAL

    def is_bound_to(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it cannot run in another event loop."""
        in_use = self.app._loop_in_use() is loop
        return self.has_begun or in_use or self._ended > MOST_LOOPS

    def drop(self) -> None:
        """Leave a call that has not begun: nobody awaits it any more."""
        if not self.has_begun:
            with suppress(ValueError):  # it begins just now
                self.coroutine.close()


async def _carried(
    app: InLoop, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
) -> T:
    """Await a call in the event loop of the app; where that ends before the call has begun, in the
    one in which the app is in use then.
    """
    call = BridgedCall(app, coroutine)
    try:
        while True:
            try:
                return await _across(call.run(), loop)
            except AppClosed:
                for seconds in call.pauses(loop):
                    await asyncio.sleep(seconds)
                if call.is_bound_to(loop):
                    raise
            there = app._loop_elsewhere()
            if there is None:
                call.has_begun = True
                return await coroutine
            loop = there
    finally:
        call.drop()


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
