"""`soniq pause` and `soniq resume`: let workers claim no jobs of some queues, and let them again."""

from collections.abc import Sequence

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, json_option, takes_app, use
from soniq.cli.output import as_json, plain, warn


@click.command(epilog=EXIT_CODES)
@takes_app
@click.argument("queues", metavar="QUEUE...", nargs=-1, required=True)
@json_option
def pause(app: Soniq, queues: Sequence[str], as_json_: bool) -> None:
    """Let no worker claim jobs of queues.

    Jobs that run go on, and new ones may be enqueued and wait. Workers that listen know at once, those behind
    PgBouncer within a second. `soniq status` lists the queues that are paused.
    """

    async def pause_all() -> set[str]:
        for queue in queues:
            await app.pause(queue)
        return {row["queue"] for row in await app.database.fetch("lanes", queues)}

    known = use(app, pause_all)
    for queue in queues:
        if queue not in known:
            warn(f"queue {queue!r} is paused, and no job has ever been enqueued in it")
    _tell("paused", queues, as_json_)


@click.command(epilog=EXIT_CODES)
@takes_app
@click.argument("queues", metavar="QUEUE...", nargs=-1, required=True)
@json_option
def resume(app: Soniq, queues: Sequence[str], as_json_: bool) -> None:
    """Let workers claim jobs of paused queues again."""

    async def resume_all() -> None:
        for queue in queues:
            await app.resume(queue)

    use(app, resume_all)
    _tell("resumed", queues, as_json_)


def _tell(what: str, queues: Sequence[str], json: bool) -> None:
    click.echo(as_json({what: queues}) if json else f"{what}: {', '.join(map(plain, queues))}")
