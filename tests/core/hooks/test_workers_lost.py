"""workers_lost: told once of a worker that fell silent, and not of one that ended in order."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg

from soniq import hookimpl
from soniq.plugin import WorkerStatus
from tests.conftest import MakeApp
from tests.support.jobs import lose_a_worker, working
from tests.support.waiting import eventually

JOB = "01a22b36-af8b-70ef-abb4-2accb21d721e"


class Hears:
    name = "hears"

    def __init__(self) -> None:
        self.told: list[WorkerStatus] = []

    @hookimpl
    async def workers_lost(self, workers: Sequence[WorkerStatus]) -> None:
        self.told += workers


async def test_a_worker_that_fell_silent_is_told_of_once_as_it_was_last_seen(
    make_app: MakeApp, schema: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    hears = Hears()
    apps = [make_app(plugins=[hears], lease=1) for _ in range(2)]
    await apps[0].start()
    lost = await lose_a_worker(connection, schema, **{JOB: "send"})

    async def is_told() -> bool:
        return bool(hears.told)

    async with working(apps[0]), working(apps[1]):
        await eventually(is_told)
    async with working(apps[0]):  # after the two have ended in order
        await eventually(is_told)

    (worker,) = hears.told
    assert worker["worker_id"] == lost
    assert (worker["hostname"], worker["pid"], worker["version"]) == ("gone", 4711, "0.9")
    assert (worker["queues"], worker["names"], worker["plugins"]) == (
        ["mail"], ["send", "fetch"], ["limits"],
    )  # fmt: skip
    assert worker["seen_at"] <= datetime.now(UTC) - timedelta(seconds=59)
    assert (worker["concurrency"], worker["running"]) == (8, 1)
    (job,) = worker["running_jobs"]
    assert (job["job_id"], job["job_name"]) == (JOB, "send")
    assert worker["seen_at"] - job["started_at"] == timedelta(seconds=7.5)
