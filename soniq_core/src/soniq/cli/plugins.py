"""`soniq plugins`: which plugins there are, and the hooks that they implement."""

import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points

import click
import msgspec

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, json_option, named_app
from soniq.cli.output import Failure, as_json, clean, table
from soniq.distribution import core_version
from soniq.errors import PluginError, SoniqError
from soniq.hooks.discovery import GROUP, about
from soniq.hooks.hooks import Hooks, LoadedPlugin, PluginSource
from soniq.hooks.implementation import Implementation
from soniq.hooks.specs import CONTRACT_VERSION, HOOKS
from soniq.runtime import jobs_of


@click.command(epilog=EXIT_CODES)
@click.option(
    "--app",
    callback=named_app,
    metavar="MODULE:ATTR",
    envvar="SONIQ_APP",
    show_envvar=True,
    help="The app, as module:attribute, whose plugins to list. "
    "Without one: those that are installed.",
)
@click.option(
    "--hooks",
    "by_hook",
    is_flag=True,
    help="List every hook and the plugins that implement it, in the order they run.",
)
@json_option
def plugins(app: Soniq | None, by_hook: bool, as_json_: bool) -> None:
    """List plugins: loaded, blocked, broken.

    SONIQ_PLUGINS blocks plugins. Exit code 1 where a plugin cannot be loaded: an app would not
    start.
    """
    hooks, errors = survey(app or Soniq())
    if by_hook:
        contract = [_hook(name, hooks) for name in HOOKS]
        contract += [_own_hook(name, hooks) for name in hooks.own] if hooks else []
        found: dict[str, object] = {"version": CONTRACT_VERSION, "hooks": contract}
        title = f"the contract, version {CONTRACT_VERSION}"
        shown = "\n\n".join([title, *map(_paragraph, contract)])
    else:
        jobs = _jobs(hooks, errors)
        listed = _listed(hooks, errors, jobs)
        found = {"plugins": listed}
        head = ["name", "version", "distribution", "source", "from", "state", "hooks", "jobs"]
        rows = [
            [p.name, p.version, p.distribution, p.source, p.origin, p.state, list(p.hooks), p.jobs]
            for p in listed
        ]
        shown = table(head, rows)

    if as_json_:
        shown = as_json({**found, "errors": [str(error) for error in errors]})
    click.echo(shown)
    for error in errors[:-1]:
        click.echo(f"error: {clean(str(error))}", err=True)
    if errors:
        raise Failure(str(errors[-1]))


def survey(app: Soniq) -> tuple[Hooks | None, list[SoniqError]]:
    """The app's plugins without those that cannot be loaded, and why these cannot.

    None in place of the plugins: not even the rest can be loaded.
    """
    broken: dict[str, SoniqError] = {}
    while True:
        try:
            return app._load_plugins(leave_out=broken), list(broken.values())
        except SoniqError as error:
            name = error.plugin if isinstance(error, PluginError) else ""
            if not name or name in broken:
                return None, [*(each for plugin, each in broken.items() if plugin != name), error]
            broken[name] = error


# --- by plugin -----------------------------------------------------------------------------------


class PluginInfo(msgspec.Struct, frozen=True):
    """A plugin as it is listed."""

    name: str
    version: str | None
    distribution: str | None
    source: PluginSource
    origin: str | None
    """Of a discovered one the value of its entry point, of others their module."""
    file: str | None
    """The file that its first hook is in; None where it is not loaded, or implements none."""
    hooks: Sequence[str]
    jobs: Sequence[str]
    """The names of those that it defines."""
    blocked: str | None
    """Why it is not loaded, or None where it is."""
    error: str | None

    @property
    def state(self) -> str:
        if self.error is not None:
            return "cannot be loaded"
        return f"blocked by {self.blocked}" if self.blocked is not None else "loaded"


def _jobs(hooks: Hooks | None, errors: list[SoniqError]) -> dict[str, list[str]]:
    """The names of the jobs that plugins define, by plugin. What is wrong with them is one more of
    the errors.
    """
    try:
        return {plugin: list(jobs.name_under(plugin)) for plugin, jobs in jobs_of(hooks or Hooks())}
    except SoniqError as error:
        errors.append(error)
        return {}


def _listed(
    hooks: Hooks | None, errors: Sequence[SoniqError], jobs: Mapping[str, Sequence[str]]
) -> list[PluginInfo]:
    why = {error.plugin: str(error) for error in errors if isinstance(error, PluginError)}
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    if hooks is None:
        return [_of_entry_point(point, why.get(point.name)) for point in points]
    values = {point.name: point.value for point in points}
    return [
        _of_loaded(
            plugin,
            hooks,
            values.get(plugin.name),
            jobs.get(plugin.name, []),
            why.get(plugin.name),
        )
        for plugin in hooks.plugins
    ]


def _of_entry_point(point: EntryPoint, error: str | None) -> PluginInfo:
    distribution, version = about(point)
    return PluginInfo(
        name=point.name,
        version=version,
        distribution=distribution,
        source="discovered",
        origin=point.value,
        file=None,
        hooks=(),
        jobs=(),
        blocked="an error",
        error=error,
    )


def _of_loaded(
    plugin: LoadedPlugin,
    hooks: Hooks,
    value: str | None,
    jobs: Sequence[str],
    error: str | None,
) -> PluginInfo:
    module = file = None
    for each in (each for hook in plugin.hooks[:1] for each in hooks.implementations(hook)):
        if each.plugin == plugin.name:
            module = each.function.__module__
            file = getattr(sys.modules.get(module), "__file__", None)

    blocked = f"SONIQ_PLUGINS={os.environ.get('SONIQ_PLUGINS', '')}"
    return PluginInfo(
        name=plugin.name,
        version=core_version() if plugin.source == "default" else plugin.version,
        distribution=plugin.distribution,
        source=plugin.source,
        origin=value if plugin.source == "discovered" else module,
        file=file,
        hooks=plugin.hooks,
        jobs=jobs,
        blocked=None if plugin.blocked is None or error else blocked,
        error=error,
    )


# --- by hook -------------------------------------------------------------------------------------


class HookFunction(msgspec.Struct, frozen=True):
    """A function that implements a hook."""

    plugin: str
    function: str


class Hook(msgspec.Struct, frozen=True):
    """A hook as it is listed."""

    name: str
    arguments: Sequence[str]
    kind: str
    def_only: bool
    since: int | None
    """The version of the contract that brought it; None of one that a plugin specifies."""
    specified_by: str | None
    """The plugin whose own it is; None of one of the contract."""
    about: str
    implementations: Sequence[HookFunction]
    """In the order in which they run."""


def _hook(name: str, hooks: Hooks | None) -> Hook:
    described = HOOKS[name]
    return Hook(
        name=name,
        arguments=described.arguments,
        kind=described.kind,
        def_only=described.def_only,
        since=described.since,
        specified_by=None,
        about=(inspect.getdoc(described.function) or "").partition("\n")[0],
        implementations=(
            [_implemented(each) for each in hooks.implementations(name)] if hooks else []
        ),
    )


def _own_hook(name: str, hooks: Hooks) -> Hook:
    plugin, spec = hooks.own[name]
    return Hook(
        name=name,
        arguments=list(spec.arguments),
        kind=spec.kind,
        def_only=False,
        since=None,
        specified_by=plugin,
        about=(inspect.getdoc(spec) or "").partition("\n")[0],
        implementations=[_implemented(each) for each in hooks.implementations(name)],
    )


def _implemented(each: Implementation) -> HookFunction:
    kind = type(each.function).__qualname__
    return HookFunction(each.plugin, getattr(each.function, "__qualname__", kind))


def _paragraph(hook: Hook) -> str:
    only = ", def only" if hook.def_only else ""
    whose = f"since {hook.since}" if hook.since is not None else f"of {hook.specified_by}"
    lines = [
        f"{hook.name}({', '.join(hook.arguments)}): {hook.kind}{only}, {whose}",
        f"  {hook.about}",
    ]
    lines += [
        f"  {place}. {each.plugin}: {each.function}"
        for place, each in enumerate(hook.implementations, 1)
    ]
    return clean("\n".join(lines))
