"""Hooks that write in a transaction of the core's, or of the caller's."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from soniq.errors import PluginError
from soniq.hooks.dispatch import cancels_task, within_limit
from soniq.hooks.implementation import Implementation
from soniq.tracebacks import text_of
from soniq.transaction import is_asyncpg


def _nothing(_plugin: str) -> Sequence[object]:
    return ()


def _hears(each: Implementation, value: Any) -> bool:
    """Whether an implementation is told of a value: of all, or of those with its plugin's mark."""
    return not each.marked or each.plugin in value.marks


class InTransaction:
    """A hook that writes in a transaction of the core's: the first error ends it, and is a
    `PluginError`.
    """

    __slots__ = ("_calls", "_hook", "_limit", "functions", "hears_all", "plugins")

    def __init__(
        self, hook: str, implementations: Sequence[Implementation], *, limit: float
    ) -> None:
        self._hook = hook
        self._calls = tuple(implementations)
        self._limit = limit
        self.plugins = {each.plugin for each in implementations}
        """Who implements it."""
        self.hears_all = any(not each.marked for each in implementations)
        """Whether somebody hears of jobs without a mark."""

        names = [each.plugin for each in implementations]
        self.functions: Mapping[str, str] = {
            each.plugin: each.sql_function
            for each in implementations
            if each.sql_function and names.count(each.plugin) == 1
        }
        """What does the same in the database, by plugin."""

    def __bool__(self) -> bool:
        return bool(self._calls)

    def hears(self, plugin: str, value: Any) -> bool:
        """Whether a plugin is told of a value."""
        return any(each.plugin == plugin and _hears(each, value) for each in self._calls)

    async def __call__(
        self,
        tx: object,
        told: Sequence[tuple[Any, Collection[str]]],
        given: Callable[[str], Sequence[object]] = _nothing,
    ) -> None:
        """Tell each plugin what there is: values, each with the names of plugins that do not hear
        of it. `given`: what else a plugin of a name is given.
        """
        for each in self._calls:
            plugin, call = each.plugin, each.call
            values = [
                value for value, without in told if plugin not in without and _hears(each, value)
            ]
            if not values:
                continue

            try:
                waiting = call(tx, values, *given(plugin))
                if waiting is not None:
                    await within_limit(waiting, self._limit)
            except BaseException as error:
                if cancels_task(error):
                    raise
                text = f"{self._hook} of {plugin} failed: {type(error).__name__}: {text_of(error)}"
                raise PluginError(text, plugin=plugin) from error

            if is_asyncpg(tx) and not tx.is_in_transaction():
                text = (
                    f"{self._hook} of {plugin} ended the transaction, which is not its own: nothing"
                    " in it counts"
                )
                raise PluginError(text, plugin=plugin)
