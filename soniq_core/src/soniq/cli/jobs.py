"""`soniq jobs`: list jobs."""

from datetime import datetime
from functools import partial

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, job_id, json_option, point, takes_app, use
from soniq.cli.output import as_json, one_line, table
from soniq.status import STATUSES, JobStatus, Status

HEAD = ("id", "status", "name", "queue", "attempt", "created", "scheduled", "finished", "error")


@click.command(epilog=EXIT_CODES)
@takes_app
@click.option("--status", type=click.Choice(STATUSES), help="Only those of this status.")
@click.option("--name", help="Only those of the job of this name.")
@click.option("--queue", help="Only those of this queue.")
@click.option("--tag", help="Only those that have this tag.")
@click.option(
    "--since",
    callback=point,
    metavar="TIME",
    help="Only those that finished since then, or are not finished and were created since then: "
    "1h, 2d, or an ISO time with its zone.",
)
@click.option(
    "--before",
    callback=job_id,
    metavar="ID",
    help="Only those that are older than this one: the next page.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=50,
    show_default=True,
    help="How many to list at most.",
)
@json_option
def jobs(
    app: Soniq,
    status: Status | None,
    name: str | None,
    queue: str | None,
    tag: str | None,
    since: datetime | None,
    before: str | None,
    limit: int,
    as_json_: bool,
) -> None:
    """List the newest jobs that match."""
    matching = partial(
        app.jobs,
        status=status,
        name=name,
        queue=queue,
        tag=tag,
        since=since,
        before=before,
        limit=limit,
    )
    found = use(app, matching)

    if as_json_:
        click.echo(as_json(found))
    elif found:
        click.echo(table(HEAD, [_row(job) for job in found]))
    else:
        click.echo("no job matches")


def _row(job: JobStatus) -> list[object]:
    """The columns of `HEAD`."""
    error = job["error"]
    return [
        job["job_id"],
        job["status"],
        job["job_name"],
        job["queue"],
        f"{job['attempt']} of {job['max_attempts']}",
        job["created_at"],
        job["scheduled_at"],
        job["finished_at"],
        one_line(f"{error['type']}: {error['message']}", 60) if error else None,
    ]
