"""PgQueuer on asyncpg, in batches; it keeps a line in its log for each job."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer import AsyncpgDriver, Queries, QueueManager
from pgqueuer.models import Job
from pgqueuer.types import QueueExecutionMode

from tests.benchmarks.queues.queue import Arrived, Queue

BATCH = 500


class PgQueuer:
    """Enqueues take turns on the connections: each has a lock, and PgQueuer's driver for a pool has
    one lock for all.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connections: list[asyncpg.Connection] = []
        self._queries: list[Queries] = []

    async def open(self, connections: int) -> None:
        self._connections = [await asyncpg.connect(self._url) for _ in range(connections)]
        self._queries = [Queries(AsyncpgDriver(each)) for each in self._connections]
        await self._queries[0].install()

    async def close(self) -> None:
        for each in self._connections:
            await each.close()

    async def enqueue(self, number: int) -> None:
        await self._queries[number % len(self._queries)].enqueue("noop", b"%d" % number)

    async def enqueue_many(self, count: int) -> None:
        payloads = [b"%d" % number for number in range(count)]
        await self._queries[0].enqueue(["noop"] * count, payloads, [0] * count)

    async def process(self, count: int) -> float:
        done = 0

        async def noop(job: Job) -> None:
            nonlocal done
            done += 1

        connection = await asyncpg.connect(self._url)
        manager = QueueManager(Queries(AsyncpgDriver(connection)))
        manager.entrypoint("noop")(noop)
        began = time.perf_counter()
        await manager.run(batch_size=BATCH, mode=QueueExecutionMode.drain)
        took = time.perf_counter() - began
        await connection.close()
        assert done == count, f"{done} of {count} jobs ran"
        return took

    async def enqueue_stamp(self) -> None:
        await self._queries[0].enqueue("stamp", None)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Arrived]:
        arrived: asyncio.Queue[float] = asyncio.Queue()

        async def stamp(job: Job) -> None:
            arrived.put_nowait(time.perf_counter())

        connection = await asyncpg.connect(self._url)
        manager = QueueManager(Queries(AsyncpgDriver(connection)))
        manager.entrypoint("stamp")(stamp)
        running = asyncio.create_task(manager.run())
        yield arrived.get
        manager.shutdown.set()
        await running
        await connection.close()


def make(url: str) -> Queue:
    return PgQueuer(url)
