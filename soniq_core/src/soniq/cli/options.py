"""Options that commands share, and the app that they lead to."""

import asyncio
import functools
import importlib
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard, TypeVar

import click

from soniq.app import Soniq
from soniq.cli.output import Failure, warn
from soniq.errors import InvalidJobId
from soniq.hooks.reports import report
from soniq.ids import parse_id
from soniq.tracebacks import text_of
from soniq.worker.interrupts import stop_if_heard

T = TypeVar("T")

EXIT_CODES = (
    "Exit codes: 0 fine; 1 an error, which is on stderr; 2 wrong usage; 3 no such job, or one that"
    " cannot be cancelled, retried, released or deleted; 4 setup --check: something is missing; 5"
    " status --max-wait: a job has waited for longer."
)
MISSING = 4
"""The exit code of a check that finds something missing."""
LATE = 5
"""The exit code of a look at the queues that finds a job which has been due for too long."""

GONE = "the current directory, which is not there any more"

NOT_THEIRS = (str(Path(__file__).parent.parent), importlib.__file__ or "", "<frozen")
"""Where the files of Soniq and of the import system are, as opposed to an app's."""

json_option = click.option(
    "--json", "as_json_", is_flag=True, help="Print one JSON document, for scripts."
)


class ListByDefault(click.Group):
    """A group of commands that lists where none of them is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["list", *args]
        return super().parse_args(ctx, args)


def named_app(ctx: click.Context, param: click.Parameter | None, value: str | None) -> Soniq | None:
    """The Soniq that `module:attribute` names; a parameter's callback."""
    if value is None:
        return None
    value = value.strip()
    module_name, _, path = value.partition(":")
    if module_name.endswith(".py") or "/" in module_name:
        dotted = ".".join(Path(module_name).with_suffix("").parts).strip(".")
        raise click.BadParameter(
            f"{value!r} names a file; name the module: {dotted}:{path or 'app'}"
        )
    parts = [*module_name.split("."), *path.split(".")]
    if not path or not all(part.isidentifier() for part in parts):
        raise click.BadParameter(
            f"{value!r} is not of the form module:attribute, as in examples.app:eq"
        )

    module = _module(module_name)
    found: object = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise click.BadParameter(
                f"{module_name!r} has no attribute {path!r}{_hint(module, path)}"
            ) from None
        except Exception as error:  # of a lazy object
            raise _failed(f"looking up {value!r}", error) from error
    if not _is_app(found):
        raise click.BadParameter(
            f"{value} is a {type(found).__name__}, not a Soniq{_hint(module, path)}"
        )

    # In case the module used it while it was imported: a command has an event loop of its own
    found.sync.close()
    return found


def _module(name: str) -> ModuleType:
    """The module of this name; the current directory is searched, too."""
    here = _current_folder()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(f"importing {name!r}", error) from error

        parent, _, last = error.name.rpartition(".")
        top = [here] if here else []
        paths = getattr(sys.modules.get(parent), "__path__", []) if parent else top
        nearest = get_close_matches(last, [each.name for each in pkgutil.iter_modules(paths)], 1)
        hint = f"; did you mean {'.'.join(filter(None, [parent, *nearest]))!r}?" if nearest else ""
        raise click.BadParameter(
            f"there is no module {error.name!r} (looked in {parent or here or GONE}){hint}"
        ) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        stop_if_heard()
        raise _failed(f"importing {name!r}", error) from error


def _current_folder() -> str:
    """The current directory; empty where it is not there any more."""
    try:
        return str(Path.cwd())
    except OSError:
        return ""


def _hint(module: ModuleType, path: str) -> str:
    apps = [name for name, value in vars(module).items() if _is_app(value)]
    if not apps:
        return f"; there is no Soniq in {module.__name__}"
    nearest = get_close_matches(path, apps, 1) or (apps if len(apps) == 1 else [])
    if nearest:
        return f"; did you mean {module.__name__}:{nearest[0]}?"
    return f"; it has {', '.join(apps)}"


def _is_app(value: object) -> TypeGuard[Soniq]:
    """Whether it is a Soniq; a lazy object, as Django's settings are, may not be able to say."""
    try:
        return isinstance(value, Soniq)
    except Exception:
        return False


def _failed(what: str, error: BaseException) -> Failure:
    """What went wrong, and in which line of the app's own code."""
    where, text = "", text_of(error)
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith(NOT_THEIRS):
            where = f" ({_from_here(frame.filename)}, line {frame.lineno})"
    if isinstance(error, SyntaxError) and error.filename:
        where, text = f" ({_from_here(error.filename)}, line {error.lineno})", str(error.msg)
    return Failure(f"{what} failed: {type(error).__name__}: {text}{where}")


def _from_here(file: str) -> str:
    """The path of a file from the current directory, which may not be there any more."""
    return os.path.relpath(file) if _current_folder() else file


def takes_app(command: Callable[..., T]) -> Callable[..., T]:
    """Gives a command the options that lead to an app, and passes it the app."""

    @click.option(
        "--app",
        metavar="MODULE:ATTR",
        envvar="SONIQ_APP",
        show_envvar=True,
        help="The app, as module:attribute. Without one, the settings alone lead to the database.",
    )
    @click.option(
        "--database-url", help="Where the jobs are, instead of SONIQ_DATABASE_URL; without --app."
    )
    @click.option(
        "--schema", help="The schema of Soniq's tables, instead of SONIQ_SCHEMA; without --app."
    )
    @click.pass_context
    @functools.wraps(command)
    def with_app(
        ctx: click.Context,
        /,
        *,
        app: str | None,
        database_url: str | None,
        schema: str | None,
        **others: Any,
    ) -> T:
        alone = database_url is not None or schema is not None
        if alone and ctx.get_parameter_source("app") is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(
                "--app brings its own settings; leave out --database-url and --schema"
            )
        named = None if alone else named_app(ctx, None, app)
        return command(named or Soniq(database_url, schema=schema), **others)

    return with_app


def use(app: Soniq, work: Callable[[], Awaitable[T]], *, setup: bool | None = False) -> T:
    """Do some work with an app that is started, and closed afterwards.

    The tables are made or updated only where `setup` says so.
    """

    async def run() -> T:
        try:
            await app.start(setup=setup)
            return await work()
        finally:
            await app.close()

    return asyncio.run(run())


async def reports(app: Soniq, hook: str, *values: object) -> dict[str, dict[str, Any]]:
    """The fields that plugins add to what a command shows, by plugin; what fails is a warning."""
    found = await report(app._load_plugins(), hook, app.settings.hook_timeout, app, *values)
    for warning in found.warnings:
        warn(warning)
    return found.plugins


def job_id(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The callback of a parameter that is a job's id."""
    try:
        return None if value is None else parse_id(value)
    except InvalidJobId as error:
        raise click.BadParameter(str(error)) from error


def job_ids(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> list[str]:
    """The callback of a parameter of one or several ids; each once."""
    ids = (job_id(ctx, param, value) for value in values)
    return list(dict.fromkeys(id_ for id_ in ids if id_))


def point(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """The callback of a parameter that is a time: so long ago, or an ISO time with its zone."""
    if value is None:
        return None
    if re.fullmatch(r"[\d.]+[a-z]?", value):
        return datetime.now(UTC) - timedelta(seconds=duration(ctx, param, value) or 0)
    return iso_time(ctx, param, value, "neither a duration, as 1h, nor an ISO time")


def iso_time(
    ctx: click.Context, param: click.Parameter, value: str | None, wrong: str = "not an ISO time"
) -> datetime | None:
    """The callback of a parameter that is an ISO time with its zone."""
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is {wrong}") from None
    if time.tzinfo is None:
        raise click.BadParameter(f"{value!r} has no time zone, as 2030-01-31T08:00:00+00:00 has")
    return time


def duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """The callback of a parameter that is a number with its unit: seconds."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)([smhd])", value)
    if match is None:
        raise click.BadParameter(
            f"{value!r} is not a number with a unit, as in 30s, 15m, 12h or 7d"
        )
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[match[2]]
    if seconds > 36_500 * 86_400:
        raise click.BadParameter(f"{value} is longer than a hundred years")
    return seconds
