"""The views of `soniq top`: what is shown of a look, in rows and columns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, NamedTuple

from soniq import Count, FoundJob
from soniq.plugin import plain
from soniq_dashboard.figures import short_about, short_duration, short_number, short_size
from soniq_dashboard.standing import STALE, Queue, summed

from .look import Look, Rate

Style = Literal["", "bad", "warn", "good", "dim"]
Sortable = tuple[int, float] | tuple[int, str]
UNKNOWN = "–"


class Cell(NamedTuple):
    """What stands in a row below a column's title."""

    text: str
    by: Sortable
    """What it is sorted by."""
    style: Style = ""


class Column(NamedTuple):
    """A column."""

    title: str
    width: int
    """Cells, at least."""
    shares: int = 0
    """How many parts of what is left it gets."""
    right: bool = True


class Row(NamedTuple):
    """A row."""

    key: str
    """What tells it apart from the others, in each look."""
    cells: Sequence[Cell]
    opens: tuple[Literal["job", "queue", "name", "worker"], str]
    """What is behind it."""


@dataclass(frozen=True)
class View:
    """One way to look."""

    title: str
    columns: Sequence[Column]
    rows: Callable[[Look], Sequence[Row]]
    sort: int
    """The column that it is sorted by at first, the highest first where it is set to the right."""
    empty: str
    """What is said where there is no row."""


def text(value: str, style: Style = "") -> Cell:
    return Cell(value, (1, value), style)


def figure(value: float | Count | None, style: Style = "") -> Cell:
    """A number; unknown ones come last."""
    if value is None:
        return Cell(UNKNOWN, (0, 0.0), "dim")
    number = value.value if isinstance(value, Count) else value
    return Cell(short_number(value), (1, float(number)), style if number else "dim")


def seconds(value: float | None, style: Style = "") -> Cell:
    """A duration."""
    if value is None:
        return Cell(UNKNOWN, (0, 0.0), "dim")
    return Cell(short_duration(value), (1, value), style)


def quantile(value: float | None) -> Cell:
    """A quantile of durations."""
    return seconds(value) if value is None else seconds(value)._replace(text=short_about(value))


def size(value: int | None) -> Cell:
    """Bytes."""
    if value is None:
        return Cell(UNKNOWN, (0, 0.0), "dim")
    return Cell(short_size(value), (1, float(value)))


def since(look: Look, at: datetime | None) -> Cell:
    """For how long something has gone on."""
    return seconds(None if at is None else max(0.0, (look.at - at).total_seconds()))


def ago(look: Look, at: datetime | None) -> Cell:
    """How long ago something was: the last one is the highest."""
    return since(look, at)._replace(by=(0, 0.0) if at is None else (1, at.timestamp()))


# --- queues --------------------------------------------------------------------------------------


def _queues(look: Look) -> Sequence[Row]:
    return [_queue(look, each) for each in look.queues]


def _queue(look: Look, queue: Queue) -> Row:
    rate = look.rates.of_queues.get(queue.name, Rate(None, None))
    waits, late = queue.waiting.value, queue.oldest_waiting > STALE
    unserved: Style = "bad" if waits and not queue.workers else ""
    return Row(
        queue.name,
        [
            text(f"{queue.name} (paused)", "warn") if queue.paused else text(queue.name, unserved),
            figure(queue.waiting),
            seconds(queue.oldest_waiting if waits else None, "warn" if late else ""),
            figure(queue.running),
            figure(queue.scheduled),
            figure(queue.held),
            figure(rate.done),
            figure(rate.failed, "bad"),
            figure(queue.workers, unserved),
        ],
        ("queue", queue.name),
    )


QUEUES = View(
    "Queues",
    [
        Column("QUEUE", 12, shares=1, right=False),
        Column("WAITING", 8), Column("OLDEST", 7), Column("RUN", 6), Column("SCHED", 7),
        Column("HELD", 6), Column("DONE/M", 7), Column("FAIL/M", 7), Column("WORKERS", 7),
    ],
    _queues,
    sort=1,
    empty="There is no queue yet.",
)  # fmt: skip


# --- what runs -----------------------------------------------------------------------------------


def _running(look: Look) -> Sequence[Row]:
    return [
        Row(
            job["job_id"],
            [
                text(job["job_name"]),
                text(job["job_id"][-8:], "dim"),
                since(look, job["started_at"]),
                text(_place(worker["hostname"], worker["pid"])),
            ],
            ("job", job["job_id"]),
        )
        for worker in look.overview["workers"]
        for job in worker["running_jobs"]
    ]


def _place(hostname: str, pid: int) -> str:
    return f"{hostname}:{pid}"


RUNNING = View(
    "Running",
    [
        Column("JOB", 16, shares=1, right=False),
        Column("ID", 8, right=False),
        Column("FOR", 7),
        Column("WORKER", 24, right=False),
    ],
    _running,
    sort=2,
    empty="No worker said with its last heartbeat that it runs a job.",
)


# --- jobs ----------------------------------------------------------------------------------------


def _failures(look: Look) -> Sequence[Row]:
    return [
        Row(
            job.job_id,
            [
                text(job.job_name),
                text(job.job_id[-8:], "dim"),
                ago(look, job.finished_at),
                Cell(f"{job.attempt}/{job.max_attempts}", (1, float(job.attempt))),
                text(_error(job), "bad"),
            ],
            ("job", job.job_id),
        )
        for job in look.failures.jobs
    ]


def _error(job: FoundJob) -> str:
    parts = [each for each in (job.error_type, job.error_message) if each]
    return ": ".join(parts)


FAILURES = View(
    "Failures",
    [
        Column("JOB", 14, shares=1, right=False),
        Column("ID", 8, right=False),
        Column("AGO", 7),
        Column("ATT", 5),
        Column("ERROR", 20, shares=3, right=False),
    ],
    _failures,
    sort=2,
    empty="No job has died within the last hour.",
)


def _found(look: Look) -> Sequence[Row]:
    return [
        Row(
            job.job_id,
            [
                text(job.job_name),
                text(job.job_id[-8:], "dim"),
                text(job.status, STATUS.get(job.status, "")),
                Cell(f"{job.attempt}/{job.max_attempts}", (1, float(job.attempt))),
                ago(look, job.created_at),
                text(_error(job), "bad" if job.status == "dead" else ""),
            ],
            ("job", job.job_id),
        )
        for job in (look.found.jobs if look.found else ())
    ]


STATUS: Mapping[str, Style] = {
    "running": "good",
    "dead": "bad",
    "cancelled": "warn",
    "held": "warn",
}

FOUND = View(
    "Jobs",
    [
        Column("JOB", 14, shares=1, right=False),
        Column("ID", 8, right=False),
        Column("STATUS", 9, right=False),
        Column("ATT", 5),
        Column("AGE", 7),
        Column("ERROR", 14, shares=2, right=False),
    ],
    _found,
    sort=4,
    empty="There is no such job.",
)
OF_WORKER = replace(FOUND, empty="This worker runs no job.")


# --- workers -------------------------------------------------------------------------------------


def _workers(look: Look) -> Sequence[Row]:
    return [
        Row(
            each["worker_id"],
            [
                text(_place(each["hostname"], each["pid"])),
                figure(each["running"]),
                figure(each["concurrency"]),
                size(look.memory.get(each["worker_id"])),
                text("all" if each["queues"] is None else ", ".join(each["queues"])),
                text(each["version"]),
                since(look, each["started_at"]),
                since(look, each["seen_at"]),
            ],
            ("worker", each["worker_id"]),
        )
        for each in look.overview["workers"]
    ]


WORKERS = View(
    "Workers",
    [
        Column("WORKER", 20, shares=1, right=False),
        Column("RUN", 5),
        Column("SLOTS", 5),
        Column("MEMORY", 8),
        Column("QUEUES", 12, shares=1, right=False),
        Column("VERSION", 8, right=False),
        Column("UP", 7),
        Column("SEEN", 7),
    ],
    _workers,
    sort=1,
    empty="No worker is alive.",
)


# --- names ---------------------------------------------------------------------------------------


def _names(look: Look) -> Sequence[Row]:
    return [
        Row(
            each.name,
            [
                text(each.name),
                figure(each.runs),
                figure(each.failed, "bad"),
                quantile(each.median),
                quantile(each.slow),
                quantile(each.waited),
                seconds(each.total),
            ],
            ("name", each.name),
        )
        for each in look.names or ()
    ]


NAMES = View(
    "Names",
    [
        Column("JOB, LAST HOUR", 18, shares=1, right=False),
        Column("RUNS", 7),
        Column("FAILED", 7),
        Column("P50", 7),
        Column("P95", 7),
        Column("WAIT P95", 8),
        Column("TOTAL", 7),
    ],
    _names,
    sort=6,
    empty="No worker has counted what jobs did: soniq-dashboard is not installed where they run.",
)

VIEWS = (QUEUES, RUNNING, FAILURES, WORKERS, NAMES)


def empty_of(view: View, look: Look) -> str:
    """What is said of a view that has no row."""
    return one_line(look.missing) if view is NAMES and look.missing else view.empty


def one_line(value: str) -> str:
    """A text in one line, its control characters and what turns others around written out."""
    return " ".join(plain(value).split("\n"))


def figures_of(look: Look) -> Iterator[tuple[str, Count | int]]:
    """What all queues hold together, and who works on it."""
    yield "waiting", summed(each.waiting for each in look.queues)
    yield "running", summed(each.running for each in look.queues)
    yield "slots", sum(each["concurrency"] for each in look.overview["workers"])
    yield "sched", summed(each.scheduled for each in look.queues)
    yield "held", summed(each.held for each in look.queues)
    yield "dead in 1 h", look.dead
    yield "workers", len(look.overview["workers"])


def ordered(view: View, rows: Sequence[Row], column: int, *, reverse: bool) -> list[Row]:
    """Rows by a column; those that are equal by their keys."""
    descends = view.columns[column].right != reverse
    by_key = sorted(rows, key=lambda row: row.key)
    return sorted(by_key, key=lambda row: row.cells[column].by, reverse=descends)


def widths(columns: Sequence[Column], space: int) -> list[int]:
    """How wide each column is in so many cells, with one between two: what is left is shared. Where
    there is too little, the last ones are left out.
    """
    shown = [*columns]
    while len(shown) > 1 and sum(each.width + 1 for each in shown) - 1 > space:
        shown.pop()
    left = max(0, space - sum(each.width + 1 for each in shown) + 1)
    parts = sum(each.shares for each in shown) or 1
    return [each.width + left * each.shares // parts for each in shown]
