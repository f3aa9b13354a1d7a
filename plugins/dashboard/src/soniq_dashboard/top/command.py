"""`soniq top`: the dashboard at a glance, in a terminal."""

import os
import sys

import click

from soniq import Soniq
from soniq.plugin import takes_app, use

MISSING = "this needs one more package: pip install 'soniq-dashboard[top]'"


@click.command()
@takes_app
@click.option(
    "--interval",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.5, 3600),
    metavar="SECONDS",
    help="From one look to the next.",
)
@click.option("--once", is_flag=True, help="Print what there is, and end.")
def top(app: Soniq, interval: float, once: bool) -> None:
    """Show queues, what runs, failures and workers in the terminal, again and again.

    It only looks. Press ? for the keys; q or Ctrl-C ends it. Where it leads to no terminal that can
    be drawn on, as in a pipe, it prints what there is once, as with --once. Rates are what workers
    that have soniq-dashboard counted, minute by minute; else they are taken between looks. With
    --app, what is secret in arguments is what the jobs say.
    """
    if once or not _can_draw():
        from .snapshot import snapshot  # quick where nothing is drawn

        click.echo(use(app, lambda: snapshot(app)))
        return
    try:
        from .screens import Top
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("textual", "rich"):
            raise
        raise click.ClickException(MISSING) from error
    screens = Top(app, interval)
    use(app, lambda: screens.run_async(mouse=False))
    if screens.return_code:
        click.get_current_context().exit(screens.return_code)


def _can_draw() -> bool:
    """Whether there is a terminal whose cursor can be moved."""
    leads = all(each is not None and each.isatty() for each in (sys.stdin, sys.stdout))
    return leads and os.environ.get("TERM", "") not in ("", "dumb")
