"""The plugin: schedules in code, schedules at run time, and what ticks for both."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from soniq import InvalidArguments, JobContext, JobDetail, Soniq
from soniq.errors import JobDefinitionError
from soniq.plugin import JobDefinition, Migration, Task, hookimpl

from .at_run_time import AtRunTime, check_name
from .cron import Cron
from .database import ALIVE, NAME, migration
from .every import Every
from .several import Several
from .tick import Tick, tick_of
from .ticker import LEASE, InCode, Ticker
from .when import When

if TYPE_CHECKING:
    import click

    from soniq_dashboard import Alert, Page, Panel


class Schedules(AtRunTime):
    """Jobs at fixed times: `schedules = eq.plugin(Schedules)`.

    Those of the code are options of jobs: `@eq.job(Cron("30 2 * * *", tz="Europe/Berlin"))`. Others
    are added, changed and removed here, and kept in the database. Its methods can be used while the
    app is; they raise `AppNotStarted` before, `ScheduleNotFound` for a name that there is not, and
    `DatabaseError`.
    """

    name = NAME

    def __init__(self) -> None:
        super().__init__()
        self._code: dict[str, InCode] = {}

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        """Read the schedules of a job."""
        self._definitions[job.name] = job
        found: dict[str, When] = {}
        options = [job.option(kind) for kind in (Cron, Every, Several)]
        for option in options:
            if isinstance(option, When):
                found[job.name] = option
            elif isinstance(option, Several):
                for name, when in option.schedules.items():
                    found[f"{job.name}:{name}"] = when
        if len(options) - options.count(None) > 1:
            raise JobDefinitionError(
                f"{job.name}: it has more than one schedule; name them, in a Several(one=...,"
                " other=...)",
                job=job.name,
            )

        for name, when in found.items():
            check_name(name)
            self._code[name] = InCode(job.name, when)

    @hookimpl
    def provide(
        self, annotation: object, job: JobDefinition
    ) -> Callable[[JobContext], AbstractAsyncContextManager[object]] | None:
        """The tick, to a handler that asks for it."""
        return (lambda ctx: nullcontext(tick_of(ctx))) if annotation is Tick else None

    @hookimpl
    def migrations(self) -> Sequence[Migration]:
        return [Migration(version=1, sql=migration("0001_schedules"))]

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        self._app = app
        try:
            yield
        finally:
            self._app = None

    @hookimpl
    async def started(self, app: Soniq) -> None:
        """Refuse to start with a schedule whose arguments its job does not take."""
        for name, each in self._code.items():
            try:
                await app.dump_arguments(each.job, each.when.args or {})
            except InvalidArguments as error:
                raise JobDefinitionError(f"the schedule {name!r}: {error}", job=each.job) from error

    @hookimpl
    async def status_fields(self, app: Soniq) -> Mapping[str, object]:
        """How many schedules there are, and what keeps some from making jobs."""
        status = await self._status(app)
        return {name: value for name, value in status.items() if value or name == "schedules"}

    @hookimpl
    def register_commands(self, cli: "click.Group") -> None:
        from .commands import schedules  # all that enqueues has no need of it

        cli.add_command(schedules)

    @hookimpl(optionalhook=True)
    def dashboard_pages(self) -> "Sequence[Page]":
        from .on_dashboard import Schedules

        return [Schedules(self).page()]

    @hookimpl(optionalhook=True)
    def dashboard_job_panels(self, job: JobDetail) -> "Sequence[Panel]":
        from .on_dashboard import of_job

        return of_job(job)

    @hookimpl(optionalhook=True)
    async def dashboard_queue_panels(self, queue: str) -> "Sequence[Panel]":
        from .on_dashboard import of_queue

        jobs = {
            name for name, job in self._definitions.items() if (job.queue or "default") == queue
        }
        return await of_queue(self, jobs)

    @hookimpl(optionalhook=True)
    async def dashboard_alerts(self, app: Soniq) -> "Sequence[Alert]":
        from .on_dashboard import alerts

        return alerts(await self._status(app))

    @hookimpl
    def background_tasks(self, app: Soniq) -> Sequence[Task]:
        """One ticker for each version of the code: an older one does not know what is new."""
        ticker = Ticker(app, self._code, self._serializers())
        name = f"tick {ticker.version[:12]}"
        return [Task(name=name, run=ticker.run, elected=True, lease=LEASE)]

    async def _status(self, app: Soniq) -> Mapping[str, Any]:
        """How many schedules there are, and the names of those that make no jobs."""
        async with app.connection() as connection:
            (row,) = await connection.fetch(self._sql("status"), ALIVE)
        return dict(row)
