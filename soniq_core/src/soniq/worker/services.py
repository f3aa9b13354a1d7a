"""What the parts of a worker are given of its app, as one value."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from soniq.hooks.dispatch import Observers
from soniq.hooks.housekeeping import Housekeeping
from soniq.hooks.in_transaction import InTransaction
from soniq.hooks.values import Serializer, Task
from soniq.ids import JobId
from soniq.job.new import NewJob
from soniq.postgres.database import Database
from soniq.postgres.notify import Notifier
from soniq.postgres.results import Results
from soniq.postgres.retention import Retention
from soniq.postgres.settle_tx import SettleTx
from soniq.registry import Registry
from soniq.settings import Settings
from soniq.transaction import TransactionConnection

Insert = Callable[[Sequence[NewJob], TransactionConnection], Awaitable[None]]
"""Inserts jobs in someone's transaction."""

Enqueue = Callable[[Any, tuple[object, ...], Mapping[str, object], list[NewJob]], Awaitable[JobId]]
"""Prepares a job and adds it to a list, to be inserted later."""


Cancel = Callable[[Sequence[str], str | None, Collection[str]], Awaitable[Collection[str]]]
"""Cancels those of some jobs that wait, with a reason, and without some plugins' `settle_tx`; which
those were.
"""

Adapted = Callable[[object], Awaitable[TransactionConnection]]
"""Makes what a handler has of a driver's a connection in its open transaction."""


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs of its app: the same for all its parts, and for as long as it runs."""

    settings: Settings
    database: Database
    registry: Registry
    serializers: Mapping[str, Serializer]
    results: Results
    retention: Retention
    insert: Insert
    enqueue: Enqueue
    cancel: Cancel
    adapted: Adapted
    claimed: Observers
    settle_tx: SettleTx
    settled: Observers
    workers_lost: Observers
    owed_tx: Mapping[str, InTransaction]
    """What tells a plugin what it is owed, by the plugin's name."""
    notifier: Notifier
    tasks: Sequence[tuple[str, Task]]
    """The background tasks of plugins, each with the plugin's name."""
    housekeeping: Housekeeping
    version: str
    plugins: Sequence[str]
    """The names of the plugins."""


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of one worker."""

    concurrency: int
    """How many attempts run at once."""
    queues: Sequence[str] | None = None
    """The queues that it works; None: all."""
    run_once: bool = False
    """Whether it ends once nothing is due."""
    signals: bool = True
    """Whether SIGTERM and SIGINT stop it."""
