"""The memory that workers take: each process says once a minute how much."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from soniq import Soniq
from soniq.plugin import WorkerStatus

from .database import NAME, readable, session, statement


async def read(
    app: Soniq, live: Sequence[WorkerStatus], silent: Sequence[WorkerStatus]
) -> Mapping[str, int]:
    """Bytes that the processes of workers took when they last said so, by the worker's id; those
    that never said are left out. Raises `CannotRead`.
    """
    workers = [*live, *silent]
    with readable(app):
        async with session(app) as connection:
            rows = await connection.fetch(
                statement(app.plugin_schema(NAME), "memory"),
                [UUID(each["worker_id"]) for each in workers],
                [each["hostname"] for each in workers],
                [each["pid"] for each in workers],
                [each["started_at"] for each in workers],
                [*(None for _ in live), *(each["seen_at"] for each in silent)],
            )
    return {row["id"]: row["memory"] for row in rows}
