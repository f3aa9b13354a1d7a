"""What runs now, and how long that usually takes."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from soniq import Soniq

from .database import NAME, readable, session, statement, unpacked
from .durations import MIDDLE, Durations

WEEK = 7 * 86_400.0
FEWEST = 10
"""Attempts of which it can be said what is usual."""


class Running(msgspec.Struct, frozen=True):
    """What a list of jobs does not say of one that runs."""

    id: str
    progress: str | None
    """JSON."""
    cancel_requested: bool
    hostname: str | None
    """None where its worker is gone."""
    pid: int | None


class Usual(msgspec.Struct, frozen=True):
    """How long attempts of a job usually take."""

    seconds: float
    """Of a hundred, 95 took at most about so long."""

    def is_passed(self, seconds: float) -> bool:
        """Whether an attempt takes longer for sure, however exact that is."""
        return seconds > self.seconds * MIDDLE


class WhoRuns(msgspec.Struct, frozen=True):
    """Who could run a job of a queue."""

    workers: int
    """Those that live."""
    serve: int
    """Those of them that serve the queue."""
    know: int
    """Those of these that know the job."""
    paused_at: datetime | None
    """Since when the queue is paused; None where it is not."""
    paused_by: str | None
    reason: str | None


async def who_runs(app: Soniq, queue: str, name: str) -> WhoRuns:
    """Who could run a job of a queue. Raises `CannotRead`."""
    with readable(app):
        async with session(app) as connection:
            sql = statement(app.plugin_schema(NAME), "who_runs")
            row = await connection.fetchrow(sql, queue, name)
    assert row is not None
    return WhoRuns(**row)


async def running(app: Soniq, ids: Sequence[str]) -> Mapping[str, Running]:
    """More of jobs that run, by id. Raises `CannotRead`."""
    with readable(app):
        async with session(app) as connection:
            rows = await connection.fetch(statement(app.plugin_schema(NAME), "running"), ids)
    return {row["id"]: Running(**row) for row in rows}


async def usual(app: Soniq, names: Collection[str]) -> Mapping[str, Usual]:
    """How long attempts took in the last week, of those jobs of which enough were counted. Raises
    `CannotRead`.
    """
    with readable(app):
        async with session(app) as connection:
            sql = statement(app.plugin_schema(NAME), "usual")
            rows = await connection.fetch(sql, [*names], WEEK)
    found = {row["name"]: Durations(0.0, unpacked(row["took_buckets"])) for row in rows}
    return {
        name: Usual(seconds)
        for name, took in found.items()
        if took.count >= FEWEST and (seconds := took.quantile(0.95)) is not None
    }
