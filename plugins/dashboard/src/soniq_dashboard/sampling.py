"""What one worker does for all: it samples how much waits, and forgets what is past."""

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import msgspec

from soniq import QueueBacklog, Soniq

from .audit import KEPT
from .counters import OTHER
from .database import NAME, statement

SAMPLE = 15.0
"""Seconds between two samples."""
REST = 20
"""How many times as long as a sample took nothing is sampled: it reads each live job, and of
millions that takes seconds.
"""
MOST_QUEUES = 500
"""How many queues are sampled apart: those with most jobs that wait."""
FORGET = 60.0
"""Seconds between two looks at what is past."""
AT_ONCE = 5_000
"""How many rows are forgotten by one statement."""
ALL = ""
"""The queue under which all queues together are kept."""


class Gauge(msgspec.Struct, frozen=True, kw_only=True):
    """How much waited, and how busy the workers were that serve a queue."""

    oldest: float
    """Seconds for which the oldest waiting job had been due."""
    waiting: int
    scheduled: int
    running: int
    held: int
    workers: int
    slots: int
    """How many attempts they can run at once."""
    busy: int
    """How many they ran, when they were last seen."""


async def sample(app: Soniq) -> None:
    """Keep a sample of all queues."""
    backlog = await app.backlog()
    async with app.connection() as connection:
        workers = await connection.fetch(_sql(app, "workers"))
        last = await connection.fetchrow(_sql(app, "last_kinds"))
        before = None if last is None else last["kinds"]
        kinds = kinds_of(workers)
        deploy = deploy_of(kinds, before)
        gauges = gauges_of(backlog, workers)
        rows: list[dict[str, Any]] = [
            {"queue": queue, "deploy": deploy, **msgspec.structs.asdict(each)}
            for queue, each in gauges.items()
        ]
        rows[0]["kinds"] = kinds_after(kinds, before, new=bool(deploy or (last and last["new"])))
        await connection.fetch(_sql(app, "sample"), msgspec.json.encode(rows).decode())


def kinds_of(workers: Sequence[asyncpg.Record]) -> Mapping[str, int]:
    """The kinds of workers, each as its version and a digest of the names that it knows; how many
    these are.
    """
    kinds: dict[str, int] = {}
    for worker in workers:
        names = "\n".join(sorted(worker["names"])).encode()
        digest = hashlib.blake2b(names, digest_size=8).hexdigest()
        kinds[f"{worker['version']} {digest}"] = len(worker["names"])
    return kinds


def kinds_after(
    kinds: Mapping[str, int], before: Sequence[str] | None, *, new: bool
) -> Sequence[str] | None:
    """The kinds that are known from now on. Those that went while workers came that are `new` were
    replaced by these; others may come back as they were, and are then nothing new.
    """
    gone = () if new and kinds else (each for each in before or () if each not in kinds)
    return [*kinds, *gone] or before


def deploy_of(kinds: Mapping[str, int], before: Sequence[str] | None) -> str | None:
    """What is new, in words; None for nothing, or where nobody had looked before."""
    if before is None:
        return None
    versions = {each.partition(" ")[0] for each in before}
    new = {each: jobs for each, jobs in kinds.items() if each not in before}
    for each in new:
        version = each.partition(" ")[0]
        if version not in versions:
            return f"workers of Soniq {version}"
    return next(
        (f"workers that know {jobs} job{'' if jobs == 1 else 's'}" for jobs in new.values()), None
    )


def gauges_of(
    backlog: Mapping[str, QueueBacklog], workers: Sequence[asyncpg.Record]
) -> dict[str, Gauge]:
    """By queue what is known of it, and of all together under `ALL`."""
    served = {queue for worker in workers for queue in worker["queues"] or ()}
    queues = sorted({*backlog, *served}, key=lambda queue: -_waiting(backlog, queue))
    parts = [(queue, [queue]) for queue in queues[:MOST_QUEUES]]
    if rest := queues[MOST_QUEUES:]:
        parts.append((OTHER, rest))
    return {
        ALL: _gauge([*backlog.values()], workers),
        **{
            name: _gauge(
                [backlog[each] for each in of if each in backlog],
                [worker for worker in workers if _serves(worker, of)],
            )
            for name, of in parts
        },
    }


def _waiting(backlog: Mapping[str, QueueBacklog], queue: str) -> int:
    return backlog[queue]["waiting"] if queue in backlog else 0


def _serves(worker: asyncpg.Record, queues: Sequence[str]) -> bool:
    return worker["queues"] is None or not set(worker["queues"]).isdisjoint(queues)


def _gauge(queues: Sequence[QueueBacklog], workers: Sequence[asyncpg.Record]) -> Gauge:
    return Gauge(
        oldest=max((each["oldest_waiting"] for each in queues), default=0.0),
        waiting=sum(each["waiting"] for each in queues),
        scheduled=sum(each["scheduled"] for each in queues),
        running=sum(each["running"] for each in queues),
        held=sum(each["held"] for each in queues),
        workers=len(workers),
        slots=sum(worker["slots"] for worker in workers),
        busy=sum(worker["busy"] for worker in workers),
    )


async def forget(app: Soniq, keep: Mapping[int, float]) -> int:
    """Forget what is past, some thousand rows at a time; how many these were. Samples,
    workers that fell silent, and what processes took are kept as long as rows of ten minutes.
    """
    series = [("forget_series", [tier, seconds]) for tier, seconds in keep.items()]
    others = [
        ("forget_gauges", [keep[10]]),
        ("forget_silent", [keep[10]]),
        ("forget_processes", [keep[10]]),
        ("forget_audit", [KEPT]),
        ("forget_operations", [KEPT]),
    ]
    total = 0
    for query, values in [*series, *others]:
        rows = AT_ONCE
        while rows == AT_ONCE:
            async with app.connection() as connection:
                (row,) = await connection.fetch(_sql(app, query), *values, AT_ONCE)
            rows = row["rows"]
            total += rows
    return total


async def keep_samples(app: Soniq) -> None:
    """Sample again and again."""
    while True:
        began = time.monotonic()
        await sample(app)
        await asyncio.sleep(pause_after(time.monotonic() - began))


def pause_after(took: float) -> float:
    """Seconds until the next sample, after one that took so many."""
    return max(SAMPLE, took * REST)


async def keep_short(app: Soniq, keep: Mapping[int, float]) -> None:
    """Forget what is past, again and again."""
    while True:
        await forget(app, keep)
        await asyncio.sleep(FORGET)


def _sql(app: Soniq, name: str) -> str:
    return statement(app.plugin_schema(NAME), name)
