"""What the dashboard shows of schedules, where there is one. Nothing else imports this file, as it
needs soniq-dashboard.
"""

from collections.abc import Collection, Mapping, Sequence

from soniq import JobDetail
from soniq.plugin import presented
from soniq_dashboard import Alert, Block, Cell, Facts, Link, Page, Panel, Table, Text, Visit

from .at_run_time import AtRunTime
from .errors import ScheduleNotFound
from .schedule import Schedule
from .tick import HEADER

PATH = "/pages/schedules"
AT_ONCE = 50
"""Schedules of a page."""
UPCOMING = 10
"""Ticks of one schedule that are shown."""
IN_PANEL = 20
"""Schedules at a queue."""
MOST = 500
"""Schedules that are looked through for those of a queue."""
NAMED = 3
"""Names in an alert."""
COLUMNS = ("Schedule", "Job", "When", "Next", "Last", "State")


class Schedules:
    """The page of schedules, and of one."""

    def __init__(self, schedules: AtRunTime) -> None:
        self._schedules = schedules

    def page(self) -> Page:
        return Page(title="Schedules", render=self._render)

    async def _render(self, visit: Visit) -> Sequence[Block]:
        if name := visit.parameters.get("name"):
            return await self._one(visit, name)
        after = visit.parameters.get("after")
        found = await self._schedules.list(after=after, limit=AT_ONCE + 1)
        shown = found[:AT_ONCE]
        blocks: list[Block] = [
            Table(COLUMNS, [_row(each) for each in shown], empty="There are no schedules.")
        ]
        if len(found) > AT_ONCE:
            blocks.append(Link("Next page", PATH, {"after": shown[-1].name}))
        return blocks

    async def _one(self, visit: Visit, name: str) -> Sequence[Block]:
        try:
            schedule = await self._schedules.get(name)
        except ScheduleNotFound:
            return [Text("No schedule has this name."), Link("All schedules", PATH)]

        paused = schedule.paused_at is not None
        upcoming = [] if paused else schedule.upcoming(UPCOMING)
        blocks: list[Block] = [
            Facts({**_facts(schedule), **await _failure(visit, schedule)}),
            Table(["At", "In"], [(str(each), each) for each in upcoming], "Next ticks",
                  "It is paused." if paused else "There is none."),
            Link("Its jobs", "/jobs", {"q": _search(schedule.job)}),
            Link("All schedules", PATH),
        ]  # fmt: skip
        return blocks


def of_job(job: JobDetail) -> Sequence[Panel]:
    """Which schedule made a job, and for which tick."""
    made = job["headers"].get(HEADER)
    if not isinstance(made, Mapping):
        return ()
    name, at = str(made.get("name")), str(made.get("at"))
    facts: Mapping[str, Cell] = {"Made by": Link(name, PATH, {"name": name}), "For the tick": at}
    return [Panel("Schedule", [Facts(facts)], "see_arguments")]


async def of_queue(schedules: AtRunTime, jobs: Collection[str]) -> Sequence[Panel]:
    """Schedules of these jobs, which are those of a queue, among the first by name."""
    found = [each for each in await schedules.list(limit=MOST) if each.job in jobs]
    rows = [_row(each) for each in found[:IN_PANEL]]
    return [Panel("Schedules", [Table(COLUMNS, rows)])] if rows else ()


def alerts(status: Mapping[str, Sequence[str] | None]) -> Sequence[Alert]:
    """What keeps schedules from making jobs, of the fields of `soniq status`."""
    told: list[Alert] = []
    if names := status["no_live_worker_has"]:
        told.append(Alert(f"No live worker has {_named(names)}", PATH, level="bad"))
    if names := status["failing"]:
        told.append(Alert(f"Ticks fail of {_named(names)}", PATH, level="bad"))
    return told


def _named(names: Sequence[str]) -> str:
    """The first of the schedules of these names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    noun = "the schedule" if len(names) == 1 else "the schedules"
    return f"{noun} {', '.join(names[:NAMED])}{more}"


def _row(schedule: Schedule) -> Sequence[Cell]:
    last: Cell = schedule.last_at
    if schedule.last_job_id is not None and schedule.last_at is not None:
        last = Link(f"{schedule.last_at:%Y-%m-%d %H:%M:%S UTC}", f"/jobs/{schedule.last_job_id}")
    return (
        Link(schedule.name, PATH, {"name": schedule.name}),
        schedule.job,
        _when(schedule),
        None if schedule.paused_at is not None else schedule.next_at,
        last,
        _state(schedule),
    )


def _facts(schedule: Schedule) -> Mapping[str, Cell]:
    return {
        "Schedule": schedule.name,
        "Job": schedule.job,
        "When": _when(schedule),
        "State": _state(schedule),
        "Defined in": "the code" if schedule.source == "code" else "the database",
        "Paused": schedule.paused_at,
        "Last tick": schedule.last_at,
        "Last job": (
            Link(schedule.last_job_id[-8:], f"/jobs/{schedule.last_job_id}")
            if schedule.last_job_id
            else None
        ),
        "Last left out": schedule.skipped_at,
    }


async def _failure(visit: Visit, schedule: Schedule) -> Mapping[str, Cell]:
    """Why its tick fails, to who may see that."""
    if schedule.error is None or "see_arguments" not in visit.may:
        return {}
    said = await presented(visit.app, schedule.job, "error", schedule.error)
    return {"Error": str(said), "Failed": schedule.error_at}


def _search(job: str) -> str:
    """The search of the dashboard for the jobs of a name, whatever it has in it."""
    return 'name:"' + job.replace("\\", r"\\").replace('"', r"\"") + '"'


def _when(schedule: Schedule) -> str:
    return schedule.when.describe() if schedule.when else "(of another version)"


def _state(schedule: Schedule) -> str:
    """What keeps it from making jobs, without the message of an error."""
    return schedule.state.partition(":")[0]
