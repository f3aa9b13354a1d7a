"""Soniq beside other queues, each set up as its documentation says: `make bench-others`.

All take turns in each round, on one machine, with handlers that do nothing. What is measured, and
what is not fair in it, is in docs/explanation/comparison.md, into which `--write` puts the figures.
"""

import argparse
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.queues import machine, page
from tests.benchmarks.queues.catalogue import QUEUES, Entry, installed, missing
from tests.benchmarks.queues.report import terminal
from tests.benchmarks.queues.results import Results
from tests.benchmarks.queues.turns import Turns
from tests.benchmarks.server import server

if TYPE_CHECKING:
    from tests.benchmarks.queues.redis_server import Redis


def main(names: list[str], rounds: int, jobs: int, modules: Path, data: Path) -> Results:
    """Measure, and keep what there is after each round."""
    asked = [entry for entry in QUEUES if entry.name in names]
    left_out = {entry.name: why for entry in asked if (why := missing(entry, modules))}
    queues = [entry for entry in asked if entry.name not in left_out]
    for name, why in left_out.items():
        print(f"{name} is left out: {why}")
    with ExitStack() as stack:
        url = stack.enter_context(server())
        redis = _redis(stack) if any(entry.name == "celery" for entry in queues) else None
        results = Results(
            machine.about(url, redis.settings() if redis else None, rounds, jobs),
            {entry.name: installed(entry, modules) or "" for entry in queues},
            left_out,
        )
        turns = Turns(url, redis, modules)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            turns.round(_in_order(queues, number), jobs, results)
            results.write(data)
    return results


def _redis(stack: ExitStack) -> "Redis":
    """Its client is installed only where Celery is."""
    from tests.benchmarks.queues.redis_server import running

    return stack.enter_context(running())


def _in_order(queues: list[Entry], number: int) -> list[Entry]:
    """Forwards and backwards in turn, so that no queue always comes after the same one."""
    return queues if number % 2 == 0 else queues[::-1]


def _names(text: str) -> list[str]:
    names, known = text.split(","), [entry.name for entry in QUEUES]
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
    return names


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--jobs", type=int, default=30_000, help="how many are processed in each round"
    )
    parser.add_argument(
        "--only", type=_names, default=[entry.name for entry in QUEUES], help="queues: name,name"
    )
    parser.add_argument("--write", action="store_true", help="write the page of the documentation")
    parser.add_argument("--show", action="store_true", help="measure nothing: show what --data has")
    parser.add_argument(
        "--data", type=Path, default=Path("comparison.json"), help="the file for all values"
    )
    parser.add_argument(
        "--modules", type=Path, default=Path(), help="where npm has installed graphile-worker"
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all that was started is ended
    found = (
        Results.read(given.data)
        if given.show
        else main(given.only, given.rounds, given.jobs, given.modules, given.data)
    )
    print(f"\n{terminal(found)}\n\nall values: {given.data}")
    if given.write:
        page.write(found)
        print(f"written: {page.FOLDER / page.PAGE}")
