"""The proxy of these tests does to a network what it says."""

import asyncio
import time

import asyncpg
import pytest

from tests.support.proxy import Proxy

QUIET = 0.3
"""Seconds in which an answer that comes has come, on a network without delay."""


async def test_all_passes_both_ways_until_something_is_wrong(
    proxy: Proxy, database_url: str
) -> None:
    connection = await asyncpg.connect(proxy.url(database_url))
    rows = await connection.fetch("select repeat('x', 1000) as text from generate_series(1, 2000)")
    assert sum(len(row["text"]) for row in rows) == 2_000_000
    assert (proxy.made, proxy.open) == (1, 1)
    await connection.close()


async def test_a_lost_connection_is_silent_and_stays_open_while_new_ones_work(
    proxy: Proxy, database_url: str
) -> None:
    connection = await asyncpg.connect(proxy.url(database_url))
    proxy.lose()
    with pytest.raises(TimeoutError):
        await connection.fetchval("select 1", timeout=QUIET)
    assert not connection.is_closed()
    connection.terminate()
    proxy.restore()
    other = await asyncpg.connect(proxy.url(database_url))
    assert await other.fetchval("select 1") == 1
    await other.close()


async def test_a_dark_network_answers_nobody_and_delivers_all_once_it_is_back(
    proxy: Proxy, database_url: str
) -> None:
    connection = await asyncpg.connect(proxy.url(database_url))
    proxy.darken()
    answer = asyncio.create_task(connection.fetchval("select 1"))
    with pytest.raises(TimeoutError):
        await asyncpg.connect(proxy.url(database_url), timeout=QUIET)
    assert not answer.done()
    proxy.restore()
    assert await asyncio.wait_for(answer, 10) == 1
    await connection.close()


async def test_connections_that_are_cut_end_and_new_ones_work(
    proxy: Proxy, database_url: str
) -> None:
    connection = await asyncpg.connect(proxy.url(database_url))
    proxy.cut()
    with pytest.raises((asyncpg.PostgresConnectionError, OSError, asyncpg.InterfaceError)):
        await connection.fetchval("select 1")
    other = await asyncpg.connect(proxy.url(database_url))
    await other.close()


async def test_where_connections_are_refused_there_is_none_until_it_is_restored(
    proxy: Proxy, database_url: str
) -> None:
    proxy.refuse()
    with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
        await asyncpg.connect(proxy.url(database_url))
    proxy.restore()
    await (await asyncpg.connect(proxy.url(database_url))).close()


async def test_what_is_delayed_arrives_later(proxy: Proxy, database_url: str) -> None:
    connection = await asyncpg.connect(proxy.url(database_url))
    proxy.delay(0.2)
    began = time.monotonic()
    assert await connection.fetchval("select 1") == 1
    assert time.monotonic() - began >= 0.4
    proxy.restore()
    await connection.close()


async def test_connections_are_cut_at_random(proxy: Proxy, database_url: str) -> None:
    proxy.cut_at_random(0.2)
    ended = 0
    for _ in range(20):
        try:
            connection = await asyncpg.connect(proxy.url(database_url))
            for _ in range(20):
                await connection.fetchval("select 1")
            connection.terminate()
        except (asyncpg.PostgresConnectionError, OSError, asyncpg.InterfaceError):
            ended += 1
    assert ended
    proxy.restore()
