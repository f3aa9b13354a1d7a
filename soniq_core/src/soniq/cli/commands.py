"""All commands: the core's own and those that plugins add; and what an error looks like."""

import sys
import warnings
from typing import Any, TextIO

import click

from soniq.app import Soniq
from soniq.cli.cancel import cancel
from soniq.cli.delete import delete
from soniq.cli.enqueue import enqueue
from soniq.cli.inspect import inspect
from soniq.cli.jobs import jobs
from soniq.cli.options import EXIT_CODES
from soniq.cli.output import Failure, NotFound, is_of_output, warn, write_all_characters
from soniq.cli.pause import pause, resume
from soniq.cli.plugins import plugins, survey
from soniq.cli.prune import prune
from soniq.cli.release import release
from soniq.cli.retry import retry
from soniq.cli.setup import setup
from soniq.cli.status import status
from soniq.cli.worker import worker
from soniq.distribution import core_version
from soniq.errors import (
    DuplicateJob,
    InvalidOption,
    JobNotFound,
    JobNotRetryable,
    SoniqError,
    SoniqWarning,
)

CORE = (
    worker,
    setup,
    status,
    enqueue,
    jobs,
    inspect,
    cancel,
    retry,
    release,
    delete,
    pause,
    resume,
    prune,
    plugins,
)


class Commands(click.Group):
    """The core's commands and those of installed plugins, which are loaded only when needed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._looked = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._look_for_more()
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands:
            self._look_for_more()
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (JobNotFound, JobNotRetryable, DuplicateJob) as error:
            raise NotFound(str(error)) from error
        except InvalidOption as error:  # what the command line gave
            raise click.UsageError(str(error)) from error
        except SoniqError as error:
            raise Failure(str(error)) from error
        except KeyboardInterrupt:
            ctx.exit(130)

    def _look_for_more(self) -> None:
        """Add the commands of plugins, once. What is wrong with one is a warning."""
        if self._looked:
            return
        self._looked = True

        hooks, errors = survey(Soniq())
        for error in errors:
            warn(str(error))

        for each in hooks.implementations("register_commands") if hooks else ():
            offered = click.Group()
            try:
                each.call(offered)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                warn(
                    f"register_commands of the plugin {each.plugin!r} failed:"
                    f" {type(error).__name__}: {error}"
                )
                continue

            for name, command in offered.commands.items():
                if name in self.commands:
                    warn(
                        f"the plugin {each.plugin!r} has a command {name!r}, and so has soniq: the"
                        " first one is kept"
                    )
                else:
                    self.add_command(command, name)


@click.group(
    cls=Commands,
    commands={command.name: command for command in CORE if command.name},
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(core_version(), prog_name="soniq", message="%(prog)s %(version)s")
def soniq() -> None:
    """Background jobs in PostgreSQL: run workers, and look after jobs.

    Settings come from SONIQ_* in the environment, SONIQ_DATABASE_URL first of all.
    """


def main() -> None:
    """Run the command line."""
    show = warnings.showwarning

    def showwarning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, SoniqWarning):
            warn(str(message))
        else:
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = showwarning
    write_all_characters()
    try:
        soniq(prog_name="soniq")
    except OSError as error:
        if not is_of_output(error):
            raise
        sys.exit(f"error: the output cannot be written: {error.strerror or error}")
