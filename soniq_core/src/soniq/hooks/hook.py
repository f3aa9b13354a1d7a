"""What a hook is: a function that says when it is called and with what, and how its implementations
are called.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import msgspec
from pluggy import HookspecMarker

F = TypeVar("F", bound=Callable[..., Any])

Kind = Literal["first result", "collected", "in order", "observer", "context manager"]
"""How the implementations of a hook are called: one after the other until one returns something,
the nearest first; all, for what they return; all; all, where none does harm; nested.
"""

_mark = HookspecMarker("soniq")
_ATTRIBUTE = "soniq_hook"


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """A hook of the contract."""

    name: str
    arguments: tuple[str, ...]
    kind: Kind
    since: int
    """The version of the contract that brought it."""
    def_only: bool
    """Whether it is called outside any event loop, and so is no `async def`."""
    function: Callable[..., Any]
    """The function that describes it."""


def hook(kind: Kind, *, since: int = 1, def_only: bool = False) -> Callable[[F], F]:
    """Make a function the description of a hook."""

    def describe(function: F) -> F:
        described = Hook(
            name=function.__name__,
            arguments=tuple(inspect.signature(function).parameters),
            kind=kind,
            since=since,
            def_only=def_only,
            function=function,
        )
        setattr(function, _ATTRIBUTE, described)
        return _mark(function)

    return describe


def hooks_in(namespace: Mapping[str, object]) -> dict[str, Hook]:
    """The hooks that are described in a module or a class, by name, in the order in which they are
    written.
    """
    found = (getattr(each, _ATTRIBUTE, None) for each in namespace.values())
    return {each.name: each for each in found if isinstance(each, Hook)}
