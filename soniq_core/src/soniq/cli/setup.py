"""`soniq setup`: make or update the tables, or say what that would mean."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, MISSING, json_option, takes_app
from soniq.cli.output import as_json, plain, warn
from soniq.postgres.schema import Schema, Step
from soniq.started import schema_of

T = TypeVar("T")


@click.command(epilog=EXIT_CODES)
@takes_app
@click.option("--check", is_flag=True, help="Change nothing, and say what is missing: exit code 4 if anything is.")
@click.option("--sql", is_flag=True, help="Change nothing, and print the SQL that would be run, as one transaction.")
@json_option
def setup(app: Soniq, check: bool, sql: bool, as_json_: bool) -> None:
    """Make the tables, or bring them up to date.

    That is the steps of Soniq and of the app's plugins that have not been taken, and partitions of history for the
    time to come. Also where the setting SONIQ_SETUP is off, so that a role with few rights can run the rest.
    """
    if sql:
        if check or as_json_:
            raise click.UsageError("--sql goes with neither --check nor --json")
        click.echo(_with(app, _script))
        return
    told = _with(app, _check if check else _make)
    shown = _missing if check else _made
    click.echo(as_json(told) if as_json_ else f"schema {told['schema']} of {told['database']}: {shown(told)}")
    if check and (told["missing"] or told["partitions_end"]):
        click.get_current_context().exit(MISSING)


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
        warn("no partitions of history are made for the time to come: this role does not own the tables")
    return {**_place(schema), "steps": _listed(steps), "partitions": partitions or []}


async def _check(schema: Schema) -> dict[str, Any]:
    missing = await schema.missing()
    end = None if missing else await schema.partitions_end()
    return {**_place(schema), "missing": _listed(missing), "partitions_end": end}


async def _script(schema: Schema) -> str:
    text = await schema.script()
    where = f"-- schema {schema.name} of {plain(schema.place)}"
    return f"{where}, for psql or another tool that sends it as it is\n\n{text}" if text else f"{where}: all is current"


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
        return f"missing: partitions of history after {end}, where what finishes now is to be forgotten"
    return "all is current"


def _place(schema: Schema) -> dict[str, Any]:
    return {"database": schema.place, "schema": schema.name}


def _listed(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [{"owner": step.owner, "version": step.version} for step in steps]


def _named(steps: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{step['owner']} {step['version']}" for step in steps)
