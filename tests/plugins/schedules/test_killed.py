"""Workers in processes of their own: the one that ticks is killed, and another goes on."""

import signal
import time
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from soniq import Soniq
from soniq_schedules import Every, Schedules
from tests.support.forks import Forks
from tests.support.processes import Process
from tests.support.waiting import eventually

PROGRAM = """
import asyncio

from soniq import Soniq
from soniq_schedules import Every, Schedules

eq = Soniq(plugins=[Schedules], discover=False, poll_interval=0.1)


@eq.job(Every(seconds=1, catch_up="all"), name="second")
async def second() -> None: ...


asyncio.run(eq.run_worker())
"""


async def test_when_the_worker_that_ticks_is_killed_another_goes_on_within_ten_seconds(
    app: Soniq, tmp_path: Path, database_url: str, schema: str, forks: Forks
) -> None:
    app.job(Every(seconds=1, catch_up="all"), name="second")(nothing)
    await app.start()
    script = tmp_path / "worker.py"
    script.write_text(PROGRAM)
    environment = {"SONIQ_DATABASE_URL": database_url, "SONIQ_SCHEMA": schema}
    first = Process(forks, script, environment)
    try:
        await eventually(lambda: ticked(app, None))
        second = Process(forks, script, environment)
        try:
            async with app.connection() as connection:

                async def both() -> bool:
                    count = await connection.fetchval(f"select count(*) from {schema}.worker")
                    return bool(count == 2)

                await eventually(both)
            last = (await app.plugin(Schedules).get("second")).last_at
            first.send(signal.SIGKILL)
            killed = time.monotonic()
            await eventually(lambda: ticked(app, last and last + timedelta(seconds=2)))
            assert time.monotonic() - killed < 12  # ten, and two ticks
        finally:
            second.send(signal.SIGTERM)
            await second.ended()
            second.close()
    finally:
        first.close()

    jobs = await app.jobs(name="second", limit=1_000)
    rows = [await at_of(app, job["job_id"], schema) for job in jobs]
    ticks = sorted(rows)
    assert len(set(ticks)) == len(ticks)
    assert all(b - a == timedelta(seconds=1) for a, b in pairwise(ticks))


async def nothing() -> None: ...


async def ticked(app: Soniq, after: datetime | None) -> bool:
    """Whether there was a tick after this time."""
    for schedule in await app.plugin(Schedules).list():
        if schedule.last_at is not None and (after is None or schedule.last_at > after):
            return True
    return False


async def at_of(app: Soniq, job_id: str, schema: str) -> datetime:
    """The tick that made a job."""
    async with app.connection() as connection:
        text = await connection.fetchval(
            f"select headers -> 'soniq-schedule' ->> 'at' from ("
            f" select id, headers from {schema}.job union all"
            f" select id, headers from {schema}.history) as jobs where id = $1::text::uuid",
            job_id,
        )
    return datetime.fromisoformat(text)
