"""What `configure_job` is given: a job as its author left it, for plugins to read and to fill."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from soniq.checks import check_text
from soniq.job.job import Job
from soniq.job.new import with_name
from soniq.job.options import RetryPolicy

T = TypeVar("T")


class JobDefinition:
    """What `configure_job` gets, once for each job of an app. What the author left open is None and
    may be set.
    """

    def __init__(
        self, job: Job[..., Any], hints: Mapping[str, object] = MappingProxyType({})
    ) -> None:
        self.job = job
        self.hints = hints
        """The annotations as types: of the parameters by name, and of the result as `return`."""
        self.name = job.name
        self.function = job.function
        self.threaded = _is_threaded(job.function)
        """Whether the function is a plain `def`, and runs in a thread."""
        self.queue = job.options.queue
        self.priority = job.options.priority
        self.max_attempts = job.options.max_attempts
        self.timeout = job.options.timeout
        self.retry: RetryPolicy | None = job.options.retry
        self.unique = job.options.unique
        self.serializer = job.options.serializer
        self.tags = job.options.tags
        self.expires = job.options.expires
        self.keep = job.options.keep
        self.keep_dead = job.options.keep_dead
        self.hide = job.options.hide

        self.holders: list[str] = []
        """Who holds each job as it comes in, in order."""
        self.marks: list[str] = []
        """The plugins that must hear how each job ends."""
        self.excluded: dict[str, set[str]] = {}
        self._read: list[object] = []

    def option(self, kind: type[T]) -> T | None:
        """The typed option of this kind that the author gave the job, or None."""
        found = next((each for each in self.job.typed if isinstance(each, kind)), None)
        if found is not None:
            self._read.append(found)
        return found

    def unread(self) -> list[object]:
        """The typed options that no plugin has asked for."""
        return [
            option for option in self.job.typed if not any(option is each for each in self._read)
        ]

    def exclude(self, plugin: str, *hooks: str) -> None:
        """Take this job out of a plugin's hooks of these names: they are not called for it, and
        cost it nothing.
        """
        for hook in hooks:
            self.excluded.setdefault(hook, set()).add(plugin)

    def hold(self, holder: str, *, first: bool = False) -> None:
        """Let each job be held as it comes in, and as it is retried, until `holder`, a plugin's
        name, releases it; `first`: before the other holders, else behind them.
        """
        check_text("holder", holder, 200)
        self.holders = with_name(self.holders, holder, first)

    def mark(self, plugin: str, *, hold: bool = False, first: bool = False) -> None:
        """Let a plugin of this name hear how each job ends, wherever that is: in `settle_tx` with
        `marked=True`, or later. `hold`: and hold each as it comes in, as `hold` does.
        """
        check_text("plugin", plugin, 200)
        self.marks = with_name(self.marks, plugin, False)
        if hold:
            self.hold(plugin, first=first)

    def __repr__(self) -> str:
        return f"<JobDefinition {self.name}>"


def _is_threaded(function: Callable[..., Any]) -> bool:
    call = getattr(function, "__call__", function)  # noqa: B004 - an object whose __call__ is async def
    return not any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each)
        for each in (function, call)
    )
