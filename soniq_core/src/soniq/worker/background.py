"""The base of all loops beside a worker's own: started, stopped, slowed down where they fail."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from soniq.hooks.dispatch import cancels_task

log = logging.getLogger("soniq.worker")

FIRST_TURN = 0.25
"""Seconds, about, until a worker begins with what it does beside its jobs: the jobs come first, and
one that ends at once pays for nothing else.
"""
STOP_LIMIT = 5.0
"""Seconds that loops have to end once they are cancelled."""


class Pauses:
    """How long to wait after each failure in a row: `first` seconds, then twice as long each time,
    `longest` at most.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self.next = first

    def reset(self) -> None:
        """It went well: begin again with the first."""
        self.next = self._first

    def take(self) -> float:
        """The pause to be made now."""
        pause = self.next
        self.next = min(pause * 2, self._longest)
        return pause


class BackgroundLoop:
    """Takes turn after turn, in a task of its own, until it is stopped or has no more to do; the
    first after about so many seconds.
    """

    def __init__(self, name: str, *, after: float = 0.0) -> None:
        self.name = name
        self._after = after
        self._task: asyncio.Task[None] | None = None

    async def turn(self) -> float | None:
        """Do the work once; seconds until the next turn, or None where there is no more to do."""
        raise NotImplementedError

    def failed(self, error: BaseException) -> float | None:
        """Log what a turn raised; seconds until the next, or None to end. What it raises ends the
        loop.
        """
        raise error

    async def ended(self) -> None:
        """Clean up; called once the last turn is over, also where the loop was cancelled."""

    # --- its life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to take turns, unless it does already."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self.run(), name=f"soniq {self.name}")

    def cancel(self) -> None:
        """Have it end, and do not wait for that."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """Have it end, and wait for that, for some seconds at most."""
        await stop_all([self])

    async def join(self) -> None:
        """Wait until it has ended."""
        if self._task is not None:
            await self._task

    async def run(self) -> None:
        """Take turns in the current task."""
        try:
            if self._after:
                await self.rest(self._after * random.uniform(0.8, 1.2))
            while True:
                pause = await self._turn()
                if pause is None:
                    return
                await self.rest(pause)
        finally:
            await self.ended()

    async def rest(self, seconds: float) -> None:
        """Wait for the next turn."""
        await asyncio.sleep(seconds)

    async def _turn(self) -> float | None:
        try:
            return await self.turn()
        except BaseException as error:
            if cancels_task(error):
                raise
            return self.failed(error)


async def stop_all(loops: Sequence[BackgroundLoop]) -> None:
    """Have loops end, and wait until they have, together, for `STOP_LIMIT` at most."""
    tasks = [loop._task for loop in loops if loop._task is not None]
    for task in tasks:
        task.cancel()
    if tasks:
        _, pending = await asyncio.wait(tasks, timeout=STOP_LIMIT)
        for task in pending:
            log.error("%s did not end when it was cancelled", task.get_name())


async def repeat(turn: Callable[[], Awaitable[float]]) -> None:
    """Take turns until cancelled, or until one fails; each says how many seconds to wait then."""
    while True:
        pause = await turn()
        await asyncio.sleep(pause)
