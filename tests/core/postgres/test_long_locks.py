"""Somebody holds a lock on Soniq's tables for long: a change of a table, a restore, a forgotten
session.
"""

import asyncio
from typing import TYPE_CHECKING

from soniq import Soniq
from tests.conftest import MakeApp
from tests.support.jobs import finished, working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection


async def test_statements_that_are_given_up_do_not_pile_up_in_the_server(
    make_app: MakeApp, schema: str, connection: "Connection"
) -> None:
    """A session that waits for a lock does not see that its client is gone."""
    app: Soniq = make_app(lease=1, command_timeout=1)
    ran: list[None] = []

    @app.job()
    async def one() -> None:
        ran.append(None)

    async def waiting() -> int:
        count: int = await connection.fetchval(
            "select count(*) from pg_locks where relation = to_regclass($1) and not granted",
            f"{schema}.worker",
        )
        return count

    async with working(app):
        async with connection.transaction():
            await connection.execute(f"lock table {schema}.worker in access exclusive mode")
            seen = []
            for _ in range(24):
                await asyncio.sleep(0.5)
                seen.append(await waiting())
        assert max(seen[:4]) > 0
        assert max(seen[-4:]) <= max(seen[4:12]) + 1

        await finished(app, await app.enqueue(one))
        assert len(ran) == 1

    async def nobody() -> bool:
        return await waiting() == 0

    await eventually(nobody)
