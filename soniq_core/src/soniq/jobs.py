"""Jobs apart from the app: modules define them without importing the application, which includes them."""

from typing import TYPE_CHECKING, Any, Unpack
from weakref import WeakSet

from soniq.defining import Defines, Hints, JobKeywords, job_options
from soniq.definition import Registry
from soniq.job import Job

if TYPE_CHECKING:
    from soniq.app import Soniq


class Jobs(Defines):
    """Jobs that any number of apps may include: `jobs = Jobs()`, `@jobs.job(...)`, `eq.include(jobs)`.

    Keywords are options of all its jobs that do not say otherwise: `Jobs(queue="mail")`. Raises `InvalidOption`.
    """

    def __init__(self, **defaults: Unpack[JobKeywords]) -> None:
        job_options(defaults)
        self._defaults = defaults
        self._registry = Registry()
        self._apps: WeakSet[Soniq] = WeakSet()

    def join(self, app: "Soniq") -> None:
        """Give an app the jobs, all or none, and later those that are defined later: what `app.include` does."""
        for job in self._registry.jobs.values():
            app.check_job(job)
        for job in self._registry.jobs.values():
            app.add_job(job, self._registry.hints[job.name])
        self._apps.add(app)

    def add_job(self, job: Job[..., Any], hints: Hints) -> None:
        self._registry.check(job)
        for app in self._apps:
            app.check_job(job)
        self._registry.add(job, hints)
        for app in self._apps:
            app.add_job(job, hints)
