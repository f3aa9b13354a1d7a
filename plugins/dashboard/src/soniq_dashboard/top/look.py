"""What one look at the database tells: how the queues stand, and how fast they are worked off."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import asyncpg

from soniq import Count, FoundJob, Overview, Page, Search, Soniq
from soniq.errors import PluginNotLoaded
from soniq.plugin import presented
from soniq_dashboard.collector import Collector
from soniq_dashboard.names import Name, names_of
from soniq_dashboard.reading import Point
from soniq_dashboard.standing import Attention, Queue, attention, queues_of

HOUR = timedelta(hours=1)
LATELY = timedelta(minutes=3)
"""For how long rates are averaged, of what was counted minute by minute."""
UNWRITTEN = timedelta(minutes=2)
"""How old a minute is that all workers have written down."""
FRESH = 15.0
"""Seconds for which what was counted is shown again: there is more of it once a minute."""
WINDOW = 60.0
"""Seconds of looks between which rates are taken, where nothing was counted."""
MOST_JOBS = 100
"""How many jobs are listed, of those that died and of those searched for."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Jobs a minute; None where that is not known yet."""

    done: float | None = None
    failed: float | None = None


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast jobs are worked off."""

    total: Rate
    of_queues: Mapping[str, Rate]
    minutes: Sequence[int] = ()
    """How many were done in each minute of the last hour; empty where nobody counted."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one time."""

    at: datetime
    overview: Overview
    queues: Sequence[Queue]
    dead: Count
    """How many jobs have died within the last hour."""
    rates: Rates
    failures: Page
    """The jobs that died last, within the last hour."""
    names: Sequence[Name] | None
    """What the jobs of each name did within the last hour; None where nobody counted."""
    found: Page | None
    """What was searched for, where something was."""

    @property
    def attention(self) -> Sequence[Attention]:
        """What needs an operator, the most urgent first."""
        return [*attention(self.overview, self.dead)]


class Looker:
    """Looks again and again, over one connection at a time."""

    def __init__(self, app: Soniq) -> None:
        self._app = app
        self._looks: deque[tuple[datetime, Sequence[Queue]]] = deque()
        self._counted: tuple[datetime, Rates | None, Sequence[Name] | None] | None = None

    async def look(self, search: Search | None = None) -> Look:
        """What there is now. Raises `DatabaseError`."""
        overview = await self._app.overview()
        now, queues = datetime.now(UTC), queues_of(overview)
        died = Search(statuses=["dead"], finished=(now - HOUR, None), order="finished")
        counted, names = await self._counts(now)
        rates = self._between_looks(now, queues)
        if counted is not None:
            fresh = overview["exact"] and rates.total.done is not None
            rates = replace(rates if fresh else counted, minutes=counted.minutes)
        return Look(
            at=now,
            overview=overview,
            queues=queues,
            dead=await self._app.count(died),
            rates=rates,
            failures=await self._searched(died),
            names=names,
            found=None if search is None else await self._searched(search),
        )

    async def _searched(self, search: Search) -> Page:
        """A page of jobs, with what their errors say as it may be shown."""
        page = await self._app.search(search, limit=MOST_JOBS)
        return replace(page, jobs=[await self._shown(job) for job in page.jobs])

    async def _shown(self, job: FoundJob) -> FoundJob:
        if job.error_message is None:
            return job
        message = await presented(self._app, job.job_name, "error", job.error_message)
        return replace(job, error_message=str(message))

    async def _counts(self, now: datetime) -> tuple[Rates | None, Sequence[Name] | None]:
        """What the workers have counted; None where they have not."""
        if self._counted is None or (now - self._counted[0]).total_seconds() >= FRESH:
            self._counted = (now, *await _counted(self._app, now))
        return self._counted[1:]

    def _between_looks(self, now: datetime, queues: Sequence[Queue]) -> Rates:
        """How fast the counts of finished jobs have risen."""
        self._looks.append((now, queues))
        while (now - self._looks[0][0]).total_seconds() > WINDOW:
            self._looks.popleft()
        then, before = self._looks[0]
        seconds = (now - then).total_seconds()
        if not seconds:
            return Rates(Rate(), {})

        old = {each.name: each for each in before}
        risen = {each.name: _risen(old.get(each.name), each) for each in queues}
        rates = {
            name: Rate(_a_minute(done, seconds), _a_minute(dead, seconds))
            for name, (done, dead) in risen.items()
        }
        total = [sum(each) for each in zip(*risen.values(), strict=True)] or [0, 0]
        return Rates(Rate(*(_a_minute(each, seconds) for each in total)), rates)


def _risen(before: Queue | None, now: Queue) -> tuple[int, int]:
    if before is None:
        return 0, 0
    return now.done - before.done, now.dead.value - before.dead.value


def _a_minute(jobs: int, seconds: float) -> float | None:
    """None where there are fewer than before: some were forgotten, or an estimate was mended."""
    return jobs * 60 / seconds if jobs >= 0 else None


async def _counted(app: Soniq, now: datetime) -> tuple[Rates | None, Sequence[Name] | None]:
    try:
        counts = app.plugin(Collector)
        minutes = await counts.series(now - HOUR, now, step=1)
        if not minutes:
            return None, None
        until = (now - UNWRITTEN).replace(second=0, microsecond=0)
        lately = await counts.series(until - LATELY, until, by=["queue"], step=1)
        by_name = await counts.series(now - HOUR, now, by=["name"], step=10)
    except (PluginNotLoaded, asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return None, None
    of_queues = {
        queue: _rate(each for each in lately if each.queue == queue)
        for queue in {each.queue or "" for each in lately}
    }
    at, begin = {each.at: each.done for each in minutes}, minutes[0].at
    done = [
        at.get(begin + timedelta(minutes=minute), 0)
        for minute in range(int((until - begin).total_seconds() // 60))
    ]
    return Rates(_rate(lately), of_queues, done), names_of(by_name)


def _rate(points: Iterable[Point]) -> Rate:
    minutes, several = LATELY.total_seconds() / 60, [*points]
    return Rate(
        sum(each.done for each in several) / minutes,
        sum(each.dead + each.retry + each.lost for each in several) / minutes,
    )
