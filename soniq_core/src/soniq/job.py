"""What a job is to its author: the decorated function with its options, and the context of one attempt."""

import logging
import random
import re
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack, cast
from weakref import WeakSet

import msgspec

from soniq.calls import EnqueueKeywords, JobCalls, Using
from soniq.errors import InvalidOption, SoniqError, UnknownJob
from soniq.ids import JobId
from soniq.signals import Cancel, Retry
from soniq.unique import Unique

if TYPE_CHECKING:
    from soniq.app import Soniq
    from soniq.hooks.values import NewJob, TransactionConnection
    from soniq.worker.state import WorkerState

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

__all__ = ["Backoff", "Job", "JobContext", "JobId", "JobOptions", "Outcome", "RetryPolicy", "Stash", "StashKey"]


class Backoff(msgspec.Struct, frozen=True):
    """Exponential backoff with jitter: attempt n is retried after about `first * factor ** (n - 1)` seconds.

    Source: Marc Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015); here the jitter is a share
    of the delay, so that the first retry never comes at once.
    """

    first: float = 1.0
    """Seconds before the first retry."""
    factor: float = 2.0
    """What each delay is multiplied by for the next."""
    cap: float = 3600.0
    """The longest delay, in seconds."""
    jitter: float = 0.25
    """The share by which a delay is made shorter or longer at random: 0.25 is up to a quarter."""

    def __post_init__(self) -> None:
        if not (self.first >= 0 and self.factor >= 1 and 0 <= self.cap < 1e10 and 0 <= self.jitter <= 1):
            raise ValueError(
                f"first and cap are 0 or more, cap below 1e10, factor 1 or more, jitter between 0 and 1; got {self}"
            )

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the failed attempt number `attempt`, counted from 1."""
        try:
            plain = min(self.cap, self.first * self.factor ** (attempt - 1))
        except OverflowError:
            plain = self.cap
        return plain * (1 + self.jitter * random.uniform(-1, 1))


RetryPolicy = float | Backoff | Callable[["JobContext", BaseException], "float | Retry | Cancel | None"]
"""`retry=` of a job: seconds, a `Backoff`, or a callable of context and error that returns seconds, `Retry(delay)`,
`Cancel(reason)` or None (ask the plugins, then the default)."""


class JobOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a job as its author gave them; None is "not said", for plugins and settings to fill."""

    queue: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    timeout: float | None = None
    retry: RetryPolicy | None = None
    unique: bool | Unique = False
    serializer: str | None = None
    tags: tuple[str, ...] = ()
    expires: float | None = None
    keep: float | None = None


NUL = re.compile(r"(?<!\\)((?:\\\\)*)(?:\\u0000)+")
"""The character NUL as JSON writes it, and not a backslash that is followed by u0000."""

INCLUDE = "the jobs of a Jobs are those of the apps that include it: app.include(jobs)"
"""What helps where an app does not know a job."""


class Job(JobCalls[P, R_co]):
    """A function that can be enqueued. Called, it is the function itself, so that a unit test can await it."""

    __name__: str
    __wrapped__: Callable[P, R_co]

    def __init__(
        self, function: Callable[P, R_co], *, name: str, options: JobOptions, typed: tuple[object, ...] = ()
    ) -> None:
        update_wrapper(self, function)
        self.function = function
        self.name = name
        """The name that rows carry: `module.qualname`, or the one given."""
        self.options = options
        self.typed = typed
        """Typed options for plugins, such as `Limit(concurrency=3)`."""
        self.apps: WeakSet[Soniq] = WeakSet()
        """The apps that have this job."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self.function(*args, **kwargs)

    def using(self, *, app: "Soniq | None" = None, **options: Unpack[EnqueueKeywords]) -> "Using[P, R_co]":
        """The job with options of an enqueue: `await job.using(delay=60).enqueue(user_id=42)`.

        `app`: which one, where several have the job. Raises `InvalidOption` for an option that there is not.
        """
        return Using(self, app, options)

    def _target(self) -> "tuple[Job[..., Any], Soniq, Mapping[str, object]]":
        return self, self.app(), {}

    def app(self) -> "Soniq":
        """The one app that has this job; closed ones do not count beside others.

        Raises `UnknownJob` where none has it, and `InvalidOption` where several have.
        """
        apps = list(self.apps)
        if len(apps) > 1:
            apps = [app for app in apps if not app.closed] or apps
        if not apps:
            raise UnknownJob(self.name, None, INCLUDE)
        if len(apps) > 1:
            raise InvalidOption(f"{len(apps)} apps have the job {self.name}; say which: using(app=...)", option="app")
        return apps[0]

    def __repr__(self) -> str:
        return f"<Job {self.name}>"


class StashKey(Generic[T]):
    """A key for what a plugin remembers during one attempt; make one at module level for each thing remembered."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"StashKey({self.name!r})"


class Stash:
    """What plugins remember during one attempt: `ctx.stash[KEY] = value`, typed by the key."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[StashKey[Any], object] = {}

    def __setitem__(self, key: StashKey[T], value: T) -> None:
        self._values[key] = value

    def __getitem__(self, key: StashKey[T]) -> T:
        return cast("T", self._values[key])

    def __delitem__(self, key: StashKey[T]) -> None:
        del self._values[key]

    def __contains__(self, key: StashKey[Any]) -> bool:
        return key in self._values

    def get(self, key: StashKey[T], default: T | None = None) -> T | None:
        return cast("T | None", self._values.get(key, default))

    def pop(self, key: StashKey[T], default: T | None = None) -> T | None:
        return cast("T | None", self._values.pop(key, default))


class _JobLogger(logging.LoggerAdapter[logging.Logger]):
    """Puts the job in front of what is logged, and into the record."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        about: Mapping[str, object] = self.extra or {}
        kwargs["extra"] = {**about, **(kwargs.get("extra") or {})}
        name = str(about["job_name"]).replace("%", "%%")  # what is logged may have values to be put in
        return f"{name} {about['job_id']} attempt {about['attempt']}: {msg}", kwargs


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended: `status` is what the job becomes."""

    job_id: str
    job_name: str
    queue: str
    attempt: int
    status: str
    """`done`, `dead`, `cancelled`, or `queued` (it runs again)."""
    kind: str
    """What decided it: `done`, `dead`, `cancel`, `retry`, `snooze`, `stopped`, or `lost` (the worker died)."""
    delay: float | None = None
    """Seconds until it runs again, where `status` is `queued`."""
    error: BaseException | None = None
    reason: str | None = None
    """Why it was cancelled, if a reason was given."""
    result_store: str | None = None
    """The name of the store that took the result, where there is one."""
    result_reference: bytes | None = None
    """What that store returned for it."""


class JobContext:
    """One attempt at a job, as its handler and the hooks see it. In a unit test: `JobContext(job_id="...", ...)`."""

    __slots__ = (
        "_children", "_headers", "_logger", "_stash", "_state", "args", "attempt", "cancelled", "completing",
        "created_at", "job_id", "job_name", "max_attempts", "outcome", "payload_size", "queue", "queued_for",
        "scheduled_at", "worker_id",
    )  # fmt: skip

    def __init__(
        self,
        *,
        job_id: str,
        job_name: str,
        attempt: int = 1,
        max_attempts: int = 1,
        queue: str = "default",
        worker_id: str = "",
        scheduled_at: datetime | None = None,
        created_at: datetime | None = None,
        headers: Mapping[str, Any] | str | None = None,
        payload_size: int = 0,
        queued_for: float = 0.0,
        state: "WorkerState | None" = None,
    ) -> None:
        self.job_id = job_id
        self.job_name = job_name
        self.attempt = attempt
        """Which attempt this is, from 1."""
        self.max_attempts = max_attempts
        self.queue = queue
        self.worker_id = worker_id
        self.scheduled_at = scheduled_at or datetime.now(UTC)
        """When the job was due; with a time zone, like `created_at`."""
        self.created_at = created_at or self.scheduled_at
        self.args: Mapping[str, object] | None = None
        """The job's arguments by name; None until they are decoded."""
        self.payload_size = payload_size
        """Bytes of the serialized arguments."""
        self.queued_for = queued_for
        """Seconds between `scheduled_at` and the claim, by the database's clock."""
        self.outcome: Outcome | None = None
        """How the attempt ended; None until it is decided."""
        self.completing: TransactionConnection | None = None
        self.cancelled = False
        """Whether what this attempt does is no longer wanted: the job was cancelled, it timed out, or others have it.

        A task is cancelled then; a thread cannot be, and should look here now and then, and raise `Cancel`.
        """
        self._children: list[NewJob] | None = []
        self._headers = headers
        self._logger: logging.LoggerAdapter[logging.Logger] | None = None
        self._stash: Stash | None = None
        self._state = state

    @property
    def stopping(self) -> bool:
        """Whether the worker stops: what does not end within its `grace` runs again elsewhere."""
        return self._state is not None and self._state.stopping

    @property
    def logger(self) -> "logging.LoggerAdapter[logging.Logger]":
        """The logger `soniq.job`: each record has `job_id`, `job_name` and `attempt`, and its text begins with them."""
        if self._logger is None:
            self._logger = _JobLogger(
                logging.getLogger("soniq.job"),
                {"job_id": self.job_id, "job_name": self.job_name, "attempt": self.attempt},
            )
        return self._logger

    async def progress(self, fraction: float, **details: object) -> None:
        """Say how far the attempt is, between 0 and 1, with any JSON values; seen in the job's status soon.

        It is written with the worker's next heartbeat (a third of the lease), so that it costs no round trip; the last
        one counts. Safe to call often. Raises ValueError, or TypeError for what is no JSON.
        """
        self.report_progress(fraction, **details)

    def report_progress(self, fraction: float, **details: object) -> None:
        """`progress` for a handler that is a plain `def`."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"progress is a fraction between 0 and 1; got {fraction!r}")
        text = msgspec.json.encode({"fraction": fraction, **details}).decode()
        if self._state is not None:
            self._state.report(self.job_id, NUL.sub(r"\1", text))

    async def enqueue(self, job: "Job[..., Any] | str", /, *args: object, **keywords: Any) -> JobId:
        """Enqueue a child, as `app.enqueue` does: inserted in the transaction that completes this job, or not at all.

        If the attempt does not succeed, it leaves no child. What its `inserted` says is not known yet.
        """
        if self._state is None:
            raise RuntimeError("this context belongs to no worker, so nothing can be enqueued with its job")
        if self._children is None:
            raise RuntimeError(
                f"what became of job {self.job_id} is decided; enqueue with the app, not with its context"
            )
        return await self._state.enqueue(job, args, keywords, self._children)

    @property
    def headers(self) -> Mapping[str, Any]:
        """What the enqueue sent along: JSON values by name."""
        if not isinstance(self._headers, Mapping):
            self._headers = msgspec.json.decode(self._headers) if self._headers else {}
        return self._headers

    @property
    def stash(self) -> Stash:
        """What plugins remember during this attempt."""
        if self._stash is None:
            self._stash = Stash()
        return self._stash

    def complete_in(self, connection: "TransactionConnection") -> None:
        """Write the completion inside the open transaction of `connection`, once the handler has succeeded.

        For providers: whoever hands out the connection commits it afterwards, and the handler's effects and the
        completion are one transaction. If the job was taken from this worker, `LeaseLost` is raised in the provider,
        which must roll back. Raises `SoniqError` if another transaction is to complete it: two cannot commit as one.
        """
        if self.completing is not None:
            raise SoniqError(
                f"{self.job_name}: two of its parameters are provided with a transaction that completes the job; only "
                "one can be: take the others from your own engine or pool"
            )
        self.completing = connection

    def __repr__(self) -> str:
        return f"<JobContext {self.job_name} {self.job_id} attempt {self.attempt}/{self.max_attempts}>"
