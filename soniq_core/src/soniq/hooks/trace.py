"""With SONIQ_TRACE_HOOKS=1 each call of a hook is written to stderr, with its plugin and its time:
for authors of plugins.

It is looked at once for each start. Where it is off, nothing of this is in the way of a call.
"""

import inspect
import os
import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from time import perf_counter
from types import TracebackType
from typing import Any

import msgspec

from soniq.hooks.dispatch import Exit, Manager, resolved
from soniq.hooks.implementation import Implementation

VARIABLE = "SONIQ_TRACE_HOOKS"


def is_on() -> bool:
    """Whether the environment asks for it."""
    return os.environ.get(VARIABLE, "") not in ("", "0")


def traced(hook: str, kind: str, each: Implementation) -> Implementation:
    """The same implementation of a hook of this kind, whose calls are written down."""
    label = f"{hook} of {each.plugin}"
    if kind == "context manager":
        manage = _managed(label, each)
        return msgspec.structs.replace(each, function=manage, call=manage)
    return msgspec.structs.replace(each, call=_timed(label, each.call))


class _Call:
    """A call under way: it is told when it ends, also with an error."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._began = perf_counter()

    def ended(self, error: BaseException | None) -> None:
        took = (perf_counter() - self._began) * 1000
        raised = f", raised {type(error).__name__}" if error is not None else ""
        print(f"soniq hook {self._label}: {took:.3f} ms{raised}", file=sys.stderr, flush=True)

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ended(error)


def _timed(label: str, function: Callable[..., Any]) -> Callable[..., Any]:
    async def awaited(waiting: Awaitable[Any], call: _Call) -> Any:
        with call:
            return await waiting

    @wraps(function)
    def timed(*values: object) -> Any:
        call = _Call(label)
        try:
            result = function(*values)
        except BaseException as error:
            call.ended(error)
            raise
        if inspect.isawaitable(result):
            return awaited(result, call)
        call.ended(None)
        return result

    return timed


def _managed(label: str, each: Implementation) -> Callable[..., "_Managed"]:
    manager = Manager(each)

    @wraps(each.function)
    def managed(*values: object) -> _Managed:
        return _Managed(label, manager, values)

    return managed


class _Managed:
    """A context manager of a plugin's: entering and leaving are calls of their own."""

    def __init__(self, label: str, manager: Manager, values: tuple[object, ...]) -> None:
        self._label = label
        self._manager = manager
        self._values = values
        self._exit: Exit | None = None

    async def __aenter__(self) -> None:
        with _Call(f"{self._label}, entering"):
            self._exit = await self._manager.enter(*self._values)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if self._exit is None:
            return None
        with _Call(f"{self._label}, leaving"):
            return bool(await resolved(self._exit(kind, error, trace)))
