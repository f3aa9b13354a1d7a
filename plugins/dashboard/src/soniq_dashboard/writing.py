"""Writing what was counted: one statement each minute, which adds it to three tiers, and tells how
much memory the process takes.
"""

import asyncio
import itertools
import logging
import os
import random
import socket
from collections.abc import Mapping
from contextlib import suppress
from operator import itemgetter
from uuid import uuid4

import msgspec

from soniq import Soniq
from soniq.plugin import resident_memory

from .counters import WAYS, Counters, Counts, Key, Series
from .database import NAME, statement

log = logging.getLogger("soniq.dashboard")

TIERS = (1, 10, 60)
"""Of how many minutes the rows are that counts are added to."""
LAST = 3.0
"""Seconds that the last writing of a worker may take, of the five that its tasks have to end."""


class Writer:
    """Writes what was counted, in each worker, and in a process without one with each batch."""

    def __init__(self, app: Soniq, counters: Counters, interval: float) -> None:
        self._app = app
        self._counters = counters
        self._interval = interval
        self._process = uuid4()
        self._workers = 0
        self._failing = False  # whether it was said that nothing can be written

    @property
    def goes_on(self) -> bool:
        """Whether a worker of this process writes now and then."""
        return self._workers > 0

    async def run(self) -> None:
        """Write now and then, beside a worker, and once more at its end."""
        self._workers += 1
        writing: asyncio.Task[None] | None = None
        try:
            # Each at a time of its own, so that many workers do not write at once
            pause = random.uniform(0, self._interval)
            await self.learn_the_time()
            while True:
                await asyncio.sleep(pause)
                writing = asyncio.create_task(self.write())
                await asyncio.shield(writing)  # one that is broken off may be written twice
                pause = self._interval
        finally:
            self._workers -= 1
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST):
                    if writing is not None:
                        await writing
                    await self.write()

    async def learn_the_time(self) -> None:
        """Ask the database what time it is."""
        try:
            await self._send([])
        except Exception as error:
            self._tell(error)

    async def write(self) -> None:
        """Write what was counted, and beside a worker how much memory that takes; keep what was
        counted where that fails.
        """
        if not self._counters and not self.goes_on:
            return
        if not self._counters.knows_the_time:
            await self.learn_the_time()
        if not self._counters.knows_the_time:
            return

        taken = self._counters.take()
        try:
            await self._send(rows_of(taken))
        except BaseException as error:
            dropped = self._counters.put_back(taken)
            if not isinstance(error, Exception):
                raise
            self._tell(error)
            if dropped:
                log.debug("the counts of %d minutes are dropped", dropped)
        else:
            self._failing = False

    async def _send(self, rows: list[dict[str, object]]) -> None:
        async with self._app.connection() as connection:
            sql = statement(self._app.plugin_schema(NAME), "add")
            (row,) = await connection.fetch(
                sql,
                msgspec.json.encode(rows).decode(),
                self._process,
                socket.gethostname(),
                os.getpid(),
                resident_memory() if self.goes_on else None,
            )
        self._counters.set_clock(row["now"])

    def _tell(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            log.warning(
                "what jobs did cannot be written; it is kept for the last ten minutes (said once,"
                " until it can be written again): %s: %s",
                type(error).__name__,
                error,
            )


def rows_of(taken: Mapping[int, Series]) -> list[dict[str, object]]:
    """What was counted as rows of all tiers, in the order of their key, in which everyone locks
    them.
    """
    sums: dict[tuple[int, int, Key], Counts] = {}
    for (minute, series), tier in itertools.product(taken.items(), TIERS):
        at = minute // tier * tier
        for key, counts in series.items():
            sums.setdefault((tier, at, key), Counts()).add(counts)
    return [
        {
            "tier": tier,
            "at": at * 60,
            "queue": queue,
            "name": name,
            **dict(zip(WAYS, counts.ways, strict=True)),
            "took": counts.took,
            "waited": counts.waited,
            "took_buckets": _short(counts.took_buckets),
            "waited_buckets": _short(counts.waited_buckets),
        }
        for (tier, at, (queue, name)), counts in sorted(sums.items(), key=itemgetter(0))
    ]


def _short(buckets: list[int]) -> list[int]:
    """Without the empty ones at the end."""
    end = len(buckets)
    while end and not buckets[end - 1]:
        end -= 1
    return buckets[:end]
