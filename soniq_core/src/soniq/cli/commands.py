"""The group of all commands: the core's own, those that plugins add, and what an error looks like."""

import warnings
from typing import Any, TextIO

import click

from soniq.app import Soniq
from soniq.cli.cancel import cancel
from soniq.cli.inspect import inspect
from soniq.cli.jobs import jobs
from soniq.cli.new_plugin import new_plugin
from soniq.cli.options import EXIT_CODES
from soniq.cli.output import Failure, NotFound, warn
from soniq.cli.pause import pause, resume
from soniq.cli.plugins import plugins, survey
from soniq.cli.prune import prune
from soniq.cli.retry import retry
from soniq.cli.setup import setup
from soniq.cli.status import status
from soniq.cli.worker import worker
from soniq.errors import DuplicateJob, JobNotFound, JobNotRetryable, SoniqError, SoniqWarning
from soniq.started import core_version

CORE = (worker, setup, status, jobs, inspect, cancel, retry, pause, resume, prune, plugins, new_plugin)


class Commands(click.Group):
    """The core's commands, and those of the installed plugins, which are looked for only where they are needed."""

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
        except SoniqError as error:
            raise Failure(str(error)) from error
        except KeyboardInterrupt:
            ctx.exit(130)

    def _look_for_more(self) -> None:
        """Add the commands of plugins, once. What is wrong with one is a warning, and the others are there."""
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
            except Exception as error:
                warn(f"register_commands of the plugin {each.plugin!r} failed: {type(error).__name__}: {error}")
                continue
            for name, command in offered.commands.items():
                if name in self.commands:
                    warn(f"the plugin {each.plugin!r} has a command {name!r}, and so has soniq: the first one is kept")
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
    soniq(prog_name="soniq")
