"""`soniq setup`: make or update the tables."""

from typing import Any

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, json_option, takes_app, use
from soniq.cli.output import as_json
from soniq.errors import SchemaMissing


@click.command(epilog=EXIT_CODES)
@takes_app
@json_option
def setup(app: Soniq, as_json_: bool) -> None:
    """Make the tables, or bring them up to date.

    Also where the setting SONIQ_SETUP is off, so that a role with few rights can run the rest. Where all is current,
    nothing is changed.
    """
    try:
        done = use(app, lambda: _steps(app, changed=False))
    except SchemaMissing:
        done = use(app, lambda: _steps(app, changed=True), setup=True)
    if as_json_:
        click.echo(as_json(done))
    else:
        steps = ", ".join(f"{step['owner']} {step['version']}" for step in done["steps"])
        what = f"took the steps: {steps}" if steps else "all is current"
        click.echo(f"schema {done['schema']} of {done['database']}: {what}")


async def _steps(app: Soniq, *, changed: bool) -> dict[str, Any]:
    rows = await app.database.fetch("last_migrations") if changed else []
    return {
        "database": app.database.place,
        "schema": app.settings.schema,
        "steps": [{"owner": row["namespace"], "version": row["version"]} for row in rows],
    }
