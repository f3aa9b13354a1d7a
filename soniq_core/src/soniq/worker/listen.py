"""Wake-ups: a connection that listens; when it is lost, polling goes on beneath it until it is back."""

import asyncio
import logging
from collections.abc import Callable

import asyncpg

from soniq.errors import DatabaseError
from soniq.postgres.connections import LOST, Database, close_quietly

log = logging.getLogger("soniq.worker")


class Listener:
    """Calls `heard` with each message: the lines of a notification, or an empty list for "anything"."""

    def __init__(self, database: Database, heard: Callable[[list[str]], None]) -> None:
        self._database = database
        self._channel = database.settings.schema
        self._heard = heard

    async def run(self) -> None:
        """Listen until cancelled."""
        pause = 0.1
        while True:
            connection = None
            try:
                connection = await self._database.connect()
                gone = asyncio.Event()
                connection.add_termination_listener(lambda _, gone=gone: gone.set())
                await connection.add_listener(self._channel, self._on_notification)
                self._heard([])  # whatever came while nobody listened
                pause = 0.1
                while not gone.is_set():
                    try:
                        async with asyncio.timeout(30):
                            await gone.wait()
                    except TimeoutError:
                        await connection.execute("select 1")  # a dead network says nothing by itself
            except (DatabaseError, asyncpg.PostgresError, *LOST) as error:
                log.warning("not listening, and polling instead: %s", str(error) or type(error).__name__)
            finally:
                await close_quietly(connection)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10.0)

    def _on_notification(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._heard(str(payload).split("\n") if payload else [])
