"""`hookspec`: what a plugin specifies its own hooks with, and calls them."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

from soniq.hooks.dispatch import Observers, answer
from soniq.hooks.hooks import Hooks
from soniq.hooks.implementation import Implementation
from soniq.hooks.own_spec import OwnSpec
from soniq.job.job import App

P = ParamSpec("P")
R = TypeVar("R")


class Observer(OwnSpec[P, R]):
    """A hook whose implementations are all told, and harm nobody."""

    kind = "observer"

    async def call(self, app: App, /, *args: P.args, **keywords: P.kwargs) -> None:
        """Call all. An error in one is logged with the plugin's name, and so is one that waits
        for longer than `hook_timeout`.
        """
        hooks: Hooks = app._hooks()
        observers = hooks.compiled.get(self.name)
        if observers is None:
            implementations = hooks.implementations(self.name)
            observers = Observers(self.name, implementations, limit=app.settings.hook_timeout)
            hooks.compiled[self.name] = observers
        if observers:
            await observers(*self.values(args, keywords))


class FirstResult(OwnSpec[P, R]):
    """A hook whose implementations are asked until one answers, the nearest first."""

    kind = "first result"

    async def call(self, app: App, /, *args: P.args, **keywords: P.kwargs) -> R | None:
        """The first result that is not None. An error in one goes to the caller: others than
        Soniq's as `PluginError`, which names the plugin.
        """
        values = self.values(args, keywords)
        for each in _implementations(self, app):
            result = await answer(self.name, each, values, app.settings.hook_timeout)
            if result is not None:
                return result  # type: ignore[no-any-return] # as the implementation is typed
        return None


class Collected(OwnSpec[P, R]):
    """A hook whose implementations are all asked."""

    kind = "collected"

    async def call(self, app: App, /, *args: P.args, **keywords: P.kwargs) -> list[tuple[str, R]]:
        """What each returned, with the plugin's name; None is left out. An error in one goes to
        the caller: others than Soniq's as `PluginError`, which names the plugin.
        """
        results = []
        for plugin, ask in self.calls(app, *args, **keywords):
            result = await ask()
            if result is not None:
                results.append((plugin, result))
        return results

    def calls(
        self, app: App, /, *args: P.args, **keywords: P.kwargs
    ) -> list[tuple[str, Callable[[], Awaitable[R | None]]]]:
        """What `call` asks, one by one, for who goes on without those that fail or take long: the
        plugin's name, and a function that asks its implementation.
        """
        values, limit = self.values(args, keywords), app.settings.hook_timeout
        return [
            (each.plugin, partial(answer, self.name, each, values, limit))
            for each in _implementations(self, app)
        ]


def _implementations(spec: OwnSpec[..., Any], app: App) -> tuple[Implementation, ...]:
    hooks: Hooks = app._hooks()
    found: tuple[Implementation, ...] | None = hooks.compiled.get(spec.name)
    if found is None:
        found = hooks.compiled[spec.name] = hooks.implementations(spec.name)
    return found


class hookspec:
    """Makes a function, whose name begins with the plugin's, a hook of the plugin's own; what the
    plugin's `hookspecs` returns.

    The function is the specification: its arguments, what an implementation returns, and a
    docstring that says when it is called and what an error does.
    """

    @staticmethod
    def observer(function: Callable[P, R], /) -> Observer[P, R]:
        """A hook whose implementations are all told: an error in one is logged."""
        return Observer(function)

    @staticmethod
    def first_result(function: Callable[P, R], /) -> FirstResult[P, R]:
        """A hook whose implementations are asked until one returns something, the nearest first."""
        return FirstResult(function)

    @staticmethod
    def collected(function: Callable[P, R], /) -> Collected[P, R]:
        """A hook whose implementations are all asked."""
        return Collected(function)
