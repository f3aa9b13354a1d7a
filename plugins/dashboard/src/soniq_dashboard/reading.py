"""Reading what was counted and sampled."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from soniq import InvalidOption, Soniq

from .counters import WAYS
from .database import NAME, readable, statement
from .durations import Durations
from .sampling import ALL
from .sampling import Gauge as Sampled
from .writing import TIERS

FINEST = ((timedelta(hours=6), 1), (timedelta(days=7), 10))
"""Up to which length of time a tier is read, where nobody says which."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What was settled in a minute, ten, or an hour. Each outcome is counted once."""

    at: datetime
    """When that time begins, by the database's clock."""
    queue: str | None
    """None where it is of all that were asked for."""
    name: str | None
    done: int
    dead: int
    cancelled: int
    retry: int
    """Attempts that failed, after which the job runs again."""
    snooze: int
    lost: int
    """Attempts whose worker died, after which the job runs again."""
    stopped: int
    """Attempts that ended because their worker stopped."""
    took: Durations
    """How long attempts took."""
    waited: Durations
    """How long jobs had been due when these attempts were claimed."""

    @property
    def failed(self) -> int:
        """Attempts that failed, whether or not the job runs again."""
        return self.dead + self.retry + self.lost


class Gauge(Sampled, frozen=True, kw_only=True):
    """The highest of each that was seen in a minute."""

    at: datetime


async def read_series(
    app: Soniq,
    keep: Mapping[int, float],
    since: datetime,
    until: datetime | None,
    queue: str | None,
    name: str | None,
    by: Sequence[str],
    step: int | None,
    *,
    whole: bool = False,
) -> Sequence[Point]:
    """The points from one time to another; `whole`: one for all of that time. Raises
    `InvalidOption`, and `CannotRead`.
    """
    _check_times(since, until)
    if step is not None and step not in TIERS:
        raise InvalidOption(f"step= is 1, 10 or 60 minutes; got {step!r}", option="step")
    if isinstance(by, str) or not {*by} <= {"queue", "name"}:
        raise InvalidOption(f'by= is a list of "queue" and "name"; got {by!r}', option="by")

    with readable(app):
        async with app.connection() as connection:
            now = await connection.fetchval("select clock_timestamp()")
            until = until or now
            tier = step or _tier(keep, until - since, now - since)
            rows = await connection.fetch(
                statement(app.plugin_schema(NAME), "series"),
                tier, _begin(since, tier), until, queue, name, "queue" in by, "name" in by, whole,
            )  # fmt: skip
    return [_point(row) for row in rows]


async def read_gauges(
    app: Soniq, since: datetime, until: datetime | None, queue: str | None
) -> Sequence[Gauge]:
    """The samples from one time to another. Raises `InvalidOption`, and `CannotRead`."""
    _check_times(since, until)
    with readable(app):
        async with app.connection() as connection:
            rows = await connection.fetch(
                statement(app.plugin_schema(NAME), "gauges"),
                _begin(since, 1),
                until or datetime.max.replace(tzinfo=UTC),
                ALL if queue is None else queue,
            )
    return [msgspec.convert(dict(row), Gauge) for row in rows]


def _check_times(since: datetime, until: datetime | None) -> None:
    for option, time in (("since", since), ("until", until)):
        if time is not None and time.tzinfo is None:
            raise InvalidOption(f"{option}= has no time zone", option=option)


def _tier(keep: Mapping[int, float], length: timedelta, age: timedelta) -> int:
    """The finest rows that are kept for so long, and are not too many."""
    for longest, tier in FINEST:
        if length <= longest and age.total_seconds() <= keep[tier]:
            return tier
    return TIERS[-1]


def _begin(since: datetime, tier: int) -> datetime:
    """When the row begins in which a time is."""
    return datetime.fromtimestamp(since.timestamp() // (60 * tier) * (60 * tier), UTC)


def _point(row: asyncpg.Record) -> Point:
    return Point(
        at=row["at"],
        queue=row["of_queue"],
        name=row["of_name"],
        **{way: row[way] for way in WAYS},
        took=Durations(row["took"], row["took_buckets"]),
        waited=Durations(row["waited"], row["waited_buckets"]),
    )
