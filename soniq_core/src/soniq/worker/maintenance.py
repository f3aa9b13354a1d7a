"""The core's own background tasks, which keep the store in order while workers run."""

import asyncio
import logging
import random
import time
from collections.abc import Collection, Sequence
from datetime import datetime

import asyncpg

from soniq.errors import PluginError
from soniq.hooks.values import Task
from soniq.postgres.driver_errors import RETRYABLE_ERRORS
from soniq.postgres.indexes import UNFINISHED, make_indexes
from soniq.text import counted
from soniq.worker.background import repeat
from soniq.worker.lanes import Lanes
from soniq.worker.polling import Poller
from soniq.worker.rescue import Rescue
from soniq.worker.services import Services
from soniq.worker.settling.exchange import Claimer
from soniq.worker.settling.refusals import Refused, over_refusals

log = logging.getLogger("soniq.worker")

SURFACE_SHARE = 0.02
"""The most of its time that a worker looks behind its cursors."""
SURFACE_PAUSE = 5.0
"""Seconds between two such looks, at least."""
SURFACE_LANES, SURFACE_JOBS = 200, 1_000
"""The most lanes that one statement of such a look is for; the most jobs that it moves."""
EXPIRY_PAUSE = 2.0
"""Seconds between two looks for held jobs whose time is over."""
EXPIRED = "expired while it was held"
EXPIRED_JOBS = 500
"""The most of them that are cancelled at once."""
FORGET_PAUSE = 3600.0
"""Seconds between two looks for what is past its time."""
INDEX_PAUSE = 60.0
"""Seconds until an index that could not be made now is tried again."""


class Maintenance:
    """Rescue, what fell behind the cursors, expiry of what is held, retention."""

    def __init__(self, services: Services, claimer: Claimer, lanes: Lanes, poller: Poller) -> None:
        self._services = services
        self._database = services.database
        self._lanes = lanes
        self._poller = poller
        self._rescue = Rescue(services, claimer, poller)

    async def once(self) -> None:
        """Do what is due now, for a worker that may end before its tasks begin: where there are
        only such workers, nobody else does it.
        """
        await self._rescue.look()
        await self._expire()
        if await self._services.retention.is_due():
            await self._forget()

    def tasks(self) -> list[tuple[str, Task]]:
        """The tasks, as the supervisor takes them."""
        tasks = [
            Task(name="rescue", run=self._rescue.run),
            Task(name="surface", run=lambda: repeat(self._surface)),
            Task(name="retention", run=lambda: repeat(self._forget), elected=True),
            Task(name="expiry", run=lambda: repeat(self._expire), elected=True),
            Task(name="indexes", run=self._make_indexes),
        ]
        return [("soniq", task) for task in tasks]

    async def _surface(self) -> float:
        """Move what fell behind this worker's cursors in front of them.

        The look walks all that PostgreSQL has not cleaned up yet, and into each lane that was used
        lately. So it is done for some lanes at a time, and the longer it takes, the longer is the
        pause after it.
        """
        began, lanes = time.monotonic(), self._lanes.passed()
        for place in range(0, len(lanes), SURFACE_LANES):
            moved = SURFACE_JOBS
            while moved >= SURFACE_JOBS:  # there may be more
                moved, took = await self._surface_some(lanes[place : place + SURFACE_LANES])
                await asyncio.sleep(took / SURFACE_SHARE)

        ends = began + SURFACE_PAUSE * random.uniform(0.8, 1.2)
        return max(0.0, ends - time.monotonic())

    async def _surface_some(self, lanes: Sequence[tuple[str, int, datetime]]) -> tuple[int, float]:
        """Do so for some lanes; how many jobs were moved, and the seconds that it took."""
        async with self._database.acquire() as connection:
            began = time.monotonic()
            rows = await connection.fetch(
                self._database.sql["surface"], *map(list, zip(*lanes, strict=True))
            )
            took = time.monotonic() - began

        for queue, priority, moved in rows:
            log.info(
                "surfaced %s of queue %s, priority %d, that lay behind the cursors",
                counted(moved, "job"),
                queue,
                priority,
            )
        if rows:
            self._poller.look_again(sorted({row["queue"] for row in rows}))
        return sum(row["moved"] for row in rows), took

    async def _expire(self) -> float:
        """Cancel held jobs whose time is over; of others the claim finds that out."""
        rows = await self._database.fetch("expired", EXPIRED_JOBS)
        if rows:
            count = await self._cancel_expired([str(row["id"]) for row in rows])
            log.info("cancelled %s that expired while held", counted(count, "job"))
        return 0.0 if len(rows) == EXPIRED_JOBS else EXPIRY_PAUSE * random.uniform(0.8, 1.2)

    async def _cancel_expired(self, ids: Sequence[str]) -> int:
        """Cancel these jobs; one by one where a `settle_tx` refuses."""
        try:
            return len(await self._services.cancel(ids, EXPIRED, ()))
        except PluginError:
            return sum([await self._cancel_one(each) for each in ids])

    async def _cancel_one(self, job_id: str) -> int:
        """Cancel one, if need be without the plugins that refuse it."""

        async def cancel(without: Collection[str]) -> int:
            try:
                return len(await self._services.cancel([job_id], EXPIRED, without))
            except PluginError as refusal:
                if isinstance(refusal.__cause__, RETRYABLE_ERRORS):
                    raise  # it is tried again with the next look
                raise Refused(refusal) from refusal

        return await over_refusals(
            cancel, f"job {job_id}, expired while held, is cancelled", {"job_id": job_id}
        )

    async def _forget(self) -> float:
        """Forget what is past its time."""
        try:
            await self._services.retention.sweep()
        except asyncpg.InsufficientPrivilegeError as error:
            log.warning(
                "partitions cannot be created or dropped: this role does not own the tables (%s)",
                error,
            )
        return FORGET_PAUSE * random.uniform(0.8, 1.2)

    async def _make_indexes(self) -> None:
        """Make what history lacks of indexes, unless another worker does; new partitions have
        them.
        """
        done = False
        while not done:
            try:
                done = await make_indexes(self._database)
            except asyncpg.InsufficientPrivilegeError:
                return  # `soniq setup` makes them, as the owner
            except UNFINISHED as error:
                log.info("an index of history is not complete yet: %s", error)
            if not done:
                await asyncio.sleep(INDEX_PAUSE * random.uniform(0.8, 1.2))
