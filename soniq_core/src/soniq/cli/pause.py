"""`soniq pause` and `soniq resume`: let workers claim no jobs of some queues, and let them again."""

from collections.abc import Sequence

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, takes_app, use
from soniq.cli.output import plain


@click.command(epilog=EXIT_CODES)
@takes_app
@click.argument("queues", metavar="QUEUE...", nargs=-1, required=True)
def pause(app: Soniq, queues: Sequence[str]) -> None:
    """Let no worker claim jobs of queues.

    Jobs that run go on, and new ones may be enqueued and wait. Workers that listen know at once, the others with
    their next poll. `soniq status` lists the queues that are paused.
    """

    async def pause_all() -> None:
        for queue in queues:
            await app.pause(queue)

    use(app, pause_all)
    click.echo(f"paused: {', '.join(map(plain, queues))}")


@click.command(epilog=EXIT_CODES)
@takes_app
@click.argument("queues", metavar="QUEUE...", nargs=-1, required=True)
def resume(app: Soniq, queues: Sequence[str]) -> None:
    """Let workers claim jobs of paused queues again."""

    async def resume_all() -> None:
        for queue in queues:
            await app.resume(queue)

    use(app, resume_all)
    click.echo(f"resumed: {', '.join(map(plain, queues))}")
