"""Notifications that say that a job is to be cancelled. Any client of the database can send one,
so the job's row decides.
"""

import logging
from collections.abc import Iterable
from uuid import UUID

from soniq.errors import DatabaseError
from soniq.worker.background import BackgroundLoop
from soniq.worker.claims import Claims
from soniq.worker.services import Services
from soniq.worker.slots import Slots
from soniq.worker.state import WorkerState

log = logging.getLogger("soniq.worker")

GATHER = 0.05
"""Seconds between two looks: what strangers send costs a statement for each of these at most."""


class CancelHints(BackgroundLoop):
    """Looks whether jobs of this worker are to be cancelled, when a notification says so."""

    def __init__(
        self, services: Services, state: WorkerState, claims: Claims, slots: Slots
    ) -> None:
        super().__init__("cancel hints")
        self._database = services.database
        self._state = state
        self._claims = claims
        self._slots = slots
        self._asked: set[UUID] = set()

    def hear(self, job_ids: Iterable[str]) -> None:
        """Look soon at those that this worker has claimed; returns at once. What is no id is
        ignored.
        """
        named = {id_ for id_ in map(_parsed, job_ids) if id_ is not None}
        self._asked |= named & set(self._claims.here())
        if self._asked:
            self.start()

    async def turn(self) -> float | None:
        """Look at those that were named since the last turn."""
        if not self._asked:
            return None
        asked, self._asked = self._asked, set()
        try:
            rows = await self._database.fetch("to_cancel", self._state.id, list(asked))
        except DatabaseError as error:
            log.warning(
                "running jobs that were cancelled are looked up again by the next heartbeat: %s",
                error,
            )
            return None

        self._slots.cancel([row["id"] for row in rows])
        return GATHER


def _parsed(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
