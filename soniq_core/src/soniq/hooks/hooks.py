"""Which plugins an app has, and which implementations of a hook, in the order in which they run.

pluggy registers, validates and holds the implementations; discovery, blocking and the order are
Soniq's own rules.
"""

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from difflib import get_close_matches
from importlib.metadata import EntryPoint
from typing import Any, Literal, TypeVar

import msgspec
import pluggy

from soniq import logs
from soniq.errors import InvalidOption, PluginError, PluginNotLoaded
from soniq.hooks import specs, trace
from soniq.hooks.discovery import (
    GROUP,
    about,
    by_name,
    check_choice,
    installed,
    leaving_out,
    module_of,
    plugin_name,
    why_blocked,
)
from soniq.hooks.implementation import (
    APPLICATION,
    DEFAULT,
    DISCOVERED,
    OWN,
    PASSED,
    Implementation,
    fail,
    of_application,
    of_plugin,
)
from soniq.hooks.own_spec import OwnSpec, check_specs, namespace
from soniq.hooks.specs import HOOKS
from soniq.hooks.validation import Manager, Marked, check_functions, implementing, marked

CONTROL = re.compile("[\x00-\x1f\x7f]")
RESERVED = (APPLICATION, "soniq")
"""Names that no plugin may have: the application's own hooks, and the core's tables and tasks."""

CALLED_BEFORE = ("database_url", "lifespan", "withdraw_hooks", "hookspecs", "register_commands")
"""Hooks that are called before a plugin can withdraw any, or apart from a start."""

P = TypeVar("P")
Instances = dict[object, object]
"""The plugins that were made of classes: by entry point, and by class."""

PluginSource = Literal["default", "passed", "discovered"]
"""Where a plugin comes from: the core, the app's arguments, or an entry point."""
SOURCES: dict[int, PluginSource] = {
    DISCOVERED: "discovered",
    PASSED: "passed",
    DEFAULT: "default",
}


class LoadedPlugin(msgspec.Struct, frozen=True):
    """A plugin of an app, or one that was found and not loaded (`blocked` says why)."""

    name: str
    distribution: str | None
    version: str | None
    source: PluginSource
    hooks: Sequence[str] = ()
    blocked: str | None = None


class _Offered(msgspec.Struct, frozen=True):
    """A plugin that is to be registered, or is listed as blocked."""

    name: str
    plugin: object
    group: int
    distribution: str | None = None
    version: str | None = None
    blocked: str | None = None

    @property
    def where(self) -> str:
        found = self.distribution and self.group == DISCOVERED
        return f" (from {self.distribution})" if found else ""

    def listed(self, hooks: Sequence[str] = ()) -> LoadedPlugin:
        source = SOURCES[self.group]
        return LoadedPlugin(self.name, self.distribution, self.version, source, hooks, self.blocked)


class Hooks:
    """The plugins of one app and the application's own hook functions.

    `plugins` are those that were found, `names` the hooks of the core, `implementations(hook)`
    those of one hook in the order in which they run, `collect(hook, ...)` what they return, and
    `plugin(kind)` the plugin of a class.
    """

    names = tuple(HOOKS)

    def __init__(self, made: Instances | None = None) -> None:
        self._made: Instances = {} if made is None else made
        self._manager = Manager(GROUP)
        self._manager.add_hookspecs(specs)
        self._traced = trace.is_on()
        self._groups: dict[str, int] = {}  # in the order of registration
        self._application: dict[str, list[Implementation]] = {}
        self._withdrawn: set[tuple[str, str]] = set()
        """Hooks that plugins do not need: plugin and hook."""
        self._arguments = {name: hook.arguments for name, hook in HOOKS.items()}
        self.own: dict[str, tuple[str, OwnSpec[..., Any]]] = {}
        """The hooks that plugins specify, by name, each with the plugin."""
        self.compiled: dict[str, Any] = {}
        """What calls them, by name, made when it is first needed."""
        self.unspecified: list[str] = []
        """Hooks that the application has a function for, and no plugin specifies."""
        self.plugins: list[LoadedPlugin] = []

    def load(
        self,
        defaults: Iterable[object],
        passed: Iterable[object],
        *,
        discover: bool,
        chosen: str | None,
        leave_out: Collection[str],
    ) -> None:
        """Register the core's defaults, the plugins passed to the app, and installed ones.

        `chosen` is the value of SONIQ_PLUGINS, or None where it is not set; `leave_out` are
        installed ones that it may also name. Raises `PluginError`, and `ConfigurationError` for
        that value.
        """
        passed = list(passed)
        points = installed() if passed or discover else ()  # it reads many files
        if discover:
            check_choice(chosen, points)
        chosen = leaving_out(chosen, leave_out)

        given = self._given(passed, points)
        discovered = by_name(points) if discover else ()
        offered = [
            *(self._installed(found, chosen) for found in discovered if found.name not in given),
            *(_Offered(name, plugin, PASSED) for name, plugin in given.items()),
            *(_Offered(plugin_name(each, ()), each, DEFAULT, "soniq-core") for each in defaults),
        ]
        found = [marked(each.plugin) if each.blocked is None else {} for each in offered]
        for each, functions in zip(offered, found, strict=True):
            self._specify(each, functions)
        for each, functions in zip(offered, found, strict=True):
            if each.blocked is None:
                self._register(each, functions)
            else:
                self.plugins.append(each.listed())

    def _given(self, passed: Iterable[object], points: Sequence[EntryPoint]) -> dict[str, object]:
        """The plugins that were passed to the app, by name."""
        given: dict[str, object] = {}
        for plugin in passed:
            name = plugin_name(plugin, points)
            if name in given:
                raise PluginError(
                    f"two of the plugins passed to the app are named {name!r}", plugin=name
                )

            try:
                given[name] = self._instance(name, plugin)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                raise PluginError(
                    f"the plugin {name!r} cannot be created: {type(error).__name__}: {error}."
                    " Pass an instance of it",
                    plugin=name,
                ) from error
        return given

    def _instance(self, name: str, plugin: object) -> object:
        """A plugin that was offered; of a class, the one instance that the app has of it."""
        if not inspect.isclass(plugin):
            return plugin
        if (name, plugin) not in self._made:
            self._made.setdefault((name, plugin), plugin())
        return self._made[name, plugin]

    def _installed(self, found: EntryPoint, chosen: str | None) -> "_Offered":
        """An installed plugin, which is imported unless SONIQ_PLUGINS keeps it out."""
        distribution, version = about(found)
        why = why_blocked(found.name, chosen)
        if why is not None:
            return _Offered(found.name, None, DISCOVERED, distribution, version, why)

        try:
            plugin = self._instance(found.name, found.load())
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise PluginError(
                f"the plugin {found.name!r} (from {distribution}) cannot be loaded:"
                f" {type(error).__name__}: {error}. SONIQ_PLUGINS=-{found.name} goes on without it",
                plugin=found.name,
                distribution=distribution,
            ) from error
        return _Offered(found.name, plugin, DISCOVERED, distribution, version)

    def _specify(self, offered: "_Offered", found: Marked) -> None:
        """Add the hooks that a plugin specifies itself, so that others may implement them."""
        name, plugin = offered.name, offered.plugin
        found = implementing(found, "hookspecs")
        check_functions(name, plugin, offered.where, offered.distribution, self._arguments, found)
        for attribute in found:
            try:
                returned = list(getattr(plugin, attribute)() or ())
            except BaseException as error:
                fail("hookspecs", name, error)

            owners = {hook: owner for hook, (owner, _) in self.own.items()}
            checked = check_specs(name, returned, owners)
            if checked:  # pluggy takes none for a mistake
                self._manager.add_hookspecs(namespace(checked))
            self.own.update((spec.name, (name, spec)) for spec in checked)
            self._arguments.update((spec.name, spec.arguments) for spec in checked)

    def _register(self, offered: "_Offered", found: Marked) -> None:
        name, plugin, distribution = offered.name, offered.plugin, offered.distribution
        where = offered.where
        if not name.strip() or CONTROL.search(name):
            raise PluginError(
                f"a plugin{where} is named {name!r}; a name must be text in one line", plugin=name
            )
        if name in RESERVED:
            raise PluginError(
                f"a plugin{where} is named {name!r}, which is reserved",
                plugin=name,
                distribution=distribution,
            )

        self._manager.marked = found
        for attribute in found:
            if self._manager.parse_hookimpl_opts(plugin, attribute) is None:
                raise PluginError(
                    f"the plugin {name!r}{where}: {attribute} is marked @hookimpl and is no"
                    " function; write it with def or async def,"
                    " @hookimpl beneath @staticmethod or @classmethod",
                    plugin=name,
                    distribution=distribution,
                )
        check_functions(name, plugin, where, distribution, self._arguments, found)

        try:
            self._manager.register(plugin, name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(
                f"the plugin {name!r}{where}: {error}", plugin=name, distribution=distribution
            ) from error

        logs.set_up(f"soniq.{name}")
        self._groups[name] = offered.group
        hooks = {options["specname"] or attribute for attribute, options in found.items()}
        self.plugins.append(offered.listed(sorted(hooks & self._arguments.keys())))

    def plugin(self, kind: type[P]) -> P:
        """The plugin of this class, or of a class below it.

        Raises `PluginNotLoaded` where there is none, and `InvalidOption` where there are several.
        """
        if not inspect.isclass(kind):
            raise InvalidOption(f"a plugin is asked for by its class; got {kind!r}", option="kind")
        loaded = self._manager.list_name_plugin()
        found = {name: plugin for name, plugin in loaded if isinstance(plugin, kind)}
        if len(found) > 1:
            raise InvalidOption(
                f"several plugins of this app are a {kind.__name__}: {', '.join(found)}",
                option="kind",
            )
        for plugin in found.values():
            return plugin

        name = plugin_name(kind, installed())
        blocked = [each.blocked for each in self.plugins if each.name == name and each.blocked]
        raise PluginNotLoaded(
            f"the plugin {name!r} is not loaded: it is blocked by {blocked[0]}"
            if blocked
            else f"no plugin of this app is a {kind.__name__}: pass it, as"
            f" Soniq(plugins=[{kind.__name__}()]), or install the distribution that has it",
            plugin=name,
        )

    def withdraw(self, plugin: str, names: Iterable[str]) -> None:
        """Let a plugin be without these of its hooks from now on. Raises `PluginError` for one that
        it does not implement, or that has been called by then.
        """
        (implemented,) = (each.hooks for each in self.plugins if each.name == plugin)
        may = [hook for hook in implemented if hook not in CALLED_BEFORE]
        for name in names:
            if name not in may:
                raise PluginError(
                    f"withdraw_hooks of {plugin}: it cannot withdraw {name!r}; it can withdraw"
                    f" {', '.join(may) or 'none'}",
                    plugin=plugin,
                )
            self._withdrawn.add((plugin, name))
        self.compiled.clear()

    def near(self, option: object) -> str:
        """Which plugin an option for jobs seems to be of, as the end of a message; else nothing."""
        package = type(option).__module__.partition(".")[0]
        loaded = dict(self._manager.list_name_plugin())
        for name, plugin in loaded.items():
            if module_of(plugin).partition(".")[0] == package:
                return f"; the plugin {name!r}, which has it, does not ask for it"
        points = {point.name: point for point in installed()}
        blocked = {each.name: each.blocked for each in self.plugins if each.blocked}
        for name, point in points.items():
            if point.module.partition(".")[0] == package:
                why = f"blocked by {blocked[name]}" if name in blocked else "not one of this app"
                return f"; it is of the plugin {name!r}, which is {why}"

        words = (type(option).__name__.lower(), package.removeprefix("soniq_"))
        close = [each for word in words for each in get_close_matches(word, {*loaded, *points}, 1)]
        return f"; the plugin with the nearest name is {close[0]!r}" if close else ""

    def replace_own(self, functions: Iterable[tuple[str, Callable[..., Any]]]) -> None:
        """Let the application's own functions be these, as (hook, function). Plugins stay."""
        self._application.clear()
        self.compiled.clear()
        self.unspecified.clear()
        for hook, function in functions:
            self.add(hook, function)

    def add(self, hook: str, function: Callable[..., Any]) -> None:
        """Add a function of the application's own, which takes the hook's arguments by position.

        It may take fewer than there are. One for a hook that there is not is never called.
        """
        if hook not in self._arguments:
            self.unspecified.append(hook)
            return
        implementation = of_application(hook, self._arguments[hook], function)
        self._application.setdefault(hook, []).append(implementation)

    def implementations(
        self, hook: str, *, without: Iterable[str] = ()
    ) -> tuple[Implementation, ...]:
        """The implementations of a hook in the order in which they are called.

        Discovered plugins by name, passed ones, the application's functions, the core's defaults;
        within each in order of registration, `tryfirst` and `trylast` honoured. Where the first
        result wins, the first three are turned round.
        """
        offered = self._arguments[hook]
        order = {name: index for index, name in enumerate(self._groups)}
        of_plugins = sorted(
            getattr(self._manager.hook, hook).get_hookimpls(), key=lambda i: order[i.plugin_name]
        )
        found = [
            of_plugin(
                impl.plugin_name,
                impl.function,
                impl.argnames,
                offered,
                group=self._groups[impl.plugin_name],
                rank=impl.trylast - impl.tryfirst,
                marked=bool(impl.opts.get("marked")),
                sql_function=impl.opts.get("sql_function"),
            )
            for impl in of_plugins
            if impl.plugin_name not in without and (impl.plugin_name, hook) not in self._withdrawn
        ]
        found += self._application.get(hook, [])

        kind = HOOKS[hook].kind if hook in HOOKS else self.own[hook][1].kind
        if self._traced:
            found = [trace.traced(hook, kind, each) for each in found]
        groups = [DISCOVERED, PASSED, OWN, DEFAULT]
        if kind == "first result":
            groups = [OWN, PASSED, DISCOVERED, DEFAULT]
        return tuple(sorted(found, key=lambda i: (groups.index(i.group), i.rank)))

    def collect(self, hook: str, *values: object) -> list[tuple[str, Any]]:
        """What each implementation of a hook returned, as a list with the plugin's name; None is
        left out.

        Raises `PluginError` where one of them fails.
        """
        results = []
        for each in self.implementations(hook):
            try:
                result = each.call(*values)
                if result is not None:
                    results.append((each.plugin, list(result)))
            except BaseException as error:
                fail(hook, each.plugin, error)
        return results
