"""`soniq prune`: forget finished jobs."""

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, duration, json_option, takes_app, use
from soniq.cli.output import as_json
from soniq.lookup import FINISHED


@click.command(epilog=EXIT_CODES)
@takes_app
@click.option(
    "--older-than", callback=duration, metavar="DURATION",
    help="All that finished so long ago: 30s, 15m, 12h, 7d. Without it: those that are past their own time.",
)  # fmt: skip
@click.option("--status", type=click.Choice(FINISHED), help="Only those of this status.")
@json_option
def prune(app: Soniq, older_than: float | None, status: str | None, as_json_: bool) -> None:
    """Forget finished jobs now, with their results.

    Workers do it by themselves when a job's time is past."""
    count = use(app, lambda: app.prune(older_than=older_than, status=status))
    click.echo(as_json({"pruned": count}) if as_json_ else f"forgot {count} {'job' if count == 1 else 'jobs'}")
