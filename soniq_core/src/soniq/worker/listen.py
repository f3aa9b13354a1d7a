"""Wake-ups: a connection that listens; when it is lost, polling goes on beneath it until it is
back.
"""

import asyncio
from typing import TYPE_CHECKING

import asyncpg

from soniq.errors import DatabaseError
from soniq.postgres.connections import close_quietly
from soniq.postgres.driver_errors import CONNECTION_ERRORS
from soniq.worker.background import BackgroundLoop, Pauses
from soniq.worker.polling import Poller
from soniq.worker.services import Services

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

ALIVE = 30.0
"""Seconds without a notification after which the connection is tried: a dead network says nothing
by itself.
"""


class Listener(BackgroundLoop):
    """Hands what is notified to the poller."""

    def __init__(self, services: Services, poller: Poller) -> None:
        super().__init__("listen")
        self._database = services.database
        self._channel = services.settings.schema
        self._poller = poller
        self._notifier = services.notifier
        self._pauses = Pauses(0.1, 10.0)

    async def turn(self) -> float:
        """Listen until the connection is lost."""
        connection = None
        try:
            connection = await self._database.connect()
            await self._listen(connection)
        finally:
            await close_quietly(connection)
        return self._pauses.take()

    async def _listen(self, connection: "Connection") -> None:
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _: gone.set())
        await connection.add_listener(self._channel, self._on_notification)
        self._poller.notified([])  # whatever came while nobody listened
        self._pauses.reset()

        while not gone.is_set():
            try:
                async with asyncio.timeout(ALIVE):
                    await gone.wait()
            except TimeoutError:
                await connection.execute("select 1")

    def failed(self, error: BaseException) -> float:
        """The connection was lost, or none could be made."""
        if not isinstance(error, (DatabaseError, asyncpg.PostgresError, *CONNECTION_ERRORS)):
            raise error
        self._database.lost(error, "not listening, and polling instead")
        return self._pauses.take()

    def _on_notification(
        self, _connection: object, pid: int, _channel: str, payload: object
    ) -> None:
        if pid != self._notifier.pid:  # what its own app sends it has heard before
            self._poller.hear(str(payload).split("\n") if payload else [])
