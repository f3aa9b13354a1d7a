"""What the sessions of an app begin with: a network that goes silent ends each, on the server's side
too; and which of them are idle.
"""

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from soniq import Search, Soniq
from tests.conftest import MakeApp
from tests.support.waiting import in_time

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

ASKED = "select name, reset_val from pg_settings where name like 'tcp_%' and source = 'client'"
TCP = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60000",
}


@pytest.mark.parametrize("way", ["acquire", "session", "lend", "apart"])
async def test_each_session_has_the_server_look_whether_its_client_is_there(
    app: Soniq, way: str
) -> None:
    await app.start()
    async with getattr(app._database, way)() as connection:
        found = await connection.fetch(ASKED)
    assert {row["name"]: row["reset_val"] for row in found} == TCP


async def test_a_connection_that_somebody_waited_for_is_not_taken_for_idle(
    make_app: MakeApp,
) -> None:
    app = make_app(pool_size=1)
    await app.start()
    database = app._database
    has_it, goes_on = asyncio.Event(), asyncio.Event()

    async def use() -> int:
        async with database.acquire() as connection:
            has_it.set()
            await goes_on.wait()
            return int(await connection.fetchval("select 1"))

    async with database.acquire():
        waiting = asyncio.create_task(use())
        await asyncio.sleep(0)
    await in_time(has_it.wait())
    database.drop_idle()  # as where another connection was lost
    goes_on.set()
    assert await in_time(waiting) == 1


async def test_a_statement_that_is_cut_off_before_it_runs_leaves_no_transaction(
    make_app: MakeApp,
) -> None:
    app = make_app(pool_size=1)
    await app.start()

    sessions: list[int] = []

    async def is_cut_off() -> None:
        async with app._database.acquire() as connection:
            sessions.append(connection.get_server_pid())
            await connection.prepare("select 1")  # the driver sends no Sync before it runs it
            raise asyncio.CancelledError

    for _ in range(2):
        with pytest.raises(asyncio.CancelledError):
            await is_cut_off()
    assert (await app.search(Search())).jobs == []
    assert sessions[0] == sessions[1], "it is used again"
