"""What goes on at the server, seen from beside."""

from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


async def end_sessions_that_run(connection: "Connection", statement: str) -> None:
    """End the sessions that run a statement, since a server does not notice by itself that the
    client of a long one is gone.
    """
    await connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where query = $1", statement
    )
