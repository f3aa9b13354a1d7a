"""`soniq setup`: make or update the tables, or say what that would mean."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, MISSING, json_option, takes_app
from soniq.cli.output import as_json, plain, warn
from soniq.postgres.create import create_database
from soniq.postgres.schema import Schema, Step
from soniq.startup import schema_of

T = TypeVar("T")


@click.command(epilog=EXIT_CODES)
@takes_app
@click.option(
    "--check",
    is_flag=True,
    help="Change nothing, and say what is missing: exit code 4 if anything is.",
)
@click.option(
    "--create-database",
    "create",
    is_flag=True,
    help="Create the database itself first, if it is missing.",
)
@click.option(
    "--sql",
    is_flag=True,
    help="Change nothing, and print the SQL that would be run, as one transaction.",
)
@json_option
def setup(app: Soniq, check: bool, create: bool, sql: bool, as_json_: bool) -> None:
    """Create the tables, or migrate them.

    Runs the migrations of Soniq and of the app's plugins that are missing, and creates partitions
    of history ahead. It does so also where SONIQ_SETUP is off: workers can then run as a role with
    fewer privileges.
    """
    if create:
        if check or sql:
            raise click.UsageError("--create-database goes with neither --check nor --sql")
        _create(app)
    if sql:
        if check or as_json_:
            raise click.UsageError("--sql goes with neither --check nor --json")
        click.echo(_with(app, _script))
        return

    told = _with(app, _check if check else _make)
    shown = (_missing if check else _made)(told)
    said = f"schema {told['schema']} of {told['database']}: {shown}"
    click.echo(as_json(told) if as_json_ else said)
    if check and (told["missing"] or told["partitions_end"]):
        click.get_current_context().exit(MISSING)


def _create(app: Soniq) -> None:
    """Create the database, if it is missing, and say so on stderr."""
    settings = app.settings
    if settings.database_url is None:
        raise click.UsageError(
            "--create-database needs a URL that names the database: SONIQ_DATABASE_URL"
        )
    created = asyncio.run(create_database(settings.database_url, settings))
    if created is not None:
        click.echo(f"created the database {plain(created)}", err=True)


def _with(app: Soniq, work: Callable[[Schema], Awaitable[T]]) -> T:
    """Do some work with what an app needs in its database."""

    async def run() -> T:
        async with schema_of(app) as schema:
            return await work(schema)

    return asyncio.run(run())


async def _make(schema: Schema) -> dict[str, Any]:
    steps = await schema.make() if await schema.missing() else []
    partitions = await schema.make_partitions()
    if partitions is None:
        what = "no partitions of history are made for the time to come"
        warn(f"{what}: this role does not own the tables")
    if not await schema.make_indexes():
        warn("an index of history is not complete: another makes it, or this role may not")
    return {**_place(schema), "steps": _listed(steps), "partitions": partitions or []}


async def _check(schema: Schema) -> dict[str, Any]:
    missing = await schema.missing()
    end = None if missing else await schema.partitions_end()
    return {**_place(schema), "missing": _listed(missing), "partitions_end": end}


async def _script(schema: Schema) -> str:
    text = await schema.script()
    where = f"-- schema {schema.name} of {plain(schema.place)}"
    if not text:
        return f"{where}: all is current"
    return f"{where}, for psql or another tool that sends it as it is\n\n{text}"


def _made(told: dict[str, Any]) -> str:
    steps, partitions = _named(told["steps"]), ", ".join(told["partitions"])
    what = [f"took the steps: {steps}"] if steps else []
    what += [f"made the partitions: {partitions}"] if partitions else []
    return "; ".join(what) or "all is current"


def _missing(told: dict[str, Any]) -> str:
    if told["missing"]:
        return f"missing: {_named(told['missing'])}"
    if told["partitions_end"]:
        end = plain(told["partitions_end"])
        what = f"partitions of history after {end}"
        return f"missing: {what}, where what finishes now is to be forgotten"
    return "all is current"


def _place(schema: Schema) -> dict[str, Any]:
    return {"database": schema.place, "schema": schema.name}


def _listed(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [{"owner": step.owner, "version": step.version} for step in steps]


def _named(steps: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{step['owner']} {step['version']}" for step in steps)
