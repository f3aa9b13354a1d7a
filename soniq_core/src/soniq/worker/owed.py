"""What plugins are owed: events that they could not be told of in the transaction in which they
happened, told later, in a short transaction of a worker that has the plugin.
"""

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import msgspec

from soniq.errors import InvalidOption, PluginError
from soniq.hooks.in_transaction import InTransaction
from soniq.hooks.values import OwedEvent
from soniq.job.outcome import Outcome, decoded_headers
from soniq.postgres.connections import close_quietly, transaction
from soniq.postgres.driver_errors import CONNECTION_ERRORS
from soniq.postgres.holds import Freed, TxHolds
from soniq.postgres.notify import OWED, place_line
from soniq.postgres.schema import plugin_function
from soniq.tracebacks import shown
from soniq.worker.background import BackgroundLoop, stop_all
from soniq.worker.functions import Functions
from soniq.worker.lanes import Lanes
from soniq.worker.services import Services
from soniq.worker.settling.ways import LOSSES

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

log = logging.getLogger("soniq.worker")

BATCH = 500
"""The most events that a plugin is told of at once."""
PAUSE = 0.2
"""Seconds before the next try where a plugin fails."""
LONGEST_AWAY = 5.0
"""The longest pause where the database is away, in seconds."""
TELL_AGAIN = 60.0
"""Seconds between two messages that a plugin fails."""


class Deliveries:
    """Tells each plugin of an app that hears of it what it is owed."""

    def __init__(self, services: Services, lanes: Lanes) -> None:
        self._loops = [
            Delivery(services, lanes, plugin, hook) for plugin, hook in services.owed_tx.items()
        ]

    def start(self) -> None:
        """Begin to look for what is owed."""
        for loop in self._loops:
            loop.start()

    def hear(self) -> None:
        """Something may be owed now."""
        for loop in self._loops:
            loop.heard.set()

    async def deliver(self) -> int:
        """Tell of what is owed now, where no task does; how many events that were."""
        return sum([await loop.deliver_all() for loop in self._loops])

    async def stop(self) -> None:
        """Cancel all, and leave their connections."""
        await stop_all(self._loops)
        for loop in self._loops:
            await loop.ended()


class Delivery(BackgroundLoop):
    """Tells one plugin, a batch at a time; after an error ever less at once, until the event that
    it fails for is alone, and waits for a later time.
    """

    def __init__(self, services: Services, lanes: Lanes, plugin: str, hook: InTransaction) -> None:
        super().__init__(f"owed to {plugin}")
        self._services = services
        self._database = services.database
        self._lanes = lanes
        self._plugin = plugin
        self._hook = hook
        function = hook.functions.get(plugin)
        schema = services.settings.schema
        self._function = function and plugin_function(schema, plugin, function)
        self._connection: Connection | None = None
        self._functions = Functions()
        self._losses = 0
        self._most = BATCH
        self._away = PAUSE
        self._told = -math.inf  # when it was last logged that the plugin fails
        self.heard = asyncio.Event()
        """Set where something may be owed."""

    async def turn(self) -> float:
        """Tell of all that is owed now; seconds until the next look."""
        self.heard.clear()
        await self.deliver_all()
        self._away = PAUSE
        return self._services.settings.poll_interval

    async def deliver_all(self) -> int:
        """Tell of all that is owed now; how many events that were."""
        count = 0
        while told := await self._deliver():
            count += told
        return count

    async def rest(self, seconds: float) -> None:
        """Wait for the next look, or until something may be owed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.heard.wait()

    def failed(self, error: BaseException) -> float:
        """The database is away, or what is there cannot be read."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
        pause, self._away = self._away, min(self._away * 2, LONGEST_AWAY)
        if isinstance(error, Exception):
            self._database.lost(error, f"what {self._plugin} is owed is told later", pause)
            return pause
        raise error

    async def ended(self) -> None:
        """Leave the connection."""
        connection, self._connection = self._connection, None
        await close_quietly(connection)

    async def _deliver(self) -> int:
        """Tell of a batch; how many events that were. Where a function loses each connection, or
        takes too long each time, the hook is called instead.
        """
        function = self._function
        if not function or self._losses >= LOSSES or not self._functions.works(function):
            count = await self._call(BATCH)
            self._losses = 0
            return count
        told, left = await self._tell_in_sql(function)
        return told + (await self._call(left) if left else 0)

    async def _tell_in_sql(self, function: str) -> tuple[int, int]:
        """Let the plugin's function in the database do its part of a batch; how many events that
        were, and how many it has left.
        """
        connection = await self._ready()
        try:
            header, *places = await connection.fetch(
                self._database.sql["tell_owed"],
                self._plugin,
                function,
                BATCH,
                *self._lanes.cursors(),
            )
        except CONNECTION_ERRORS:
            self._losses += 1
            raise
        except asyncpg.PostgresError as error:
            self._functions.failed(function, self._plugin, "owed_tx", error)
            return 0, BATCH

        self._services.notifier.wake(
            OWED if queue is None else place_line(queue, *place) for _, _, queue, *place in places
        )
        self._losses = 0
        return header["r_told"], header["r_left"]

    async def _call(self, most: int) -> int:
        """Tell the hook of so many events at most; how many that were."""
        connection, freed = await self._ready(), Freed()
        rows: list[asyncpg.Record] = []
        try:
            async with transaction(connection):
                await connection.fetch(self._database.sql["lock_timeout"], "2s")
                rows = await connection.fetch(
                    self._database.sql["take_owed"], self._plugin, min(self._most, most)
                )
                if not rows:
                    return 0
                holds = TxHolds(
                    self._database, connection, self._plugin, self._lanes.cursors(), freed
                )
                events = [(_event(row), ()) for row in rows]
                await self._hook(connection, events, lambda _: (holds,))
        except (PluginError, asyncpg.PostgresError) as error:
            if connection.is_closed() or not rows or isinstance(error, CONNECTION_ERRORS):
                raise
            await self._put_off(connection, rows, error)
            return len(rows)

        self._most = min(self._most * 2, BATCH)
        if lines := freed.lines:
            self._services.notifier.wake(lines)
        return len(rows)

    async def _put_off(
        self, connection: "Connection", rows: Sequence[asyncpg.Record], error: Exception
    ) -> None:
        """Tell of less at once; of one event alone later."""
        if len(rows) > 1:
            self._most = len(rows) // 2
            return

        row = rows[0]
        (tries,) = await connection.fetchrow(self._database.sql["put_off_owed"], row["id"]) or (1,)
        if time.monotonic() - self._told > TELL_AGAIN:
            self._told = time.monotonic()
            log.error(
                "owed_tx of %s failed for %s (%s), %d times by now; it is told again, at most a"
                " minute later (logged at most once a minute): %s",
                self._plugin,
                f"job {row['job_id']}" if row["job_id"] else "its own note",
                row["kind"],
                tries,
                shown(error),
                exc_info=error,
            )

    async def _ready(self) -> "Connection":
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect()
        return self._connection


def _event(row: asyncpg.Record) -> OwedEvent:
    """What a row tells."""
    what = cast("Mapping[str, Any]", msgspec.json.decode(row["what"])) if row["what"] else {}
    outcome = None
    if row["kind"] == "settled":
        with suppress(InvalidOption):  # of a release that writes others
            outcome = Outcome.from_dict(what)

    return OwedEvent(
        kind=row["kind"],
        at=row["at"],
        job_id=str(row["job_id"]) if row["job_id"] else None,
        job_name=outcome.job_name if outcome else row["name"],
        queue=outcome.queue if outcome else row["queue"],
        headers=outcome.headers if outcome else decoded_headers(row["headers"]),
        held_by=row["held_by"] or (),
        scheduled_at=row["scheduled_at"],
        outcome=outcome,
        what=what if row["kind"] == "note" else {},
    )
