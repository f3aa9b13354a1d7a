"""The types of what the fixtures here give."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import Protocol

from soniq import JobStatus, Soniq
from tests.conftest import MakeApp

__all__ = ["Install", "MakeApp", "MakePlugin", "Run", "Work"]

MakePlugin = Callable[..., ModuleType]
"""`make_plugin(name, before_job=function, ...)`: a plugin whose hooks are these functions."""

Run = Callable[..., Awaitable[JobStatus]]
"""`run(app, job, **arguments)`: enqueue, work off all that is due, and how the job stands then."""


class Install(Protocol):
    """Installs a distribution that has a plugin, as pip would; returns the name of the plugin's
    module.
    """

    def __call__(
        self,
        plugin: str,
        source: str,
        *,
        distribution: str | None = None,
        attribute: str = "Plugin",
    ) -> str: ...


Work = Callable[[Soniq], AbstractAsyncContextManager[None]]
"""`async with work(app):` a worker of the app runs meanwhile."""
