"""What Soniq does for itself, beside any job and any caller, is done inside what plugins offer for
it.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Any

log = logging.getLogger("soniq.hooks")

Factory = Callable[[], AbstractContextManager[Any]]


class Housekeeping:
    """`with housekeeping():` around such work, in the task or the thread that does it."""

    def __init__(self, offered: Sequence[tuple[str, Sequence[Factory]]]) -> None:
        self._factories = [
            (plugin, factory) for plugin, factories in offered for factory in factories
        ]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with ExitStack() as stack:
            for plugin, factory in self._factories:
                stack.enter_context(_Harmless(plugin, factory))
            yield


class _Harmless:
    """A plugin's context manager; what fails in it is logged. It is told of no error, and swallows
    none.
    """

    def __init__(self, plugin: str, factory: Factory) -> None:
        self._plugin = plugin
        self._factory = factory
        self._manager: AbstractContextManager[Any] | None = None

    def __enter__(self) -> None:
        try:
            manager = self._factory()
            manager.__enter__()
            self._manager = manager
        except BaseException as error:
            log.error("housekeeping of %s failed: %r", self._plugin, error, exc_info=error)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._manager is not None:
                self._manager.__exit__(None, None, None)
        except BaseException as failure:
            log.error(
                "housekeeping of %s failed while leaving: %r",
                self._plugin,
                failure,
                exc_info=failure,
            )
