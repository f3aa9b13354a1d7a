"""`soniq schedules`: look at schedules, and change them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
import msgspec

from soniq import InvalidOption, Soniq
from soniq.plugin import (
    ListByDefault,
    NotFound,
    as_json,
    duration,
    iso_time,
    json_option,
    plain,
    table,
    takes_app,
    use,
)

from .at_run_time import AtRunTime
from .cron import Cron
from .errors import ScheduleNotFound
from .every import Every
from .schedule import Schedule
from .when import When

T = TypeVar("T")

MANY = 100_000
"""Schedules that are listed, at most."""
HEAD = ("name", "job", "when", "next", "last", "state")
EXIT_CODES = (
    "Exit codes: 0 fine; 1 an error, which is on stderr; 2 wrong usage; 3 no such schedule."
)


@click.group(cls=ListByDefault, epilog=EXIT_CODES)
def schedules() -> None:
    """Look at schedules, and change them; without a command, list them."""


@schedules.command("list", epilog=EXIT_CODES)
@takes_app
@click.option("--job", help="Only those of the job of this name.")
@json_option
def list_(app: Soniq, job: str | None, as_json_: bool) -> None:
    """List schedules, with what keeps one from making jobs."""
    found = use(app, lambda: of(app).list(job=job, limit=MANY))
    if as_json_:
        click.echo(as_json([_document(each) for each in found]))
    elif found:
        click.echo(table(HEAD, [_row(each) for each in found]))
    else:
        click.echo("no schedule matches" if job else "there are no schedules")


@schedules.command("next", epilog=EXIT_CODES)
@takes_app
@click.argument("name", required=False)
@click.option("--cron", help="Of this expression, instead of a schedule.")
@click.option("--tz", default="UTC", help="With --cron: its time zone.")
@click.option("--count", type=click.IntRange(1, 1_000), default=5, show_default=True)
@json_option
def next_(
    app: Soniq, name: str | None, cron: str | None, tz: str, count: int, as_json_: bool
) -> None:
    """Show the next ticks of a schedule, or of an expression."""
    if (name is None) == (cron is None):
        raise click.UsageError("give the NAME of a schedule, or --cron and perhaps --tz")
    if cron is not None:
        ticks = given(lambda: Cron(cron, tz=tz)).upcoming(count)
    else:
        schedule = found(app, str(name))
        ticks = schedule.upcoming(count)
    if as_json_:
        click.echo(as_json(ticks))
    else:
        for tick in ticks:
            click.echo(tick.isoformat(" ", "seconds"))


def _arguments(ctx: click.Context, param: click.Parameter, value: str) -> bytes:
    """The callback of a parameter that is a JSON object."""
    try:
        if isinstance(msgspec.json.decode(value), dict):
            return value.encode()
    except (msgspec.DecodeError, UnicodeError) as error:
        raise click.BadParameter(f"no JSON: {error}") from None
    raise click.BadParameter("the arguments are a JSON object, by name: '{\"customer\": 42}'")


@schedules.command(epilog=EXIT_CODES)
@takes_app
@click.argument("name")
@click.argument("job")
@click.argument("arguments", callback=_arguments, default="{}", metavar="[JSON]")
@click.option("--cron", help="A cron expression of five or six fields, or such as @daily.")
@click.option("--tz", default="UTC", show_default=True, help="With --cron: its time zone.")
@click.option("--every", callback=duration, metavar="DURATION", help="Or so often: 30s, 15m, 1d.")
@click.option("--catch-up", type=click.Choice(["latest", "all", "skip"]), help="Of missed ticks.")
@click.option("--window", callback=duration, metavar="DURATION", help="How late a tick may be.")
@click.option("--cap", type=int, help="With --catch-up all: how many at most.")
@click.option(
    "--overlap",
    type=click.Choice(["allow", "skip", "replace"]),
    help="While the job before is not finished.",
)
@click.option("--jitter", type=float, help="Each up to this share of the period later.")
@click.option("--start", callback=iso_time, metavar="TIME", help="No ticks before.")
@click.option("--end", callback=iso_time, metavar="TIME", help="No ticks after.")
@json_option
def add(
    app: Soniq,
    name: str,
    job: str,
    arguments: bytes,
    cron: str | None,
    tz: str,
    every: float | None,
    as_json_: bool,
    **options: Any,
) -> None:
    """Add a schedule, or change the one of this name: the job must be known to --app.

    `soniq schedules add report-42 app.report '{"customer": 42}' --cron '0 8 * * mon'`
    """
    if (cron is None) == (every is None):
        raise click.UsageError("give --cron or --every")
    rest = {option: value for option, value in options.items() if value is not None}
    when = given(
        lambda: Cron(cron, tz=tz, **rest) if cron is not None else Every(seconds=every or 0, **rest)
    )

    async def add_it() -> Schedule:
        args = await app.load_arguments(job, arguments, serializer="json")
        await of(app).add(name, job, when, args=args)
        return await of(app).get(name)

    added = use(app, add_it)
    if as_json_:
        click.echo(as_json(_document(added)))
    else:
        click.echo(f"{plain(name)}: the next tick is {plain(added.next_at)}")


@schedules.command(epilog=EXIT_CODES)
@takes_app
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@json_option
def pause(app: Soniq, names: Sequence[str], as_json_: bool) -> None:
    """Have no jobs made of schedules until `resume`."""
    _each(app, names, "paused", lambda name: of(app).pause(name), as_json_)


@schedules.command(epilog=EXIT_CODES)
@takes_app
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@json_option
def resume(app: Soniq, names: Sequence[str], as_json_: bool) -> None:
    """Let paused schedules go on with their next tick."""
    _each(app, names, "resumed", lambda name: of(app).resume(name), as_json_)


@schedules.command(epilog=EXIT_CODES)
@takes_app
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@json_option
def remove(app: Soniq, names: Sequence[str], as_json_: bool) -> None:
    """Forget schedules; one that live workers have in their code is removed there."""
    _each(app, names, "removed", lambda name: of(app).remove(name), as_json_)


@schedules.command(epilog=EXIT_CODES)
@takes_app
@click.argument("name")
@json_option
def run(app: Soniq, name: str, as_json_: bool) -> None:
    """Make a job of a schedule now, beside its ticks; needs --app."""
    job_id = _or_not_found(app, lambda: of(app).run_now(name))
    document = {"job_id": str(job_id), "inserted": job_id.inserted}
    click.echo(as_json(document) if as_json_ else plain(str(job_id)))


def of(app: Soniq) -> AtRunTime:
    """The schedules of an app."""
    return app.plugin(AtRunTime)


def given(make: Callable[[], When]) -> When:
    """What the options make. Ends the command where they cannot be."""
    try:
        return make()
    except InvalidOption as error:
        raise click.UsageError(str(error)) from error


def found(app: Soniq, name: str) -> Schedule:
    """A schedule of the database."""
    return _or_not_found(app, lambda: of(app).get(name))


def _or_not_found(app: Soniq, work: Callable[[], Awaitable[T]]) -> T:
    try:
        return use(app, work)
    except ScheduleNotFound as error:
        raise NotFound(str(error)) from error


def _each(
    app: Soniq,
    names: Sequence[str],
    done: str,
    change: Callable[[str], Awaitable[None]],
    json: bool,
) -> None:
    """Change several; exit code 3 where one is not there, after the others."""
    missing: list[str] = []

    async def all_of_them() -> None:
        for name in names:
            try:
                await change(name)
            except ScheduleNotFound:
                missing.append(name)

    use(app, all_of_them)
    changed = [name for name in names if name not in missing]
    if json:
        click.echo(as_json({done: changed, "missing": missing}))
    elif changed:
        click.echo(f"{done}: {', '.join(map(plain, changed))}")
    if missing:
        raise NotFound(f"no schedule is named {', '.join(map(repr, missing))}")


def _row(schedule: Schedule) -> list[object]:
    """The columns of `HEAD`."""
    return [
        schedule.name,
        schedule.job,
        schedule.when.describe() if schedule.when else "(of another version)",
        schedule.next_at if schedule.paused_at is None else None,
        schedule.last_at,
        schedule.state,
    ]


def _document(schedule: Schedule) -> Mapping[str, object]:
    """A schedule for scripts."""
    about = schedule.when.about() if schedule.when else {}
    return {**msgspec.structs.asdict(schedule), **about, "state": schedule.state}
