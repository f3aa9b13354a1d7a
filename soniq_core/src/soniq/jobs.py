"""Jobs apart from the app: modules define them without importing the application, which includes
them.
"""

from collections.abc import Mapping
from typing import Any, Protocol, Unpack
from weakref import WeakSet

from soniq.checks import check_text
from soniq.defining import Defines, Hints, default_name
from soniq.errors import JobDefinitionError
from soniq.job.job import Job
from soniq.job.options import JobKeywords, job_options
from soniq.registry import Registry


class Including(Protocol):
    """What includes jobs: an app."""

    def _check_job(self, job: Job[..., Any]) -> None:
        """Raise if the job cannot be added now."""
        ...

    def _add_job(self, job: Job[..., Any], hints: Hints) -> None:
        """Add a job."""
        ...


class Jobs(Defines):
    """Jobs that any number of apps may include: `jobs = Jobs()`, `@jobs.job(...)`,
    `eq.include(jobs)`.

    Keywords are options of all its jobs that do not say otherwise: `Jobs(queue="mail")`. Raises
    `InvalidOption`.
    """

    def __init__(self, **defaults: Unpack[JobKeywords]) -> None:
        job_options(defaults)
        self._defaults = defaults
        self._registry = Registry()
        self._apps: WeakSet[Including] = WeakSet()
        self._plugin: str | None = None

    def _join(self, app: Including) -> None:
        """Give an app the jobs, all or none, and later those that are defined later: what
        `app.include` does.
        """
        for job in self._registry.jobs.values():
            app._check_job(job)
        for job in self._registry.jobs.values():
            app._add_job(job, self._registry.hints[job.name])
        self._apps.add(app)

    def name_under(self, plugin: str) -> Mapping[str, tuple[Job[..., Any], Hints]]:
        """Let the jobs be a plugin's: their names begin with its name. What they are then, by name.

        Raises `JobDefinitionError` where two have one name, and where they are another's.
        """
        owner = "an app that includes them" if self._apps else self._plugin
        if owner not in (None, plugin):
            raise JobDefinitionError(
                f"the jobs that the plugin {plugin!r} offers belong to {owner} already; make a"
                " Jobs for each",
                job=next(iter(self._registry.jobs), ""),
            )
        self._plugin = plugin

        named = Registry()
        for name, job in self._registry.jobs.items():
            job.name = _under(plugin, job)
            named.check(job)
            named.add(job, self._registry.hints[name])
        self._registry = named
        return {name: (job, named.hints[name]) for name, job in named.jobs.items()}

    def _add_job(self, job: Job[..., Any], hints: Hints) -> None:
        if self._plugin is not None:
            job.name = _under(self._plugin, job)
        self._registry.check(job)
        for app in self._apps:
            app._check_job(job)
        self._registry.add(job, hints)
        for app in self._apps:
            app._add_job(job, hints)


def _under(plugin: str, job: Job[..., Any]) -> str:
    """The name of a plugin's job: `plugin.name`, of one without a name of its own
    `plugin.function`.
    """
    name, default = job.name, default_name(job.function)
    if not name.startswith(f"{plugin}."):
        name = f"{plugin}.{default.rpartition('.')[2] if name == default else name}"
        check_text("name", name, 500)
    return name
