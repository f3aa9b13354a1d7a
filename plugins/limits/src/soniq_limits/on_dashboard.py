"""What the dashboard shows of limits, where there is one. Nothing else imports this file, as it
needs soniq-dashboard.
"""

from collections.abc import Sequence

import asyncpg

from soniq import JobDetail, Soniq
from soniq_dashboard import Block, Cell, Link, Page, Panel, Table, Text, Visit

from .database import NAME, statement

PATH = "/pages/limits"
AT_ONCE = 50
"""Limits, and keys, of a page."""
MOST = 1_000
"""Up to how many keys and jobs are counted."""
LONGEST = 1_000
"""Milliseconds that a statement may take."""
COLUMNS = ("Limit", "Kind", "At once", "In the code", "In", "Keys", "Running", "Waiting")
OF_KEYS = ("Key", "Taken", "Of", "In", "Waiting")
OF_JOB = ("Key", "This job", "Taken", "Of", "In")
NOT_YOURS = "You may not see the keys of limits: they have arguments of jobs in them."


def page() -> Page:
    """The page of limits, and of the keys of one."""
    return Page(title="Limits", render=_render)


async def of_job(app: Soniq, job: JobDetail) -> Sequence[Panel]:
    """The keys of a job, and whether it has its slots or waits for them."""
    rows = await _rows(app, "of_job", job["job_id"])
    cells = [
        (row["key"], "has a slot" if row["has_slot"] else "waits", row["taken"], row["n"], _in(row))
        for row in rows
    ]
    return [Panel("Limits", [Table(OF_JOB, cells)], "see_arguments")] if cells else ()


async def _render(visit: Visit) -> Sequence[Block]:
    name, after = visit.parameters.get("limit"), visit.parameters.get("after", "")
    if name:
        return await _keys(visit, name, after)
    rows = await _rows(visit.app, "page", after, AT_ONCE + 1, MOST)
    shown = [_limit(row, visit) for row in rows[:AT_ONCE]]
    blocks: list[Block] = [Table(COLUMNS, shown, empty="There are no limits.")]
    if len(rows) > AT_ONCE:
        blocks.append(Link("Next page", PATH, {"after": rows[AT_ONCE - 1]["name"]}))
    return blocks


async def _keys(visit: Visit, name: str, after: str) -> Sequence[Block]:
    back = Link("All limits", PATH)
    if "see_arguments" not in visit.may:
        return [Text(NOT_YOURS), back]
    rows = await _rows(visit.app, "page_of_keys", name, after, AT_ONCE + 1, MOST)
    cells = [
        (row["key"], _counted(row["taken"]), row["n"], _in(row), _counted(row["waiting"]))
        for row in rows[:AT_ONCE]
    ]
    blocks: list[Block] = [
        Table(OF_KEYS, cells, title=name, empty="No job of this limit runs or waits.")
    ]
    if len(rows) > AT_ONCE:
        last = rows[AT_ONCE - 1]["key"]
        blocks.append(Link("Next page", PATH, {"limit": name, "after": last}))
    return [*blocks, back]


def _limit(row: asyncpg.Record, visit: Visit) -> Sequence[Cell]:
    name = row["name"]
    may_see = "see_arguments" in visit.may
    return (
        Link(name, PATH, {"limit": name}) if may_see else name,
        row["kind"],
        row["n"],
        row["declared"],
        _in(row),
        *(_counted(row[each]) for each in ("keys", "running", "waiting")),
    )


def _in(row: asyncpg.Record) -> str | None:
    """The time of a rate."""
    per: float | None = row["per"]
    return None if per is None else f"{per:g} s"


def _counted(found: int) -> Cell:
    return found if found <= MOST else f"{MOST:,}+"


async def _rows(app: Soniq, name: str, *values: object) -> Sequence[asyncpg.Record]:
    """What a statement finds, by indexes, and within its time."""
    async with app.connection() as connection, connection.transaction(readonly=True):
        await connection.execute(
            f"set local statement_timeout = {LONGEST}; set local enable_seqscan = off;"
            " set local jit = off"
        )
        return await connection.fetch(statement(app.plugin_schema(NAME), name), *values)
