"""The connection that a writer keeps between INSERTs that follow each other closely."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from soniq.postgres.connections import Checkout
from soniq.postgres.database import Database

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

KEEP = 0.02
"""Seconds after which a connection goes back to the pool if nothing was written meanwhile: to take
one from there and to give it back takes about as long as the INSERT of one job.
"""
SMALL_POOL = 4
"""Of a pool with fewer connections none is kept or spared: others may wait for it."""


class KeptConnection:
    """A connection of the pool, which stays here for some hundredths of a second after its use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keeps = database.settings.pool_size >= SMALL_POOL
        self._kept: Checkout | None = None
        self._used = False
        self._timer: asyncio.TimerHandle | None = None
        self._returning: set[asyncio.Task[None]] = set()

    def take(self) -> Checkout | None:
        """The connection that is kept, for one user; None where none is."""
        kept, self._kept = self._kept, None
        return kept

    @asynccontextmanager
    async def acquire(self) -> "AsyncIterator[Connection]":
        """The connection that is kept, or one of the pool. Raises as `Database.acquire` does; after
        an error it is given back.
        """
        checkout = self.take() or await self._database.check_out()
        try:
            yield checkout.connection
        except BaseException as error:
            await self.leave(checkout, error)
            raise
        await self.leave(checkout)

    async def leave(self, checkout: Checkout, error: BaseException | None = None) -> None:
        """Keep a connection after its use, which ended with this error, or give it back."""
        if error is not None or not self._keep(checkout):
            await self._database.check_in(checkout, error)

    async def close(self) -> None:
        """Give the connection back, and keep none any more."""
        self._keeps = False
        if self._timer is not None:
            self._timer.cancel()
        await self._give_back()
        if self._returning:
            await asyncio.wait(self._returning)

    def _keep(self, checkout: Checkout) -> bool:
        """Keep a connection after its use, where none is kept yet; whether it is."""
        if self._kept is not None or not self._keeps:
            return False

        self._kept, self._used = checkout, True
        if self._timer is None:
            self._look_later()
        return True

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(KEEP, self._look)

    def _look(self) -> None:
        """Give the connection back if it was not used since the last look."""
        self._timer = None
        if self._used:
            self._used = False
            self._look_later()
        elif self._kept is not None:
            task = asyncio.create_task(self._give_back(), name="soniq outbox")
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)

    async def _give_back(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            await self._database.check_in(kept)
