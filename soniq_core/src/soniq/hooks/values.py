"""The values that hooks take and return."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from soniq.job import JobContext, JobId
from soniq.unique import Dedup, Unique

ROW = "row"
"""The name of the core's own result store."""


class Serializer(Protocol):
    """Turns arguments and results into bytes and back. `name` is kept in each row."""

    @property
    def name(self) -> str: ...

    def dumps(self, value: object) -> bytes:
        """Bytes for a value: for arguments a `dict` by parameter name. Any error says that it cannot be done."""
        ...

    def loads(self, data: bytes, type: Any) -> Any:
        """The value of `data` as an instance of `type`. Any error says that the bytes are not such a value."""
        ...


class ResultStore(Protocol):
    """Keeps results. `name` and the reference that `put` returns are kept in the job's row."""

    @property
    def name(self) -> str: ...

    async def put(self, ctx: JobContext, data: bytes) -> bytes | None:
        """Store a serialized result; the reference to it, or None (ask the next). An error fails the attempt."""
        ...

    async def get(self, reference: bytes) -> bytes:
        """The serialized result. An error goes to whoever asked."""
        ...

    async def delete(self, references: Sequence[bytes]) -> None:
        """Remove results whose jobs are forgotten. An error is logged, and it is asked again."""
        ...


@runtime_checkable
class StreamingResultStore(ResultStore, Protocol):
    """A result store that also takes results too large to be held in memory."""

    async def put_stream(self, ctx: JobContext, chunks: AsyncIterator[bytes]) -> bytes | None:
        """Store what `chunks` gives; the reference to it, or None (ask the next), before anything is taken from it."""
        ...

    def get_stream(self, reference: bytes) -> AsyncIterator[bytes]:
        """The stored bytes, piece by piece. An error goes to whoever reads."""
        ...


@runtime_checkable
class TransactionConnection(Protocol):
    """What Soniq needs of someone's open transaction. asyncpg's connection is one; `adapt_connection` makes others.

    Statements have PostgreSQL's own placeholders, `$1` to `$n`, and the server decides of what type a parameter is:
    a `str` may be a uuid, a list of them a `uuid[]`, a list of `bytes` a `bytea[]`. Errors are the driver's.
    """

    async def fetch(self, query: str, /, *args: Any) -> Sequence[Any]:
        """Run one statement in the transaction; its rows, whose columns are read by position or by name."""
        ...

    async def execute(self, query: str, /, *args: Any) -> object:
        """Run one statement in the transaction, whatever it returns."""
        ...


class NewJob(msgspec.Struct, kw_only=True):
    """A job on its way in. `headers` may be changed inside `around_enqueue`."""

    id: JobId
    """The job's id; once enqueued, `.inserted` is False where it is that of an existing duplicate."""
    name: str
    args: Mapping[str, object]
    """The bound arguments by name, defaults included."""
    queue: str
    priority: int
    max_attempts: int
    keep: float
    unique: bool | Unique
    serializer: str
    headers: MutableMapping[str, Any]
    dedup: Dedup | None
    payload: bytes = b""
    extra: dict[str, object] | None = None
    """Options that few jobs have: delay, at, timeout, expires, expires_at, tags."""
    types: Mapping[str, Any] = {}
    """What each argument is declared to be, by name; empty where this app does not know the job."""


class EnqueueBatch(msgspec.Struct, kw_only=True):
    """One enqueue call: its jobs, and the connection whose transaction it joins, if the caller gave one."""

    jobs: Sequence[NewJob]
    connection: TransactionConnection | None
    bulk: bool
    """Whether it is `enqueue_many`."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Work that goes on beside a worker, until it is cancelled when the worker stops."""

    name: str
    run: Callable[[], Awaitable[None]]
    elected: bool = False
    """Run it in one worker at a time. It is a lease: two may overlap for a moment after a network split."""


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a plugin's own tables. `{schema}` in the SQL is the plugin's schema, `{soniq}` that of the core."""

    version: int
    """1, 2, 3 ..., never reused."""
    sql: str
