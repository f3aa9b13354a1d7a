"""The values that hooks take and return."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol, cast, runtime_checkable

import msgspec

from soniq.checks import LONGEST
from soniq.errors import InvalidOption
from soniq.job.context import JobContext
from soniq.job.job import Job
from soniq.job.new import NewJob
from soniq.job.outcome import Outcome
from soniq.text import shown
from soniq.transaction import TransactionConnection

ROW = "row"
"""The name of the core's own result store."""
SHORTEST_LEASE = 0.3
"""Seconds that the lease of an elected task has at least: it is renewed each third of it."""


Presentable = Literal["args", "result", "headers", "error", "traceback", "progress"]
"""What of a job is shown to operators: of `error` the message."""

ActionKind = Literal["retry", "cancel", "delete", "pause", "resume"]
"""What an operator does."""

OwedKind = Literal["enqueued", "replaced", "retried", "settled", "first", "note"]
"""What a plugin is told of later. `enqueued`: a job came in that it marked and holds, or a worker
found one that had come in without its mark. `replaced`: another enqueue with the job's dedup key
changed it. `retried`: an operator queued it again. `settled`: an attempt at it ended where the
plugin was not loaded, or had refused to hear of it. `first`: others have let it go, and the plugin
is the first of those who hold it. `note`: its own, of `Holds.owe`.
"""


class Serializer(Protocol):
    """Turns arguments and results into bytes and back. `name` is kept in each row.

    One that reads types which msgspec does not know has a method `check(type)`, asked for each type
    of a job's when the app starts: a TypeError says that it cannot be stored. `loads` is then also
    given such types. One whose values are not to be shown, as they are encrypted, has an attribute
    `readable` that is False: they are not decoded to be looked at.
    """

    @property
    def name(self) -> str: ...

    def dumps(self, value: object) -> bytes:
        """Bytes for a value: for arguments a `dict` by parameter name. Any error says that it
        cannot be done.
        """
        ...

    def loads(self, data: bytes, type: Any) -> Any:
        """The value of `data` as an instance of `type`. Any error says that the bytes are not such
        a value.

        An `UnknownArguments` names fields that the type does not have here: the job then waits for
        other code.
        """
        ...


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What the bytes are that a serializer writes or reads."""

    job_name: str
    job_id: str | None
    """None while they are written, where no job is known whose they will be: arguments that may
    replace those of a job that waits (`on_conflict="replace"`), and those of a template.
    """
    purpose: Literal["arguments", "result", "template"]
    """Of a job its arguments or its result, or arguments of jobs to come (`dump_arguments`)."""


@runtime_checkable
class BindingSerializer(Serializer, Protocol):
    """A serializer that is told whose bytes it writes and reads."""

    def bound_to(self, payload: Payload) -> Serializer:
        """The serializer of this one payload; its `dumps` and `loads` are called in place of one's
        own.
        """
        ...


def bound(
    serializer: Serializer,
    job_name: str,
    job_id: object,
    purpose: Literal["arguments", "result", "template"],
) -> Serializer:
    """A serializer as it writes and reads one payload; itself, where it does not ask for it."""
    bind = getattr(serializer, "bound_to", None)
    if bind is None:
        return serializer
    told = Payload(
        job_name=job_name, job_id=None if job_id is None else str(job_id), purpose=purpose
    )
    return cast("BindingSerializer", serializer).bound_to(told)


class ResultStore(Protocol):
    """Keeps results. `name` and the reference that `put` returns are kept in the job's row."""

    @property
    def name(self) -> str: ...

    async def put(self, ctx: JobContext, data: bytes) -> bytes | None:
        """Store a serialized result; the reference to it, or None (ask the next). An error fails
        the attempt.
        """
        ...

    async def get(self, reference: bytes) -> bytes:
        """The serialized result. An error goes to the caller."""
        ...

    async def delete(self, references: Sequence[bytes]) -> None:
        """Remove results whose jobs are forgotten. An error is logged, and it is asked again."""
        ...


@runtime_checkable
class StreamingResultStore(ResultStore, Protocol):
    """A result store that also takes results too large to be held in memory."""

    async def put_stream(self, ctx: JobContext, chunks: AsyncIterator[bytes]) -> bytes | None:
        """Store what `chunks` gives; the reference to it, or None (ask the next), before anything
        is taken from it.
        """
        ...

    def get_stream(self, reference: bytes) -> AsyncIterator[bytes]:
        """The stored bytes, piece by piece. An error goes to the reader."""
        ...


class EnqueueBatch(msgspec.Struct, kw_only=True):
    """One enqueue call: its jobs, and the connection whose transaction it joins, if the caller gave
    one.
    """

    jobs: Sequence[NewJob]
    connection: TransactionConnection | None
    bulk: bool
    """Whether it is `enqueue_many` or `enqueue_all`."""


class Jobs(Protocol):
    """The jobs of a plugin: a `soniq.Jobs`."""

    def name_under(
        self, plugin: str
    ) -> Mapping[str, tuple[Job[..., Any], Callable[[], Mapping[str, object]]]]:
        """The jobs, and how their annotations are read, by names that begin with the plugin's."""
        ...


class ForgottenJob(msgspec.Struct, frozen=True, kw_only=True):
    """A finished job that is being forgotten."""

    job_id: str
    job_name: str
    queue: str
    status: Literal["done", "dead", "cancelled"]


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator did, or a program in their name: with jobs, or with a queue."""

    kind: ActionKind
    job_ids: Sequence[str] = ()
    """The jobs that it changed; those that run and were asked to end are among them."""
    queue: str | None = None
    """The queue that was paused or resumed."""
    by: str | None = None
    """Who it was; None where the call did not say."""
    reason: str | None = None
    """Why, of a cancel or a pause; None where the call did not say."""


class IncomingJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that is being inserted, as `enqueue_tx` gets it."""

    job_id: str
    job_name: str
    queue: str
    priority: int
    headers: Mapping[str, Any] = {}
    """What the enqueue sent along: JSON values by name."""
    tags: Sequence[str] = ()
    marks: Sequence[str] = ()
    """The plugins that must hear how it ends."""
    held_by: Sequence[str] = ()
    """Who holds it as it comes in."""
    retried: bool = False
    """Whether an operator queued it again."""


class Holds(Protocol):
    """What a plugin is given to hold and to release jobs, under its own name, in the transaction of
    the hook: what it does there counts with the commit, after which workers look for what is free.

    They raise `InvalidJobId`, and what the database raises.
    """

    async def release(self, ids: Iterable[str], *, last: bool = False) -> list[str]:
        """Let jobs go; the ids of those that nobody holds any more. They run when they are due, as
        early as their enqueue allows, or, `last`, behind all that are due now.
        """
        ...

    async def hold(self, ids: Iterable[str], *, first: bool = False) -> list[str]:
        """Hold jobs that wait, behind those who hold them already, or `first`, before them; the ids
        of those that it holds now. A job that was claimed is left; one that has just been requeued
        in this transaction was not.
        """
        ...

    async def owe(self, what: Mapping[str, object]) -> None:
        """Note something for itself, JSON values by name: after the commit a worker that has the
        plugin tells it, as an event of kind `note`. For what was not to be had without waiting.
        """
        ...


class OwedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin is told of later, as `owed_tx` gets it. What it says of the job is how that is
    now, not how it was.
    """

    kind: OwedKind
    at: datetime
    """When it happened, by the database's clock."""
    job_id: str | None = None
    """None for a note."""
    job_name: str | None = None
    """None where the job has ended, and for a note."""
    queue: str | None = None
    headers: Mapping[str, Any] = {}
    held_by: Sequence[str] = ()
    """Who holds the job; the first acts. Empty where nobody does, or the job has ended."""
    scheduled_at: datetime | None = None
    """When it is due; None where it has ended."""
    outcome: Outcome | None = None
    """How the attempt ended, of kind `settled`; its error is a `StoredError`."""
    what: Mapping[str, Any] = {}
    """What the plugin noted, of kind `note`."""


class OwnHook(Protocol):
    """A hook of a plugin's own: what a decorator of `soniq.plugin.hookspec` makes."""

    @property
    def name(self) -> str: ...


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Work that goes on beside a worker, until it is cancelled when the worker stops."""

    name: str
    run: Callable[[], Awaitable[None]]
    elected: bool = False
    """Run it in one worker at a time. It is a lease: two may overlap for a moment after a network
    split.
    """
    lease: float | None = None
    """Seconds, 0.3 at least, after which another worker has an elected task whose worker is silent;
    None: as long as a worker keeps its jobs. What is no such number raises `InvalidOption`.
    """

    def __post_init__(self) -> None:
        number = isinstance(self.lease, int | float) and not isinstance(self.lease, bool)
        if self.lease is not None and not (number and SHORTEST_LEASE <= self.lease <= LONGEST):
            raise InvalidOption(
                f"lease= is from {SHORTEST_LEASE:g} to {LONGEST:g} seconds; got"
                f" {shown(self.lease)}",
                option="lease",
            )


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a plugin's own tables. `{schema}` in the SQL is the plugin's schema, `{soniq}`
    that of the core.
    """

    version: int
    """1, 2, 3 ..., never reused."""
    sql: str
