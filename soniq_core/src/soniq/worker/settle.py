"""Outcomes on their way to the database: buffered, and written with the next claim."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import msgspec

from soniq.hooks.values import ROW, NewJob
from soniq.job import JobContext, Outcome

NOT_STARTED, SNOOZED, FAILED, UNKNOWN, STOPPED = range(5)
"""Why a job goes back to its queue; the numbers are those of the SQL function."""

UNKNOWN_FOR = 86_400.0
"""Seconds after which a job is dead whose name, or one of whose arguments, no worker knows."""

REFUSALS = 3
"""How often a plugin's `settle_tx` may refuse what came of an attempt, before it is settled without that plugin."""


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written for one claimed job. `outcome` is None for one that never started."""

    id: UUID
    claim: int
    outcome: Outcome | None = None
    status: str | None = None
    """`done`, `dead` or `cancelled`; None: it goes back to its queue."""
    result: bytes | None = None
    store: str | None = None
    error: str | None = None
    """JSON: type, message, traceback."""
    age: float | None = None
    """Seconds since the attempt started; None if it never did."""
    last: bool = False
    """Whether it was the last attempt that the job has."""
    back: int = NOT_STARTED
    delay: float = 0.0
    children: Sequence[NewJob] = ()
    """Jobs that the attempt enqueued, to be inserted with its completion."""
    written: bool = False
    """Whether it was written already, in the transaction of an injected connection."""
    refusals: tuple[str, ...] = ()
    """The plugins whose `settle_tx` refused what came of this attempt, in order."""
    ctx: JobContext | None = None
    """The attempt itself, where it was started."""

    @property
    def given_up(self) -> Collection[str]:
        """The plugins that have refused often enough: it is settled without them."""
        return [plugin for plugin in set(self.refusals) if self.refusals.count(plugin) >= REFUSALS]


def _sparse(values: list[str | None]) -> list[str | None] | None:
    """No array at all where every value is the usual one: the driver looks at each element."""
    return values if any(values) else None


def arrays(settlements: Sequence[Settlement]) -> tuple[Sequence[Any] | None, ...]:
    """Settlements as the arrays that the SQL function takes."""
    final = [s for s in settlements if s.status is not None]
    back = [s for s in settlements if s.status is None]
    return (
        [s.id for s in final],
        [s.claim for s in final],
        _sparse([None if s.status == "done" else s.status for s in final]),
        [s.result for s in final],
        _sparse([None if s.store == ROW else s.store for s in final]),
        _sparse([s.error for s in final]),
        [s.age for s in final],
        [s.id for s in back],
        [s.claim for s in back],
        [s.back for s in back],
        [s.delay for s in back],
        [s.error for s in back],
    )
