"""`soniq prune`: forget finished jobs."""

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, duration, json_option, takes_app, use
from soniq.cli.output import as_json
from soniq.status import FINISHED, FinishedStatus
from soniq.text import counted


@click.command(epilog=EXIT_CODES)
@takes_app
@click.option(
    "--older-than",
    callback=duration,
    metavar="DURATION",
    help="All that finished at least this long ago: 30s, 15m, 12h, 7d. "
    "Without it: those whose keep time is over. Dead ones go by age only with --status dead.",
)
@click.option("--status", type=click.Choice(FINISHED), help="Only those of this status.")
@json_option
def prune(
    app: Soniq, older_than: float | None, status: FinishedStatus | None, as_json_: bool
) -> None:
    """Forget finished jobs now, with their results.

    Workers do this by themselves when the keep time of a job is over.
    """
    count = use(app, lambda: app.prune(older_than=older_than, status=status))
    said = f"forgot {counted(count, 'job')}"
    click.echo(as_json({"pruned": count}) if as_json_ else said)
