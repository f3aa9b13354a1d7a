"""procrastinate on psycopg's asynchronous pool; it keeps each job, with its events."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from procrastinate import App, PsycopgConnector

from tests.benchmarks.queues.queue import CONCURRENCY, Arrived, Queue

POOL = 20


class Procrastinate:
    def __init__(self, url: str) -> None:
        self._app = App(connector=PsycopgConnector(conninfo=url, min_size=POOL, max_size=POOL))
        self._noop = self._app.task(name="noop")(self._count)
        self._stamp = self._app.task(name="stamp")(self._arrive)
        self._arrived: asyncio.Queue[float] = asyncio.Queue()
        self._done = 0

    async def _count(self, number: int) -> int:
        self._done += 1
        return number

    async def _arrive(self) -> None:
        self._arrived.put_nowait(time.perf_counter())

    async def open(self, connections: int) -> None:
        await self._app.open_async()
        await self._app.schema_manager.apply_schema_async()

    async def close(self) -> None:
        await self._app.close_async()

    async def enqueue(self, number: int) -> None:
        await self._noop.defer_async(number=number)

    async def enqueue_many(self, count: int) -> None:
        await self._noop.batch_defer_async(*({"number": number} for number in range(count)))

    async def process(self, count: int) -> float:
        began = time.perf_counter()
        await self._app.run_worker_async(
            wait=False, concurrency=CONCURRENCY, install_signal_handlers=False
        )
        took = time.perf_counter() - began
        assert self._done == count, f"{self._done} of {count} jobs ran"
        return took

    async def enqueue_stamp(self) -> None:
        await self._stamp.defer_async()

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Arrived]:
        running = asyncio.create_task(
            self._app.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False)
        )
        yield self._arrived.get
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def make(url: str) -> Queue:
    return Procrastinate(url)
