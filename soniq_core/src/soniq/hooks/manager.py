"""Which plugins an app has, and which implementations of a hook, in the order in which they run.

pluggy registers, validates and holds the implementations; discovery, blocking and the order are Soniq's own rules.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from typing import Any, NoReturn

import msgspec
import pluggy

from soniq.errors import ConfigurationError, DistributionConflict, PluginError, SoniqError
from soniq.hooks.specs import DEF_ONLY, NEAREST_FIRST, SPECS

GROUP = "soniq"

APPLICATION = "application"
RESERVED = (APPLICATION, "soniq")
"""Names that no plugin may have: they stand for the application's own hooks, and for the core's tables and tasks."""
DISCOVERED, PASSED, OWN, DEFAULT = range(4)


class Implementation(msgspec.Struct, frozen=True):
    """One implementation of a hook: whose, the function, and `call`, which takes all arguments by position."""

    plugin: str
    function: Callable[..., Any]
    call: Callable[..., Any]
    group: int
    rank: int
    """-1 for `tryfirst`, 1 for `trylast`, else 0."""


class LoadedPlugin(msgspec.Struct, frozen=True):
    """A plugin of an app, or one that was found and not loaded (`blocked` says why)."""

    name: str
    distribution: str | None
    version: str | None
    source: str
    """`default`, `passed` or `discovered`."""
    hooks: Sequence[str] = ()
    blocked: str | None = None


class Hooks:
    """The plugins of one app and the application's own hook functions."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(_SpecModule)
        self._groups: dict[str, int] = {}  # in the order of registration
        self._application: dict[str, list[Implementation]] = {}
        self.plugins: list[LoadedPlugin] = []

    def load(self, defaults: Iterable[object], passed: Iterable[object], *, discover: bool, chosen: str | None) -> None:
        """Register the core's defaults, the plugins passed to the app, and those that are installed.

        `chosen` is the value of SONIQ_PLUGINS, or None where it is not set.
        """
        given: dict[str, object] = {}
        for plugin in passed:
            name = _plugin_name(plugin)
            if name in given:
                raise PluginError(f"two of the plugins passed to the app are named {name!r}", plugin=name)
            given[name] = _made(name, plugin)
        for found in _installed() if discover else ():
            if found.name in given:
                continue
            why = _blocked(found.name, chosen)
            version = found.dist.version if found.dist else None
            if why is not None:
                self.plugins.append(LoadedPlugin(found.name, _origin(found), version, "discovered", blocked=why))
                continue
            try:
                plugin = found.load()
                plugin = plugin() if inspect.isclass(plugin) else plugin
            except Exception as error:
                raise PluginError(
                    f"the plugin {found.name!r} (from {_origin(found)}) cannot be loaded: "
                    f"{type(error).__name__}: {error}. SONIQ_PLUGINS=-{found.name} goes on without it",
                    plugin=found.name,
                    distribution=_origin(found),
                ) from error
            self._register(found.name, plugin, DISCOVERED, _origin(found), version)
        for name, plugin in given.items():
            self._register(name, plugin, PASSED, None, None)
        for plugin in defaults:
            self._register(_plugin_name(plugin), plugin, DEFAULT, "soniq-core", None)

    def _register(self, name: str, plugin: object, group: int, origin: str | None, version: str | None) -> None:
        where = f" (from {origin})" if origin and group == DISCOVERED else ""
        if name in RESERVED:
            raise PluginError(f"a plugin{where} is named {name!r}, which is reserved", plugin=name, distribution=origin)
        for attribute in _marked(plugin):
            if self._manager.parse_hookimpl_opts(plugin, attribute) is None:
                raise PluginError(
                    f"the plugin {name!r}{where}: {attribute} is marked @hookimpl and is no function; write it with "
                    "def or async def, @hookimpl beneath @staticmethod or @classmethod",
                    plugin=name,
                    distribution=origin,
                )
        _check_functions(name, plugin, where, origin)
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(f"the plugin {name!r}{where}: {error}", plugin=name, distribution=origin) from error
        self._groups[name] = group
        hooks = sorted(caller.name for caller in self._manager.get_hookcallers(plugin) or ())
        source = {DISCOVERED: "discovered", PASSED: "passed", DEFAULT: "default"}[group]
        self.plugins.append(LoadedPlugin(name, origin, version, source, hooks))

    def replace_own(self, functions: Iterable[tuple[str, Callable[..., Any]]]) -> None:
        """Let the application's own functions be these, as (hook, function). The plugins stay as they are."""
        self._application.clear()
        for hook, function in functions:
            self.add(hook, function)

    def add(self, hook: str, function: Callable[..., Any]) -> None:
        """Add a function of the application's own; it takes the hook's arguments by position, as many as it wants."""
        offered = len(_arguments(SPECS[hook]))
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(function).parameters.values()
        wanted = sum(p.kind in positional for p in parameters)
        needed = sum(p.kind in positional and p.default is p.empty for p in parameters)
        any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        if needed > offered or any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
            raise PluginError(
                f"{hook} calls its functions with {', '.join(_arguments(SPECS[hook]))}; "
                f"{function.__qualname__}{inspect.signature(function)} needs more",
                plugin=APPLICATION,
            )
        taken = offered if any_number else min(wanted, offered)
        call = _by_position(function, tuple(range(taken)), offered)
        self._application.setdefault(hook, []).append(Implementation(APPLICATION, function, call, OWN, 0))

    def implementations(self, hook: str, *, without: Iterable[str] = ()) -> tuple[Implementation, ...]:
        """The implementations of a hook in the order in which they are called.

        Discovered plugins by name, passed ones, the application's functions, the core's defaults; within each in
        order of registration, `tryfirst` and `trylast` honoured. `NEAREST_FIRST` hooks turn the first three round.
        """
        offered = _arguments(SPECS[hook])
        order = {name: index for index, name in enumerate(self._groups)}
        of_plugins = sorted(getattr(self._manager.hook, hook).get_hookimpls(), key=lambda i: order[i.plugin_name])
        found = [
            Implementation(
                impl.plugin_name,
                impl.function,
                _by_position(impl.function, tuple(offered.index(a) for a in impl.argnames), len(offered)),
                self._groups[impl.plugin_name],
                impl.trylast - impl.tryfirst,
            )
            for impl in of_plugins
            if impl.plugin_name not in without
        ]
        found += self._application.get(hook, [])
        groups = [OWN, PASSED, DISCOVERED, DEFAULT] if hook in NEAREST_FIRST else [DISCOVERED, PASSED, OWN, DEFAULT]
        return tuple(sorted(found, key=lambda i: (groups.index(i.group), i.rank)))

    def collect(self, hook: str, *values: object) -> list[tuple[str, Any]]:
        """What each implementation of a hook returned, as a list with the plugin's name; None is left out.

        Raises `PluginError` where one of them fails.
        """
        results = []
        for each in self.implementations(hook):
            try:
                result = each.call(*values)
                if result is not None:
                    results.append((each.plugin, list(result)))
            except Exception as error:
                fail(hook, each.plugin, error)
        return results


def fail(hook: str, plugin: str, error: Exception, what: str = "") -> NoReturn:
    """Raise an error in a hook that ends what was asked for: Soniq's own as it is, others as a `PluginError`."""
    if isinstance(error, SoniqError):
        raise error
    text = f"{hook} of {plugin} failed{what}: {type(error).__name__}: {error}"
    raise PluginError(text, plugin=plugin) from error


def check_distribution() -> None:
    """Raise `DistributionConflict` if the original `soniq` distribution is installed beside this one."""
    try:
        other = distribution("soniq")
    except PackageNotFoundError:
        return
    raise DistributionConflict(
        f"the distribution soniq {other.version} is installed beside soniq-core, and both own the import name soniq. "
        "Run: pip uninstall soniq && pip install --force-reinstall soniq-core"
    )


class _SpecModule:
    """The specs as pluggy wants them: attributes of one object."""


for _name, _spec in SPECS.items():
    setattr(_SpecModule, _name, staticmethod(_spec))


def _arguments(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _by_position(function: Callable[..., Any], taken: tuple[int, ...], offered: int) -> Callable[..., Any]:
    """`function`, which wants the arguments at the places `taken`, as one that takes all `offered` by position."""
    if taken == tuple(range(offered)):
        return function
    if taken == (0,):
        return lambda first, *_: function(first)
    return lambda *values: function(*(values[place] for place in taken))


def _installed() -> Sequence[EntryPoint]:
    """The entry points of the group, by name. Two of one name are an error: one would be skipped in silence."""
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda p: (p.name, _origin(p) or "")):
        other = found.setdefault(point.name, point)
        if other is not point and (other.value != point.value or _origin(other) != _origin(point)):
            raise PluginError(
                f"two distributions have a plugin named {point.name!r}: {_origin(other)} and {_origin(point)}; "
                "uninstall one",
                plugin=point.name,
                distribution=_origin(point),
            )
    return list(found.values())


def _origin(point: EntryPoint) -> str | None:
    return point.dist.name if point.dist else None


def _blocked(name: str, chosen: str | None) -> str | None:
    """Why SONIQ_PLUGINS keeps the plugin out, or None where it does not."""
    if chosen is None:
        return None
    names = [part.strip() for part in chosen.split(",") if part.strip()]
    if names and names[0].startswith("-"):
        return f"SONIQ_PLUGINS={chosen}" if f"-{name}" in names else None
    return None if name in names else f"SONIQ_PLUGINS={chosen}"


def check_choice(chosen: str | None) -> None:
    """Raise `ConfigurationError` for a SONIQ_PLUGINS that mixes signs or names what is not installed."""
    names = [part.strip() for part in (chosen or "").split(",") if part.strip()]
    signs = {name.startswith("-") for name in names}
    if len(signs) == 2:
        raise ConfigurationError(
            f"SONIQ_PLUGINS={chosen}: either name the plugins to load, or those to leave out (-name)"
        )
    installed = [point.name for point in entry_points(group=GROUP)]
    for name in (name.lstrip("-") for name in names):
        if name not in installed:
            nearest = get_close_matches(name, installed, 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else f"; installed: {', '.join(installed) or 'none'}"
            raise ConfigurationError(f"SONIQ_PLUGINS={chosen}: no plugin named {name!r} is installed{hint}")


def _plugin_name(plugin: object) -> str:
    """The name of a plugin that was passed: its entry point's, if it has one, else its own `name`, else its type's."""
    kind = plugin if inspect.isclass(plugin) or inspect.ismodule(plugin) else type(plugin)
    for point in entry_points(group=GROUP):
        module, _, attribute = (part.strip() for part in point.value.partition("[")[0].partition(":"))
        offered: object = sys.modules.get(module)  # what is passed has been imported
        for part in attribute.split("."):
            offered = getattr(offered, part, None) if part else offered
        if offered is not None and (offered is kind or type(offered) is kind):
            return point.name
    name = getattr(plugin, "name", None)
    return name if isinstance(name, str) else kind.__name__


def _made(name: str, plugin: object) -> object:
    """A plugin that was passed; of a class, an instance."""
    try:
        return plugin() if inspect.isclass(plugin) else plugin
    except Exception as error:
        raise PluginError(
            f"the plugin {name!r} cannot be made: {type(error).__name__}: {error}. Pass an instance of it", plugin=name
        ) from error


def _marked(plugin: object) -> dict[str, Mapping[str, Any]]:
    """The attributes of a plugin that are marked `@hookimpl`, and the marker's options."""
    marked = {}
    for attribute in dir(plugin):
        value = inspect.getattr_static(plugin, attribute, None)
        options = getattr(value, "soniq_impl", None) or getattr(getattr(value, "__func__", None), "soniq_impl", None)
        if isinstance(options, Mapping):
            marked[attribute] = options
    return marked


def _check_functions(name: str, plugin: object, where: str, origin: str | None) -> None:
    """Raise `PluginError` for what pluggy lets pass, or says less clearly."""
    for attribute, options in _marked(plugin).items():
        hook = options["specname"] or attribute

        def refuse(what: str) -> PluginError:
            return PluginError(f"the plugin {name!r}{where}: {what}", plugin=name, distribution=origin)

        if hook not in SPECS:
            nearest = get_close_matches(hook, SPECS, 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise refuse(f"there is no hook named {hook!r}{hint}")
        if options["wrapper"] or options["hookwrapper"]:
            raise refuse(f"{hook} is a pluggy wrapper; implement around_job or around_enqueue instead")
        offered = _arguments(SPECS[hook])
        method = getattr(plugin, attribute)
        for parameter in inspect.signature(method).parameters.values():
            if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or parameter.default is not parameter.empty:
                raise refuse(f"{hook}: {parameter} must be a plain argument, without a default")
            if parameter.name not in offered:
                nearest = get_close_matches(parameter.name, offered, 1)
                hint = f"; did you mean {nearest[0]!r}?" if nearest else f"; it offers {', '.join(offered) or 'none'}"
                raise refuse(f"{hook} has no argument {parameter.name!r}{hint}")
        if hook in DEF_ONLY and (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)):
            raise refuse(f"{hook} is called outside an event loop; write it with def")
