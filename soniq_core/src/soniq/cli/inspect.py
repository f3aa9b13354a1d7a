"""`soniq inspect`: all about one job."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import click

from soniq.app import Soniq
from soniq.cli.masked import shown_error
from soniq.cli.options import EXIT_CODES, job_id, json_option, reports, takes_app, use
from soniq.cli.output import (
    Failure,
    NotFound,
    as_json,
    clean,
    one_line,
    plain,
    sections,
    table,
    warn,
)
from soniq.errors import JobNotFound, SerializationError
from soniq.plugin import Presentable, presented
from soniq.status import JobStatus
from soniq.text import cut

SHORTEST_PREFIX = 8
"""The fewest characters of an id that are looked up: all but the last minute of its time."""
PATTERN = "00000000-0000-0000-0000-000000000000"


def beginning(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The callback of a parameter that is a job's id, or its beginning."""
    value = value.lower()
    shape = "".join("-" if letter == "-" else "0" for letter in value)
    if (
        SHORTEST_PREFIX <= len(value) < len(PATTERN)
        and PATTERN.startswith(shape)
        and set(value) <= set("0123456789abcdef-")
    ):
        return value
    return str(job_id(ctx, param, value))


@click.command(epilog=EXIT_CODES)
@takes_app
@click.argument("job_id", callback=beginning, metavar="ID")
@click.option(
    "--show-secrets",
    is_flag=True,
    help="Show all as it is stored, also what is masked, and what is encrypted.",
)
@json_option
def inspect(app: Soniq, job_id: str, show_secrets: bool, as_json_: bool) -> None:
    """Show a job. The first 8 or more characters of its ID are enough where no other job's ID
    begins with them.

    Shown are its status, arguments and result, the error of its last failed attempt with the
    traceback, and its attempts that did not succeed. With --app a result is shown as the type that
    the job returns, without as plain values. Arguments and results of more than 10,000 characters
    are cut, but not with --json.
    What lies under the name of a secret, as `password`, is masked, and with --app also what the
    job says is to be hidden. Plugins may add fields of their own.
    """
    found = use(app, lambda: _read(app, job_id, show_secrets))
    click.echo(as_json(found) if as_json_ else _shown(found))


async def _read(app: Soniq, job_id: str, secrets: bool) -> dict[str, Any]:
    """The job's status, arguments and result, and what plugins say. What cannot be read is None,
    with a warning.
    """
    job_id = await _whole(app, job_id)
    job = await app.get_job(job_id)
    if job is None:
        raise JobNotFound(job_id)

    async def show(what: Presentable, value: object) -> Any:
        if secrets:
            return await value() if callable(value) else value
        written_by = job["serializer"] if what in ("args", "result") else None
        return await presented(app, job["job_name"], what, value, serializer=written_by)

    async def read(what: Presentable, value: object) -> Any:
        try:
            return await show(what, value)
        except SerializationError as unread:
            warn(str(unread))
            return None

    status = {**job, "result": None}
    found: dict[str, Any] = {name: status[name] for name in JobStatus.__annotations__}
    found["plugins"] = await reports(app, "inspect_fields", found)
    found["progress"] = await show("progress", job["progress"])
    found["error"] = job["error"] and await shown_error(show, job["error"])
    found["attempts"] = [await shown_error(show, each) for each in job["attempts"]]

    # Of arguments that are long, or that cannot be read here, `get_job` has none
    known = job["args"] is not None
    found["arguments"] = await read("args", job["args"] if known else partial(app.get_args, job_id))
    if job["result_size"] is not None:
        found["result"] = await read("result", partial(app.get_result, job_id))
    return found


async def _whole(app: Soniq, job_id: str) -> str:
    """The id that begins so. Raises `NotFound`, and `Failure` where several do."""
    if len(job_id) == len(PATTERN):
        return job_id
    last = UUID(job_id + PATTERN[len(job_id) :].replace("0", "f"))
    behind = UUID(int=min(last.int + 1, 2**128 - 1))
    newest = await app.jobs(before=str(behind), limit=2)
    found = [job["job_id"] for job in newest if job["job_id"].startswith(job_id)]
    if len(found) > 1:
        raise Failure(f"more than one job's id begins with {job_id}: {found[0]}, {found[1]}, ...")
    if not found:
        raise NotFound(f"no job's id begins with {job_id}")
    return found[0]


def _shown(job: dict[str, Any]) -> str:
    error = job["error"]
    told = {name: plain(job[name]) for name in job if name not in ("error", "attempts", "plugins")}
    for name in ("arguments", "result"):
        told[name] = "-" if job[name] is None else clean(cut(as_json(job[name])))
    told["error"] = clean(f"{error['type']}: {error['message']}") if error else "-"
    if error and error["traceback"]:
        told["traceback"] = "\n" + clean(error["traceback"].rstrip("\n"))
    width = max(map(len, told))
    fields = "\n".join(
        f"{name:{width}}  {value.replace(chr(10), chr(10) + '  ')}" for name, value in told.items()
    )
    parts = fields, _attempts(job["attempts"]), sections(job["plugins"])
    return "\n\n".join(part for part in parts if part)


def _attempts(attempts: Sequence[Mapping[str, Any]]) -> str:
    """The attempts that did not succeed, and who ran the job again in between, as a table."""
    rows = [
        [
            each["n"],
            each["kind"],
            each["at"],
            None if each["took"] is None else f"{each['took']:.3f} s",
            each["worker_id"] or each["by"],
            one_line(f"{each['type']}: {each['message']}", 80) if each["type"] else None,
        ]
        for each in attempts
    ]
    return table(["attempt", "kind", "at", "took", "worker", "error"], rows) if rows else ""
