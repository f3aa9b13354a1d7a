"""What a hook of a plugin's own is: its name, its arguments, how its implementations are called."""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar

from pluggy import HookspecMarker

from soniq.errors import PluginError
from soniq.hooks.markers import hookimpl
from soniq.hooks.specs import HOOKS

P = ParamSpec("P")
R = TypeVar("R")

_mark = HookspecMarker("soniq")


class OwnSpec(Generic[P, R]):
    """A hook that a plugin specifies: what the decorators of `hookspec` make of a function."""

    kind: ClassVar[str]
    """How its implementations are called: "observer", "first result" or "collected"."""

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function
        self.name: str = function.__name__
        self.signature = inspect.signature(function)
        self.arguments = tuple(self.signature.parameters)
        self.__doc__ = function.__doc__

    def impl(
        self,
        function: Callable[P, R | Awaitable[R]] | Callable[Concatenate[Any, P], R | Awaitable[R]],
        /,
    ) -> Callable[..., Any]:
        """Mark a function of another plugin as an implementation, whatever its name: as
        `@hookimpl` does, and checked by types.
        """
        return hookimpl(specname=self.name)(function)

    def values(self, args: tuple[object, ...], keywords: Mapping[str, object]) -> tuple[Any, ...]:
        """The arguments of a call by position. Raises `TypeError`."""
        return self.signature.bind(*args, **keywords).args

    def __repr__(self) -> str:
        return f"<hook {self.name}>"


def check_specs(plugin: str, offered: Iterable[object], known: Mapping[str, str]) -> list[Any]:
    """What the `hookspecs` of a plugin returned, checked; `known` are those of others, with the
    plugin. Raises `PluginError`.
    """
    prefix = re.sub(r"\W", "_", plugin) + "_"
    found: dict[str, OwnSpec[..., Any]] = {}
    for spec in offered:
        if problem := _problem(spec, prefix, {**dict.fromkeys(found, plugin), **known}):
            raise PluginError(f"hookspecs of {plugin}: {problem}", plugin=plugin)
        assert isinstance(spec, OwnSpec)
        found[spec.name] = spec
    return list(found.values())


def namespace(specs: Iterable[OwnSpec[..., Any]]) -> type:
    """The hooks as pluggy wants them: attributes of one object."""
    return type("Specs", (), {spec.name: staticmethod(_mark(spec.function)) for spec in specs})


def _problem(spec: object, prefix: str, known: Mapping[str, str]) -> str | None:
    if not isinstance(spec, OwnSpec):
        return (
            f"it returned {spec!r}; a hook is made with @hookspec.observer, first_result or"
            " collected"
        )
    if spec.name in HOOKS or not spec.name.startswith(prefix):
        return f"{spec.name} must begin with {prefix}, so that no other plugin's hook is named so"
    if spec.name in known:
        return f"{spec.name} is a hook of the plugin {known[spec.name]!r} already"
    if inspect.iscoroutinefunction(spec.function):
        return f"{spec.name} is written with def; its implementations may be async def"
    for parameter in spec.signature.parameters.values():
        if (
            parameter.kind is not parameter.POSITIONAL_OR_KEYWORD
            or parameter.default is not parameter.empty
        ):
            return f"{spec.name}: {parameter} must be a plain argument, without a default"
    return None
