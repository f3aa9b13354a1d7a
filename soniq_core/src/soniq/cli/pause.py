"""`soniq pause` and `soniq resume`: whether workers claim jobs of some queues."""

from collections.abc import Sequence

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, json_option, takes_app, use
from soniq.cli.output import as_json, plain, warn
from soniq.cli.person import this_person
from soniq.worker.survey import BELOW_ALL

MOST_LANES = 100_000
"""Lanes that are looked for."""


@click.command(epilog=EXIT_CODES)
@takes_app
@click.argument("queues", metavar="QUEUE...", nargs=-1, required=True)
@click.option("--reason", help="Why; kept until the queue is resumed.")
@click.option("--by", default=this_person, help="Who it is. Default: your user name at this host.")
@json_option
def pause(app: Soniq, queues: Sequence[str], reason: str | None, by: str, as_json_: bool) -> None:
    """Pause queues: no worker claims their jobs.

    Jobs that run go on; new jobs can be enqueued, and wait. Workers stop claiming at once, behind
    PgBouncer within a second. `soniq status` lists paused queues, since when, by whom and why. A
    queue that is paused already gets the new reason, if there is one.
    """

    async def pause_all() -> set[str]:
        for queue in queues:
            await app.pause(queue, reason=reason, by=by)
        rows = await app._database.fetch("lanes_of", queues, BELOW_ALL, MOST_LANES)
        return {row["queue"] for row in rows if row["priority"] is not None}

    known = use(app, pause_all)
    for queue in queues:
        if queue not in known:
            warn(f"queue {queue!r} is paused, and no job waits in it")
    _tell("paused", queues, as_json_)


@click.command(epilog=EXIT_CODES)
@takes_app
@click.argument("queues", metavar="QUEUE...", nargs=-1, required=True)
@json_option
def resume(app: Soniq, queues: Sequence[str], as_json_: bool) -> None:
    """Resume paused queues: workers claim their jobs again."""

    async def resume_all() -> None:
        for queue in queues:
            await app.resume(queue, by=this_person())

    use(app, resume_all)
    _tell("resumed", queues, as_json_)


def _tell(what: str, queues: Sequence[str], json: bool) -> None:
    click.echo(as_json({what: queues}) if json else f"{what}: {', '.join(map(plain, queues))}")
