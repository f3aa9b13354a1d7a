"""Counts what is settled, writes it down, and reads it."""

from collections.abc import AsyncIterator, Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from soniq import Soniq
from soniq.errors import AppNotStarted
from soniq.plugin import Action, Migration, Outcome, Task, WorkerStatus, hookimpl

from . import audit, silent
from .counters import Counters
from .database import NAME, migration
from .extending import HOOKS
from .reading import Gauge, Point, Step, read_gauges, read_series, read_totals
from .running import keep_running
from .sampling import keep_samples, keep_short
from .settings import INTERVAL, KEEP, seconds
from .writing import Writer


class Collector:
    """What jobs did, minute by minute. See `Dashboard`, which it is a part of."""

    name = NAME

    def __init__(
        self,
        *,
        keep_1m: float | timedelta | None = None,
        keep_10m: float | timedelta | None = None,
        keep_1h: float | timedelta | None = None,
        interval: float | timedelta | None = None,
    ) -> None:
        given = {1: keep_1m, 10: keep_10m, 60: keep_1h}
        self._keep = {tier: seconds(setting, given[tier]) for tier, setting in KEEP.items()}
        self.interval = seconds(INTERVAL, interval)
        """Seconds between two writings of a worker."""
        self._counters = Counters()
        self._app: Soniq | None = None
        self._writer: Writer | None = None

    async def series(
        self,
        since: datetime,
        until: datetime | None = None,
        *,
        queue: str | None = None,
        name: str | None = None,
        by: Sequence[Literal["queue", "name"]] = (),
        step: Step | None = None,
        durations: bool = True,
    ) -> Sequence[Point]:
        """What was settled from one time to another (now), of one queue and one job or of all, in
        the order of time; times have a zone. A point for each time in which there was something.

        `by`: a point for each queue, for each job, or both, instead of one for all. `step`: minutes
        of a point; None: the finest that is kept, and is not too many: minutes for six hours, ten
        for seven days, then hours. The last minute is not complete. Without `durations`, which is
        cheaper, `took` and `waited` have the seconds of all together, and no quantiles.
        """
        return await read_series(
            self._started(), self._keep, since, until, queue, name, by, step, durations=durations
        )

    async def totals(
        self,
        since: datetime,
        until: datetime | None = None,
        *,
        queue: str | None = None,
        name: str | None = None,
        by: Sequence[Literal["queue", "name"]] = (),
        step: Step | None = None,
    ) -> Sequence[Point]:
        """As `series`, but one point for all of that time, or one for each queue or job. It begins
        where that of `step` minutes begins in which `since` is.
        """
        return await read_totals(self._started(), self._keep, since, until, queue, name, by, step)

    async def gauges(
        self,
        since: datetime,
        until: datetime | None = None,
        *,
        queue: str | None = None,
        step: Step = 1,
    ) -> Sequence[Gauge]:
        """How much waited in a queue, or in all, and how busy the workers were, from one time to
        another (now): of each `step` minutes the highest of each.
        """
        return await read_gauges(self._started(), since, until, queue, step)

    @hookimpl
    def settled(self, outcomes: Sequence[Outcome]) -> Coroutine[Any, Any, None] | None:
        """Count what was settled; where no worker writes it down later, do that now."""
        self._counters.add(outcomes)
        writer = self._writer
        return None if writer is None or writer.goes_on else writer.write()

    @hookimpl
    async def acted(self, action: Action) -> None:
        """Keep what somebody did."""
        await audit.write(self._started(), action)

    @hookimpl
    async def workers_lost(self, workers: Sequence[WorkerStatus]) -> None:
        """Keep which workers fell silent."""
        await silent.keep(self._started(), workers)

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        self._app, self._writer = app, Writer(app, self._counters, self.interval)
        try:
            yield
        finally:
            self._app = self._writer = None

    @hookimpl
    def background_tasks(self, app: Soniq) -> Sequence[Task]:
        """Each worker writes what it counted; one samples, forgets and carries out operations for
        all.
        """
        assert self._writer is not None
        return [
            Task(name="write", run=self._writer.run),
            Task(name="sample", run=partial(keep_samples, app), elected=True),
            Task(name="forget", run=partial(keep_short, app, self._keep), elected=True),
            Task(name="operate", run=partial(keep_running, app), elected=True),
        ]

    @hookimpl
    def hookspecs(self) -> Sequence[Any]:
        """What other plugins may add to the pages."""
        return HOOKS

    @hookimpl
    def migrations(self) -> Sequence[Migration]:
        steps = (
            "0001_series",
            "0002_operations",
            "0003_deploys",
            "0004_workers",
            "0005_run_now",
            "0006_memory",
            "0007_waits",
            "0008_packed",
        )
        return [Migration(version=n, sql=migration(each)) for n, each in enumerate(steps, 1)]

    def _started(self) -> Soniq:
        if self._app is None:
            raise AppNotStarted("the app of this dashboard is not in use")
        return self._app
