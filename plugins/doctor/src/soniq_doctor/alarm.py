"""The horizon alarm: names who keeps PostgreSQL from cleaning up, and again whenever it has lasted
twice as long.
"""

import asyncio
import logging
import random
import time

import msgspec

from soniq import Soniq

from .horizon import HorizonHolder, described, holders

log = logging.getLogger("soniq.doctor")

SHORTEST, LONGEST = 0.5, 30.0
"""Seconds between two looks."""


class Seen(msgspec.Struct):
    """A holder as it was seen: since when, and for how many seconds it may go on before it is told
    next.
    """

    since: float
    patience: float


class HorizonAlarm:
    """Watches what keeps PostgreSQL from cleaning up; `limit` in seconds."""

    def __init__(self, app: Soniq, limit: float) -> None:
        self._app = app
        self._limit = limit
        self._seen: dict[tuple[str, str, str], Seen] = {}

    async def run(self) -> None:
        """Look again and again, about twice in the time that a holder has."""
        while True:
            self.look(await holders(self._app))
            await asyncio.sleep(
                min(LONGEST, max(SHORTEST, self._limit / 2)) * random.uniform(0.8, 1.0)
            )

    def look(self, found: list[HorizonHolder]) -> None:
        """Tell of those that have held on for too long; where PostgreSQL does not say, since they
        were first seen.
        """
        now, before, self._seen = time.monotonic(), self._seen, {}
        for holder in found:
            key = (holder["kind"], holder["name"], holder["xid"])
            seen = self._seen[key] = before.get(key) or Seen(now, self._limit)
            seconds = now - seen.since if holder["seconds"] is None else holder["seconds"]
            if seconds >= seen.patience:
                seen.patience = 2 * seconds
                log.warning(
                    "vacuum has been held back for %.0f s, and claims get slower: %s",
                    seconds,
                    described(holder),
                )
