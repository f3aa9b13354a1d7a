"""Soniq with its three usual hooks on; it keeps each job with its result."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.benchmarks.queues.queue import Arrived, Queue
from tests.benchmarks.throughput import Bench


class SoniqQueue:
    def __init__(self, url: str) -> None:
        self._bench = Bench(url, hooks=True)

    async def open(self, connections: int) -> None:
        await self._bench.setup()

    async def close(self) -> None:
        await self._bench.close()

    async def enqueue(self, number: int) -> None:
        await self._bench.app.enqueue(self._bench.noop, number=number)

    async def enqueue_many(self, count: int) -> None:
        await self._bench.bulk(count)

    async def process(self, count: int) -> float:
        began = time.perf_counter()
        done = await self._bench.app.run_worker(run_once=True)
        took = time.perf_counter() - began
        assert done == count, f"{done} of {count} jobs ran"
        return took

    async def enqueue_stamp(self) -> None:
        await self._bench.enqueue_stamp()

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Arrived]:
        running = asyncio.create_task(self._bench.app.run_worker())
        yield self._bench.arrived.get
        self._bench.app.stop_workers()
        await running


def make(url: str) -> Queue:
    return SoniqQueue(url)
