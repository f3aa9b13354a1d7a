"""What is logged of a database that is unavailable: a line when that begins, one when it ends, and
the rest at debug.
"""

import logging
import threading
import time

log = logging.getLogger("soniq.database")

FULL_FOR = 60.0
"""Seconds in which it is said once that the server takes no more connections."""


class Outage:
    """Whether a database is unavailable. Any thread may tell it.

    An echo is a connection that was made before an outage and is found broken after it. Within
    `echoes` seconds of the outage's beginning it is logged at debug, and is no outage of its own.

    A database that can only be read is unavailable, too. Where it is found so amid another outage,
    that is logged as a second warning; where it was the reason of the last outage, connections
    that can only read are echoes like others. A server that takes no more connections is not
    unavailable: it answers on those that there are.
    """

    def __init__(self, place: str, echoes: float) -> None:
        self._place = place
        self._echoes = echoes
        self._since: float | None = None
        self._echoes_end = -1.0
        self._read_only = False
        self._last_was_read_only = False
        self._full_until = -1.0
        self._lock = threading.Lock()

    @property
    def on(self) -> bool:
        """Whether the database is known to be away."""
        return self._since is not None

    def lost(
        self, what: str, *, session: bool = False, read_only: bool = False, full: bool = False
    ) -> None:
        """A connection was lost, or none was made; `what` says what was met, and what follows.

        `session`: there was one, and it broke. `read_only`: it could read only, so that the
        database is back with the next answer to something that writes. `full`: the server, or the
        role, has too many.
        """
        now = time.monotonic()
        if full and self._since is None:
            self._tell_full(what, now)
            return

        with self._lock:
            first = self._since is None
            news = read_only and not self._last_was_read_only
            echo = first and session and not news and now < self._echoes_end
            if first and not echo:
                self._since, self._echoes_end = now, now + self._echoes
            turned = not first and read_only and not self._read_only
            if not echo:
                self._read_only = self._read_only or read_only

        if echo:
            log.debug("another connection to %s was lost: %s", self._place, what)
        elif first:
            log.warning("PostgreSQL at %s is unavailable: %s", self._place, what)
        elif turned:
            log.warning("PostgreSQL at %s is still unavailable: %s", self._place, what)
        else:
            log.debug("PostgreSQL at %s is still unavailable: %s", self._place, what)

    def _tell_full(self, what: str, now: float) -> None:
        with self._lock:
            first = now >= self._full_until
            if first:
                self._full_until = now + FULL_FOR
        level = logging.WARNING if first else logging.DEBUG
        log.log(level, "PostgreSQL at %s takes no more connections: %s", self._place, what)

    def over(self, asked: float, *, wrote: bool = False) -> None:
        """The server answered what was asked at `asked`, by the monotonic clock; `wrote`: that was
        something that writes.

        An answer to what was asked before the outage began does not end it: it may have been given
        before that, too.
        """
        if not self.on:
            return
        with self._lock:
            since = self._since
            if since is None or asked < since or (self._read_only and not wrote):
                return
            self._since = None
            self._last_was_read_only, self._read_only = self._read_only, False
        log.warning(
            "PostgreSQL at %s is available again after %.1f s",
            self._place,
            time.monotonic() - since,
        )
