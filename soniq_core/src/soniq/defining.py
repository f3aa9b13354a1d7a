"""From a decorated function to a job: its name, its options, its annotations."""

import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from soniq.checks import check_text
from soniq.errors import JobDefinitionError
from soniq.job.job import Job
from soniq.job.options import JobKeywords, JobOptions, job_options
from soniq.job.signature import frame_locals, parameters, resolve_hints
from soniq.unique import check_unique

P = ParamSpec("P")
R = TypeVar("R")
Hints = Callable[[], Mapping[str, object]]


class Defines:
    """What jobs are defined on, an app or a `Jobs`: the decorator."""

    _defaults: Mapping[str, Any] = MappingProxyType({})
    """Options of the jobs that do not say otherwise."""

    @overload
    def job(self, function: Callable[P, R], /) -> Job[P, R]: ...  # type: ignore[overload-overlap]

    @overload
    def job(
        self, *typed: object, name: str | None = None, **options: Unpack[JobKeywords]
    ) -> Callable[[Callable[P, R]], Job[P, R]]: ...

    def job(self, *typed: Any, name: str | None = None, **options: Any) -> Any:
        """Make a function a job: `@eq.job(queue="mail")`. Called, it stays the function it is.

        `name`: what rows call it (default: module and qualified name). `queue`: default "default".
        `priority`: of two due jobs the lower runs first (0). `max_attempts` (5). `timeout`: seconds
        for one attempt (none). `retry`: seconds, a `Backoff`, or a callable of context and error.
        `unique`: while one of the same arguments is not finished, an enqueue changes nothing;
        `Unique(...)` has other rules. `serializer` ("json"). `tags`, `expires` (seconds), `keep`
        and `keep_dead` (seconds). `hide`: names, or paths such as "card.number", of what is not to
        be shown to operators. Values without a keyword are options for plugins. Raises
        `JobDefinitionError` or `InvalidOption`.
        """
        local = frame_locals(1)
        bare = len(typed) == 1 and not options and name is None
        checked = job_options({**self._defaults, **options})

        def define(function: Callable[..., Any], typed: tuple[object, ...]) -> Job[..., Any]:
            job, hints = make_job(function, name, checked, typed, local)
            self._add_job(job, hints)
            return job

        if bare and (inspect.isroutine(typed[0]) or isinstance(typed[0], Job)):
            return define(typed[0], ())
        return lambda function: define(function, typed)

    def _add_job(self, job: Job[..., Any], hints: Hints) -> None:
        """Add a job that was made."""
        raise NotImplementedError


def make_job(
    function: Callable[..., Any],
    name: str | None,
    options: JobOptions,
    typed: tuple[object, ...],
    local: Mapping[str, Any],
) -> tuple[Job[..., Any], Hints]:
    """The job of a function, and its annotations, which are read at the start where they name what
    comes further down.

    `local` are the local names where the function was defined. Raises `JobDefinitionError` or
    `InvalidOption`.
    """
    if not callable(function):
        raise JobDefinitionError(
            f"a job is a function; got {function!r}", job=name or repr(function)
        )
    if isinstance(function, Job):  # of another app
        function = function.function
    name = name if name is not None else default_name(function)
    check_text("name", name, 500)
    if inspect.isgeneratorfunction(function):
        raise JobDefinitionError(
            f"{name}: a job is a function that returns, not a generator; an `async def` that yields"
            " bytes may be one",
            job=name,
        )
    _check_typed(name, typed)
    check_unique(name, options.unique, [parameter.name for parameter in parameters(name, function)])
    job: Job[..., Any] = Job(function, name=name, options=options, typed=typed)
    try:
        hints = resolve_hints(name, function, local)
    except JobDefinitionError:
        return job, lambda: resolve_hints(name, function, local)
    return job, lambda: hints


def _check_typed(name: str, typed: tuple[object, ...]) -> None:
    """Refuse typed options that no plugin would find: a class in place of a value, and a second one
    of a type.
    """
    for place, option in enumerate(typed):
        if inspect.isclass(option):
            raise JobDefinitionError(
                f"{name}: the option {option.__name__} is a class; give a value of it:"
                f" {option.__name__}(...)",
                job=name,
            )
        if any(type(option) is type(other) for other in typed[:place]):
            raise JobDefinitionError(
                f"{name}: two options are of the type {type(option).__name__}", job=name
            )


def default_name(function: Callable[..., Any]) -> str:
    """`module.qualname`; a script that is run directly is named after its file, as it is when it is
    imported.
    """
    module = getattr(function, "__module__", "")
    if module == "__main__":
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        file = getattr(main, "__file__", None)
        module = spec.name if spec else (Path(file).stem if file else module)
        module = module.removesuffix(".__main__")
    return f"{module}.{getattr(function, '__qualname__', type(function).__qualname__)}"
