"""What one look at the database tells: how the queues stand, and how fast they are worked off."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from soniq import Count, FoundJob, Overview, Page, Search, Soniq
from soniq.errors import PluginNotLoaded
from soniq.plugin import WorkerStatus, presented
from soniq_dashboard import memory
from soniq_dashboard.collector import Collector
from soniq_dashboard.database import CannotRead
from soniq_dashboard.names import Name, names_of
from soniq_dashboard.reading import Point
from soniq_dashboard.standing import Attention, Queue, attention, died_since, queues_of

HOUR = timedelta(hours=1)
LATELY = timedelta(minutes=3)
"""For how long rates are averaged, of what was counted minute by minute."""
UNWRITTEN = timedelta(minutes=2)
"""How old a minute is that all workers have written down."""
FRESH = 15.0
"""Seconds for which what was counted is shown again: there is more of it once a minute."""
WINDOW = 60.0
"""Seconds of looks between which rates are taken, where nothing was counted."""
SHORTEST = 10.0
"""Seconds of looks from which on a rate is told: that of a shorter time says little of a minute."""
JUST_AFTER = timedelta(microseconds=1)
"""What tells two times apart in the database."""
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
    memory: Mapping[str, int]
    """Bytes that workers take, by id, of those that have said so."""
    missing: str
    """Why what was counted cannot be read; empty where it can be."""
    found: Page | None
    """What was searched for, where something was."""

    @property
    def attention(self) -> Sequence[Attention]:
        """What needs an operator, the most urgent first."""
        return [*attention(self.overview, self.dead)]


@dataclass(frozen=True, slots=True)
class Counted:
    """What workers have counted; None where they have not, or it cannot be read."""

    rates: Rates | None = None
    names: Sequence[Name] | None = None
    memory: Mapping[str, int] = field(default_factory=dict)
    missing: str = ""
    """What it takes to read it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What rates are taken from, of one look."""

    at: datetime
    queues: Sequence[Queue]
    died: Mapping[str, int]
    """How many jobs have died since the look before, by queue."""


class Looker:
    """Looks again and again, over one connection at a time."""

    def __init__(self, app: Soniq) -> None:
        self._app = app
        self._looks: deque[Seen] = deque()
        self._last_death: datetime | None = None
        """When the last job died, by the database's clock; None before the first look."""
        self._counted: tuple[datetime, Counted] | None = None

    async def look(self, search: Search | None = None) -> Look:
        """What there is now. Raises `DatabaseError`."""
        overview = await self._app.overview()
        now, queues = datetime.now(UTC), queues_of(overview)
        died = died_since(now - HOUR)
        failures = await self._searched(died)
        rates = self._between_looks(Seen(now, queues, await self._died(failures, now)))
        counted = await self._counts(now, overview["workers"])
        if counted.rates is not None:
            fresh = overview["exact"] and rates.total.done is not None
            rates = replace(rates if fresh else counted.rates, minutes=counted.rates.minutes)
        return Look(
            at=now,
            overview=overview,
            queues=queues,
            dead=await self._app.count(died),
            rates=rates,
            failures=failures,
            names=counted.names,
            memory=counted.memory,
            missing=counted.missing,
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

    async def _counts(self, now: datetime, workers: Sequence[WorkerStatus]) -> Counted:
        """What the workers have counted, and how much memory they take."""
        if self._counted is None or (now - self._counted[0]).total_seconds() >= FRESH:
            self._counted = now, await _counted(self._app, now, workers)
        return self._counted[1]

    async def _died(self, failures: Page, now: datetime) -> Mapping[str, int]:
        """How many jobs have died since the look before, by queue: told by when they did, as those
        that were retried and died again leave no difference between two counts. Where all that are
        listed are new, each queue has its share of all.
        """
        before, times = self._last_death, [each.finished_at for each in failures.jobs]
        self._last_death = max([before or now - HOUR, *(each for each in times if each)])
        if before is None:
            return {}
        new = Counter(
            each.queue for each in failures.jobs if each.finished_at and each.finished_at > before
        )
        if new.total() < MOST_JOBS:
            return new

        found = await self._app.count(died_since(before + JUST_AFTER))
        return {queue: round(found.value * part / MOST_JOBS) for queue, part in new.items()}

    def _between_looks(self, now: Seen) -> Rates:
        """How fast the counts of jobs that are done have risen, and how many died."""
        self._looks.append(now)
        while len(self._looks) > 2 and (now.at - self._looks[0].at).total_seconds() > WINDOW:
            self._looks.popleft()
        first, *later = self._looks
        seconds = (now.at - first.at).total_seconds()
        if seconds < SHORTEST:
            return Rates(Rate(), {})

        before = {each.name: each.done for each in first.queues}
        done = {each.name: each.done - before.get(each.name, each.done) for each in now.queues}
        died = Counter[str]()
        for each in later:
            died.update(each.died)
        of_queues = {
            name: Rate(_a_minute(jobs, seconds), _a_minute(died[name], seconds))
            for name, jobs in done.items()
        }
        total = Rate(_a_minute(sum(done.values()), seconds), _a_minute(died.total(), seconds))
        return Rates(total, of_queues)


def _a_minute(jobs: int, seconds: float) -> float | None:
    """None where there are fewer than before: some were forgotten, or an estimate was mended."""
    return jobs * 60 / seconds if jobs >= 0 else None


async def _counted(app: Soniq, now: datetime, workers: Sequence[WorkerStatus]) -> Counted:
    try:
        counts = app.plugin(Collector)
        taken = await memory.read(app, workers, ()) if workers else {}
        minutes = await counts.series(now - HOUR, now, step=1)
        if not minutes:
            return Counted(memory=taken)
        until = (now - UNWRITTEN).replace(second=0, microsecond=0)
        lately = await counts.series(until - LATELY, until, by=["queue"], step=1)
        by_name = await counts.totals(now - HOUR, now, by=["name"])
    except PluginNotLoaded:
        return Counted()
    except CannotRead as error:
        return Counted(missing=f"{error}.")
    of_queues = {
        queue: _rate(each for each in lately if each.queue == queue)
        for queue in {each.queue or "" for each in lately}
    }
    at, begin = {each.at: each.done for each in minutes}, minutes[0].at
    done = [
        at.get(begin + timedelta(minutes=minute), 0)
        for minute in range(int((until - begin).total_seconds() // 60))
    ]
    return Counted(Rates(_rate(lately), of_queues, done), names_of(by_name), taken)


def _rate(points: Iterable[Point]) -> Rate:
    minutes, several = LATELY.total_seconds() / 60, [*points]
    return Rate(
        sum(each.done for each in several) / minutes,
        sum(each.failed for each in several) / minutes,
    )
