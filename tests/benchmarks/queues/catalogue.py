"""Which queues are compared, how each is set up, and what is measured. None of them is imported."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import quantiles

from tests.support.redis_program import redis_server

PICK_UPS = 300
"""In each round."""


@dataclass(frozen=True)
class Entry:
    """A queue: what is told of it, and how it differs from the others when it is measured."""

    name: str
    module: str
    """The file of this folder that measures it."""

    package: str
    set_up: str
    keeps: str
    """What is there of a job when it has run, and what a crash loses."""

    needs: str = ""
    fewer: Mapping[str, int] = field(default_factory=dict)
    """By what its jobs are divided in a measurement, so that a slow queue does not take minutes."""

    lacks: Mapping[str, str] = field(default_factory=dict)
    """Measurements that it has no way for, and why."""


QUEUES = (
    Entry(
        "soniq",
        "soniq",
        "soniq-core",
        "as it comes, with a `before_job`, an `after_job` and an `on_error` hook on",
        "each job with its arguments, result and times; durable",
    ),
    Entry(
        "pgqueuer",
        "pgqueuer",
        "pgqueuer",
        "on asyncpg, batches of 500; enqueues at once on 20 connections",
        "a line in its log for each change of a job, no arguments and no result; durable",
        fewer={"at-once": 4},
    ),
    Entry(
        "graphile-worker",
        "graphile",
        "graphile-worker",
        "on Node.js: a local queue of 500, 50 jobs at once, completions in batches",
        "nothing of a job that has run; durable",
        fewer={"at-once": 4},
    ),
    Entry(
        "procrastinate",
        "procrastinate",
        "procrastinate",
        "on psycopg's asynchronous pool of 20 connections, 50 jobs at once",
        "each job with its arguments, and a line for each change, no result; durable",
        fewer={"at-once": 10, "process": 10},
    ),
    Entry(
        "oban",
        "oban",
        "oban",
        "Oban for Python, without Pro: on psycopg's asynchronous pool of 20 connections, 500 jobs at"
        " once, on uvloop as its command runs it",
        "each job with its arguments for a day, no result; durable",
        "Python 3.12 or later",
        fewer={"at-once": 4, "bulk": 2, "process": 2},
    ),
    Entry(
        "celery",
        "celery",
        "celery",
        "with Redis as it comes, on a socket like PostgreSQL's, read with hiredis; a prefork worker"
        " with a process for each core, a prefetch multiplier of 64, results ignored, without gossip,"
        " mingle and heartbeat",
        "nothing of a job that has run. Redis writes a snapshot now and then, so that a crash loses"
        " the jobs since; a job counts as done before it runs, so that one whose worker dies is lost",
        fewer={"process": 5},
        lacks={
            "at-once": "its interface is not asynchronous",
            "bulk": "it sends each job by itself",
        },
    ),
)


@dataclass(frozen=True)
class Measurement:
    """What each queue does in turn."""

    name: str
    count: int | None
    """How many jobs at most; None: as many as are asked for."""


MEASUREMENTS = (
    Measurement("one", 1_000),
    Measurement("at-once", 20_000),
    Measurement("bulk", None),
    Measurement("process", None),
    Measurement("pick-up", PICK_UPS),
)


@dataclass(frozen=True)
class Shown:
    """A measurement as it is shown: a table and a plot."""

    name: str
    title: str
    measurement: str
    unit: str
    percentile: int | None = None
    """Of the values of a round; None where a round has one value."""

    def of_round(self, values: list[float]) -> float:
        if self.percentile is None:
            (value,) = values
            return value
        return quantiles(values, n=100, method="inclusive")[self.percentile - 1]


SHOWN = (
    Shown("one", "Enqueue, one after the other", "one", "jobs/s"),
    Shown("at-once", "Enqueue, 100 tasks at once", "at-once", "jobs/s"),
    Shown("bulk", "Enqueue in bulk", "bulk", "jobs/s"),
    Shown("process", "Process", "process", "jobs/s"),
    Shown("pick-up-p50", "Pick-up on an idle worker, p50", "pick-up", "ms", 50),
    Shown("pick-up-p95", "Pick-up on an idle worker, p95", "pick-up", "ms", 95),
)


def jobs_of(entry: Entry, measurement: Measurement, asked: int) -> int:
    """How many jobs a queue has in a measurement, of those that were asked for."""
    most = asked if measurement.count is None else min(measurement.count, asked)
    return max(most // entry.fewer.get(measurement.name, 1), 1)


def installed(entry: Entry, modules: Path) -> str | None:
    """The version of a queue; None where it is not there."""
    if entry.module == "graphile":
        about = modules / "node_modules" / entry.package / "package.json"
        return str(json.loads(about.read_text())["version"]) if about.exists() else None
    try:
        return version(entry.package)
    except PackageNotFoundError:
        return None


def missing(entry: Entry, modules: Path) -> str | None:
    """Why a queue cannot be measured here; None if it can."""
    if installed(entry, modules) is None:
        needs = f"; it needs {entry.needs}, and this is {sys.version.split()[0]}"
        return f"it is not installed{needs if entry.needs else ''}"
    if entry.name == "celery" and redis_server() is None:
        return "there is no redis-server"
    return None
