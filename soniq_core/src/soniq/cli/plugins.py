"""`soniq plugins`: which plugins there are."""

import os
from collections.abc import Sequence
from importlib.metadata import entry_points

import click
import msgspec

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, json_option, named_app
from soniq.cli.output import Failure, as_json, clean, table
from soniq.errors import PluginError, SoniqError
from soniq.hooks.manager import GROUP, Hooks, LoadedPlugin
from soniq.started import core_version


@click.command(epilog=EXIT_CODES)
@click.option(
    "--app", callback=named_app, metavar="MODULE:ATTR", envvar="SONIQ_APP", show_envvar=True,
    help="The app, as module:attribute, whose plugins to list. Without one: those that are installed.",
)  # fmt: skip
@json_option
def plugins(app: Soniq | None, as_json_: bool) -> None:
    """List plugins: loaded, blocked, broken.

    SONIQ_PLUGINS blocks plugins. Where one cannot be loaded, an app would not start: exit code 1.
    """
    hooks, errors = survey(app or Soniq())
    found = _listed(hooks, errors)
    if as_json_:
        click.echo(as_json({"plugins": found, "errors": [str(error) for error in errors]}))
    else:
        head = ["name", "version", "distribution", "source", "state", "hooks"]
        rows = [[p.name, p.version, p.distribution, p.source, p.state, list(p.hooks)] for p in found]
        click.echo(table(head, rows))
    for error in errors[:-1]:
        click.echo(f"error: {clean(str(error))}", err=True)
    if errors:
        raise Failure(str(errors[-1]))


class Listed(msgspec.Struct, frozen=True):
    """A plugin as it is listed."""

    name: str
    version: str | None
    distribution: str | None
    source: str
    hooks: Sequence[str]
    blocked: str | None
    """Why it is not loaded, or None where it is."""
    error: str | None

    @property
    def state(self) -> str:
        if self.error is not None:
            return "cannot be loaded"
        return f"blocked by {self.blocked}" if self.blocked is not None else "loaded"


def survey(app: Soniq) -> tuple[Hooks | None, list[SoniqError]]:
    """The app's plugins without those that cannot be loaded, and why. None: not even the rest can be."""
    broken: dict[str, SoniqError] = {}
    while True:
        try:
            return app.load_plugins(leave_out=broken), list(broken.values())
        except SoniqError as error:
            name = error.plugin if isinstance(error, PluginError) else ""
            if not name or name in broken:
                return None, [*(each for plugin, each in broken.items() if plugin != name), error]
            broken[name] = error


def _listed(hooks: Hooks | None, errors: Sequence[SoniqError]) -> list[Listed]:
    why = {error.plugin: str(error) for error in errors if isinstance(error, PluginError)}
    if hooks is not None:
        return [_of_loaded(plugin, why.get(plugin.name)) for plugin in hooks.plugins]
    return [
        Listed(
            point.name, point.dist.version if point.dist else None, point.dist.name if point.dist else None,
            "discovered", (), "an error", why.get(point.name),
        )
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)
    ]  # fmt: skip


def _of_loaded(plugin: LoadedPlugin, error: str | None) -> Listed:
    own = plugin.source == "default"
    blocked = None if plugin.blocked is None or error else f"SONIQ_PLUGINS={os.environ.get('SONIQ_PLUGINS', '')}"
    return Listed(
        plugin.name, core_version() if own else plugin.version, plugin.distribution, plugin.source, plugin.hooks,
        blocked, error,
    )  # fmt: skip
