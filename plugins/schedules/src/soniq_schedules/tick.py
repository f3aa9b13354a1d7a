"""What a handler is told of the tick that made its job."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from soniq import JobContext

from .when import When

HEADER = "soniq-schedule"
"""The header of a job that a schedule made: `name`, `at`, and `cron` with `tz`, or `every` in
seconds.
"""


class Tick(msgspec.Struct, frozen=True):
    """Why a job runs: a handler has a parameter of this type, `tick: Tick`."""

    at: datetime
    """The time at which the job was due, in the time zone of its `Cron`, else in UTC; where no
    schedule made the job, when it was due.
    """
    late: float
    """Seconds from then until this attempt was claimed, by the database's clock."""
    schedule: str | None
    """The name of the schedule; None where no schedule made the job."""


def tick_of(ctx: JobContext) -> Tick:
    """The tick that made the job of an attempt."""
    header = ctx.headers.get(HEADER)
    claimed = ctx.scheduled_at + timedelta(seconds=ctx.queued_for)
    if not isinstance(header, Mapping):
        return Tick(ctx.scheduled_at, ctx.queued_for, None)
    at = datetime.fromisoformat(header["at"])
    if "tz" in header:  # so that its date is that of the night, and a day before is a day there
        at = at.astimezone(ZoneInfo(header["tz"]))
    return Tick(at, (claimed - at).total_seconds(), header["name"])


def headers_of(name: str, when: When, at: datetime) -> dict[str, object]:
    """The headers of a job that a schedule makes."""
    return {HEADER: {"name": name, "at": at.isoformat(), **when.about()}}
