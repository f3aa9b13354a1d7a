"""A job: the decorated function with its options, and its calls by its own types: the arguments
that its function takes, the result that it returns.

Type checkers see them as they are declared; `app.enqueue(job, ...)` takes the same arguments and
options mixed, unseen.
"""

from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import update_wrapper
from pathlib import PurePath
from typing import (
    Any,
    Generic,
    NamedTuple,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    Unpack,
    cast,
    overload,
)
from weakref import WeakSet

import asyncpg

from soniq.checks import nearest
from soniq.errors import InvalidOption, UnknownJob
from soniq.ids import JobId
from soniq.job.options import EnqueueKeywords, JobOptions
from soniq.secret import Secret
from soniq.settings import Settings
from soniq.signals import Cancel, Retry, Snooze
from soniq.status import QueueBacklog

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

Signals: TypeAlias = Retry | Snooze | Cancel
Untyped: TypeAlias = Coroutine[Any, Any, Signals] | Signals
"""What a job returns that has no type of result: Any is taken for this, too."""
Stream: TypeAlias = PurePath | AsyncIterable[bytes]
Streamed: TypeAlias = Coroutine[Any, Any, Stream] | Stream
"""What a job returns whose result is streamed, and so is bytes."""


INCLUDE = "the jobs of a Jobs are those of the apps that include it: app.include(jobs)"
"""What helps where an app does not know a job."""


class App(Protocol):
    """What an app is to its jobs and to plugins: an annotation for one. A `Soniq` is one."""

    closed: bool

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        ...

    @property
    def registry(self) -> "Mapping[str, Job[..., Any]]":
        """The jobs that were defined, by name."""
        ...

    @property
    def database_url(self) -> Secret:
        """The URL in use, for a plugin that connects by itself."""
        ...

    @property
    def server_address(self) -> tuple[str, int | None]:
        """Host and port of the database."""
        ...

    def connection(self) -> "AbstractAsyncContextManager[asyncpg.Connection[asyncpg.Record]]":
        """A connection for a plugin's own tables, from a pool of `pool_size` beside the app's."""
        ...

    def plugin_schema(self, plugin: str) -> str:
        """The schema of this plugin's migrations, as a quoted SQL identifier."""
        ...

    def plugin(self, kind: type[T]) -> T:
        """The app's plugin of this class."""
        ...

    def _hooks(self) -> Any:
        """The `Hooks` of the app, for what calls a hook of a plugin's own."""
        ...

    def backlog(self) -> Coroutine[Any, Any, dict[str, QueueBacklog]]:
        """What each queue holds that is not finished."""
        ...

    def _call(
        self,
        job: "Job[..., Any]",
        args: tuple[object, ...],
        arguments: Mapping[str, object],
        options: Mapping[str, object],
    ) -> Coroutine[Any, Any, JobId]:
        """Enqueue a job, with the options apart from its arguments."""
        ...

    def release(
        self, job_ids: str | Iterable[str], *, holder: str | None = None, connection: Any = None
    ) -> Coroutine[Any, Any, int]:
        """Let held jobs go; how many nobody holds any more."""
        ...

    def get_result(self, job_id: str) -> Coroutine[Any, Any, Any]:
        """The result of a job."""
        ...

    def wait_for(
        self, job_id: str, timeout: float | timedelta | None = None
    ) -> Coroutine[Any, Any, Any]:
        """The result of a job once it is done."""
        ...


class Call(NamedTuple):
    """A job with arguments and options, to be enqueued with others: what `job.call(...)` makes."""

    job: "Job[..., Any]"
    args: tuple[object, ...]
    arguments: Mapping[str, object]
    options: Mapping[str, object]
    app: App | None
    """The app that was named for it, if any."""

    def __repr__(self) -> str:
        return f"<Call of {self.job.name}>"


class JobCalls(Generic[P, R_co]):
    """What a `Job`, and a job with options, can be asked to do."""

    def _target(self) -> "tuple[Job[..., Any], App, Mapping[str, object]]":
        """The job, the app to enqueue it in, and the options."""
        raise NotImplementedError

    async def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> JobId:
        """Enqueue the job with these arguments, as `app.enqueue` does; its id."""
        job, app, options = self._target()
        return await app._call(job, args, kwargs, options)

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """The job with these arguments, for `app.enqueue_all`; nothing is enqueued yet."""
        return self._with(args, kwargs)

    def _with(self, args: tuple[object, ...], arguments: Mapping[str, object]) -> Call:
        raise NotImplementedError

    @overload
    async def get_result(self: "JobCalls[P, Untyped]", job_id: str) -> Any: ...
    @overload
    async def get_result(self: "JobCalls[P, Streamed]", job_id: str) -> bytes | None: ...
    @overload
    async def get_result(
        self: "JobCalls[P, Coroutine[Any, Any, T | Signals]]", job_id: str
    ) -> T | None: ...
    @overload
    async def get_result(self: "JobCalls[P, T | Signals]", job_id: str) -> T | None: ...
    async def get_result(self, job_id: str) -> Any:
        """`app.get_result`, of the type that this job returns."""
        return await self._target()[1].get_result(job_id)

    @overload
    async def wait_for(
        self: "JobCalls[P, Untyped]", job_id: str, timeout: float | timedelta | None = None
    ) -> Any: ...
    @overload
    async def wait_for(
        self: "JobCalls[P, Streamed]", job_id: str, timeout: float | timedelta | None = None
    ) -> bytes: ...
    @overload
    async def wait_for(
        self: "JobCalls[P, Coroutine[Any, Any, T | Signals]]",
        job_id: str,
        timeout: float | timedelta | None = None,
    ) -> T: ...
    @overload
    async def wait_for(
        self: "JobCalls[P, T | Signals]", job_id: str, timeout: float | timedelta | None = None
    ) -> T: ...
    async def wait_for(self, job_id: str, timeout: float | timedelta | None = None) -> Any:
        """`app.wait_for`, of the type that this job returns."""
        return await self._target()[1].wait_for(job_id, timeout)


class Job(JobCalls[P, R_co]):
    """A function that can be enqueued. Called, it is the function itself, so that a unit test can
    await it.
    """

    __name__: str
    __wrapped__: Callable[P, R_co]

    def __init__(
        self,
        function: Callable[P, R_co],
        *,
        name: str,
        options: JobOptions,
        typed: tuple[object, ...] = (),
    ) -> None:
        update_wrapper(self, function)
        self.function = function
        self.name = name
        """The name that rows carry: `module.qualname`, or the one given."""
        self.options = options
        self.typed = typed
        """Typed options for plugins, such as `Limit(concurrency=3)`."""
        self.apps: WeakSet[App] = WeakSet()
        """The apps that have this job."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self.function(*args, **kwargs)

    def using(
        self, *, app: App | None = None, **options: Unpack[EnqueueKeywords]
    ) -> "Using[P, R_co]":
        """The job with options of an enqueue: `await job.using(delay=60).enqueue(user_id=42)`.

        `app`: which one, where several have the job. Raises `InvalidOption` for an option that
        there is not.
        """
        return Using(self, app, options)

    def _target(self) -> "tuple[Job[..., Any], App, Mapping[str, object]]":
        return self, self.app(), {}

    def _with(self, args: tuple[object, ...], arguments: Mapping[str, object]) -> Call:
        return Call(self, args, arguments, {}, None)

    def app(self) -> App:
        """The one app that has this job; closed ones do not count beside others.

        Raises `UnknownJob` where none has it, and `InvalidOption` where several have.
        """
        apps = list(self.apps)
        if len(apps) > 1:
            apps = [app for app in apps if not app.closed] or apps
        if not apps:
            raise UnknownJob(self.name, None, INCLUDE)
        if len(apps) > 1:
            raise InvalidOption(
                f"{len(apps)} apps have the job {self.name}; say which: using(app=...)",
                option="app",
            )
        return apps[0]

    def __repr__(self) -> str:
        return f"<Job {self.name}>"


class Using(JobCalls[P, R_co]):
    """A job with options: what `job.using(...)` gives. It may be kept, and used any number of
    times.
    """

    def __init__(self, job: "Job[P, R_co]", app: App | None, options: EnqueueKeywords) -> None:
        for name in options:
            if name not in EnqueueKeywords.__annotations__:
                names = ("app", *EnqueueKeywords.__annotations__)
                hint = nearest(name, names) or f"; there are {', '.join(names)}"
                raise InvalidOption(f"using() has no option {name}={hint}", option=name)
        self._job = job
        self._app = app
        self._options = options

    def _target(self) -> "tuple[Job[..., Any], App, Mapping[str, object]]":
        return self._job, self._app or self._job.app(), self._options

    def _with(self, args: tuple[object, ...], arguments: Mapping[str, object]) -> Call:
        return Call(
            self._job, args, arguments, cast("Mapping[str, object]", self._options), self._app
        )
