"""`soniq status`: how the queues are."""

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, LATE, json_option, takes_app, use
from soniq.cli.output import as_json, clean, plain, table
from soniq.horizon import described
from soniq.lookup import Overview

COUNTS = ("waiting", "scheduled", "held", "running", "done", "dead", "cancelled")
"""What is counted for each queue: the statuses, with `queued` as what is due and what comes later."""


@click.command(epilog=EXIT_CODES)
@takes_app
@click.option(
    "--max-wait", type=click.IntRange(0), metavar="SECONDS",
    help="Exit code 5 where a job of a queue that is not paused has been due for longer.",
)  # fmt: skip
@json_option
def status(app: Soniq, max_wait: int | None, as_json_: bool) -> None:
    """Show how many jobs and workers there are.

    That is counts by queue and status, where of the queued ones those WAITING are due and those SCHEDULED come later;
    the workers; the job that has been due for the longest time; names of jobs that no live worker knows, and queues
    with jobs that none serves; and old transactions that keep PostgreSQL from cleaning up. Finished jobs are counted
    while they are kept. A worker is listed until it has been silent for its lease.
    """
    overview = use(app, app.overview)
    click.echo(as_json(overview) if as_json_ else _shown(overview))
    if max_wait is not None and _late(overview, max_wait):
        click.get_current_context().exit(LATE)


def _late(overview: Overview, max_wait: int) -> bool:
    """Say in which queues that are not paused a job has been due for longer; whether there are any."""
    late = {
        queue: backlog["oldest_waiting"]
        for queue, backlog in overview["backlog"].items()
        if queue not in overview["paused"] and backlog["oldest_waiting"] > max_wait
    }
    for queue, waiting in late.items():
        click.echo(f"error: a job of queue {plain(queue)!r} has been due for {waiting:.0f} s", err=True)
    return bool(late)


def _counts(overview: Overview) -> str:
    rows = []
    for queue, jobs in overview["queues"].items():
        waiting = overview["backlog"][queue]["waiting"] if queue in overview["backlog"] else 0
        counts = {**jobs, "waiting": waiting, "scheduled": jobs.get("queued", 0) - waiting}
        rows.append([queue, *(counts.get(each, 0) for each in COUNTS)])
    return table(["queue", *COUNTS], rows) if rows else "no jobs"


def _shown(overview: Overview) -> str:
    parts = [_counts(overview)]
    workers = [
        [w["worker_id"], w["hostname"], w["pid"], w["version"], w["concurrency"],
         "all" if w["queues"] is None else w["queues"], w["started_at"], w["seen_at"]]
        for w in overview["workers"]
    ]  # fmt: skip
    head = ["worker", "host", "pid", "version", "concurrency", "queues", "started", "seen"]
    parts.append(table(head, workers) if workers else "no live worker")
    last = []
    oldest = overview["oldest_waiting"]
    if oldest:
        last.append(
            f"oldest waiting job: {oldest['job_id']} ({plain(oldest['job_name'])} in queue {plain(oldest['queue'])}), "
            f"due for {oldest['waiting']:.0f} s"
        )
    if overview["paused"]:
        last.append(f"paused: {', '.join(map(plain, overview['paused']))}")
    for holder in overview["horizon"]:
        last.append(f"PostgreSQL cannot clean up: {clean(described(holder))}")
    for name, jobs in overview["unknown_names"].items():
        last.append(f"no live worker knows {plain(name)!r}: {jobs} {'job waits' if jobs == 1 else 'jobs wait'}")
    for queue, jobs in overview["unserved_queues"].items():
        last.append(f"no live worker serves queue {plain(queue)!r}: {jobs} {'job waits' if jobs == 1 else 'jobs wait'}")
    return "\n\n".join([*parts, *(["\n".join(last)] if last else [])])
