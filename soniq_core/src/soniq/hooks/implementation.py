"""One implementation of a hook: a function of a plugin's, or of the application's own."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import msgspec

from soniq.errors import PluginError, SoniqError

APPLICATION = "application"
"""The name under which the application's own functions run."""
DISCOVERED, PASSED, OWN, DEFAULT = range(4)
"""Where an implementation is from."""


class Implementation(msgspec.Struct, frozen=True):
    """One implementation of a hook.

    `call` is the function as one that takes all arguments by position.
    """

    plugin: str
    function: Callable[..., Any]
    call: Callable[..., Any]
    group: int
    rank: int
    """-1 for `tryfirst`, 1 for `trylast`, else 0."""
    marked: bool = False
    """Whether it hears only of jobs that carry its plugin's mark."""
    sql_function: str | None = None
    """The function in its plugin's schema that does the same."""


def of_plugin(
    plugin: str,
    function: Callable[..., Any],
    taken: Sequence[str],
    offered: Sequence[str],
    *,
    group: int,
    rank: int,
    marked: bool = False,
    sql_function: str | None = None,
) -> Implementation:
    """A plugin's function, which takes these of the arguments that the hook offers."""
    places = tuple(offered.index(argument) for argument in taken)
    call = _by_position(function, places, len(offered))
    return Implementation(plugin, function, call, group, rank, marked, sql_function)


def of_application(
    hook: str, offered: tuple[str, ...], function: Callable[..., Any]
) -> Implementation:
    """A function of the application's own as the implementation of a hook, which offers these
    arguments. Raises `PluginError`.
    """
    signature = inspect.signature(function)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = signature.parameters.values()
    wanted = sum(p.kind in positional for p in parameters)
    needed = sum(p.kind in positional and p.default is p.empty for p in parameters)
    any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    by_name = any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters)

    if needed > len(offered) or by_name:
        raise PluginError(
            f"{hook} calls its functions with {', '.join(offered)}; "
            f"{function.__qualname__}{signature} needs more",
            plugin=APPLICATION,
        )

    taken = len(offered) if any_number else min(wanted, len(offered))
    call = _by_position(function, tuple(range(taken)), len(offered))
    return Implementation(APPLICATION, function, call, OWN, 0)


def fail(hook: str, plugin: str, error: BaseException, what: str = "") -> NoReturn:
    """Raise an error in a hook that ends what was asked for: others than Soniq's as `PluginError`.

    What comes from outside, Ctrl-C, stays what it is.
    """
    if isinstance(error, SoniqError | KeyboardInterrupt):
        raise error
    text = f"{hook} of {plugin} failed{what}: {type(error).__name__}: {error}"
    raise PluginError(text, plugin=plugin) from error


def _by_position(
    function: Callable[..., Any], taken: tuple[int, ...], offered: int
) -> Callable[..., Any]:
    """`function`, which wants the arguments at `taken`, as one that takes all `offered`."""
    if taken == tuple(range(offered)):
        return function
    if taken == (0,):
        return lambda first, *_: function(first)
    return lambda *values: function(*(values[place] for place in taken))
