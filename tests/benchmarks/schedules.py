"""What schedules cost a worker: the share of a core that it takes, without the plugin, with it and
no schedule, and with many schedules; and how long their ticks take.

`python -m tests.benchmarks.schedules`. The schedules are hourly and daily ones, spread evenly; the
worker has nothing else to do.
"""

import argparse
import asyncio
import time
from datetime import timedelta

import asyncpg

from soniq import Soniq
from soniq_schedules import Cron, Every, Schedules
from soniq_schedules.spec import spec_of
from soniq_schedules.ticker import Ticker
from tests.benchmarks.server import server

SCHEMA = "bench_schedules"


async def nothing() -> None: ...


def app_of(url: str, *plugins: object) -> Soniq:
    app = Soniq(url, schema=SCHEMA, discover=False, plugins=plugins)
    app.job(name="nothing")(nothing)
    return app


async def fill(app: Soniq, count: int) -> None:
    """Add schedules, half of them hourly, half of them daily at some minute."""
    rows = []
    for number in range(count):
        when = Every(hours=1) if number % 2 else Cron(f"{number % 60} {number // 60 % 24} * * *")
        spec = await spec_of(app, "nothing", when, {}, {})
        spread = timedelta(hours=1 if number % 2 else 24) * (number / count)
        rows.append(
            (f"s{number:06}", "nothing", "database", spec.text, spec.args, spec.digest, spread)
        )
    async with app.connection() as connection:
        await connection.executemany(
            f"insert into {app.plugin_schema('schedules')}.schedule"
            " (name, job, source, spec, args, serializer, digest, anchor, next_at, wake_at)"
            " values ($1, $2, $3, $4::jsonb, $5, 'json', $6, now() - interval '1 day' + $7::interval,"
            " now() + $7::interval, now() + $7::interval)",
            rows,
        )
        await connection.execute(f"analyze {app.plugin_schema('schedules')}.schedule")


async def share(app: Soniq, seconds: float) -> float:
    """The share of a core that this process takes while a worker runs in it."""
    worker = asyncio.create_task(app.run_worker())
    await asyncio.sleep(3)
    began, used = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    found = (time.process_time() - used) / (time.perf_counter() - began)
    app.stop_workers()
    await worker
    await app.close()
    return found


async def ticks(app: Soniq, count: int) -> float:
    """Milliseconds of this process for a tick, where so many are due at once."""
    await app.start()
    async with app.connection() as connection:
        table = f"{app.plugin_schema('schedules')}.schedule"
        await connection.execute(
            f"update {table} set anchor = now() - interval '61 minutes',"
            " next_at = now() - interval '1 minute', wake_at = now() - interval '1 minute'"
            f" where name in (select name from {table} where spec ? 'hours' limit {count})"
        )
    used = time.process_time()
    done = await Ticker(app, {}, {}).tick()
    spent = time.process_time() - used
    await app.close()
    return spent / done * 1000


async def main(url: str, count: int, seconds: float) -> None:
    connection = await asyncpg.connect(url)
    for schema in (SCHEMA, f"{SCHEMA}_schedules"):
        await connection.execute(f"drop schema if exists {schema} cascade")
    print(f"{'without the plugin':<40}{await share(app_of(url), seconds):>8.2%} of a core")
    print(f"{'with it, no schedule':<40}{await share(app_of(url, Schedules()), seconds):>8.2%}")
    app = app_of(url, Schedules())
    await app.start()
    await fill(app, count)
    print(f"{f'with {count:,} schedules':<40}{await share(app, seconds):>8.2%}")
    spent = await ticks(app_of(url, Schedules()), min(count, 2_000))
    print(f"{'a tick, of 2,000 at once':<40}{spent:>8.2f} ms of a core")
    for schema in (SCHEMA, f"{SCHEMA}_schedules"):
        await connection.execute(f"drop schema if exists {schema} cascade")
    await connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=30)
    arguments = parser.parse_args()
    with server() as url:
        asyncio.run(main(url, arguments.schedules, arguments.seconds))
