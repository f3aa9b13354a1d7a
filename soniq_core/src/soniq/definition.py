"""A job as one app runs it: its options with the app's defaults, its signature, and the hooks that concern it."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec

from soniq.enqueue.bind import Signature
from soniq.errors import JobDefinitionError, UnknownJob
from soniq.hooks.dispatch import Around, FirstResult, Observers
from soniq.hooks.manager import Hooks, Implementation, fail
from soniq.hooks.values import Serializer
from soniq.job import Job, RetryPolicy
from soniq.settings import Settings
from soniq.unique import Unique

T = TypeVar("T")


class JobDefinition:
    """What `configure_job` gets, once for each job of an app. What the author left open is None and may be set."""

    def __init__(self, job: Job[..., Any]) -> None:
        self.job = job
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
        self.excluded: dict[str, set[str]] = {}

    def option(self, kind: type[T]) -> T | None:
        """The typed option of this kind that the author gave the job, or None."""
        return next((each for each in self.job.typed if isinstance(each, kind)), None)

    def exclude(self, plugin: str, *hooks: str) -> None:
        """Take this job out of a plugin's hooks of these names: they are not called for it, and cost it nothing."""
        for hook in hooks:
            self.excluded.setdefault(hook, set()).add(plugin)

    def __repr__(self) -> str:
        return f"<JobDefinition {self.name}>"


class CompiledJob(msgspec.Struct, frozen=True):
    """A job ready to be enqueued and run: plain values, and the hooks that concern it as compiled calls."""

    name: str
    function: Callable[..., Any]
    threaded: bool
    """Whether the function is a plain `def`, and runs in a thread."""
    signature: Signature
    queue: str
    priority: int
    max_attempts: int
    timeout: float | None
    retry: RetryPolicy | None
    unique: bool | Unique
    serializer: Serializer
    tags: tuple[str, ...]
    expires: float | None
    keep: float
    dedup_key: FirstResult
    around_job: Around
    before_job: Observers
    after_job: Observers
    on_error: Observers
    retry_delay: FirstResult


class Registry:
    """The jobs of an app by name: as defined, and compiled once the app has started."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job[..., Any]] = {}
        self.hints: dict[str, Callable[[], Mapping[str, object]]] = {}
        self._compiled: dict[str, CompiledJob] = {}
        self._defined: dict[str, tuple[JobDefinition, Signature]] = {}
        self._hooks: Hooks | None = None  # whose plugins were asked about `_defined`

    def check(self, job: Job[..., Any]) -> None:
        """Raise `JobDefinitionError` if another job has its name."""
        other = self.jobs.get(job.name)
        if other is not None and other is not job:
            raise JobDefinitionError(
                f"two jobs are named {job.name!r}: {_place(other)} and {_place(job)}; give one of them a name=",
                job=job.name,
            )

    def add(self, job: Job[..., Any], hints: Callable[[], Mapping[str, object]]) -> None:
        """Add a job that was checked."""
        self.jobs[job.name] = job
        self.hints[job.name] = hints

    def compile(self, hooks: Hooks, settings: Settings, serializers: Mapping[str, Serializer]) -> None:
        """Compile all jobs, with the hooks as they are now. The plugins are asked about each job once."""
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
        definition = JobDefinition(job)
        for each in hooks.implementations("configure_job"):
            try:
                each.call(definition)
            except Exception as error:
                fail("configure_job", each.plugin, error, f" for {job.name}")
        hints = self.hints[job.name]()
        signature = Signature(job.name, job.function, hints, _asker(hooks.implementations("provide"), definition))
        check_unique(job.name, definition.unique, signature.names)
        return definition, signature

    def unknown(self, name: str, way: str | None) -> UnknownJob:
        """What to raise for a name that this app does not know: it names the nearest, and a way out."""
        return UnknownJob(name, next(iter(get_close_matches(name, self._compiled, 1)), None), way)

    def get(self, name: str) -> CompiledJob | None:
        """The compiled job of a name, or None where this app does not know it."""
        return self._compiled.get(name)


def check_unique(name: str, unique: bool | Unique, parameters: Collection[str]) -> None:
    """Raise `JobDefinitionError` if `Unique(by=...)` names what is none of these parameters."""
    unknown = unique.unknown(parameters) if isinstance(unique, Unique) else None
    if unknown is not None:
        raise JobDefinitionError(f"{name}: {unknown}", job=name)


def _asker(provide: Sequence[Implementation], job: JobDefinition) -> Callable[[object], Any]:
    def ask(annotation: object) -> Any:
        for each in provide:
            try:
                factory = each.call(annotation, job)
            except Exception as error:
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

    def observers(hook: str, *, obeys: bool) -> Observers:
        return Observers(hook, chain(hook), limit=settings.hook_timeout, obeys=obeys)

    serializer = serializers.get(job.serializer or "json")
    if serializer is None:
        raise JobDefinitionError(
            f"{job.name}: there is no serializer named {job.serializer!r}; there are {', '.join(sorted(serializers))}",
            job=job.name,
        )
    return CompiledJob(
        name=job.name,
        function=job.function,
        threaded=job.threaded,
        signature=signature,
        queue=job.queue if job.queue is not None else "default",
        priority=job.priority if job.priority is not None else 0,
        max_attempts=job.max_attempts if job.max_attempts is not None else settings.max_attempts,
        timeout=job.timeout,
        retry=job.retry,
        unique=job.unique,
        serializer=serializer,
        tags=job.tags,
        expires=job.expires,
        keep=job.keep if job.keep is not None else settings.keep,
        dedup_key=FirstResult(chain("dedup_key")),
        around_job=Around("around_job", chain("around_job")),
        before_job=observers("before_job", obeys=True),
        after_job=observers("after_job", obeys=False),
        on_error=observers("on_error", obeys=True),
        retry_delay=FirstResult(chain("retry_delay")),
    )


def _is_threaded(function: Callable[..., Any]) -> bool:
    call = getattr(function, "__call__", function)  # noqa: B004 - an object whose __call__ is async def
    return not any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in (function, call))


def _place(job: Job[..., Any]) -> str:
    code = getattr(job.function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else job.function.__qualname__
