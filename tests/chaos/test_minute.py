"""A minute of settling against claiming, with four worker processes."""

import asyncio
import json
import time
from collections import Counter

import asyncpg
import pytest

from soniq import Soniq
from tests.chaos.conftest import StartWorker
from tests.chaos.program import define
from tests.core.postgres.support import deadlocks
from tests.support.waiting import eventually

SECONDS = 60.0


@pytest.mark.timeout(300)
async def test_four_processes_settle_and_claim_for_a_minute_without_a_deadlock_and_each_job_ends_once(
    own_database_url: str, start_worker: StartWorker
) -> None:
    producer = Soniq(own_database_url, discover=False)
    define(producer)
    await producer.start()
    workers = [start_worker(poll_interval=0.2) for _ in range(4)]
    connection = await asyncpg.connect(own_database_url)
    enqueued = 0
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        if await connection.fetchval("select count(*) from soniq.job") < 10_000:
            await producer.enqueue_many("unsteady", [{"number": number} for number in range(1_000)])
            enqueued += 1_000
        await asyncio.sleep(0.01)

    async def all_ended() -> bool:
        return not await connection.fetchval("select exists (select from soniq.job)")

    await eventually(all_ended, limit=60)
    settled: Counter[str] = Counter()
    for worker in workers:
        worker.terminate()
    for worker in workers:
        printed, _ = await asyncio.to_thread(worker.communicate, timeout=30)
        settled.update(json.loads(printed))
    row = await connection.fetchrow(
        "select count(*) as jobs, count(*) filter (where status = 'done') as done, sum(attempt) as"
        " attempts, count(distinct worker_id) as workers from soniq.history"
    )
    await connection.close()
    await producer.close()
    assert await deadlocks(own_database_url) == 0
    assert row is not None
    assert (row["jobs"], row["done"], row["workers"]) == (enqueued, enqueued, 4)
    assert settled["done"] == enqueued
    assert settled["done"] + settled["retry"] == row["attempts"]
    assert settled["retry"] > enqueued * 0.3
