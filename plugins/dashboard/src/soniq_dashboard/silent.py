"""Workers that fell silent: kept as other workers find them, for a while."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from soniq import Soniq
from soniq.plugin import WorkerStatus

from .database import NAME, readable, session, statement

LATELY = 3_600.0
"""Seconds for which pages tell of them."""
ANY = 100 * 365 * 86_400.0


async def keep(app: Soniq, workers: Sequence[WorkerStatus]) -> None:
    """Keep how workers were that fell silent."""
    async with app.connection() as connection:
        sql = statement(app.plugin_schema(NAME), "keep_silent")
        await connection.execute(sql, msgspec.json.encode(workers).decode())


async def read(app: Soniq, worker_id: UUID | None = None) -> Sequence[WorkerStatus]:
    """Those that fell silent lately, the last first; or the one of an id, whenever that was. Raises
    `CannotRead`.
    """
    with readable(app):
        async with session(app) as connection:
            rows = await connection.fetch(
                statement(app.plugin_schema(NAME), "silent"),
                LATELY if worker_id is None else ANY,
                worker_id,
            )
    return [msgspec.json.decode(row["worker"], type=WorkerStatus) for row in rows]
