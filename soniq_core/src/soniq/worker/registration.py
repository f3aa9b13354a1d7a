"""A worker's row: it registers, registers again where its row was removed, and leaves."""

import asyncio
import logging
import os
import socket
import time

import asyncpg

from soniq.errors import DatabaseError, DatabaseUnavailable
from soniq.postgres.connections import CLEANUP_TIMEOUT
from soniq.postgres.driver_errors import CONNECTION_ERRORS
from soniq.text import counted
from soniq.worker.answers import LAST_ANSWER, Answers
from soniq.worker.claims import Claims
from soniq.worker.polling import Poller, sleep
from soniq.worker.services import Services
from soniq.worker.settling.exchange import Claimer
from soniq.worker.slots import Slots
from soniq.worker.state import WorkerState

log = logging.getLogger("soniq.worker")

REGISTER_AGAIN = 1.0
"""Seconds between two tries to register, while the database is away."""
LEAVE_LIMIT = 8.0
"""Seconds that a worker has to give back what it holds and to remove its row, where the database is
not away.
"""


class Registration:
    """Keeps the worker's row in the table of workers."""

    def __init__(
        self,
        services: Services,
        state: WorkerState,
        claims: Claims,
        slots: Slots,
        poller: Poller,
        claimer: Claimer,
        answers: Answers,
    ) -> None:
        self._services = services
        self._state = state
        self._claims = claims
        self._slots = slots
        self._poller = poller
        self._claimer = claimer
        self._answers = answers
        self.tried = 0.0
        """When it last tried to register, as monotonic time."""

    async def begin(self) -> None:
        """Register, as soon as the database is there, unless the worker is told to stop before.

        One that runs once does not wait for the database: raises `DatabaseUnavailable`.
        """
        while not self._state.stopping:
            self.tried = time.monotonic()
            try:
                await self._register()
                return
            except (DatabaseUnavailable, TimeoutError) as error:
                await self._wait_for_database(error)

    async def _wait_for_database(self, error: Exception) -> None:
        """Sleep until the next try, unless there is none."""
        database = self._services.database
        if self._state.stopping:
            database.lost(error, "the worker stops, and has not registered", LAST_ANSWER)
            return
        if self._state.options.run_once:
            raise error

        self._state.wake.clear()
        database.lost(error, f"the worker tries again in {REGISTER_AGAIN:g} s to register")
        await sleep(self._state.wake, time.monotonic() + REGISTER_AGAIN)

    async def _register(self) -> None:
        self._state.renew()
        self._poller.waiting = False
        await self._answers.ask(
            "register_worker",
            self._state.id,
            self._services.settings.lease,
            self._state.options.concurrency,
            os.getpid(),
            socket.gethostname(),
            self._services.version,
            self._state.options.queues,
            sorted(self._services.registry.jobs),
            self._services.plugins,
        )
        await self._poller.learn_lanes()

    async def begin_again(self) -> None:
        """This worker's row was removed, and its jobs were requeued: start again under a new id."""
        log.error(
            "worker %s lost its lease, because it was silent for longer, and its jobs were"
            " requeued: it registers again",
            self._state.id,
        )
        self._slots.abandon()
        self._claims.pending.clear()
        await self.begin()
        self._state.row_missing = False

    def say_hello(self) -> None:
        """Log that it has started, and as what."""
        services, options = self._services, self._state.options
        known = len(services.registry.jobs)
        log.info(
            "worker %s started: soniq %s on %s, %s, %d at once, %s known, plugins: %s",
            self._state.id,
            services.version,
            services.database.place,
            ", ".join(options.queues) if options.queues is not None else "all queues",
            options.concurrency,
            counted(known, "job"),
            ", ".join(services.plugins) or "none",
        )

    async def leave(self) -> None:
        """Requeue what is claimed, and remove the row; where that fails the lease ends it."""
        database = self._services.database
        limit = CLEANUP_TIMEOUT if database.outage.on else LEAVE_LIMIT
        try:
            async with asyncio.timeout(limit):
                await self._claimer.leave()
        except (DatabaseError, asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
            log.warning(
                "the worker's row could not be removed, and stays until its lease has expired: %s",
                database.reason(error, limit),
            )
        await self._claimer.close()
        attempts = counted(self._claims.started, "attempt")
        log.info("worker %s stopped after %s", self._state.id, attempts)
