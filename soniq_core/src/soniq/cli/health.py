"""Signs of life of a worker whose loop is not stuck: `--health-file`, and systemd's watchdog."""

import asyncio
import logging
import os
import socket
from pathlib import Path

from soniq.app import Soniq

log = logging.getLogger("soniq.worker")

INTERVAL = 1.0
"""Seconds between two signs of life."""
MARGIN = 10.0
"""Seconds beyond those that one turn of the loop may take, with a database that is slow or away."""


class Health:
    """Touches a file, and tells systemd, while no worker's loop in the process is stuck."""

    def __init__(self, app: Soniq, file: Path | None) -> None:
        self._app = app
        self._file = file
        # Both are taken away from processes that handlers start
        self._socket = os.environ.pop("NOTIFY_SOCKET", None)
        self._watched = os.environ.pop("WATCHDOG_USEC", None) is not None
        self._told = False

    @property
    def wanted(self) -> bool:
        """Whether anybody looks."""
        return self._file is not None or self._socket is not None

    async def run(self) -> None:
        """Give signs of life until it is cancelled."""
        settings = self._app.settings
        waits = settings.connect_timeout + settings.command_timeout
        longest = 1.2 * settings.poll_interval + waits + MARGIN

        try:
            while True:
                since = self._app.since_last_turn()
                if since is None or since < longest:  # none: it waits for its database, or ends
                    self._live()
                else:
                    log.error(
                        "the loop of the worker has made no progress for %.0f s",
                        since,
                    )
                await asyncio.sleep(INTERVAL)
        finally:
            if self._file is not None and not _is_something_else(self._file):
                self._file.unlink(missing_ok=True)

    def _live(self) -> None:
        if self._file is not None:
            try:
                self._file.touch()
            except OSError as error:
                log.error("the health file %s cannot be touched: %s", self._file, error)

        told = ["WATCHDOG=1"] if self._watched else []
        if not self._told:
            told.append("READY=1")
        self._told = True
        if told and self._socket is not None:
            address = f"\0{self._socket[1:]}" if self._socket.startswith("@") else self._socket
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                    channel.setblocking(False)
                    channel.sendto("\n".join(told).encode(), address)
            except OSError as error:
                log.warning("systemd cannot be notified: %s", error)


def _is_something_else(file: Path) -> bool:
    """Whether it is a device, a pipe or a socket, as /dev/null is: not made here, nor to be
    removed.
    """
    return file.exists() and not file.is_file()
