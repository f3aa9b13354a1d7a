"""A job's calls by its own types: the arguments that its function takes, the result that it returns.

Type checkers see them as they are declared; `app.enqueue(job, ...)` takes the same arguments and options mixed, unseen.
"""

from collections.abc import AsyncIterable, Coroutine, Mapping, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeAlias, TypedDict, TypeVar, overload

from soniq.errors import InvalidOption
from soniq.ids import JobId
from soniq.signals import Cancel, Retry, Snooze
from soniq.unique import Unique

if TYPE_CHECKING:
    from soniq.app import Soniq
    from soniq.job import Job

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

Signals: TypeAlias = Retry | Snooze | Cancel
Untyped: TypeAlias = Coroutine[Any, Any, Signals] | Signals
"""What a job returns that has no type of result: Any is taken for this, too."""
Stream: TypeAlias = PurePath | AsyncIterable[bytes]
Streamed: TypeAlias = Coroutine[Any, Any, Stream] | Stream
"""What a job returns whose result is streamed, and so is bytes."""


class EnqueueKeywords(TypedDict, total=False):
    """The options of an enqueue, as keywords of `using`; what they mean is in `EnqueueOptions`."""

    connection: Any
    dedup_key: str | None
    delay: float | None
    scheduled_at: datetime | None
    headers: Mapping[str, Any] | None
    notify: bool
    queue: str | None
    priority: int | None
    max_attempts: int | None
    timeout: float | None
    unique: bool | Unique | None
    serializer: str | None
    tags: Sequence[str] | None
    expires: float | datetime | None
    keep: float | None


class JobCalls(Generic[P, R_co]):
    """What a `Job`, and a job with options, can be asked to do."""

    def _target(self) -> "tuple[Job[..., Any], Soniq, Mapping[str, object]]":
        """The job, the app to enqueue it in, and the options."""
        raise NotImplementedError

    async def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> JobId:
        """Enqueue the job with these arguments, as `app.enqueue` does; its id."""
        job, app, options = self._target()
        return await app.call(job, args, kwargs, options)

    @overload
    async def get_result(self: "JobCalls[P, Untyped]", job_id: str) -> Any: ...
    @overload
    async def get_result(self: "JobCalls[P, Streamed]", job_id: str) -> bytes | None: ...
    @overload
    async def get_result(self: "JobCalls[P, Coroutine[Any, Any, T | Signals]]", job_id: str) -> T | None: ...
    @overload
    async def get_result(self: "JobCalls[P, T | Signals]", job_id: str) -> T | None: ...
    async def get_result(self, job_id: str) -> Any:
        """`app.get_result`, of the type that this job returns."""
        return await self._target()[1].get_result(job_id)

    @overload
    async def wait_for(self: "JobCalls[P, Untyped]", job_id: str, timeout: float | None = None) -> Any: ...
    @overload
    async def wait_for(self: "JobCalls[P, Streamed]", job_id: str, timeout: float | None = None) -> bytes: ...
    @overload
    async def wait_for(
        self: "JobCalls[P, Coroutine[Any, Any, T | Signals]]", job_id: str, timeout: float | None = None
    ) -> T: ...
    @overload
    async def wait_for(self: "JobCalls[P, T | Signals]", job_id: str, timeout: float | None = None) -> T: ...
    async def wait_for(self, job_id: str, timeout: float | None = None) -> Any:
        """`app.wait_for`, of the type that this job returns."""
        return await self._target()[1].wait_for(job_id, timeout)


class Using(JobCalls[P, R_co]):
    """A job with options: what `job.using(...)` gives. It may be kept, and used any number of times."""

    def __init__(self, job: "Job[P, R_co]", app: "Soniq | None", options: EnqueueKeywords) -> None:
        for name in options:
            if name not in EnqueueKeywords.__annotations__:
                names = ", ".join(("app", *EnqueueKeywords.__annotations__))
                raise InvalidOption(f"using() has no option {name}=; there are {names}", option=name)
        self._job = job
        self._app = app
        self._options = options

    def _target(self) -> "tuple[Job[..., Any], Soniq, Mapping[str, object]]":
        return self._job, self._app or self._job.app(), self._options
