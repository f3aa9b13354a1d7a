"""Results, in whichever store takes them: put by the worker, read by look-ups, deleted with
their jobs.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import aclosing
from pathlib import PurePath
from typing import Any, NamedTuple

import asyncpg

from soniq.errors import PayloadTooLarge, SerializationError
from soniq.hooks.dispatch import unless_it_hangs
from soniq.hooks.values import ROW, ResultStore, StreamingResultStore
from soniq.job.context import JobContext

STREAMED = "+stream"
"""Follows the store's name in rows whose result is bytes as they came, and not a serialized value.
"""

COLLECTED = 65_536
"""Bytes up to which a streamed result is stored like any other."""
CHUNK = 1_048_576
"""Bytes that are read from a file at once."""


class StoredResult(NamedTuple):
    """Where a result is: what the job's row says of it."""

    store: str | None = None
    reference: bytes | None = None

    @property
    def store_name(self) -> str | None:
        """The store's own name."""
        return self.store and self.store.removesuffix(STREAMED)

    @property
    def streamed(self) -> bool:
        """Whether the result is bytes as they came."""
        return self.store is not None and self.store.endswith(STREAMED)


NO_RESULT = StoredResult()


class Results:
    """The result stores of an app, in the order in which they are asked; the row comes last."""

    def __init__(self, stores: Mapping[str, ResultStore], max_payload: int) -> None:
        self._stores = stores
        self._max_payload = max_payload

    @property
    def known(self) -> list[str]:
        """What rows say of results that are in one of these stores."""
        return [name + mark for name in self._stores for mark in ("", STREAMED)]

    async def put(self, ctx: JobContext, data: bytes, mark: str = "") -> StoredResult:
        """Store a serialized result. Raises `PayloadTooLarge` where only the row takes it, a
        store's error, or `HookTimeout`.
        """
        for store in self._stores.values():
            if store.name != ROW:
                reference = await _answer(store, "put", store.put(ctx, data))
            elif len(data) > self._max_payload:
                raise self._too_large(ctx, len(data))
            else:
                reference = await store.put(ctx, data)
            if reference is not None:
                return StoredResult(store.name + mark, reference)
        raise SerializationError(
            f"{ctx.job_name}: no result store took the result", job=ctx.job_name
        )

    async def put_stream(self, ctx: JobContext, value: object) -> StoredResult:
        """Store what an async iterator of bytes gives, or the content of a file, without holding it
        in memory.
        """
        async with aclosing(_chunks(ctx, value)) as chunks:
            begin = await _collected(chunks, COLLECTED)
            if len(begin) > COLLECTED:
                whole = _joined(begin, chunks)
                for store in self._stores.values():
                    if isinstance(store, StreamingResultStore):
                        reference = await store.put_stream(ctx, whole)
                        if reference is not None:
                            return StoredResult(store.name + STREAMED, reference)
                begin = await _collected(whole, self._max_payload)
                if len(begin) > self._max_payload:
                    raise self._too_large(ctx, len(begin))
        return await self.put(ctx, begin, STREAMED)

    async def get(self, kept: StoredResult, job: str) -> bytes:
        """The bytes of a result. Raises what its store raises."""
        assert kept.reference is not None
        store = self._store(kept, job)
        data: bytes = await _answer(store, "get", store.get(kept.reference))
        return data

    async def get_stream(self, kept: StoredResult, job: str) -> AsyncIterator[bytes]:
        """The bytes of a result, piece by piece. Raises what its store raises, here or while it is
        read.
        """
        store = self._store(kept, job)
        assert kept.reference is not None
        if kept.streamed and isinstance(store, StreamingResultStore):
            return store.get_stream(kept.reference)
        return _once(await self.get(kept, job))

    async def delete(self, rows: Iterable[asyncpg.Record]) -> None:
        """Delete the results of rows that are forgotten, all of them in stores that are `known`."""
        references: dict[str, list[bytes]] = {}
        for row in rows:
            kept = stored_result(row)
            if kept.store_name is not None and kept.reference is not None:
                references.setdefault(kept.store_name, []).append(kept.reference)
        for name, stored in references.items():
            store = self._stores[name]
            await _answer(store, "delete", store.delete(stored))

    def _store(self, kept: StoredResult, job: str) -> ResultStore:
        store = self._stores.get(kept.store_name or "")
        if store is None:
            raise SerializationError(
                f"the result of {job} is in the store {kept.store_name!r}, which no plugin here"
                " provides",
                job=job,
            )
        return store

    def _too_large(self, ctx: JobContext, size: int) -> PayloadTooLarge:
        return PayloadTooLarge(job=ctx.job_name, what="result", size=size, limit=self._max_payload)


async def _answer(store: ResultStore, call: str, waiting: Awaitable[Any]) -> Any:
    """Await a store, which is elsewhere and may not answer."""
    return await unless_it_hangs(waiting, f"{call} of the result store {store.name!r}")


def stored_result(row: asyncpg.Record) -> StoredResult:
    """Where the result of a row is."""
    return StoredResult(row["result_store"], row["result"])


def is_stream(value: object) -> bool:
    """Whether a value is a result to be streamed: an async iterator, or the path of a file."""
    return isinstance(value, PurePath) or hasattr(value, "__anext__")


async def _chunks(ctx: JobContext, value: object) -> AsyncGenerator[bytes, None]:
    """The pieces of a streamed result. What is no bytes is a `SerializationError`."""
    if isinstance(value, PurePath):
        with await asyncio.to_thread(open, value, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                yield chunk
        return

    iterator: Any = value
    try:
        async for chunk in iterator:
            if not isinstance(chunk, bytes | bytearray | memoryview):
                raise SerializationError(
                    f"{ctx.job_name}: a streamed result is made of bytes; got"
                    f" {type(chunk).__name__}",
                    job=ctx.job_name,
                )
            yield bytes(chunk)
    finally:
        if hasattr(iterator, "aclose"):
            await iterator.aclose()


async def _collected(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    """What the chunks hold together; not much more than `limit` bytes of it, if it is more."""
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > limit:
            break
    return bytes(data)


async def _joined(begin: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield begin
    async for chunk in chunks:
        yield chunk


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
