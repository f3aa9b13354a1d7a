"""Waiting for what must come, with a limit."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

LIMIT = 20.0
"""Seconds after which what a test waits for will not come any more."""


async def eventually(ask: Callable[[], Awaitable[T]], limit: float = LIMIT) -> T:
    """The first answer that is true; the test fails where none is in time. It asks less often the
    longer it waits.
    """
    ends = time.monotonic() + limit
    pause = 0.01
    while True:
        answer = await ask()
        if answer:
            return answer
        assert time.monotonic() < ends, "it did not happen in time"
        await asyncio.sleep(pause)
        pause = min(pause * 1.4, 0.1)


async def in_time(awaited: Awaitable[T], limit: float = LIMIT) -> T:
    """Await something that must come."""
    return await asyncio.wait_for(awaited, limit)
