"""What questions cost when many jobs wait and many are kept: `python -m tests.benchmarks.reading`.

Makes live and finished jobs by SQL, as they would be after some days: 20 names, 8 queues, one in a
hundred dead, and partitions by the time at which they are forgotten. Then asks each question some
times, and prints the median and the 95th percentile of each in milliseconds. `--keep` leaves the jobs
where they are, on a server in SONIQ_TEST_DATABASE_URL, and the next call with it finds them there.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median, quantiles

import asyncpg

from soniq import Search, Soniq
from tests.benchmarks.server import server

SCHEMA = "soniq_bench_reading"

ID = """
(lpad(to_hex((extract(epoch from {at}) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
    || '8' || substr(md5(n::text), 4, 15))::uuid
"""
FINISHED = f"""
insert into {{schema}}.history (id, forget_at, created_at, scheduled_at, started_at, finished_at, claim, keep, priority, attempt,
    max_attempts, name, queue, status, serializer, args, result, result_store, tags, error, worker_id)
select {ID.format(at="at")}, case when dead then 'infinity' else at + interval '7 days' end, at, at, at,
    at + interval '1 second', 1, 604800, 0, 1, 5, 'app.job' || n % 20, 'queue' || n % 8, case when dead then 'dead' else 'done' end,
    'json', convert_to('{{{{"customer": ' || n % 100000 || ', "text": "' || md5(n::text) || '"}}}}', 'UTF8'),
    case when not dead then '\\x31'::bytea end, case when not dead then 'row' end,
    case when n % 5000 = 0 then array['rare'] end,
    case when dead then jsonb_build_object('type', 'ValueError', 'message', 'customer ' || n % 50 || ' has no address',
        'traceback', repeat(md5(n::text), 60)) end,
    '00000000-0000-7000-8000-000000000001'
from (
    select n, n % 100 = 99 as dead, now() - interval '6 days' + n * interval '6 days' / {{count}} as at
    from generate_series({{start}}, {{end}}) n
) as jobs
"""
LIVE = f"""
insert into {{schema}}.job (id, name, queue, priority, max_attempts, serializer, keep, args, created_at, scheduled_at, status,
    started_at)
select {ID.format(at="at")}, 'app.job' || n % 20, 'queue' || n % 8, n % 2, 5, 'json', 604800,
    convert_to('{{{{"customer": ' || n % 100000 || '}}}}', 'UTF8'), at, at + n % 3 * interval '1 hour',
    case n % 5000 when 0 then 'running' else 'queued' end, case n % 5000 when 0 then now() end
from (select n, now() - interval '1 hour' + n * interval '1 hour' / {{count}} as at from generate_series({{start}}, {{end}}) n) as jobs
"""
STEP = 500_000
"""The most jobs of one statement."""


async def fill(
    connection: "asyncpg.Connection[asyncpg.Record]",
    statement: str,
    count: int,
    schema: str = SCHEMA,
) -> None:
    """Insert so many jobs."""
    for start in range(1, count + 1, STEP):
        end = min(start + STEP - 1, count)
        text = statement.format(schema=schema, count=count, start=start, end=end)
        await connection.execute(text, timeout=3600)


async def begin(connection: "asyncpg.Connection[asyncpg.Record]", *, keep: bool) -> bool:
    """Whether the jobs are still to be made; what another call left there is dropped, unless it is
    to be kept.
    """
    there = await connection.fetchval("select to_regnamespace($1) is not null", SCHEMA)
    if there and not keep:
        await end(connection, keep=False)
    return not (there and keep)


async def end(connection: "asyncpg.Connection[asyncpg.Record]", *, keep: bool) -> None:
    """Drop the jobs, unless they are to be kept."""
    if not keep:
        await connection.execute(
            f"drop schema if exists {SCHEMA} cascade;"
            f" drop schema if exists {SCHEMA}_dashboard cascade"
        )


def questions(app: Soniq, dead: str, large: str) -> dict[str, Callable[[], Awaitable[object]]]:
    """What is asked, by what it is called; ids of a dead job, and of one with a large result."""
    searches = {
        "newest": Search(),
        "dead": Search(statuses=["dead"]),
        "failures by their end": Search(order="finished"),
        "failures of a name that never fails": Search(order="finished", names=["app.never"]),
        "due": Search(order="due"),
        "started": Search(order="started"),
        "running": Search(statuses=["running"]),
        "a name": Search(names=["app.job7"]),
        "a name that is not there": Search(names=["app.never"]),
        "a rare tag": Search(tags=["rare"]),
        "an argument": Search(args={"customer": 7}),
        "an argument that is not there": Search(args={"customer": -1}),
        "a text in the arguments": Search(args_text="nowhere"),
        "an error type": Search(error_type="KeyError"),
    }
    asked: dict[str, Callable[[], Awaitable[object]]] = {
        f"search: {what}": (lambda search=search: app.search(search))  # type: ignore[misc]
        for what, search in searches.items()
    }
    return asked | {
        "count: dead": lambda: app.count(Search(statuses=["dead"])),
        "count: an argument": lambda: app.count(Search(args={"customer": 7})),
        "counts": app.counts,
        "queues": app.queues,
        "get_job": lambda: app.get_job(dead),
        "get_job: a result of 100 MB": lambda: app.get_job(large),
        "get_job_status": lambda: app.get_job_status(dead),
        "jobs(status=dead)": lambda: app.jobs(status="dead"),
        "overview": app.overview,
        "backlog": app.backlog,
    }


async def measure(ask: Callable[[], Awaitable[object]], times: int) -> list[float]:
    """Milliseconds of each time that it is asked; the first, which may find nothing cached, is
    left out.
    """
    took = []
    for _ in range(times + 1):
        began = time.perf_counter()
        await ask()
        took.append((time.perf_counter() - began) * 1000)
    return took[1:]


async def main(url: str, live: int, finished: int, times: int, keep: bool) -> None:
    connection = await asyncpg.connect(url)
    missing = await begin(connection, keep=keep)
    app = Soniq(url, schema=SCHEMA, discover=False)
    async with app:
        began = time.perf_counter()
        if missing:
            await fill(connection, FINISHED, finished)
            await fill(connection, LIVE, live)
        await connection.execute(f"vacuum analyze {SCHEMA}.history, {SCHEMA}.job", timeout=3600)
        dead, large = await asyncio.gather(*(
            app.search(Search(statuses=[status]), limit=1) for status in ("dead", "done")
        ))  # fmt: skip
        await connection.execute(
            f"update {SCHEMA}.history set result = convert_to(repeat('x', 100000000), 'UTF8')"
            " where id = $1",
            large.jobs[0].job_id,
        )
        print(
            f"{live:,} live and {finished:,} finished jobs, in {time.perf_counter() - began:.0f} s"
        )

        print(f"{'':42} {'p50':>9} {'p95':>9}   ms, of {times}")
        for what, ask in questions(app, dead.jobs[0].job_id, large.jobs[0].job_id).items():
            took = await measure(ask, times)
            print(f"{what:42} {median(took):9.1f} {quantiles(took, n=20)[-1]:9.1f}", flush=True)
    await end(connection, keep=keep)
    await connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", type=int, default=200_000)
    parser.add_argument("--finished", type=int, default=2_000_000)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    with server() as database:
        asyncio.run(
            main(database, arguments.live, arguments.finished, arguments.times, arguments.keep)
        )
