"""A minute of schedules: two versions of the code, workers that are killed and connections that are
cut at random, and a pause in which no worker lives. Each tick makes exactly one job.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise

import asyncpg
import pytest

from soniq_schedules import Schedules
from tests.chaos.conftest import ROOT
from tests.chaos.scheduled import app_of
from tests.support.waiting import eventually

SECONDS = 60.0
CUT = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where datname = current_database() and pid <> pg_backend_pid()"
)
"""What a restart of the server does to those that are connected."""
VERSIONS = ("old", "old", "new", "new")


class Workers:
    """A worker process for each place, each started again by `start` where it is dead."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        for place, version in enumerate(VERSIONS):
            if place not in self._running:
                command = [sys.executable, "-m", "tests.chaos.scheduled", self._url, version]
                self._running[place] = subprocess.Popen(
                    command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )

    def kill(self, *places: int) -> None:
        for place in places:
            worker = self._running.pop(place, None)
            if worker is not None:
                worker.kill()
                worker.wait()


@contextmanager
def workers_on(url: str) -> Iterator[Workers]:
    workers = Workers(url)
    try:
        yield workers
    finally:
        workers.kill(*range(len(VERSIONS)))


async def ticks_of(connection: "asyncpg.Connection[asyncpg.Record]", name: str) -> list[datetime]:
    rows = await connection.fetch(
        "select headers -> 'soniq-schedule' ->> 'at' as at from ("
        " select name, headers from soniq.job union all select name, headers from soniq.history"
        ") as jobs where name = $1",
        name,
    )
    return sorted(datetime.fromisoformat(row["at"]) for row in rows)


@pytest.mark.timeout(300)
async def test_each_tick_makes_one_job_through_kills_two_versions_and_a_pause(
    own_database_url: str,
) -> None:
    async with app_of(own_database_url, "new") as app:
        pass
    connection = await asyncpg.connect(own_database_url)
    with workers_on(own_database_url) as workers:
        workers.start()
        ends = time.monotonic() + SECONDS
        paused = False
        while time.monotonic() < ends:
            await asyncio.sleep(random.uniform(0.5, 3))
            if not paused and time.monotonic() > ends - SECONDS / 2:
                paused = True
                workers.kill(*range(len(VERSIONS)))
                await asyncio.sleep(8)
            else:
                workers.kill(random.randrange(len(VERSIONS)))
            if random.random() < 0.3:
                await connection.execute(CUT)
            workers.start()

        await app.start()
        stopped = await connection.fetchval("select clock_timestamp()")

        async def caught_up() -> bool:
            found = await app.plugin(Schedules).list()
            return all(each.last_at is not None and each.last_at > stopped for each in found)

        await eventually(caught_up, limit=60)
        await app.close()
    for name in ("common", "added"):
        ticks = await ticks_of(connection, name)
        assert len(set(ticks)) == len(ticks)
        assert all(b - a == timedelta(seconds=1) for a, b in pairwise(ticks))
        assert ticks[-1] - ticks[0] > timedelta(seconds=SECONDS / 2)
    await connection.close()
