"""Calls that block, each in a thread of its own.

They wait for each other's locks: in a pool, those that wait could take every thread that the holder
of the lock needs.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call in a thread, in a copy of this context.

    When it is cancelled it still waits for the thread, which uses a session.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="soniq session")
    called = asyncio.wrap_future(thread.submit(copy_context().run, partial(call, *args, **kwargs)))
    thread.shutdown(wait=False)
    try:
        return await asyncio.shield(called)
    except asyncio.CancelledError:
        await asyncio.wait([called])
        raise
