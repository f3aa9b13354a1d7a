"""The context of one attempt, as its handler and the hooks see it."""

import logging
import math
from collections.abc import Awaitable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, SupportsFloat, TypeVar, cast

import msgspec

from soniq.errors import CompletionError, InvalidOption, LeaseLost, NoAttempt
from soniq.faithful import difference
from soniq.ids import JobId
from soniq.job.new import AnyJob, NewJob
from soniq.job.outcome import AboutAttempt, Outcome, decoded_headers
from soniq.text import NUL, one_line, shown
from soniq.transaction import TransactionConnection, is_asyncpg

T = TypeVar("T")

LONGEST_PROGRESS = 10_000
"""Bytes that progress with its details may take: each heartbeat sends it."""


class AttemptState(Protocol):
    """What an attempt shares with the worker that runs it."""

    @property
    def stopping(self) -> bool:
        """Whether the worker was told to stop."""
        ...

    def report(self, job_id: str, progress: str) -> None:
        """Keep a job's progress, as JSON, for the next heartbeat."""
        ...

    def enqueue(
        self,
        job: AnyJob | str,
        args: tuple[object, ...],
        keywords: Mapping[str, object],
        children: list[NewJob],
        /,
    ) -> Awaitable[JobId]:
        """Prepare a job, and add it to `children`."""
        ...

    async def still_claims(self, job_id: str, claim: int, connection: object, /) -> bool:
        """Whether a claim still stands, held in the open transaction of `connection`."""
        ...


class StashKey(Generic[T]):
    """A key for what a plugin remembers during one attempt; make one at module level for each thing
    remembered.
    """

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

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        about: Mapping[str, object] = self.extra or {}
        kwargs["extra"] = {**about, **(kwargs.get("extra") or {})}
        # A message may have places for values, and a name must not look like one
        name = str(about["job_name"]).replace("%", "%%")
        return f"{name} {about['job_id']} attempt {about['attempt']}: {msg}", kwargs


class JobContext:
    """One attempt at a job, as its handler and the hooks see it. In a unit test:
    `JobContext(job_id="...", ...)`.
    """

    __slots__ = (
        "_children", "_headers", "_logger", "_stash", "_state", "args", "attempt", "cancelled",
        "claim", "completing", "created_at", "job_id", "job_name", "marks", "max_attempts",
        "outcome", "payload_size", "queue", "queued_for", "scheduled_at", "tags", "worker_id",
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
        claim: int = 0,
        tags: Sequence[str] | None = None,
        marks: Sequence[str] | None = None,
        state: AttemptState | None = None,
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
        self.claim = claim
        """The number of the claim that began the attempt: it rises with each claim of the job."""
        self.tags: Sequence[str] = tags or ()
        self.marks: Sequence[str] = marks or ()
        """The plugins that must hear how the job ends."""
        self.outcome: Outcome | None = None
        """How the attempt ended; None until it is decided."""
        self.completing: TransactionConnection | None = None
        self.cancelled = False
        """Whether what this attempt does is no longer wanted: the job was cancelled, it timed out,
        or others have it.

        A task is cancelled then; a thread cannot be, and should look here now and then, and raise
        `Cancel`.
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
        """The logger `soniq.job`: each text begins with the job's name, id and attempt.

        Each record has `job_id`, `job_name`, `queue`, `attempt` and `worker_id`, as those of the
        worker about a job do.
        """
        if self._logger is None:
            self._logger = _JobLogger(
                logging.getLogger("soniq.job"), log_fields(self, self.worker_id)
            )
        return self._logger

    async def progress(self, fraction: float, **details: object) -> None:
        """Say how far the attempt is, between 0 and 1, with any JSON values; seen in the job's
        status soon.

        It is written with the worker's next heartbeat (a third of the lease), so that it costs no
        round trip; the last one counts. Safe to call often. Raises `InvalidOption`, also for what
        JSON would change, as NaN, or TypeError for what is no JSON.
        """
        self.report_progress(fraction, **details)

    def report_progress(self, fraction: float, **details: object) -> None:
        """`progress` for a handler that is a plain `def`."""
        share = _number(fraction)
        if not 0 <= share <= 1:
            raise InvalidOption(
                f"progress is a fraction between 0 and 1; got {shown(fraction)}", option="fraction"
            )
        text = _progress({"fraction": share, **details})
        if self._state is not None:
            self._state.report(self.job_id, NUL.sub(r"\1", text))

    async def enqueue(self, job: AnyJob | str, /, *args: object, **keywords: Any) -> JobId:
        """Enqueue a child, as `app.enqueue` does: inserted in the transaction that completes this
        job, or not at all.

        If the attempt does not succeed, it leaves no child. What its `inserted` says is not known
        yet. Raises `NoAttempt` outside a worker, and once it is decided how the attempt ended.
        """
        if self._state is None:
            raise NoAttempt(
                "this context belongs to no worker, so nothing can be enqueued with its job"
            )
        if self._children is None:
            raise NoAttempt(f"this attempt of job {self.job_id} has ended; enqueue with the app")
        return await self._state.enqueue(job, args, keywords, self._children)

    async def fence(self, connection: object) -> None:
        """Have the writes of an open transaction count only while the job is this worker's.

        Until the transaction ends nobody else gets the job; so call it late, and commit soon: the
        time of a lease may pass between two statements. It takes what `enqueue(connection=)` takes.
        Raises `LeaseLost` where the job was taken from this worker, `NoAttempt` outside of one, and
        `DatabaseError` where the connection leads to another database or does not answer.
        """
        if self._state is None:
            raise NoAttempt("this context belongs to no worker, so no job is claimed by it")
        if is_asyncpg(connection) and not connection.is_in_transaction():
            raise InvalidOption(
                f"{self.job_name}: fence() takes a connection in an open transaction",
                option="connection",
            )
        if not await self._state.still_claims(self.job_id, self.claim, connection):
            raise LeaseLost(
                f"job {self.job_id} was taken from this worker; what it writes is not to count"
            )

    @property
    def headers(self) -> Mapping[str, Any]:
        """What the enqueue sent along: JSON values by name."""
        headers = self._headers
        if headers is None:
            headers = self._headers = {}
        elif isinstance(headers, str):
            headers = self._headers = decoded_headers(headers)
        return headers

    @property
    def stash(self) -> Stash:
        """What plugins remember during this attempt."""
        if self._stash is None:
            self._stash = Stash()
        return self._stash

    def complete_in(self, connection: TransactionConnection) -> None:
        """Write the completion inside the open transaction of `connection`, once the handler has
        succeeded.

        For providers: the provider commits the connection afterwards, and the handler's
        effects and the completion are one transaction. If the job was taken from this worker,
        `LeaseLost` is raised in the provider, which must roll back. Raises `CompletionError` if
        another transaction is to complete it: two cannot commit as one.
        """
        if self.completing is not None:
            raise CompletionError(
                f"{self.job_name}: two of its parameters are provided with a transaction that"
                " completes the job; only one can be: take the others from your own engine or pool"
            )
        self.completing = connection

    def __repr__(self) -> str:
        return (
            f"<JobContext {self.job_name} {self.job_id} attempt {self.attempt}/{self.max_attempts}>"
        )


def _number(given: object) -> float:
    """A number of any library's as a float; NaN for what is none."""
    try:
        return float(given) if isinstance(given, SupportsFloat) else math.nan
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _progress(said: Mapping[str, object]) -> str:
    """Progress as JSON. Raises `InvalidOption`, or TypeError."""
    try:
        data = msgspec.json.encode(said)
        found = difference(said, msgspec.json.decode(data), loose=True)
    except (ValueError, OverflowError, RecursionError) as error:  # half a character, a huge number
        raise InvalidOption(
            f"progress takes JSON values: {one_line(str(error))}", option="details"
        ) from error

    if found is not None:
        raise InvalidOption(
            f"progress takes JSON values; {found.place.lstrip('.')!r:.200}: {found.words}",
            option="details",
        )
    if len(data) > LONGEST_PROGRESS:
        raise InvalidOption(
            f"progress takes {LONGEST_PROGRESS:,} bytes of JSON; got {len(data):,}",
            option="details",
        )
    return data.decode()


def log_fields(job: AboutAttempt, worker_id: str) -> dict[str, object]:
    """What each log record about a job has, as `extra=` takes it."""
    return {
        "job_id": job.job_id,
        "job_name": job.job_name,
        "queue": job.queue,
        "attempt": job.attempt,
        "worker_id": worker_id,
    }
