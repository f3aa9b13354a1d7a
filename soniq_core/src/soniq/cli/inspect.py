"""`soniq inspect`: all about one job."""

from typing import Any

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, job_id, json_option, takes_app, use
from soniq.cli.output import as_json, clean, plain, warn
from soniq.errors import JobNotFound, SerializationError


@click.command(epilog=EXIT_CODES)
@takes_app
@click.argument("job_id", callback=job_id, metavar="ID")
@json_option
def inspect(app: Soniq, job_id: str, as_json_: bool) -> None:
    """Show all about a job.

    That is its state, arguments, result, and the error of its last failed attempt, with the traceback. A result is
    shown as the type that the job returns with --app, and as plain values without.
    """
    found = use(app, lambda: _read(app, job_id))
    click.echo(as_json(found) if as_json_ else _shown(found))


async def _read(app: Soniq, job_id: str) -> dict[str, Any]:
    """The job's status and arguments. What cannot be read is None, with a warning: the rest is what a person needs."""
    status = await app.get_job_status(job_id, result=False)
    if status is None:
        raise JobNotFound(job_id)
    found: dict[str, Any] = {**status, "arguments": None}
    try:
        found["arguments"] = await app.get_args(job_id)
    except SerializationError as error:
        warn(str(error))
    try:
        found["result"] = await app.get_result(job_id)
    except SerializationError as error:
        warn(str(error))
    return found


def _shown(job: dict[str, Any]) -> str:
    error = job["error"]
    told = {name: plain(value) for name, value in job.items() if name != "error"}
    for name in ("arguments", "result"):
        told[name] = "-" if job[name] is None else clean(as_json(job[name]))
    told["error"] = clean(f"{error['type']}: {error['message']}") if error else "-"
    if error and error["traceback"]:
        told["traceback"] = "\n" + clean(error["traceback"].rstrip("\n"))
    width = max(map(len, told))
    return "\n".join(f"{name:{width}}  {value.replace(chr(10), chr(10) + '  ')}" for name, value in told.items())
