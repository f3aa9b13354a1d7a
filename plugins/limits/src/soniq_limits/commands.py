"""`soniq limits`: look at limits, and change them."""

import click
import msgspec

from soniq import Soniq
from soniq.plugin import (
    ListByDefault,
    NotFound,
    as_json,
    json_option,
    plain,
    table,
    takes_app,
    use,
)

from .errors import LimitNotFound
from .limit import MOST
from .state import limit_states, set_limit

HEAD = ("name", "kind", "n", "in the code", "seconds", "keys", "running", "waiting")
EXIT_CODES = "Exit codes: 0 fine; 1 an error, which is on stderr; 2 wrong usage; 3 no such limit."


@click.group(cls=ListByDefault, epilog=EXIT_CODES)
def limits() -> None:
    """Look at limits, and change them; without a command, list them."""


@limits.command("list", epilog=EXIT_CODES)
@takes_app
@json_option
def list_(app: Soniq, as_json_: bool) -> None:
    """List limits: what is in force, what the code says, and what runs and waits."""
    found = use(app, lambda: limit_states(app))
    if as_json_:
        click.echo(as_json([msgspec.structs.asdict(each) for each in found]))
    elif found:
        click.echo(table(HEAD, [msgspec.structs.astuple(each) for each in found]))
    else:
        click.echo("there are no limits")


@limits.command("set", epilog=EXIT_CODES)
@takes_app
@click.argument("name")
@click.argument("n", type=click.IntRange(0, MOST))
@json_option
def set_(app: Soniq, name: str, n: int, as_json_: bool) -> None:
    """Let N jobs of each key of the limit NAME run at once, from now on; of a rate, let N start in
    its time; of a fair one, let N wait in a queue. 0: none starts.
    """
    try:
        use(app, lambda: set_limit(app, name, n))
    except LimitNotFound as error:
        raise NotFound(str(error)) from error
    click.echo(as_json({"name": name, "n": n}) if as_json_ else f"{plain(name)}: {n}")
