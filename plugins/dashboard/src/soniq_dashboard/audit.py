"""What operators did, and who it was: kept as the hook `acted` tells it, and read."""

from collections.abc import Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Literal, get_args

import msgspec

from soniq import Soniq
from soniq.plugin import Action

from .database import NAME, bounded, readable, statement

Kind = Literal["retry", "run", "cancel", "delete", "pause", "resume", "stop"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What operators do; `run` and `stop` are of operations: a job that runs now is told as a retry."""

KEPT = 90 * 86_400.0
"""Seconds for which it is kept, and operations after their end."""

within_operation: ContextVar[bool] = ContextVar("within_operation", default=False)
"""Whether an operation does what is told: who asked for that is kept already."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody did at once."""

    id: int
    at: datetime
    action: Kind
    by: str
    queue: str | None
    reason: str | None
    jobs: int
    """How many jobs it changed."""
    job_ids: Sequence[str]
    """The first of them."""
    operation_id: int | None
    of_action: str | None
    """What the operation does; None where there is none, or it was forgotten."""
    done: int | None
    """How many jobs the operation has changed so far."""
    state: str | None


async def write(app: Soniq, action: Action) -> None:
    """Keep what somebody did. What has no name on it is a program's own work, and is not kept."""
    if action.by is None or within_operation.get():
        return
    async with bounded(app) as connection:
        await connection.execute(
            statement(app.plugin_schema(NAME), "write_audit"),
            len(action.job_ids), action.kind, action.by, action.queue, action.reason,
            list(action.job_ids),
        )  # fmt: skip


async def lines(
    app: Soniq,
    *,
    before: int | None = None,
    by: str | None = None,
    action: str | None = None,
    most: int = 50,
) -> Sequence[Line]:
    """The newest lines, those before an id, of a user or an action where one is given. Raises
    `CannotRead`.
    """
    with readable(app):
        async with bounded(app) as connection:
            rows = await connection.fetch(
                statement(app.plugin_schema(NAME), "audit"), before, by, action, most
            )
    return [
        Line(**{**dict(row), "job_ids": [str(each) for each in row["job_ids"]]}) for row in rows
    ]
