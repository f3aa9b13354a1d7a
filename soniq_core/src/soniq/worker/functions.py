"""The functions that plugins have in the database, some of which do not work."""

import logging
import math
import time

import asyncpg

from soniq.postgres.driver_errors import LOCK_ERRORS, words

log = logging.getLogger("soniq.worker")

AWAY = 60.0
"""Seconds for which the hook is called in place of a function that failed."""


class Functions:
    """Those that failed lately. What they do is done by the hooks meanwhile, so that not each
    statement fails once more.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def works(self, function: str) -> bool:
        """Whether a function can be called: it has not failed lately."""
        return time.monotonic() >= self._until.get(function, -math.inf)

    def failed(self, function: str, plugin: str, hook: str, error: asyncpg.PostgresError) -> None:
        """Log that a function failed, and call the hook for a while; not where it met a lock, which
        will be gone.
        """
        if not isinstance(error, LOCK_ERRORS):
            self._until[function] = time.monotonic() + AWAY
            log.info(
                "%s of %s failed, %s is called in its place for %g s: %s",
                function,
                plugin,
                hook,
                AWAY,
                words(error),
            )
