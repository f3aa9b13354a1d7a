"""`soniq status`: how the queues are."""

from collections.abc import Iterator
from typing import Any

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, LATE, json_option, reports, takes_app, use
from soniq.cli.output import as_json, plain, sections, table
from soniq.postgres.overview import Overview
from soniq.status import Count
from soniq.text import counted

COUNTS = ("waiting", "scheduled", "held", "running", "done", "dead", "cancelled")
"""What is counted for each queue: the statuses, `queued` as what is due and what comes later."""


@click.command(epilog=EXIT_CODES)
@takes_app
@click.option(
    "--max-wait",
    type=click.IntRange(0),
    metavar="SECONDS",
    help="Exit code 5 where a job of a queue that is not paused has been due for longer.",
)
@json_option
def status(app: Soniq, max_wait: int | None, as_json_: bool) -> None:
    """Show how many jobs and workers there are.

    Jobs are counted by queue and status; of those queued, WAITING are due and SCHEDULED are due
    later. Also shown: live workers, the oldest job that is due and the oldest that is held, how
    many jobs each holder holds, what plugins are still to be told, plugins with marked jobs that no
    live worker has, names of jobs that no live worker knows, and queues with jobs that
    no live worker serves. Finished jobs are counted while they are kept. Where there are many jobs
    they are not all counted: 10000+ is 10,000 or more, and DONE is an estimate. A worker is listed
    until its lease has expired. Plugins may add fields of their own.
    """
    overview, plugins = use(app, lambda: _read(app))
    click.echo(as_json({**overview, "plugins": plugins}) if as_json_ else _shown(overview, plugins))
    if max_wait is not None and _late(overview, max_wait):
        click.get_current_context().exit(LATE)


async def _read(app: Soniq) -> tuple[Overview, dict[str, Any]]:
    """How the queues are, and what plugins say."""
    return await app.overview(), await reports(app, "status_fields")


def _late(overview: Overview, max_wait: int) -> bool:
    """Say in which queues that are not paused a job has been due for longer; whether in any."""
    late = {
        queue: backlog["oldest_waiting"]
        for queue, backlog in overview["backlog"].items()
        if queue not in overview["paused"] and backlog["oldest_waiting"] > max_wait
    }
    for queue, waiting in late.items():
        click.echo(
            f"error: a job of queue {plain(queue)!r} has been due for {waiting:.0f} s", err=True
        )
    return bool(late)


def _counts(overview: Overview) -> str:
    rows = []
    for queue, jobs in overview["queues"].items():
        bounded = overview["at_least"].get(queue, ())
        counts: dict[str, Any] = {**jobs, **overview["backlog"].get(queue, {})}
        cells = [Count(value=counts.get(each, 0), exact=each not in bounded) for each in COUNTS]
        rows.append([queue, *cells])
    return table(["queue", *COUNTS], rows) if rows else "no jobs"


def _shown(overview: Overview, plugins: dict[str, Any]) -> str:
    counts = _counts(overview)
    if overview["at_least"]:
        counts += "\n10000+ is 10000 or more: there are more jobs than are counted here"
    if not overview["exact"]:
        counts += "\nDONE is an estimate: more jobs are kept than are counted here"
    parts = [counts, _workers(overview), "\n".join(_problems(overview)), sections(plugins)]
    return "\n\n".join(part for part in parts if part)


def _workers(overview: Overview) -> str:
    head = [
        "worker", "host", "pid", "version", "running", "concurrency", "queues", "started", "seen",
    ]  # fmt: skip
    rows = [
        [
            each["worker_id"],
            each["hostname"],
            each["pid"],
            each["version"],
            each["running"],
            each["concurrency"],
            "all" if each["queues"] is None else each["queues"],
            each["started_at"],
            each["seen_at"],
        ]
        for each in overview["workers"]
    ]

    return table(head, rows) if rows else "no live worker"


def _problems(overview: Overview) -> Iterator[str]:
    """What may need attention, a line for each."""
    at_least = overview["at_least"]
    oldest = overview["oldest_waiting"]
    if oldest:
        job = f"{oldest['job_id']} ({plain(oldest['job_name'])} in queue {plain(oldest['queue'])})"
        yield f"oldest waiting job: {job}, due for {oldest['waiting']:.0f} s"
    held = overview["oldest_held"]
    if held:
        job = f"{held['job_id']} ({plain(held['job_name'])} in queue {plain(held['queue'])})"
        holders = plain(held["held_by"])
        yield f"oldest held job: {job}, due for {held['waiting']:.0f} s, held by {holders}"
    for holder, jobs in overview["held_by"].items():
        yield f"held by {plain(holder)}: {_jobs(jobs, at_least)}"
    for plugin, owed in overview["owed"].items():
        events = counted(owed["events"], "event")
        yield f"owed to {plain(plugin)}: {events}, the oldest for {owed['waiting']:.0f} s"
    for plugin, jobs in overview["missing_plugins"].items():
        marked = f"{_jobs(jobs, at_least)} marked for it"
        yield f"no live worker has the plugin {plain(plugin)!r}: {marked}"
    for queue, pause in overview["paused"].items():
        by = f" by {plain(pause['by'])}" if pause["by"] else ""
        reason = f": {plain(pause['reason'])}" if pause["reason"] else ""
        yield f"paused: {plain(queue)}, since {plain(pause['since'])}{by}{reason}"

    for name, jobs in overview["unknown_names"].items():
        yield f"no live worker knows {plain(name)!r}: {_wait(jobs, at_least)}"
    for queue, jobs in overview["unserved_queues"].items():
        more = "waiting" in at_least.get(queue, ())
        yield f"no live worker serves queue {plain(queue)!r}: {_wait(jobs, more)}"


def _wait(jobs: int, more: object) -> str:
    return f"{_jobs(jobs, more)} {'waits' if jobs == 1 and not more else 'wait'}"


def _jobs(jobs: int, more: object) -> str:
    """How many jobs; `more`: there may be more."""
    return f"{jobs} or more jobs" if more else counted(jobs, "job")
