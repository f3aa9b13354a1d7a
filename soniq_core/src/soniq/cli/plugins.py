"""`soniq plugins`: which plugins there are, and the hooks that they implement."""

import inspect
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

import click
import msgspec

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, json_option, named_app
from soniq.cli.output import Failure, as_json, clean, table
from soniq.errors import PluginError, SoniqError
from soniq.hooks.manager import GROUP, Hooks, Implementation, LoadedPlugin
from soniq.hooks.specs import CONTRACT_VERSION, DEF_ONLY, KINDS, SINCE, SPECS
from soniq.started import core_version


@click.command(epilog=EXIT_CODES)
@click.option(
    "--app", callback=named_app, metavar="MODULE:ATTR", envvar="SONIQ_APP", show_envvar=True,
    help="The app, as module:attribute, whose plugins to list. Without one: those that are installed.",
)  # fmt: skip
@click.option("--hooks", "by_hook", is_flag=True, help="List every hook, and who implements it, in the order they run.")
@json_option
def plugins(app: Soniq | None, by_hook: bool, as_json_: bool) -> None:
    """List plugins: loaded, blocked, broken.

    SONIQ_PLUGINS blocks plugins. Where one cannot be loaded, an app would not start: exit code 1.
    """
    hooks, errors = survey(app or Soniq())
    if by_hook:
        contract = [_hook(name, hooks) for name in SPECS]
        found: dict[str, object] = {"version": CONTRACT_VERSION, "hooks": contract}
        shown = "\n\n".join([f"the contract, version {CONTRACT_VERSION}", *(_paragraph(hook) for hook in contract)])
    else:
        listed = _listed(hooks, errors)
        found = {"plugins": listed}
        head = ["name", "version", "distribution", "source", "from", "state", "hooks"]
        rows = [[p.name, p.version, p.distribution, p.source, p.origin, p.state, list(p.hooks)] for p in listed]
        shown = table(head, rows)
    if as_json_:
        shown = as_json({**found, "errors": [str(error) for error in errors]})
    click.echo(shown)
    for error in errors[:-1]:
        click.echo(f"error: {clean(str(error))}", err=True)
    if errors:
        raise Failure(str(errors[-1]))


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


# --- by plugin --------------------------------------------------------------------------------------------------------


class Listed(msgspec.Struct, frozen=True):
    """A plugin as it is listed."""

    name: str
    version: str | None
    distribution: str | None
    source: str
    origin: str | None
    """Of a discovered one the value of its entry point, of others their module."""
    file: str | None
    """The file that its first hook is in; None where it is not loaded, or implements none."""
    hooks: Sequence[str]
    blocked: str | None
    """Why it is not loaded, or None where it is."""
    error: str | None

    @property
    def state(self) -> str:
        if self.error is not None:
            return "cannot be loaded"
        return f"blocked by {self.blocked}" if self.blocked is not None else "loaded"


def _listed(hooks: Hooks | None, errors: Sequence[SoniqError]) -> list[Listed]:
    why = {error.plugin: str(error) for error in errors if isinstance(error, PluginError)}
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    if hooks is None:
        return [_of_entry_point(point, why.get(point.name)) for point in points]
    values = {point.name: point.value for point in points}
    return [_of_loaded(plugin, hooks, values.get(plugin.name), why.get(plugin.name)) for plugin in hooks.plugins]


def _of_entry_point(point: EntryPoint, error: str | None) -> Listed:
    distribution, version = (point.dist.name, point.dist.version) if point.dist else (None, None)
    return Listed(point.name, version, distribution, "discovered", point.value, None, (), "an error", error)


def _of_loaded(plugin: LoadedPlugin, hooks: Hooks, value: str | None, error: str | None) -> Listed:
    module = file = None
    for each in (each for hook in plugin.hooks[:1] for each in hooks.implementations(hook)):
        if each.plugin == plugin.name:
            module = each.function.__module__
            file = getattr(sys.modules.get(module), "__file__", None)
    return Listed(
        name=plugin.name,
        version=core_version() if plugin.source == "default" else plugin.version,
        distribution=plugin.distribution,
        source=plugin.source,
        origin=value if plugin.source == "discovered" else module,
        file=file,
        hooks=plugin.hooks,
        blocked=None if plugin.blocked is None or error else f"SONIQ_PLUGINS={os.environ.get('SONIQ_PLUGINS', '')}",
        error=error,
    )


# --- by hook ----------------------------------------------------------------------------------------------------------


class Implemented(msgspec.Struct, frozen=True):
    """A function that implements a hook."""

    plugin: str
    function: str


class Hook(msgspec.Struct, frozen=True):
    """A hook as it is listed."""

    name: str
    arguments: Sequence[str]
    kind: str
    def_only: bool
    since: int
    about: str
    implementations: Sequence[Implemented]
    """In the order in which they run."""


def _hook(name: str, hooks: Hooks | None) -> Hook:
    return Hook(
        name=name,
        arguments=list(inspect.signature(SPECS[name]).parameters),
        kind=KINDS[name],
        def_only=name in DEF_ONLY,
        since=SINCE[name],
        about=(inspect.getdoc(SPECS[name]) or "").partition("\n")[0],
        implementations=[_implemented(each) for each in hooks.implementations(name)] if hooks else [],
    )


def _implemented(each: Implementation) -> Implemented:
    return Implemented(each.plugin, getattr(each.function, "__qualname__", type(each.function).__qualname__))


def _paragraph(hook: Hook) -> str:
    only = ", def only" if hook.def_only else ""
    lines = [f"{hook.name}({', '.join(hook.arguments)}): {hook.kind}{only}, since {hook.since}", f"  {hook.about}"]
    lines += [f"  {place}. {each.plugin}: {each.function}" for place, each in enumerate(hook.implementations, 1)]
    return clean("\n".join(lines))
