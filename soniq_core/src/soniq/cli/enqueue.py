"""`soniq enqueue`: enqueue a job."""

import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, duration, iso_time, json_option, takes_app, use
from soniq.cli.output import as_json, plain, warn
from soniq.ids import JobId


def _json_object(ctx: click.Context, param: click.Parameter, value: str) -> bytes:
    """The callback of a parameter that is a JSON object; `-` reads it from stdin."""
    if value == "-" and sys.stdin is None:
        raise click.BadParameter("stdin is closed")
    try:
        text = sys.stdin.read() if value == "-" else value
        if isinstance(msgspec.json.decode(text), dict):
            return text.encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise click.BadParameter(f"not valid JSON: {error}") from None
    raise click.BadParameter("the arguments are a JSON object, by name: '{\"user_id\": 42}'")


def _headers(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """The callback of a parameter of headers, each as NAME=TEXT."""
    pairs = [value.partition("=") for value in values]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise click.BadParameter("a header is NAME=TEXT, as in tenant=acme")
    return {name: text for name, _, text in pairs}


@click.command(epilog=EXIT_CODES)
@takes_app
@click.argument("name")
@click.argument("arguments", callback=_json_object, default="{}", metavar="[JSON]")
@click.option("--queue", help="Its queue, instead of the job's own.")
@click.option("--priority", type=int, help="Lower runs first.")
@click.option(
    "--delay", callback=duration, metavar="DURATION", help="Due after this time: 30s, 15m, 12h, 7d."
)
@click.option(
    "--at",
    "scheduled_at",
    callback=iso_time,
    metavar="TIME",
    help="When it is due: an ISO time with a time zone.",
)
@click.option(
    "--expires",
    callback=duration,
    metavar="DURATION",
    help="Cancelled if it has not started by then.",
)
@click.option("--max-attempts", type=int, help="How often it is tried.")
@click.option(
    "--timeout", callback=duration, metavar="DURATION", help="How long an attempt may take."
)
@click.option(
    "--keep",
    callback=duration,
    metavar="DURATION",
    help="How long it is kept if done or cancelled.",
)
@click.option(
    "--keep-dead",
    callback=duration,
    metavar="DURATION",
    help="How long it is kept if it ends dead.",
)
@click.option("--dedup-key", help="Unique under this key among the jobs of its name.")
@click.option(
    "--tag", "tags", multiple=True, help="A tag to find it by; may be given several times."
)
@click.option(
    "--header",
    "headers",
    callback=_headers,
    multiple=True,
    metavar="NAME=TEXT",
    help="A header; may be given several times.",
)
@json_option
def enqueue(app: Soniq, name: str, arguments: bytes, as_json_: bool, **options: Any) -> None:
    """Enqueue a job by its name, with its arguments as JSON.

    `soniq enqueue app.confirm '{"order_id": 42}'`, or `-` to read them from stdin. With --app the
    job must be known, and its arguments are checked; without, a job of any name is enqueued as is.
    """
    given = {option: value for option, value in options.items() if value not in (None, (), {})}
    if not app.registry:
        app._arguments["unknown_jobs"] = "allow"
    job_id = use(app, lambda: _enqueue(app, name, arguments, given))
    if as_json_:
        click.echo(as_json({"job_id": str(job_id), "inserted": job_id.inserted}))
        return
    click.echo(plain(str(job_id)))
    if not job_id.inserted:
        warn("a job with this key is there already, and is not finished: nothing was added")


async def _enqueue(app: Soniq, name: str, arguments: bytes, options: dict[str, Any]) -> JobId:
    known = await app.load_arguments(name, arguments, serializer="json")
    return await app.enqueue(name, args=known, **options)
