"""Schedules written to the database: those of the code at the start of a worker, others when they
are added.
"""

from datetime import datetime
from typing import TYPE_CHECKING

import asyncpg

from .database import statement
from .errors import ScheduleInCode
from .spec import Spec
from .when import MOMENT, When

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


async def write(
    connection: "Connection", schema: str, name: str, spec: Spec, version: str | None
) -> None:
    """Add a schedule, or change the one of this name, in a transaction of the caller's.

    `version`: of the code that has it; None for one that is added at run time. Raises
    `ScheduleInCode` where the one that is there comes from elsewhere.
    """
    source = "code" if version else "database"
    row = await connection.fetchrow(statement(schema, "lock"), name)
    if row is None:
        now = await connection.fetchval("select clock_timestamp()")
        next_at = spec.when.next_after(now, now)
        added = await connection.fetchrow(
            statement(schema, "add"),
            name, spec.job, source, spec.text, spec.args, spec.serializer, spec.digest, version,
            now, next_at,
        )  # fmt: skip
        if added:
            return
        row = await connection.fetchrow(statement(schema, "lock"), name)
        if row is None:  # removed by someone at this moment
            return

    if row["source"] != source:
        raise ScheduleInCode(name, "choose another name for one that is added at run time")
    if row["digest"] == spec.digest:
        return
    next_at = kept(spec.when, row["next_at"], row["now"], row["anchor"])
    await connection.execute(
        statement(schema, "change"),
        name, spec.job, spec.text, spec.args, spec.serializer, spec.digest, version, next_at,
    )  # fmt: skip


def kept(when: When, next_at: datetime | None, now: datetime, anchor: datetime) -> datetime | None:
    """The next tick of a schedule that has changed: one that is due already, where it is one of the
    changed schedule, too.
    """
    if (
        next_at is not None
        and next_at <= now
        and when.next_after(next_at - MOMENT, anchor) == next_at
    ):
        return next_at
    return when.next_after(now, anchor)
