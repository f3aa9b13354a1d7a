"""What soniq-dashboard costs workers: instructions to count a job, and the CPU of a writing.

`python -m tests.benchmarks.collector`. The counting runs under callgrind: what 4N jobs take more
than N is of the jobs alone. `valgrind` has to be there.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import time

from soniq import Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.counters import Counters
from soniq_dashboard.writing import Writer
from tests.benchmarks.apart import empty_database
from tests.benchmarks.server import server
from tests.benchmarks.usage import Figures, metered
from tests.plugins.dashboard.conftest import outcome

NAMES = 20
BATCHES = (1, 20, 200)
"""Jobs that are settled together."""
SERIES = 50
WRITINGS = 500
DATABASE = "bench_collector"
LIMIT = 900.0
"""Seconds that the counting may take under callgrind, which is some fifty times as slow."""


def count(jobs: int, batch: int) -> None:
    """Count so many jobs of several names, as they are settled."""
    counters = Counters()
    counters.set_clock(time.time())
    outcomes = [outcome(f"job {n % NAMES}", took=0.01, waited=0.003) for n in range(batch)]
    for _ in range(jobs // batch):
        counters.add(outcomes)


def instructions(jobs: int, batch: int) -> int:
    """How many a process takes that counts so many jobs."""
    command = [
        "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
        sys.executable, "-m", __spec__.name, "--jobs", str(jobs), "--batch", str(batch),
    ]  # fmt: skip
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True, text=True, timeout=LIMIT, check=True,
    )  # fmt: skip
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found, done.stderr
    return int(found[1])


async def writings(url: str) -> Figures:
    """CPU of several writings of `SERIES` series, each with all three tiers."""
    figures: Figures = {}
    app, counters = Soniq(url, discover=False, plugins=[Dashboard()]), Counters()
    outcomes = [outcome(f"job {n}", took=0.01 * n, waited=0.003 * n) for n in range(SERIES)]
    async with app:
        writer, now = Writer(app, counters, 60), time.time()
        await writer.learn_the_time()
        async with metered(url, figures):
            for number in range(WRITINGS):
                counters.set_clock(now + 60 * number)  # each in a minute of its own
                counters.add(outcomes)
                await writer.write()
    return figures


def main(jobs: int) -> None:
    """Measure, and print what was found."""
    for batch in BATCHES:
        each = (instructions(4 * jobs, batch) - instructions(jobs, batch)) / (3 * jobs)
        print(f"to count a job, {batch} at once: {each:,.0f} instructions", flush=True)

    with server() as url, empty_database(url, DATABASE) as database:
        figures = asyncio.run(writings(database))
    print(
        f"a writing of {SERIES} series: {figures['server'] / WRITINGS * 1000:.2f} ms of CPU of"
        f" PostgreSQL, {figures['worker'] / WRITINGS * 1000:.2f} ms of the worker"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=4_000)
    parser.add_argument("--batch", type=int, help="only count, so many at once")
    arguments = parser.parse_args()
    if arguments.batch:
        count(arguments.jobs, arguments.batch)
    else:
        main(arguments.jobs)
