"""Which plugins are installed, by their entry points, and which of them SONIQ_PLUGINS chooses."""

import inspect
import sys
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points

from soniq.errors import ConfigurationError, PluginError

GROUP = "soniq"
"""The group of entry points in which plugins are."""


def installed() -> Sequence[EntryPoint]:
    """The entry points of plugins. It reads many files."""
    return entry_points(group=GROUP)


def by_name(points: Iterable[EntryPoint]) -> Sequence[EntryPoint]:
    """Entry points by name.

    Two of one name are an error: one of them would be skipped in silence.
    """
    named: dict[str, list[EntryPoint]] = {}
    for point in points:
        named.setdefault(point.name, []).append(point)

    for name, several in sorted(named.items()):
        if len(several) == 1:
            continue
        first, *others = sorted(several, key=lambda point: about(point)[0] or "")
        for other in others:
            if (first.value, about(first)[0]) != (other.value, about(other)[0]):
                raise PluginError(
                    f"two distributions have a plugin named {name!r}: {about(first)[0]} and"
                    f" {about(other)[0]}; uninstall one",
                    plugin=name,
                    distribution=about(other)[0],
                )
    return [named[name][0] for name in sorted(named)]


def about(point: EntryPoint) -> tuple[str | None, str | None]:
    """The name and the version of the distribution that has an entry point, if it is known. A file
    is parsed for it.
    """
    if point.dist is None:
        return None, None
    told = point.dist.metadata
    return told["Name"], told["Version"]


def why_blocked(name: str, chosen: str | None) -> str | None:
    """Why SONIQ_PLUGINS keeps the plugin out, or None where it does not."""
    if chosen is None:
        return None
    names = [part.strip() for part in chosen.split(",") if part.strip()]
    if names and names[0].startswith("-"):
        return f"SONIQ_PLUGINS={chosen}" if f"-{name}" in names else None
    return None if name in names else f"SONIQ_PLUGINS={chosen}"


def check_choice(chosen: str | None, points: Iterable[EntryPoint]) -> None:
    """Raise `ConfigurationError` if SONIQ_PLUGINS mixes signs, or names what is not installed."""
    names = [part.strip() for part in (chosen or "").split(",") if part.strip()]
    signs = {name.startswith("-") for name in names}
    if len(signs) == 2:
        raise ConfigurationError(
            f"SONIQ_PLUGINS={chosen}: either name the plugins to load,"
            " or those to leave out (-name)"
        )

    there = [point.name for point in points]
    for name in (name.removeprefix("-") for name in names):
        if name not in there:
            nearest = get_close_matches(name, there, 1)
            hint = (
                f"; did you mean {nearest[0]!r}?"
                if nearest
                else f"; installed: {', '.join(there) or 'none'}"
            )
            raise ConfigurationError(
                f"SONIQ_PLUGINS={chosen}: no plugin named {name!r} is installed{hint}"
            )


def leaving_out(chosen: str | None, names: Collection[str]) -> str | None:
    """A value of SONIQ_PLUGINS that leaves out these plugins, too."""
    named = [name.strip() for name in (chosen or "").split(",") if name.strip()]
    if not names:
        return chosen
    if chosen is None or any(name.startswith("-") for name in named):
        return ",".join([*named, *(f"-{name}" for name in names)])
    return ",".join(name for name in named if name not in names)


def plugin_name(plugin: object, points: Iterable[EntryPoint]) -> str:
    """The name of a plugin that was passed: that of its entry point among `points`, else its own,
    else its type's.
    """
    kind = plugin if inspect.isclass(plugin) or inspect.ismodule(plugin) else type(plugin)
    for point in points:
        where = point.value.partition("[")[0]
        module, _, attribute = (part.strip() for part in where.partition(":"))
        offered: object = sys.modules.get(module)  # what is passed has been imported
        for part in attribute.split("."):
            offered = getattr(offered, part, None) if part else offered
        if offered is not None and (offered is kind or type(offered) is kind):
            return point.name

    name = getattr(plugin, "name", None)
    return name if isinstance(name, str) else kind.__name__


def module_of(plugin: object) -> str:
    """The name of the module that a plugin is, or is defined in."""
    if inspect.ismodule(plugin):
        return plugin.__name__
    return plugin.__module__ if inspect.isclass(plugin) else type(plugin).__module__
