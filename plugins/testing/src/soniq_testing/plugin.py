"""The plugin for Soniq: it adds the command `soniq new-plugin`."""

from typing import TYPE_CHECKING

from soniq import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def register_commands(cli: "click.Group") -> None:
    from .new_plugin import new_plugin  # an app that is no command line needs none of it

    cli.add_command(new_plugin)
