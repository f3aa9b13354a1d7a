"""`soniq status`: how the queues are."""

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, json_option, takes_app, use
from soniq.cli.output import as_json, clean, plain, table
from soniq.horizon import described
from soniq.lookup import STATUSES, Overview


@click.command(epilog=EXIT_CODES)
@takes_app
@json_option
def status(app: Soniq, as_json_: bool) -> None:
    """Show how many jobs and workers there are.

    That is counts by queue and status, the workers, the job that has been due for the longest time, names of jobs
    that no live worker knows, and old transactions that keep PostgreSQL from cleaning up. Finished jobs are counted
    while they are kept. A worker is listed until it has been silent for its lease.
    """
    overview = use(app, app.overview)
    click.echo(as_json(overview) if as_json_ else _shown(overview))


def _shown(overview: Overview) -> str:
    parts = []
    counts = [[queue, *(jobs.get(each, 0) for each in STATUSES)] for queue, jobs in overview["queues"].items()]
    parts.append(table(["queue", *STATUSES], counts) if counts else "no jobs")
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
    return "\n\n".join([*parts, *(["\n".join(last)] if last else [])])
