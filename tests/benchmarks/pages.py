"""What the pages of the dashboard cost when many jobs are kept, and what twenty open tabs cost the
workers: `python -m tests.benchmarks.pages`.

Each page is made anew for each request, though a process shows what it has read for a second; the
bars are those of docs/explanation/performance.md. With `--tabs` alone, a worker processes jobs with
and without twenty tabs that look again every three seconds, in turns.
"""

import argparse
import asyncio
import gc
import multiprocessing
import time
from multiprocessing.synchronize import Event
from statistics import median, quantiles

import asyncpg
import httpx

from soniq import Search, Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.web import PERMISSIONS, anyone
from soniq_dashboard.web.app import Site
from soniq_dashboard.web.serve import listening, serve
from tests.benchmarks.reading import FINISHED, LIVE, SCHEMA, begin, end, fill
from tests.benchmarks.server import server
from tests.benchmarks.usage import cpu
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

        shown = Site(app, anyone(*PERMISSIONS))
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


def looking(port: int, open_tabs: Event) -> None:
    """Twenty tabs of the overview, in a process of their own, that look while they are open. They
    read no more of an answer than they have to: where browsers run is not where workers do.
    """

    async def look(first: float) -> None:
        await asyncio.sleep(first)
        shown = b""
        while True:
            if open_tabs.is_set():
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                asked = b"GET / HTTP/1.1", b"Host: 127.0.0.1:%d" % port, b"Connection: close", shown
                writer.write(b"\r\n".join(asked) + b"\r\n\r\n")
                head, _, _ = (await reader.read()).partition(b"\r\n\r\n")
                writer.close()
                status, *lines = head.split(b"\r\n")
                assert status.split()[1] in {b"200", b"304"}, status
                headers = dict(line.lower().split(b": ", 1) for line in lines)
                if b"etag" in headers:  # not in an answer that nothing has changed
                    shown = b"If-None-Match: " + headers[b"etag"]
            await asyncio.sleep(EVERY)

    async def all_tabs() -> None:
        await asyncio.gather(*(look(n * EVERY / TABS) for n in range(TABS)))

    asyncio.run(all_tabs())


async def sessions(app: Soniq) -> set[int]:
    """The processes of PostgreSQL's that work for somebody."""
    statement = "select pid from pg_stat_activity where backend_type = 'client backend'"
    async with app.connection() as connection:
        return {row["pid"] for row in await connection.fetch(statement)}


async def tabs(url: str, jobs: int, pairs: int) -> None:
    """Jobs per second of one worker, with and without tabs, in turns of as long as each tab takes
    to look once.
    """
    app = Soniq(url, schema=SCHEMA, discover=False, plugins=[Dashboard()])
    done = 0

    @app.job(name="noop")
    async def noop(n: int) -> None:
        nonlocal done
        done += 1

    with listening("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    open_tabs = spawn.Event()
    async with app:
        await app.enqueue_many(noop, ({"n": n} for n in range(jobs)))
        worker = asyncio.create_task(app.run_worker(run_once=True))
        await asyncio.sleep(3)
        others = await sessions(app)
        dashboard = spawn.Process(target=serving, args=(url, port), daemon=True)
        dashboard.start()
        await asyncio.sleep(3)
        looks = spawn.Process(target=looking, args=(port, open_tabs), daemon=True)
        looks.start()
        rates: tuple[list[float], list[float]] = ([], [])
        used: tuple[list[float], list[float]] = ([], [])

        async def cpu_used() -> float:
            """Seconds of the dashboard's CPU so far, and of its sessions."""
            return sum(map(cpu, [dashboard.pid or 0, *await sessions(app) - others]))

        try:
            await asyncio.sleep(3)
            for number in range(pairs):
                for with_tabs in (False, True) if number % 2 == 0 else (True, False):
                    (open_tabs.set if with_tabs else open_tabs.clear)()
                    before, began = (done, await cpu_used()), time.perf_counter()
                    await asyncio.sleep(EVERY)
                    seconds = time.perf_counter() - began
                    rates[with_tabs].append((done - before[0]) / seconds)
                    used[with_tabs].append((await cpu_used() - before[1]) / seconds)
            assert not worker.done(), "there were too few jobs"
        finally:
            worker.cancel()
            await asyncio.wait([worker])
            for process in (looks, dashboard):
                process.terminate()
                process.join()
    ratios = [beside / alone for alone, beside in zip(*rates, strict=True)]
    low, middle, high = quantiles(ratios, n=4)
    print(
        f"the dashboard and its sessions take {1000 * median(used[0]):.1f} ms of CPU a second, with"
        f" {TABS} tabs open {1000 * median(used[1]):.1f}"
    )
    print(
        f"a worker alone {median(rates[0]):,.0f}/s, with {TABS} tabs open {median(rates[1]):,.0f}/s;"
        f" of {pairs} pairs, the median {middle:.3f}, half of them {low:.2f} to {high:.2f};"
        " the bar is 0.98"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", type=int, default=200_000)
    parser.add_argument("--finished", type=int, default=2_000_000)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--tabs", action="store_true")
    parser.add_argument("--jobs", type=int, default=6_000_000)
    parser.add_argument("--pairs", type=int, default=20)
    arguments = parser.parse_args()
    with server() as database:
        asyncio.run(
            tabs(database, arguments.jobs, arguments.pairs)
            if arguments.tabs
            else pages(
                database, arguments.live, arguments.finished, arguments.times, arguments.keep
            )
        )
