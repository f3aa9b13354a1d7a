"""The jobs that a worker has claimed and not settled yet. Other threads look at them, too."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from soniq.worker.attempt import Attempt
from soniq.worker.claimed import Claimed
from soniq.worker.settling.pending import Pending
from soniq.worker.settling.settlement import Settlement

NAMED = 50
"""How many of the attempts that run are named in the worker's row."""


class Claims:
    """On their way: being claimed, at hand, running, to be settled, being settled."""

    def __init__(self) -> None:
        self.asked = 0
        """Jobs that are being claimed, at most."""
        self.at_hand: deque[Claimed] = deque()
        """Claimed jobs that wait for a slot."""
        self.running: dict[UUID, Attempt] = {}
        self.started = 0
        """Attempts that were started."""

        self.pending = Pending()
        """Settlements that wait for the next exchange."""
        self.sending: Sequence[Settlement] = ()
        """Those of the exchange under way."""

        self.receiving = threading.Lock()
        """Held while what was claimed is received, or what is claimed and not received is given
        back elsewhere.
        """
        self.recalled = 0
        """How often that was: what an exchange brings that began before is not to be started."""

    @property
    def busy(self) -> bool:
        """Whether anything runs or waits for a slot."""
        return bool(self.running or self.at_hand)

    @property
    def taken(self) -> int:
        """Attempts that were started, and jobs at hand or being claimed."""
        return self.started + len(self.at_hand) + self.asked

    def here(self) -> list[UUID]:
        """The jobs that run, or wait for a slot."""
        return [*self.running, *(claimed.id for claimed in list(self.at_hand))]

    def ids(self) -> list[UUID]:
        """All of them, with those that are not settled yet."""
        return [*self.here(), *(s.id for s in [*self.pending, *self.sending])]

    def begun(self) -> list[Attempt]:
        """The attempts that run now."""
        return [attempt for attempt in list(self.running.values()) if attempt.begun]

    def running_now(self) -> tuple[int, str]:
        """How many attempts run, and as JSON id, name and seconds since the start of those that
        have run for the longest time.
        """
        begun, now = self.begun(), time.monotonic()
        jobs = [
            (each.ctx.job_id, each.ctx.job_name, round(now - each.started, 3))
            for each in begun[:NAMED]
        ]
        return len(begun), msgspec.json.encode(jobs).decode()

    def attempt_in(self, task: "asyncio.Task[Any] | None") -> Attempt | None:
        """The attempt that runs in this task."""
        if task is None:
            return None
        return next((each for each in list(self.running.values()) if each.task is task), None)

    def begin_exchange(self, limit: int) -> tuple[Sequence[Settlement], int]:
        """Begin to settle what is pending, and to claim up to `limit` jobs; what is settled, and
        how often jobs were recalled until now.
        """
        with self.receiving:
            self.sending, self.asked = self.pending.take(), limit
            return self.sending, self.recalled

    def end_exchange(self) -> None:
        """The exchange has ended, one way or another."""
        self.sending, self.asked = (), 0
