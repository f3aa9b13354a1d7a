"""What queues and priorities cost that were used once: `python -m tests.benchmarks.lanes`.

Idle CPU of a worker's process and of the server's, and how soon a job starts, with so many lanes
ever used; then the rate of one full queue beside as many empty lanes, and of jobs that each have a
priority of their own.
"""

import argparse
import asyncio
import os
import time
from pathlib import Path

import asyncpg

from tests.benchmarks.server import server
from tests.benchmarks.throughput import SCHEMA, Bench
from tests.benchmarks.usage import cpu

IDLE = 10.0
"""Seconds."""


async def put(url: str, count: int, option: str) -> None:
    """Enqueue so many jobs, each with an option of its own, an expression of `n`."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        f"select {SCHEMA}.enqueue('noop', '{{\"number\": 1}}', jsonb_build_object({option})) "
        f"from generate_series(1, {count}) n"
    )
    await connection.close()


async def idle(bench: Bench, url: str) -> float:
    """The share of a core that an idle worker takes, its sessions on the server included."""
    connection = await asyncpg.connect(url)
    worker = asyncio.create_task(bench.app.run_worker())
    await asyncio.sleep(3)
    rows = await connection.fetch(
        "select pid from pg_stat_activity where application_name = 'soniq'"
    )
    pids = [os.getpid(), *(row["pid"] for row in rows)]
    before = {pid: cpu(pid) for pid in pids}
    await asyncio.sleep(IDLE)
    share = sum(cpu(pid) - before[pid] for pid in pids if Path(f"/proc/{pid}").exists()) / IDLE
    bench.app.stop_workers()
    await worker
    await connection.close()
    return share


async def main(url: str, lanes: list[int], jobs: int) -> None:
    bench = Bench(url, hooks=False)
    for count in lanes:
        await bench.setup()
        began = time.perf_counter()
        await put(url, count, "'queue', 'tenant ' || n")
        await bench.process()
        took = time.perf_counter() - began
        share = await idle(bench, url)
        times = sorted(await bench.pick_up(200))
        await bench.bulk(jobs)
        rate = await bench.process()
        print(
            f"{count:>7,} lanes: used up at {count / took:,.0f}/s, idle {share:.3f} of a core,"
            f" pick-up p50 {times[100]:.1f} ms, p99 {times[198]:.1f} ms, a full queue beside them"
            f" {rate:,.0f}/s",
            flush=True,
        )
    await bench.setup()
    await put(url, jobs, "'priority', (random() * 65535)::int - 32768")
    print(f"a priority for each of {jobs:,} jobs: {await bench.process():,.0f}/s")
    await bench.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lanes", type=int, nargs="*", default=[1, 100, 10_000, 60_000])
    parser.add_argument("--jobs", type=int, default=20_000)
    arguments = parser.parse_args()
    with server() as url:
        asyncio.run(main(url, arguments.lanes, arguments.jobs))
