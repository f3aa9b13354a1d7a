"""The result store: cuts a result into objects, stores them, and checks them when they are read."""

import asyncio
import hashlib
import logging
import random
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TypeVar

from soniq import JobContext

from .errors import ResultDamaged, ResultMissing, StoreUnavailable
from .objects import Objects, first_line
from .reference import PART, Reference, object_name, object_names
from .uploads import Uploads

log = logging.getLogger("soniq.results")

T = TypeVar("T")

NAME = "results"

BATCH = 100
"""The most objects that one call removes, and uploads that are swept at once."""


class Results:
    """Keeps results of more than `threshold` bytes (0: all) outside the row."""

    name = NAME

    def __init__(
        self,
        objects: Objects,
        uploads: Uploads,
        *,
        place: str,
        schema: str,
        threshold: int,
        timeout: float,
    ) -> None:
        self._objects = objects
        self._uploads = uploads
        self._place = place
        self._schema = schema
        self._threshold = threshold
        self._timeout = timeout

    # --- storing ---------------------------------------------------------------------------------

    async def put(self, ctx: JobContext, data: bytes) -> bytes | None:
        """Store a result; None where it is small enough for the row.

        Raises `StoreUnavailable` or `UploadExpired`.
        """
        if 0 < self._threshold >= len(data):
            return None
        return await self.put_stream(ctx, _once(data))

    async def put_stream(self, ctx: JobContext, chunks: AsyncIterator[bytes]) -> bytes:
        """Store what `chunks` gives, holding a few objects' worth of memory, whatever its size."""
        key = f"{self._schema}/{datetime.now(UTC):%Y-%m-%d}/{ctx.job_id}/{uuid.uuid4().hex}"
        objects, size, digest = 0, 0, hashlib.sha256()
        async with aclosing(_parts(chunks)) as parts:
            async for part in parts:
                await self._uploads.announce(key, ctx.job_id, objects + 1)
                storing = self._objects.put(object_name(key, objects), part)
                await self._call("store", key, ctx.job_id, storing)
                await asyncio.to_thread(digest.update, part)
                objects, size = objects + 1, size + len(part)
        return Reference(key, size, digest.hexdigest()).encode()

    # --- reading ---------------------------------------------------------------------------------

    async def get(self, reference: bytes) -> bytes:
        """The result. Raises `ResultMissing`, `ResultDamaged` or `StoreUnavailable`."""
        return b"".join([part async for part in self.get_stream(reference)])

    async def get_stream(self, reference: bytes) -> AsyncIterator[bytes]:
        """The result piece by piece; size and checksum are compared at the end. Raises as `get`."""
        stored = Reference.decode(reference)
        size, digest = 0, hashlib.sha256()
        for name in stored.objects:
            part = await self._call("read", stored.key, stored.job_id, self._objects.get(name))
            size += len(part)
            await asyncio.to_thread(digest.update, part)
            yield part

        if (size, digest.hexdigest()) != (stored.size, stored.sha256):
            raise ResultDamaged(
                f"the result of job {stored.job_id} in {self._place} (object {stored.key}) is not"
                f" what was stored: {size} bytes with SHA-256 {digest.hexdigest()}, instead of"
                f" {stored.size} with {stored.sha256}."
                " Restore the object from a backup, or run the job again",
                job_id=stored.job_id,
                key=stored.key,
            )

    # --- removing --------------------------------------------------------------------------------

    async def delete(self, references: Sequence[bytes]) -> None:
        """Remove results whose jobs are forgotten. Raises `StoreUnavailable`."""
        await self._remove([name for data in references for name in Reference.decode(data).objects])

    async def sweep(self, grace: float) -> int:
        """Remove what was stored `grace` seconds ago and never settled; how many results."""
        swept = 0
        while taken := await self._uploads.take(grace, BATCH):
            names = [name for each in taken for name in object_names(each.key, each.objects)]
            await self._remove(names)
            await self._uploads.forget(taken)
            swept += len(taken)
        if swept:
            log.info(
                "removed %d orphaned results from %s: their attempts were never settled",
                swept,
                self._place,
            )
        return swept

    async def keep_swept(self, grace: float) -> None:
        """Sweep for ever, once an hour or twice in each grace time."""
        while True:
            await self.sweep(grace)
            await asyncio.sleep(min(3600.0, grace / 2) * random.uniform(0.8, 1.0))

    async def _remove(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), BATCH):
            removing = self._objects.delete(names[start : start + BATCH])
            await self._call("remove", names[start], None, removing)

    # --- each call -------------------------------------------------------------------------------

    async def _call(self, doing: str, key: str, job_id: str | None, call: Awaitable[T]) -> T:
        """Await a call of the store for as long as one may take; say what went wrong.

        What the driver says further is left out: it may quote credentials.
        """
        whose = f"the result of job {job_id}" if job_id else "results"
        try:
            async with asyncio.timeout(self._timeout):
                return await call
        except FileNotFoundError as error:
            if doing == "read":
                raise ResultMissing(
                    f"{whose} is not in {self._place} (object {key}): removed there, or the URL"
                    " leads elsewhere. Restore the object, set SONIQ_RESULTS_URL to where it is,"
                    " or run the job again",
                    job_id=job_id,
                    key=key,
                ) from None
            reason = first_line(error)
        except TimeoutError:
            reason = f"no answer within {self._timeout:g} s"
        except Exception as error:
            reason = first_line(error)

        raise StoreUnavailable(
            f"cannot {doing} {whose} in {self._place} (object {key}): {reason}. "
            "Look whether the store is up, and whether its credentials are right; then try again",
            job_id=job_id,
            key=key,
        ) from None


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _parts(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The chunks cut into parts of the same size.

    The last one is smaller, and the only one that may be empty.
    """
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        while len(buffer) > PART:
            part = bytes(memoryview(buffer)[:PART])
            del buffer[:PART]
            yield part
    yield bytes(buffer)
