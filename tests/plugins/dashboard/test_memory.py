"""The memory that workers take: each says it once a minute, and is told from those after it."""

import os
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from soniq import Soniq
from soniq.plugin import WorkerStatus, resident_memory
from soniq_dashboard import memory
from soniq_dashboard.counters import Counters
from soniq_dashboard.sampling import forget
from soniq_dashboard.settings import KEEP
from soniq_dashboard.writing import Writer
from tests.support.jobs import working
from tests.support.waiting import eventually

from .conftest import outcome

Connection = asyncpg.Connection
DAY = 86_400.0
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def worker(number: int, **changed: Any) -> WorkerStatus:
    """A worker of ten to twelve o'clock."""
    status = {
        "worker_id": f"00000000-0000-0000-0000-{number:012}", "hostname": "a", "pid": 1,
        "version": "1", "queues": None, "concurrency": 1, "started_at": NOW - timedelta(hours=2),
        "seen_at": NOW, "names": [], "plugins": [], "running": 0, "running_jobs": [],
    }  # fmt: skip
    return WorkerStatus(**{**status, **changed})  # type: ignore[typeddict-item]


async def test_a_worker_says_how_much_memory_it_takes(
    app: Soniq,
) -> None:
    await app.start()
    here = socket.gethostname(), os.getpid()
    async with working(app):

        async def told() -> int | None:
            workers = (await app.overview())["workers"]
            assert {(each["hostname"], each["pid"]) for each in workers} <= {here}
            return next(iter((await memory.read(app, workers, [])).values()), None)

        said = await eventually(told)
    assert said is not None
    assert resident_memory() / 2 < said < resident_memory() * 2


async def test_a_process_without_a_worker_says_nothing(
    app: Soniq, schema: str, connection: "Connection[asyncpg.Record]"
) -> None:
    await app.start()
    counters = Counters()
    counters.add([outcome()])
    await Writer(app, counters, 60).write()
    of = f"select count(*) from {schema}_dashboard.{{}}"
    assert await connection.fetchval(of.format("series")) == 3
    assert await connection.fetchval(of.format("process")) == 0


async def test_memory_is_told_of_the_process_that_was_there_with_a_worker(
    app: Soniq, schema: str, connection: "Connection[asyncpg.Record]"
) -> None:
    """In a container each process has the number 1, and the name stays."""
    await app.start()
    for since, at, took in ((-5.0, -2.5, 1), (-1.9, -0.1, 2), (0.1, 0.2, 3)):  # hours
        await connection.execute(
            f"insert into {schema}_dashboard.process (id, since, at, memory, pid, hostname)"
            " values (gen_random_uuid(), $1, $2, $3, 1, 'a')",
            NOW + timedelta(hours=since), NOW + timedelta(hours=at), took,
        )  # fmt: skip
    silent, after = worker(1), worker(2, started_at=NOW + timedelta(hours=0.05))
    others = [worker(3, hostname="b"), worker(4, pid=2)]
    found = await memory.read(app, [after, *others], [silent])
    assert found == {silent["worker_id"]: 2, after["worker_id"]: 3}


async def test_what_a_process_took_is_forgotten_when_it_is_long_gone(
    app: Soniq, schema: str, connection: "Connection[asyncpg.Record]"
) -> None:
    await app.start()
    await connection.execute(
        f"insert into {schema}_dashboard.process (id, at, memory, pid, hostname)"
        " select gen_random_uuid(), clock_timestamp() - n * interval '5 days', 1, 1, 'a'"
        " from generate_series(1, 3) as n"
    )
    assert await forget(app, {tier: each.default for tier, each in KEEP.items()}) == 2
