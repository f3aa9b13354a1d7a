"""A minute of limits: workers with the plugin and without it, kills, cancels, retries by an
operator, expiries, keys that somebody has locked. An observer outside counts how many run at once.
"""

import asyncio
import random
import subprocess
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from soniq import Soniq
from soniq.errors import JobNotFound, JobNotRetryable
from tests.chaos.conftest import ROOT
from tests.chaos.limited import KEYS, RATE, app_of
from tests.core.postgres.support import deadlocks
from tests.support.waiting import eventually

SECONDS = 60.0
MIXED = ("with", "with", "without", "without")
LIMITS = {"one": 1, "five": 5, "two": 2, "shared": 3}


class Workers:
    """A worker process for each place, each started again by `start` where it is dead."""

    def __init__(self, url: str, file: Path, plugins: Sequence[str]) -> None:
        self._url, self._file, self._plugins = url, file, plugins
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.killed: dict[int, int] = {}
        """When each process was killed, in nanoseconds, by pid."""

    def start(self) -> None:
        for place, plugin in enumerate(self._plugins):
            if place not in self._running:
                module = ("-m", "tests.chaos.limited", self._url, plugin, str(self._file))
                self._running[place] = subprocess.Popen(
                    [sys.executable, *module],
                    cwd=ROOT,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )

    def kill(self, place: int) -> None:
        worker = self._running.pop(place, None)
        if worker is not None:
            worker.kill()
            worker.wait()
            self.killed[worker.pid] = time.monotonic_ns()

    def kill_one(self) -> None:
        self.kill(random.randrange(len(self._plugins)))


@contextmanager
def workers_on(url: str, file: Path, plugins: Sequence[str]) -> Iterator[Workers]:
    workers = Workers(url, file, plugins)
    try:
        yield workers
    finally:
        for place in range(len(plugins)):
            workers.kill(place)


async def disturb(app: Soniq, ids: list[str]) -> None:
    """Cancel some jobs, and run some again that were cancelled."""
    for job_id in random.sample(ids, 20):
        await app.cancel(job_id)
    for job_id in random.sample(ids, 20):
        try:
            await app.retry(job_id)
        except (JobNotFound, JobNotRetryable):
            continue


async def lock_keys(url: str) -> None:
    """Lock the row of some key for seconds, as a person may, again and again."""
    connection = await asyncpg.connect(url)
    try:
        while True:
            async with connection.transaction():
                lock = "select from soniq_limits.key order by random() limit 1 for update"
                await connection.fetch(lock)
                await asyncio.sleep(random.uniform(0.1, 3))
            await asyncio.sleep(random.uniform(0.1, 1))
    finally:
        await connection.close()


@pytest.mark.timeout(300)
async def test_no_limit_is_exceeded_and_no_slot_lost_through_kills_and_workers_without_the_plugin(
    own_database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "observed"
    app = app_of(own_database_url, "with", str(file))
    connection = await asyncpg.connect(own_database_url)
    await app.start()
    ids: list[str] = []
    with workers_on(own_database_url, file, MIXED) as workers:
        locking = asyncio.create_task(lock_keys(own_database_url))
        ends, next_kill = time.monotonic() + SECONDS, time.monotonic() + 5
        while time.monotonic() < ends:
            workers.start()
            if await connection.fetchval("select count(*) from soniq.job") < 600:
                for name in ("one", "five", "two"):
                    jobs = [{"key": random.randrange(KEYS)} for _ in range(100)]
                    ids += await app.enqueue_many(name, jobs)
                    ids.append(await app.enqueue(name, key=0, expires=random.uniform(0.01, 1)))
            await disturb(app, ids[-300:])
            if time.monotonic() > next_kill:
                next_kill = time.monotonic() + random.uniform(2, 6)
                workers.kill_one()
            await asyncio.sleep(0.1)
        workers.start()
        locking.cancel()
        await asyncio.wait([locking])

        async def nothing_left() -> bool:
            query = (
                "select (select count(*) from soniq.job) + (select count(*) from soniq.owed)"
                " + (select count(*) from soniq_limits.slot)"
                " + (select count(*) from soniq_limits.waiting)"
            )
            return not await connection.fetchval(query)

        await eventually(nothing_left, limit=90)
        killed = dict(workers.killed)
    most, starts = observed(file, killed)
    print(f"{starts} starts, {len(killed)} kills, at once at most {most}")
    await app.close()
    await connection.close()
    assert starts > 500
    assert all(count <= LIMITS[key.split(":")[0]] for key, count in most.items()), most
    assert await deadlocks(own_database_url) == 0


@pytest.mark.timeout(300)
async def test_no_rate_is_exceeded_through_kills_retries_and_cancels(
    own_database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "observed"
    app = app_of(own_database_url, "with", str(file))
    connection = await asyncpg.connect(own_database_url)
    await app.start()
    ids: list[str] = []
    with workers_on(own_database_url, file, ["with"] * 4) as workers:
        ends, next_kill = time.monotonic() + SECONDS, time.monotonic() + 5
        while time.monotonic() < ends:
            workers.start()
            if await connection.fetchval("select count(*) from soniq.job") < 400:
                ids += await app.enqueue_many("call", [{"key": n % KEYS} for n in range(200)])
            await disturb(app, ids[-200:])
            if time.monotonic() > next_kill:
                next_kill = time.monotonic() + random.uniform(2, 6)
                workers.kill_one()
            await asyncio.sleep(0.5)
        killed = len(workers.killed)
    await app.close()
    await connection.close()

    starts: dict[str, list[float]] = {}
    lines = [line.split() for line in file.read_text().splitlines()]
    for at, key in sorted((int(at), key) for at, what, _, _, key in lines if what == "+"):
        starts.setdefault(key, []).append(at / 1e9)
    per = RATE.seconds or 0.0
    most = {key: most_in(per, times) for key, times in starts.items()}
    share = {
        key: len(times) / (RATE.n * (times[-1] - times[0] + per) / per)
        for key, times in starts.items()
    }
    print(f"{killed} kills, in {RATE.per} s at most {most}, of what might have started {share}")
    assert len(most) == KEYS
    assert max(most.values()) <= RATE.n
    assert await deadlocks(own_database_url) == 0


def most_in(seconds: float, starts: Sequence[float]) -> int:
    """The most starts in any such time; they are in order."""
    return max(bisect_left(starts, start + seconds) - place for place, start in enumerate(starts))


def observed(file: Path, killed: dict[int, int]) -> tuple[dict[str, int], int]:
    """How many attempts of each key ran at once, at most; and how many began. What a killed process
    ran has ended with it.
    """
    open_: dict[str, tuple[int, str]] = {}
    events: list[tuple[int, int, str]] = []
    starts = 0
    for line in file.read_text().splitlines():
        at, what, pid, attempt, keys = line.split()
        if what == "+":
            starts += 1
            open_[attempt] = int(pid), keys
            events += [(int(at), 1, key) for key in keys.split(",")]
        else:
            del open_[attempt]
            events += [(int(at), -1, key) for key in keys.split(",")]
    for pid_, keys in open_.values():
        events += [(killed[pid_], -1, key) for key in keys.split(",")]

    now: Counter[str] = Counter()
    most: dict[str, int] = {}
    for _, change, key in sorted(events):
        now[key] += change
        most[key] = max(most.get(key, 0), now[key])
    return most, starts
