"""What is done to all jobs that match a search: an operation is a row, which workers carry out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, get_args

import asyncpg
import msgspec

from soniq import Search, Soniq

from .database import NAME, bounded, readable, statement
from .permissions import Permission

Act = Literal["retry", "run", "cancel", "delete"]
"""What is done to jobs; `run`: those that are due later are due now."""
ACTS: tuple[Act, ...] = get_args(Act)
PERMISSION: Mapping[Act, Permission] = {
    "retry": "retry",
    "run": "retry",
    "cancel": "cancel",
    "delete": "delete",
}
"""What somebody may do who may do this."""
State = Literal["open", "done", "stopped", "failed"]
Range = tuple[datetime | None, datetime | None]
"""From a time on, and before another."""

FINISHED = ("done", "dead", "cancelled")
STATUSES = ("queued", "held", "running", *FINISHED)
OF_ORDER: Mapping[str, tuple[str, ...]] = {
    "newest": STATUSES,
    "finished": ("dead", "cancelled"),
    "due": ("queued",),
    "started": ("running",),
}
"""The statuses that a search finds in each order."""
POSSIBLE: Mapping[Act, tuple[str, ...]] = {
    "retry": ("dead", "cancelled"),
    "run": ("queued",),
    "cancel": ("queued", "held", "running"),
    "delete": ("queued", "held", *FINISHED),
}
"""The statuses of the jobs that can be changed so."""

MOST_OPEN = 20
"""Operations that are open at once."""
OLDEST_FORM = 3_600.0
"""Seconds after which what a form has shown is to be looked at again."""


class NotPossible(Exception):
    """An action for which a search finds nothing that could be changed so; its text is for the
    user.
    """


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation, and how far it is."""

    id: int
    action: Act
    by: str
    reason: str | None
    search: Search
    secret: bool
    """Whether it searches in what belongs to jobs: arguments, headers and errors."""
    state: State
    created_at: datetime
    updated_at: datetime
    frozen_at: datetime
    """Of what was created or finished later, nothing is touched."""
    ended_at: datetime | None
    found: int
    """How many jobs matched when it was asked for; where not `exact`, more."""
    exact: bool
    seen: int
    """How many were gone through so far."""
    changed: int
    asked: int
    """Those that ran, and whose workers were asked to end them."""
    kept: int
    """Those that stay as they are, for the reasons in `why`."""
    why: Mapping[str, int]
    examples: Sequence[tuple[str, str]]
    """Some of those that were left: id and reason."""
    failures: int
    """Batches that failed, one after the other."""
    error: str | None
    """Why it failed, or stopped by itself."""
    stopped_by: str | None
    place: str | None
    """The cursor of the search behind the last batch."""

    @property
    def unchanged(self) -> int:
        """Those that were as they should be when their turn came, or were not there any more."""
        return max(0, self.seen - self.changed - self.asked - self.kept)


def frozen(action: Act, search: Search, at: datetime) -> Search:
    """What an action means of what a search finds, of the jobs that there were at a time: of those
    that match the ones that can be changed so, the newest first. To retry is meant of dead jobs,
    where the search names no status. Raises `NotPossible`.
    """
    in_order = OF_ORDER.get(search.order, ())
    if search.statuses is not None:
        meant: Sequence[str] = [*search.statuses]
    else:
        meant = ["dead"] if action == "retry" else in_order
    possible = {*POSSIBLE[action]} & {*in_order}
    if search.finished not in (None, (None, None)):
        possible &= {*FINISHED}
    statuses: list[Any] = [each for each in STATUSES if each in possible and each in meant]

    if not statuses:
        some, what = ", ".join(POSSIBLE[action]), "run now" if action == "run" else action
        raise NotPossible(f"to {what} is possible for jobs that are {some}: none of these matches")
    if action == "delete" and replace(search, order="newest") == Search():
        raise NotPossible("to delete all jobs is no search: say which")

    finished = search.finished
    if {*statuses} <= {*FINISHED}:
        finished = _until(finished, at)
    created, scheduled = _until(search.created, at), search.scheduled
    if action == "run":
        scheduled = _since(scheduled, at)
    return replace(
        search,
        statuses=statuses,
        order="newest",
        created=created,
        scheduled=scheduled,
        finished=finished,
    )


def _until(times: Range | None, at: datetime) -> Range:
    """The same times, but none later."""
    since, before = times or (None, None)
    return since, at if before is None else min(before, at)


def _since(times: Range | None, at: datetime) -> Range:
    """The same times, but none earlier. Raises `NotPossible` where there is none."""
    since, before = times or (None, None)
    since = at if since is None else max(since, at)
    if before is not None and before < since:
        raise NotPossible("all that match are due already")
    return since, before


async def time_of(app: Soniq) -> datetime:
    """What time it is in the database."""
    async with bounded(app) as connection:
        now: datetime = await connection.fetchval("select clock_timestamp()")
    return now


async def delete_as_seen(
    app: Soniq, seen: Iterable[tuple[str, Any]], by: str
) -> tuple[int, dict[str, str]]:
    """Delete jobs as long as they are of the status that somebody saw, by their ids; how many that
    were, and why others were left. Raises what `delete_many` does.
    """
    ids: dict[Any, list[str]] = {}
    for job_id, status in seen:
        ids.setdefault(status, []).append(job_id)
    deleted, left = 0, dict[str, str]()
    for status, each in ids.items():
        done = await app.delete_many(each, status=status, by=by)
        deleted += done["deleted"]
        left |= done["left"]
    return deleted, left


async def begin(
    app: Soniq,
    action: Act,
    search: Search,
    at: datetime,
    *,
    secret: bool,
    by: str,
    reason: str | None,
    found: int,
    exact: bool,
) -> int | None:
    """Make an operation of a search that was `frozen` at a time; its id. None where that was more
    than an hour ago, or too many are open.
    """
    async with bounded(app) as connection:
        # One at a time, so that the open ones are counted right
        await connection.execute(
            "select pg_advisory_xact_lock(hashtextextended($1, 0))", f"operation of {_schema(app)}"
        )
        row = await connection.fetchrow(
            statement(_schema(app), "begin_operation"),
            action, by, reason, msgspec.json.encode(search).decode(), secret, at, found, exact,
            OLDEST_FORM, MOST_OPEN,
        )  # fmt: skip
    return None if row is None else row["id"]


async def stop(app: Soniq, operation_id: int, by: str) -> bool:
    """Let an operation begin no other batch; False: it was not open."""
    async with bounded(app) as connection:
        rows = await connection.fetch(statement(_schema(app), "stop_operation"), operation_id, by)
    return bool(rows)


async def operations(
    app: Soniq, *, before: int | None = None, only: int | None = None, most: int = 50
) -> Sequence[Operation]:
    """The newest operations, those before an id, or the one of an id. Raises `CannotRead`."""
    with readable(app):
        async with bounded(app) as connection:
            rows = await connection.fetch(statement(_schema(app), "operations"), before, only, most)
    return [operation_of(row) for row in rows]


def operation_of(row: "asyncpg.Record") -> Operation:
    """A row as what it is."""
    values: dict[str, Any] = {each: row[each] for each in Operation.__struct_fields__}
    values["search"] = msgspec.json.decode(row["search"], type=Search)
    values["why"] = msgspec.json.decode(row["why"])
    values["examples"] = msgspec.json.decode(row["examples"], type=list[tuple[str, str]])
    return Operation(**values)


def _schema(app: Soniq) -> str:
    return app.plugin_schema(NAME)
