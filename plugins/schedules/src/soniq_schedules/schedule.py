"""A schedule as it is told to those who ask."""

from datetime import datetime
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from .spec import when_of
from .when import When

if TYPE_CHECKING:
    import asyncpg


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule; datetimes have a time zone."""

    name: str
    job: str
    """The name of the job."""
    when: When | None
    """Without its arguments; None where this version of soniq-schedules cannot read it."""
    source: Literal["code", "database"]
    """Whether it is defined in code, or was added at run time."""
    anchor: datetime
    """From when an interval is counted."""
    next_at: datetime | None
    """The next tick; None where there is none any more. While it is paused, none is made."""
    paused_at: datetime | None
    last_at: datetime | None
    """The last tick that made a job."""
    last_job_id: str | None
    """The job of the last tick, or a later one of `run_now`, made while that was finished."""
    skipped_at: datetime | None
    """The last tick that made no job, as the one before was not finished."""
    known: bool
    """Whether a worker lives that makes its jobs."""
    error: str | None
    """Why its tick fails; it is tried again."""
    error_at: datetime | None

    @property
    def state(self) -> str:
        """In a word or two, what keeps it from making jobs: `active` where nothing does."""
        if self.paused_at is not None:
            return "paused"
        if self.next_at is None:
            return "ended"
        if not self.known:
            return "no live worker has it"
        return f"failing: {self.error}" if self.error else "active"

    def upcoming(self, count: int, after: datetime | None = None) -> list[datetime]:
        """The next ticks after a moment, by default after now, as it stands in the database."""
        return self.when.upcoming(count, after, anchor=self.anchor) if self.when else []


def schedule_of(row: "asyncpg.Record") -> Schedule:
    """The schedule of a row."""
    try:
        when = when_of(row["spec"])
    except msgspec.ValidationError:
        when = None

    return Schedule(
        name=row["name"],
        job=row["job"],
        when=when,
        source=cast("Literal['code', 'database']", row["source"]),
        anchor=row["anchor"],
        next_at=row["next_at"],
        paused_at=row["paused_at"],
        last_at=row["last_at"],
        last_job_id=row["last_job"],
        skipped_at=row["skipped_at"],
        known=row["known"],
        error=row["error"],
        error_at=row["error_at"],
    )
