"""A settlement: what is to be written for one claimed job. It finishes the job or requeues it."""

from collections.abc import Collection, Sequence
from enum import IntEnum
from typing import ClassVar, Literal, Self
from uuid import UUID

import msgspec

from soniq.job.context import JobContext
from soniq.job.new import NewJob
from soniq.job.outcome import AboutAttempt, AttemptRef, Outcome
from soniq.text import in_ascii

FinalStatus = Literal["done", "dead", "cancelled"]

UNKNOWN_FOR = 86_400.0
"""Seconds after which a job is dead whose name, or one of whose arguments, no worker knows."""

REFUSALS = 3
"""How often a plugin's `settle_tx` may refuse what came of an attempt, before it is settled without
that plugin.
"""

POSTGRESQL = "PostgreSQL"
"""Who has refused an outcome, where it was no plugin."""


def given_up(refusals: Sequence[str]) -> Collection[str]:
    """The plugins that have refused often enough; `refusals`: who has refused, once each time."""
    return [plugin for plugin in set(refusals) if refusals.count(plugin) >= REFUSALS]


class RequeueKind(IntEnum):
    """Why a job goes back to its queue; the numbers are those of the SQL function."""

    NOT_STARTED = 0
    SNOOZED = 1
    FAILED = 2
    DEFERRED = 3
    """Its name or its arguments are not known here, or its database is away: it is deferred,
    without a charge, for longer each time.
    """
    STOPPED = 4


class _Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What both kinds of settlement have."""

    id: UUID
    claim: int
    outcome: Outcome | None = None
    """None for a job that never started, and goes back."""
    ctx: JobContext | None = None
    """The attempt itself, where it was started."""
    ref: AttemptRef | None = None
    """What names the job, where there is no outcome."""
    error: str | None = None
    """JSON: type, message, traceback."""
    age: float | None = None
    """Seconds since the attempt started; None if it never did."""
    last: bool = False
    """Whether it was the last attempt that the job has."""
    refusals: tuple[str, ...] = ()
    """The plugins whose `settle_tx` refused what came of this attempt, in order, and PostgreSQL
    where it did.
    """

    aside: bool = False
    """Whether a plugin met a lock with it: it is written by itself, beside the others."""

    @property
    def about(self) -> AboutAttempt | None:
        """What names the job, in log records."""
        return self.outcome or self.ref

    @property
    def is_ascii(self) -> bool:
        """Whether a database can hold the error whatever its encoding."""
        return self.error is None or self.error.isascii()

    def escaped(self) -> Self:
        """The same with an error in which escapes stand for what is not ASCII, as in Python."""
        return msgspec.structs.replace(self, error=self.error and in_ascii(self.error))

    @property
    def given_up(self) -> Collection[str]:
        """The plugins that have refused often enough: it is settled without them."""
        return given_up(self.refusals)


class Finish(_Settlement, frozen=True, kw_only=True):
    """The job ends, and goes into the history."""

    status: FinalStatus
    result: bytes | None = None
    store: str | None = None
    children: Sequence[NewJob] = ()
    """Jobs that the attempt enqueued, to be inserted with its completion."""
    written: bool = False
    """Whether it was written already, in the transaction of an injected connection."""

    holders: ClassVar[tuple[str, ...]] = ()
    marks: ClassVar[tuple[str, ...]] = ()

    @property
    def size(self) -> int:
        """Bytes that it holds, without what is the same for each."""
        size = len(self.result) if self.result is not None else 0
        if self.error is not None:
            size += len(self.error)
        if self.children:
            size += sum(len(child.payload) for child in self.children)
        return size


class Requeue(_Settlement, frozen=True, kw_only=True):
    """The job goes back to its queue, due after `delay` seconds."""

    kind: RequeueKind = RequeueKind.NOT_STARTED
    delay: float = 0.0
    holders: tuple[str, ...] = ()
    """Who holds it from now on."""
    marks: tuple[str, ...] = ()
    """The plugins that hear of it from now on, and are owed that it came in."""

    children: ClassVar[Sequence[NewJob]] = ()
    written: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """Bytes that it holds, without what is the same for each."""
        return len(self.error or "")


Settlement = Finish | Requeue
