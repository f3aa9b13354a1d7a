"""What the pages of the dashboard cost when many jobs are kept, and what twenty open tabs cost the
workers: `python -m tests.benchmarks.pages`.

Each page is made anew for each request, though a process shows what it has read for a second; the
bars are those of docs/explanation/performance.md. With `--tabs` alone, a worker processes jobs with
and without twenty browsers that look again every three seconds, in turns.
"""

import argparse
import asyncio
import gc
import multiprocessing
import time
from statistics import median, quantiles

import asyncpg
import httpx

from soniq import Search, Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.web import PERMISSIONS, anyone
from soniq_dashboard.web.app import Dashboard as Pages
from soniq_dashboard.web.serve import listening, serve
from tests.benchmarks.reading import FINISHED, LIVE, SCHEMA, begin, end, fill
from tests.benchmarks.server import server
from tests.plugins.dashboard.web.day import write_day

BARS = {
    "/": 50,
    "/?window=24h": 50,
    "/queues": 50,
    "/workers": 50,
    "/names?window=24h": 50,
    "/failures?period=7d": 100,
    "/jobs": 100,
    "/jobs?q=status:dead": 100,
    "/jobs?q=error:KeyError": 200,
    "/jobs?q=args.customer:-1": 200,
}
"""Milliseconds within which 95 of 100 requests are answered, by the page's address."""
JOB = 30
SERIES = """insert into {schema}_dashboard.series
select at, took, waited, tier, done, dead, cancelled, retry, snooze, lost, stopped, queue, name || ' ' || n,
    took_buckets, waited_buckets
from {schema}_dashboard.series cross join generate_series(2, 9) as n order by at, tier"""
"""Nine times as many jobs as a day has that was made up, in the order in which workers would write them."""

TABS = 20
EVERY = 3.0
"""Seconds between two looks of a tab."""


async def pages(url: str, live: int, finished: int, times: int, keep: bool) -> None:
    connection = await asyncpg.connect(url)
    missing = await begin(connection, keep=keep)
    app = Soniq(url, schema=SCHEMA, discover=False, plugins=[Dashboard()])
    async with app:
        if missing:
            await fill(connection, FINISHED, finished)
            await fill(connection, LIVE, live)
        await connection.execute(f"truncate {SCHEMA}_dashboard.series, {SCHEMA}_dashboard.gauge")
        await write_day(connection, SCHEMA)
        await connection.execute(SERIES.format(schema=SCHEMA))
        for table in ("history", "job"):
            await connection.execute(f"vacuum analyze {SCHEMA}.{table}", timeout=3600)
        await connection.execute(f"vacuum analyze {SCHEMA}_dashboard.series")
        (dead,) = (await app.search(Search(statuses=["dead"]), limit=1)).jobs

        shown = Pages(app, anyone(*PERMISSIONS))
        transport = httpx.ASGITransport(shown.application)
        gc.freeze()  # as where it is served
        print(f"{live:,} live and {finished:,} finished jobs, 54 series, {times} requests each")
        print(f"{'':34} {'p50':>8} {'p95':>8} {'bar':>6}  kB")
        async with httpx.AsyncClient(transport=transport, base_url="http://jobs.test") as client:
            for path, bar in {**BARS, f"/jobs/{dead.job_id}": JOB}.items():
                took = []
                for _ in range(times + 1):
                    shown._shared.forget()
                    began = time.perf_counter()
                    answer = await client.get(path)
                    took.append((time.perf_counter() - began) * 1000)
                    assert answer.status_code == 200, answer.text
                p95 = quantiles(took[1:], n=20)[-1]
                size = len(answer.content) / 1024
                print(f"{path[:34]:34} {median(took[1:]):8.1f} {p95:8.1f} {bar:6}  {size:.0f}")
    await end(connection, keep=keep)
    await connection.close()


# --- tabs ----------------------------------------------------------------------------------------


def serving(url: str, port: int) -> None:
    """A dashboard in a process of its own."""
    app = Soniq(url, schema=SCHEMA, discover=False, plugins=[Dashboard()])
    with listening("127.0.0.1", port) as listens:
        asyncio.run(serve(app, anyone(*PERMISSIONS), listens))


def looking(port: int) -> None:
    """Twenty tabs of the overview, in a process of their own, which is told when to end."""

    async def look(client: httpx.AsyncClient, first: float) -> None:
        await asyncio.sleep(first)
        while True:
            await client.get("/")
            await asyncio.sleep(EVERY)

    async def all_tabs() -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await asyncio.gather(*(look(client, n * EVERY / TABS) for n in range(TABS)))

    asyncio.run(all_tabs())


async def worked(url: str, jobs: int) -> float:
    """Jobs per second of a worker."""
    app = Soniq(url, schema=SCHEMA, discover=False, plugins=[Dashboard()])

    @app.job(name="noop")
    async def noop(n: int) -> int:
        return n

    async with app:
        await app.enqueue_many(noop, [{"n": n} for n in range(jobs)])
        began = time.perf_counter()
        await app.run_worker(run_once=True)
        return jobs / (time.perf_counter() - began)


async def tabs(url: str, jobs: int, rounds: int) -> None:
    with listening("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    await worked(url, 1_000)  # makes the tables
    rates: tuple[list[float], list[float]] = ([], [])
    spawn = multiprocessing.get_context("spawn")
    dashboard = spawn.Process(target=serving, args=(url, port), daemon=True)
    dashboard.start()
    try:
        for number in range(rounds):
            for with_tabs in (False, True) if number % 2 == 0 else (True, False):
                looks = spawn.Process(target=looking, args=(port,), daemon=True)
                if with_tabs:
                    looks.start()
                    await asyncio.sleep(2 + EVERY)
                rates[with_tabs].append(await worked(url, jobs))
                if with_tabs:
                    looks.terminate()
                    looks.join()
    finally:
        dashboard.terminate()
        dashboard.join()
    alone, beside = median(rates[0]), median(rates[1])
    print(
        f"a worker alone {alone:,.0f}/s, with {TABS} tabs open {beside:,.0f}/s:"
        f" {beside / alone:.2f}; the bar is 0.98"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", type=int, default=200_000)
    parser.add_argument("--finished", type=int, default=2_000_000)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--tabs", action="store_true")
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with server() as database:
        asyncio.run(
            tabs(database, arguments.jobs, arguments.rounds)
            if arguments.tabs
            else pages(
                database, arguments.live, arguments.finished, arguments.times, arguments.keep
            )
        )
