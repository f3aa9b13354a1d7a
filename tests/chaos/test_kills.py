"""Worker processes that are killed at random."""

import asyncio
import random
from functools import partial

import asyncpg
import pytest

from soniq import Soniq
from tests.chaos.conftest import StartWorker
from tests.chaos.program import define
from tests.support.waiting import eventually

JOBS = 2_000


@pytest.mark.timeout(240)
async def test_jobs_outlive_workers_that_are_killed_and_their_transactions_happen_once(
    own_database_url: str, start_worker: StartWorker
) -> None:
    producer = Soniq(own_database_url, discover=False)
    define(producer)
    await producer.start()
    connection = await asyncpg.connect(own_database_url)
    await connection.execute("create table effect (number integer)")
    await producer.enqueue_many("effect", [{"number": number} for number in range(JOBS)])

    start = partial(start_worker, lease=1, concurrency=4, poll_interval=0.2)
    workers = [start() for _ in range(3)]
    kills = 0

    async def killed_and_ended() -> bool:
        nonlocal kills
        await asyncio.sleep(1.0)
        victim = workers.pop(random.randrange(len(workers)))
        victim.kill()
        kills += 1
        workers.append(start())
        return not await connection.fetchval("select exists (select from soniq.job)")

    await eventually(killed_and_ended, limit=180)
    rows = await connection.fetch("select status, count(*) from soniq.history group by 1")
    assert [tuple(row) for row in rows] == [("done", JOBS)]
    effects = await connection.fetch("select number from effect order by number")
    assert [row["number"] for row in effects] == list(range(JOBS))
    assert await connection.fetchval("select count(*) from soniq.history where claim > 1") > 0
    assert kills >= 3
    await connection.close()
    await producer.close()
