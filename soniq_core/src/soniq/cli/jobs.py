"""`soniq jobs`: list jobs."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import click
import msgspec

from soniq.app import Soniq
from soniq.cli.masked import shown_in_short, shown_job
from soniq.cli.options import EXIT_CODES, job_id, json_option, point, takes_app, use
from soniq.cli.output import as_json, one_line, plain, table
from soniq.search import ORDERS, Page, Range, Search
from soniq.status import STATUSES, Status

HEAD = ("id", "status", "name", "queue", "attempt", "created", "scheduled", "finished", "error")

RANGE = "FROM..BEFORE"


def times(ctx: click.Context, param: click.Parameter, value: str | None) -> Range | None:
    """The callback of a parameter that is a range of times, either of which may be left out."""
    if value is None:
        return None
    since, dots, before = value.partition("..")
    return point(ctx, param, since or None), point(ctx, param, before or None) if dots else None


def contained(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any] | None:
    """The callback of a parameter that is values by name: `order.id=7`, JSON or else text."""
    found: dict[str, Any] = {}
    for each in values:
        path, equals, text = each.partition("=")
        *outer, name = path.split(".")
        if not equals or not all([*outer, name]):
            raise click.BadParameter(f"{each!r} is not of the form name=value")
        try:
            value = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            value = text

        place = found
        for step in outer:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise click.BadParameter(f"{each!r} is below a name that has a value already")
        if name in place:
            raise click.BadParameter(f"{path} has a value already, before {each!r}")
        place[name] = value
    return found or None


def search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options of a search by more than status, name, queue and tag."""
    for option in reversed([
        click.option("--name-prefix", help="Only those whose name begins so."),
        click.option("--priority", "priorities", type=int, multiple=True,
                     help="Only those of this priority, or of one of several."),
        click.option("--args", "args", callback=contained, multiple=True, metavar="NAME=VALUE",
                     help="Only those whose arguments contain this, as customer=7 or order.id=7;"
                     " JSON, or else text. Each of several."),
        click.option("--args-text", help="Only those whose stored arguments contain this text."),
        click.option("--header", "headers", callback=contained, multiple=True,
                     metavar="NAME=VALUE", help="Only those whose headers contain this."),
        click.option("--error", "error_type", metavar="TYPE",
                     help="Only those whose latest error is of this type, as ValueError."),
        click.option("--error-text", help="Only those whose latest error's message contains this."),
        click.option("--worker", "worker_id", callback=job_id, metavar="ID",
                     help="Only those that this worker runs, or ran last."),
        click.option("--key", "dedup_label", help="Only those that were given this dedup key."),
        *[
            click.option(f"--{name}", callback=times, metavar=RANGE, help=f"Only those {what}: "
                         "1h.., 2d..1d, ..1h, or ISO times with their zones.")
            for name, what in (
                ("created", "that were enqueued within this time"),
                ("scheduled", "that are or were due within this time"),
                ("started", "whose latest attempt began within this time"),
                ("finished", "that finished within this time"),
            )
        ],
        click.option("--order", type=click.Choice(ORDERS), help="newest: created last first. "
                     "finished: dead or cancelled last first. due: due next first. started: "
                     "running for the longest time first."),
        click.option("--cursor", help="Where the page before this one says that it goes on."),
    ]):  # fmt: skip
        command = option(command)
    return command


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
@search_options
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
    **others: Any,
) -> None:
    """List the newest jobs that match.

    From --name-prefix on the options search: a page at a time, which says with which --cursor it
    goes on. At most 1000 jobs are on a page. They do not go with --since and --before. With --json
    a search prints its page, and a list without one a list. What `soniq inspect` masks is masked
    here, too.
    """
    cursor = others.pop("cursor")
    given = {option: value for option, value in others.items() if value not in (None, ())}
    if given or cursor is not None:
        if since or before:
            raise click.UsageError("a search goes neither with --since nor with --before")
        chosen = {"statuses": status, "names": name, "queues": queue, "tags": tag}
        given |= {option: [value] for option, value in chosen.items() if value is not None}
        page = use(app, lambda: _searched(app, Search(**given), cursor, limit))
        click.echo(as_json(asdict(page)) if as_json_ else _page(page))
        return

    filters = {"status": status, "name": name, "queue": queue, "tag": tag}
    found = use(app, lambda: _listed(app, **filters, since=since, before=before, limit=limit))

    if as_json_:
        click.echo(as_json(found))
    elif found:
        click.echo(table(HEAD, [_row(job) for job in found]))
    else:
        click.echo("no job matches")


async def _searched(app: Soniq, search: Search, cursor: str | None, limit: int) -> Page:
    page = await app.search(search, cursor=cursor, limit=limit)
    return replace(page, jobs=[await shown_in_short(app, job) for job in page.jobs])


async def _listed(app: Soniq, **which: Any) -> list[dict[str, Any]]:
    return [await shown_job(app, job) for job in await app.jobs(**which)]


def _page(page: Page) -> str:
    """A page as a table, and what leads to the next."""
    rows = [
        [
            job.job_id,
            job.status,
            job.job_name,
            job.queue,
            f"{job.attempt} of {job.max_attempts}",
            job.created_at,
            job.scheduled_at,
            job.finished_at,
            _error(job.error_type, job.error_message),
        ]
        for job in page.jobs
    ]
    text = table(HEAD, rows) if rows else "no job matches"
    if page.next is None:
        return text
    if page.complete:
        return f"{text}\n\nthere may be more: --cursor {page.next}"
    looked = plain(page.looked_back_to)
    return f"{text}\n\nlooked as far as {looked}; to go on: --cursor {page.next}"


def _row(job: Mapping[str, Any]) -> list[object]:
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
        _error(error["type"], error["message"]) if error else None,
    ]


def _error(kind: str | None, message: str | None) -> str | None:
    return None if kind is None else one_line(f"{kind}: {message}", 60)
