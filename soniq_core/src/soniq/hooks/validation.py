"""Whether a plugin's functions are as the contract wants them, before any is called."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import pluggy

from soniq.errors import PluginError
from soniq.hooks import specs
from soniq.hooks.specs import HOOKS

OF_EVERY_OBJECT = frozenset(dir(object))
"""Names of attributes that are no hook's functions: looking at each takes a start its time."""

Marked = Mapping[str, Mapping[str, Any]]
"""The attributes of a plugin that are marked `@hookimpl`, with the marker's options."""


def marked(plugin: object) -> Marked:
    """What of a plugin is marked `@hookimpl`."""
    found = {}
    for attribute in (each for each in dir(plugin) if each not in OF_EVERY_OBJECT):
        value = inspect.getattr_static(plugin, attribute, None)
        options = getattr(value, "soniq_impl", None)
        if not options:
            options = getattr(getattr(value, "__func__", None), "soniq_impl", None)
        if isinstance(options, Mapping):
            found[attribute] = options
    return found


class Manager(pluggy.PluginManager):
    """pluggy's, which looks at what of a plugin is marked, and not at each attribute once more."""

    def __init__(self, project_name: str) -> None:
        super().__init__(project_name)
        self.marked: Marked = {}
        """What is marked of the plugin that is being registered."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        return super().parse_hookimpl_opts(plugin, name) if name in self.marked else None

    def parse_hookspec_opts(
        self, module_or_class: ModuleType | type, name: str
    ) -> pluggy.HookspecOpts | None:
        if module_or_class is specs:
            if name not in HOOKS:
                return None
            options: pluggy.HookspecOpts = getattr(specs, name).soniq_spec
            return options
        return super().parse_hookspec_opts(module_or_class, name)


def is_plugin(kind: type) -> bool:
    """Whether functions of a class are marked `@hookimpl`."""
    own = (value for each in kind.__mro__[:-1] for value in vars(each).values())
    return any(
        isinstance(getattr(getattr(value, "__func__", value), "soniq_impl", None), Mapping)
        for value in own
    )


def implementing(found: Marked, hook: str) -> Marked:
    """Those that implement a hook."""
    return {each: of for each, of in found.items() if (of["specname"] or each) == hook}


def check_functions(
    name: str,
    plugin: object,
    where: str,
    origin: str | None,
    known: Mapping[str, tuple[str, ...]],
    found: Marked,
) -> None:
    """Raise `PluginError` for what pluggy lets pass, or says less clearly, of what was `found` in
    a plugin. `known` are all hooks, with their arguments.
    """
    for attribute, options in found.items():
        hook = options["specname"] or attribute
        if problem := _problem(hook, getattr(plugin, attribute), options, known):
            message = f"the plugin {name!r}{where}: {problem}"
            raise PluginError(message, plugin=name, distribution=origin)


def _problem(
    hook: str,
    method: Callable[..., Any],
    options: Mapping[str, Any],
    known: Mapping[str, tuple[str, ...]],
) -> str | None:
    """What is wrong with an implementation of a hook; None where nothing is."""
    if hook not in known:
        if options["optionalhook"]:
            return None
        return f"there is no hook named {hook!r}{_hint(hook, known, '')}"
    if problem := _wrong_options(hook, options):
        return problem

    for parameter in inspect.signature(method).parameters.values():
        if problem := _wrong_with(parameter, hook, known[hook]):
            return problem

    waits = inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
    if waits and hook in HOOKS and HOOKS[hook].def_only:
        return f"{hook} is called outside an event loop; write it with def"
    return None


def _wrong_options(hook: str, options: Mapping[str, Any]) -> str | None:
    if options["wrapper"] or options["hookwrapper"]:
        return f"{hook} is a pluggy wrapper; implement around_job or around_enqueue instead"
    if options.get("marked") and hook != "settle_tx":
        return f"{hook}: marked= belongs to settle_tx, which hears how jobs end"
    if options.get("sql_function") and not (options.get("marked") or hook == "owed_tx"):
        return f"{hook}: sql_function= belongs to owed_tx, and to settle_tx with marked=True"
    return None


def _wrong_with(parameter: inspect.Parameter, hook: str, offered: tuple[str, ...]) -> str | None:
    if (
        parameter.kind is not parameter.POSITIONAL_OR_KEYWORD
        or parameter.default is not parameter.empty
    ):
        return f"{hook}: {parameter} must be a plain argument, without a default"

    if parameter.name not in offered:
        hint = _hint(parameter.name, offered, f"; it offers {', '.join(offered) or 'none'}")
        return f"{hook} has no argument {parameter.name!r}{hint}"
    return None


def _hint(name: str, known: Iterable[str], otherwise: str) -> str:
    """The end of a message about a name that is not known: the nearest one that is."""
    nearest = get_close_matches(name, list(known), 1)
    return f"; did you mean {nearest[0]!r}?" if nearest else otherwise
