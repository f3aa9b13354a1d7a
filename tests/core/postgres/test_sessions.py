"""What the sessions of an app begin with: a network that goes silent ends each, on the server's side
too.
"""

from typing import TYPE_CHECKING

import asyncpg
import pytest

from soniq import Soniq

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
