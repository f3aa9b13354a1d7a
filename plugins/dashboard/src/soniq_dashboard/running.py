"""Carrying out operations: one worker at a time, a batch of the one whose turn it is after another.

A batch holds a lock of its operation, in a transaction, from before it searches until what it did
is kept. So no two batches of one operation ever run at once, whatever becomes of an election; and
the lock of a worker that dies goes with its connection.
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg
import msgspec

from soniq import DatabaseUnavailable, FoundJob, Soniq

from .audit import within_operation
from .database import NAME, bounded, statement
from .operations import Act, Operation, State, delete_as_seen, operation_of

log = logging.getLogger("soniq.dashboard")

BATCH = 500
"""Jobs of a batch; after each that failed, a quarter of it."""
LONGEST = 60.0
"""Seconds that a batch may take."""
PAUSE = 0.1
"""Seconds between two batches."""
LOOK = 2.0
"""Seconds between two looks where nothing is open."""
MOST_FAILURES = 5
"""Batches that fail one after the other, whereupon the operation has failed."""
STALE = 86_400.0
"""Seconds after which an operation that nobody has carried out is not begun any more: who asked for
it does not expect it now.
"""
MOST_REASONS = 20
MOST_EXAMPLES = 20
OTHER = "other reasons"
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(slots=True)
class Batch:
    """What a batch did."""

    seen: int = 0
    changed: int = 0
    asked: int = 0
    left: Mapping[str, str] = field(default_factory=dict)
    """Why, by the id of the job."""
    place: str | None = None
    over: bool = False
    """Whether the search has come to its end."""


async def keep_running(app: Soniq) -> None:
    """Carry out operations again and again."""
    while True:
        ran = await run_batch(app)
        await asyncio.sleep(PAUSE if ran else LOOK)


async def run_batch(app: Soniq) -> bool:
    """Carry out a batch of the operation whose turn it is; False: there is none."""
    async with bounded(app, idle=LONGEST + 10) as connection:
        row = await connection.fetchrow(_sql(app, "next_operation"))
        # Read behind the lock: what another worker did until then is in it
        row = row and await connection.fetchrow(_sql(app, "open_operation"), row["id"])
        if row is None:
            return False
        operation = operation_of(row)
        if row["idle"] > STALE:
            await _keep(app, connection, operation, Batch(), "failed", "no worker ran it for a day")
            return True

        try:
            async with asyncio.timeout(LONGEST):
                batch = await _batch(app, operation)
        except DatabaseUnavailable:
            raise
        except Exception as error:
            await _failed(app, connection, operation, error)
        else:
            state: State = "done" if batch.over else "open"
            await _keep(app, connection, operation, batch, state, None)
    return True


async def _batch(app: Soniq, operation: Operation) -> Batch:
    """Search for some jobs, and change them."""
    size = max(1, BATCH // 4**operation.failures)
    page = await app.search(operation.search, cursor=operation.place, limit=size)
    batch = Batch(seen=len(page.jobs), place=page.next, over=page.next is None)
    if page.jobs:
        told = within_operation.set(True)
        try:
            await CHANGES[operation.action](app, operation, page.jobs, batch)
        finally:
            within_operation.reset(told)
    return batch


Found = Sequence[FoundJob]


async def _retry(app: Soniq, operation: Operation, jobs: Found, batch: Batch) -> None:
    done = await app.retry_many([job.job_id for job in jobs], by=operation.by)
    batch.changed, batch.left = done["queued"], done["left"]


async def _run(app: Soniq, operation: Operation, jobs: Found, batch: Batch) -> None:
    ids = [job.job_id for job in jobs]
    done = await app.retry_many(ids, status="queued", by=operation.by)
    batch.changed, batch.left = done["queued"], done["left"]


async def _cancel(app: Soniq, operation: Operation, jobs: Found, batch: Batch) -> None:
    ids = [job.job_id for job in jobs]
    done = await app.cancel_many(ids, operation.reason, by=operation.by)
    batch.changed, batch.asked, batch.left = done["cancelled"], done["asked"], done["left"]


async def _delete(app: Soniq, operation: Operation, jobs: Found, batch: Batch) -> None:
    seen = [(job.job_id, job.status) for job in jobs]
    batch.changed, batch.left = await delete_as_seen(app, seen, operation.by)


CHANGES: Mapping[Act, Callable[[Soniq, Operation, Found, Batch], Awaitable[None]]] = {
    "retry": _retry,
    "run": _run,
    "cancel": _cancel,
    "delete": _delete,
}


async def _failed(
    app: Soniq,
    connection: "asyncpg.Connection[asyncpg.Record]",
    operation: Operation,
    error: Exception,
) -> None:
    """Keep that a batch failed: it is tried again from where it began, with fewer jobs."""
    times, what = operation.failures + 1, type(error).__name__
    log.warning(
        "operation %d (%s): a batch failed, %d of %d times: %s",
        operation.id, operation.action, times, MOST_FAILURES, what, exc_info=error,
    )  # fmt: skip
    over = times >= MOST_FAILURES
    why = f"{times} batches failed one after the other, the last with {what}: see a worker's log"
    await _keep(
        app,
        connection,
        operation,
        Batch(place=operation.place),
        "failed" if over else "open",
        why if over else None,
        failures=times,
    )


async def _keep(
    app: Soniq,
    connection: "asyncpg.Connection[asyncpg.Record]",
    operation: Operation,
    batch: Batch,
    state: State,
    error: str | None,
    failures: int | None = None,
) -> None:
    """Keep what a batch did, in the transaction that has the lock."""
    pause = 0.0 if failures is None else 2.0**failures
    if failures is None:
        failures = max(0, operation.failures - 1)
    await connection.execute(
        _sql(app, "after_batch"),
        operation.id, batch.seen, batch.changed, batch.asked, len(batch.left),
        msgspec.json.encode(_reasons(operation, batch)).decode(),
        msgspec.json.encode([*operation.examples, *batch.left.items()][:MOST_EXAMPLES]).decode(),
        batch.place, state, failures, error, pause,
    )  # fmt: skip


def _reasons(operation: Operation, batch: Batch) -> Mapping[str, int]:
    """How many jobs were left for each reason; those beyond the most frequent together."""
    reasons = Counter(operation.why)
    reasons.update(ID.sub("another job", why) for why in batch.left.values())
    most = dict(reasons.most_common(MOST_REASONS))
    if rest := reasons.total() - sum(most.values()):
        most[OTHER] = most.get(OTHER, 0) + rest
    return most


def _sql(app: Soniq, name: str) -> str:
    return statement(app.plugin_schema(NAME), name)
