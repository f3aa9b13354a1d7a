"""`@hookimpl`: marks a function of a plugin as the implementation of a hook.

`@hookimpl` goes by the function's own name. `@hookimpl.before_job` names the hook, whatever the
function's own name is, and a type checker then knows which arguments it may have, by name, and what
it may return. Both take `tryfirst=` and `trylast=`; for `settle_tx` also `marked=`: it hears only
of jobs that carry the mark of its plugin; and for it and `owed_tx` `sql_function=`: what does the
same in the database.
"""

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from pluggy import HookimplMarker

from soniq.hooks.specs import HOOKS

if TYPE_CHECKING:
    from soniq.hooks.typed import Hookimpl

_mark = HookimplMarker("soniq")


class _Marker:
    """pluggy's marker; each hook is an attribute of it."""

    def __call__(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        marked: bool = False,
        sql_function: str | None = None,
        **options: Any,
    ) -> Callable[..., Any]:
        if function is None:
            return partial(self, marked=marked, sql_function=sql_function, **options)
        implementation = _mark(function, **options)
        vars(implementation)["soniq_impl"].update(marked=marked, sql_function=sql_function)
        return implementation

    def __getattr__(self, hook: str) -> Callable[..., Any]:
        if hook in HOOKS:
            return partial(self, specname=hook)
        nearest = get_close_matches(hook, HOOKS, 1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise AttributeError(f"there is no hook named {hook!r}{hint}")


hookimpl = cast("Hookimpl", _Marker())
"""Marks a function of a plugin as the implementation of the hook of its name, or (an attribute) of
the named one.
"""
