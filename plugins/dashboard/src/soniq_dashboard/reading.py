"""Reading what was counted and sampled."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import asyncpg
import msgspec

from soniq import InvalidOption, Soniq

from .counters import OTHER, WAYS
from .database import NAME, readable, session, statement, unpacked
from .durations import Durations
from .sampling import ALL
from .sampling import Gauge as Sampled
from .writing import TIERS

if TYPE_CHECKING:
    from .database import Connection

Step = Literal[1, 10, 60, 720]
STEPS = (*TIERS, 720)
"""Minutes of a point: a row of a tier, or half a day of the longest one."""
FINEST = ((timedelta(hours=6), 1), (timedelta(days=7), 10))
"""Up to which length of time a tier is read, where nobody says which."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What was settled in a minute, ten, an hour, or half a day. Each outcome is counted once."""

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
    """The highest of each that was seen in a minute, ten, an hour, or half a day."""

    at: datetime
    """When that time begins."""
    deploy: str | None = None
    """What is new about workers that came then: their version, or the jobs that they know."""


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
    durations: bool = True,
) -> Sequence[Point]:
    """The points from one time to another; without `durations`, which is cheaper, their `took` and
    `waited` have sums alone. Raises `InvalidOption`, and `CannotRead`.
    """
    _check(since, until, by, step)
    with readable(app):
        async with session(app) as connection:
            until, step = await _until(connection, keep, since, until, step)
            rows = await connection.fetch(
                statement(app.plugin_schema(NAME), "series" if durations else "counts"),
                min(step, TIERS[-1]), begin_of(since, step), until, queue, name, "queue" in by,
                "name" in by, step,
            )  # fmt: skip
    return [_point(row) for row in rows]


async def read_totals(
    app: Soniq,
    keep: Mapping[int, float],
    since: datetime,
    until: datetime | None,
    queue: str | None,
    name: str | None,
    by: Sequence[str],
    step: int | None,
) -> Sequence[Point]:
    """As `read_series`, but one point for each queue or job of all of that time. Raises
    `InvalidOption`, and `CannotRead`.
    """
    _check(since, until, by, step)
    with readable(app):
        async with session(app) as connection:
            until, step = await _until(connection, keep, since, until, step)
            begin = begin_of(since, step)
            rows = await connection.fetch(
                statement(app.plugin_schema(NAME), "totals"),
                *zip(*parts(keep, begin, until, step), strict=True), begin, queue, name,
                "queue" in by, "name" in by,
            )  # fmt: skip
    return [_point(row) for row in rows]


def parts(
    keep: Mapping[int, float], begin: datetime, until: datetime, step: int
) -> Sequence[tuple[int, datetime, datetime]]:
    """Of which rows a time is summed up: the minutes of each, and from when to when they begin.
    These are the longest that fit in, as there are fewest of them, and at both ends those of `step`
    minutes: together they hold the same as these.
    """
    tier = max(each for each in TIERS if each <= step)
    longer = next((each for each in TIERS if each > tier and keep[each] >= keep[tier]), None)
    if longer is not None:
        last = begin_of(until, longer)
        first = begin_of(begin - timedelta(microseconds=1), longer) + timedelta(minutes=longer)
        if first < last:
            ends = [(tier, begin, first), (tier, last, until)]
            before, after = ([each] if each[1] < each[2] else [] for each in ends)
            return [*before, *parts(keep, first, last, longer), *after]
    return [(tier, begin, until)]


async def read_gauges(
    app: Soniq,
    since: datetime,
    until: datetime | None,
    queue: str | None,
    step: int,
    *,
    empty: bool = False,
) -> Sequence[Gauge]:
    """The samples from one time to another; `empty`: also of times at which only other queues had
    some, as this one was empty. Raises `InvalidOption`, and `CannotRead`.
    """
    _check_times(since, until)
    _check_step(step)
    with readable(app):
        async with session(app) as connection:
            rows = await connection.fetch(
                statement(app.plugin_schema(NAME), "gauges"),
                begin_of(since, step),
                until or datetime.max.replace(tzinfo=UTC),
                ALL if queue is None else queue,
                step,
                empty,
                OTHER,
            )
    return msgspec.convert([{**row} for row in rows], list[Gauge])


class Together(msgspec.Struct, frozen=True):
    """What the overview is made of."""

    points: Sequence[Point]
    """Of all jobs together."""
    slow: Sequence[Point]
    """The same with how long they took, of which there may be fewer."""
    names: Sequence[Point]
    """One for each job, without buckets."""
    gauges: Sequence[Gauge]
    """Of all queues together."""


async def read_overview(
    app: Soniq, since: datetime, until: datetime, step: int, slow: int, coarse: int
) -> Together:
    """All that the overview is made of, in one statement: points of `step` minutes, and with how
    long jobs took of `slow` minutes. What is told of each job is of rows of `coarse` minutes, which
    are fewer, and since when the first of these begins. Raises `CannotRead`.
    """
    with readable(app):
        async with session(app) as connection:
            rows = await connection.fetch(
                statement(app.plugin_schema(NAME), "overview"),
                min(slow, TIERS[-1]), begin_of(since, slow), until, slow, coarse,
                begin_of(since, coarse), min(step, TIERS[-1]), step,
            )  # fmt: skip

    fine = [_point(row) for row in rows if row["fine"]]
    points = [_point(row) for row in rows if row["gauge"] is None and not row["fine"]]
    every = [each for each in points if each.name is None]
    sampled = [row["gauge"] for row in rows if row["gauge"] is not None]
    return Together(
        fine if step < slow else every,
        every,
        [each for each in points if each.name is not None],
        [msgspec.json.decode(each, type=Gauge) for each in sampled],
    )


async def read_known(app: Soniq, name: str) -> tuple[int, int]:
    """How many live workers know a job, and how many there are. Raises `CannotRead`."""
    with readable(app):
        async with session(app) as connection:
            row = await connection.fetchrow(statement(app.plugin_schema(NAME), "known"), name)
    assert row is not None
    return row["know"], row["workers"]


async def _until(
    connection: "Connection",
    keep: Mapping[int, float],
    since: datetime,
    until: datetime | None,
    step: int | None,
) -> tuple[datetime, int]:
    """The end of a time, and the minutes of its points, where nobody says which."""
    if until is None or step is None:
        now = await connection.fetchval("select clock_timestamp()")
        until = until or now
        step = step or _tier(keep, until - since, now - since)
    return until, step


def _check(since: datetime, until: datetime | None, by: Sequence[str], step: int | None) -> None:
    _check_times(since, until)
    if step is not None:
        _check_step(step)
    if isinstance(by, str) or not {*by} <= {"queue", "name"}:
        raise InvalidOption(f'by= is a list of "queue" and "name"; got {by!r}', option="by")


def _check_times(since: datetime, until: datetime | None) -> None:
    for option, time in (("since", since), ("until", until)):
        if time is not None and time.tzinfo is None:
            raise InvalidOption(f"{option}= has no time zone", option=option)


def _check_step(step: int) -> None:
    if step not in STEPS:
        raise InvalidOption(f"step= is 1, 10, 60 or 720 minutes; got {step!r}", option="step")


def _tier(keep: Mapping[int, float], length: timedelta, age: timedelta) -> int:
    """The finest rows that are kept for so long, and are not too many."""
    for longest, tier in FINEST:
        if length <= longest and age.total_seconds() <= keep[tier]:
            return tier
    return TIERS[-1]


def begin_of(at: datetime, minutes: int) -> datetime:
    """When the row, or the point, of so many minutes begins in which a time is."""
    return datetime.fromtimestamp(at.timestamp() // (60 * minutes) * (60 * minutes), UTC)


def _point(row: asyncpg.Record) -> Point:
    return Point(
        at=row["at"],
        queue=row["of_queue"],
        name=row["of_name"],
        **{way: row[way] for way in WAYS},
        took=_durations(row, "took"),
        waited=_durations(row, "waited"),
    )


def _durations(row: asyncpg.Record, what: str) -> Durations:
    packed = row[f"{what}_buckets"]
    return Durations(row[what], () if packed is None else unpacked(packed))
