"""A job as one app runs it: its options with the app's defaults, its signature, and the hooks that
concern it.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar

import msgspec

from soniq.errors import JobDefinitionError, UnknownJob
from soniq.hooks.definition import JobDefinition
from soniq.hooks.dispatch import Around, FirstResult, Observers
from soniq.hooks.hooks import Hooks
from soniq.hooks.implementation import Implementation, fail
from soniq.hooks.values import Serializer
from soniq.job.job import Job
from soniq.job.options import EffectiveOptions, effective
from soniq.job.signature import Signature
from soniq.settings import Settings
from soniq.text import one_line, shown
from soniq.unique import check_unique

log = logging.getLogger("soniq")

T = TypeVar("T")


class CompiledJob(msgspec.Struct, frozen=True):
    """A job ready to be enqueued and run: plain values, and the hooks that concern it as compiled
    calls.
    """

    name: str
    function: Callable[..., Any]
    threaded: bool
    """Whether the function is a plain `def`, and runs in a thread."""
    signature: Signature
    options: EffectiveOptions
    holders: Sequence[str]
    """Who holds each job as it comes in, in order."""
    marks: Sequence[str]
    """The plugins that must hear how each job ends."""
    serializer: Serializer
    dedup_key: FirstResult
    around_job: Around | None
    """None, like the observers, where no plugin has the hook."""
    before_job: Observers | None
    after_job: Observers | None
    on_error: Observers | None
    retry_delay: FirstResult


class Origin(NamedTuple):
    """Where a function is defined, and in which run of its module."""

    module: str
    name: str
    spec: object
    """The module's, of which each reload makes another."""
    typed_in: bool
    """Whether it stands in a cell of a notebook, or was typed at a prompt."""

    @classmethod
    def of(cls, function: object) -> "Origin":
        name = str(getattr(function, "__module__", None))
        module = sys.modules.get(name)
        typed_in = name == "__main__" and not hasattr(module, "__file__")
        spec = getattr(module, "__spec__", None)
        return cls(name, getattr(function, "__qualname__", ""), spec, typed_in)

    def runs_again(self, later: "Origin") -> bool:
        """Whether the later one is the same definition, run once more."""
        return (
            (self.module, self.name) == (later.module, later.name)
            and bool(self.name)
            and "<locals>" not in self.name
            and (later.typed_in or self.spec is not later.spec)
        )


class Registry:
    """The jobs of an app by name: as defined, and compiled once the app has started."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job[..., Any]] = {}
        self.hints: dict[str, Callable[[], Mapping[str, object]]] = {}
        self._origins: dict[str, Origin] = {}
        self.plugins: dict[str, str] = {}
        """Of the jobs that plugins have defined, by name, which plugin it was."""
        self._compiled: dict[str, CompiledJob] = {}
        self._defined: dict[str, tuple[JobDefinition, Signature]] = {}
        self._hooks: Hooks | None = None  # whose plugins were asked about `_defined`

    def check(self, job: Job[..., Any]) -> None:
        """Raise `JobDefinitionError` if another job has its name. One whose definition runs again,
        in a cell of a notebook or a module that is reloaded, takes the place of that of before.
        """
        other = self.jobs.get(job.name)
        if other is None or other is job:
            return
        if not self._origins[job.name].runs_again(Origin.of(job.function)):
            raise JobDefinitionError(
                f"two jobs are named {job.name!r}: {self._place(other)} and {_place(job)}; give one"
                " of them a name=",
                job=job.name,
            )

    def add(self, job: Job[..., Any], hints: Callable[[], Mapping[str, object]]) -> None:
        """Add a job that was checked."""
        if (before := self.jobs.get(job.name)) is not job:
            self._origins[job.name] = Origin.of(job.function)
        if before is not None and before is not job:
            self._defined.pop(job.name, None)
        self.jobs[job.name] = job
        self.hints[job.name] = hints
        self.plugins.pop(job.name, None)

    def add_of_plugin(
        self, plugin: str, job: Job[..., Any], hints: Callable[[], Mapping[str, object]]
    ) -> None:
        """Add a job that a plugin has defined. Raises `JobDefinitionError`."""
        self.check(job)
        if job.name not in self.jobs:
            self.add(job, hints)
            self.plugins[job.name] = plugin

    def forget_plugins(self) -> Iterable[Job[..., Any]]:
        """Take the jobs of plugins out; the jobs that these were."""
        names, self.plugins = self.plugins, {}
        for name in names:
            del self.hints[name]
        return [self.jobs.pop(name) for name in names]

    def _place(self, job: Job[..., Any]) -> str:
        plugin = self.plugins.get(job.name)
        return f"{_place(job)} (of the plugin {plugin!r})" if plugin else _place(job)

    def compile(
        self, hooks: Hooks, settings: Settings, serializers: Mapping[str, Serializer]
    ) -> None:
        """Compile all jobs, with the hooks as they are now. The plugins are asked about each job
        once.
        """
        if hooks is not self._hooks:
            self._hooks, self._defined = hooks, {}
        compiled = {}
        for job in list(self.jobs.values()):  # another thread may add one meanwhile
            if job.name not in self._defined:
                self._defined[job.name] = self._define(job, hooks)
            definition, signature = self._defined[job.name]
            compiled[job.name] = _compile(definition, signature, hooks, settings, serializers)
        self._compiled = compiled

    def _define(self, job: Job[..., Any], hooks: Hooks) -> tuple[JobDefinition, Signature]:
        """Ask the plugins about a job: configure_job, and provide for each of its parameters."""
        hints = self.hints[job.name]()
        definition = JobDefinition(job, hints)
        for each in hooks.implementations("configure_job"):
            try:
                each.call(definition)
            except BaseException as error:
                fail("configure_job", each.plugin, error, f" for {job.name}")

        signature = Signature(
            job.name, job.function, hints, _asker(hooks.implementations("provide"), definition)
        )
        check_unique(job.name, definition.unique, signature.names)

        for option in definition.unread():
            log.warning(
                "no plugin reads the option %s of %s: it has no effect%s",
                one_line(shown(option)),
                job.name,
                hooks.near(option),
            )
        return definition, signature

    def unknown(self, name: str, way: str | None) -> UnknownJob:
        """What to raise for a name that this app does not know: it names the nearest, and a way
        out.
        """
        return UnknownJob(name, next(iter(get_close_matches(name, self._compiled, 1)), None), way)

    def warn_of_queues(self, queues: Iterable[str]) -> None:
        """Say which of these queues no job here is enqueued to by itself, where another is named
        nearly so.
        """
        known = {job.options.queue for job in self._compiled.values()}
        for queue in queues:
            near = get_close_matches(queue, known, 1)
            if queue not in known and near:
                log.warning("no job of this app has the queue %r; did you mean %r?", queue, near[0])

    def get(self, name: str) -> CompiledJob | None:
        """The compiled job of a name, or None where this app does not know it."""
        return self._compiled.get(name)


def _asker(provide: Sequence[Implementation], job: JobDefinition) -> Callable[[object], Any]:
    def ask(annotation: object) -> Any:
        for each in provide:
            try:
                factory = each.call(annotation, job)
            except BaseException as error:
                fail("provide", each.plugin, error, f" for {job.name}")
            if factory is not None:
                return factory
        return None

    return ask


def _compile(
    job: JobDefinition,
    signature: Signature,
    hooks: Hooks,
    settings: Settings,
    serializers: Mapping[str, Serializer],
) -> CompiledJob:
    def chain(hook: str) -> Any:
        return hooks.implementations(hook, without=job.excluded.get(hook, ()))

    def observers(hook: str, *, obeys: bool) -> Observers | None:
        called = Observers(hook, chain(hook), limit=settings.hook_timeout, obeys=obeys)
        return called or None

    around = Around("around_job", chain("around_job"), limit=settings.hook_timeout)

    options = effective(job, settings)
    serializer = serializers.get(options.serializer)
    if serializer is None:
        raise JobDefinitionError(
            f"{job.name}: there is no serializer named {options.serializer!r}; there are"
            f" {', '.join(sorted(serializers))}",
            job=job.name,
        )
    signature.check_types(serializer)

    return CompiledJob(
        name=job.name,
        function=job.function,
        threaded=job.threaded,
        signature=signature,
        options=options,
        holders=job.holders,
        marks=job.marks,
        serializer=serializer,
        dedup_key=FirstResult(chain("dedup_key")),
        around_job=around or None,
        before_job=observers("before_job", obeys=True),
        after_job=observers("after_job", obeys=False),
        on_error=observers("on_error", obeys=True),
        retry_delay=FirstResult(chain("retry_delay")),
    )


def _place(job: Job[..., Any]) -> str:
    code = getattr(job.function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(job.function)
