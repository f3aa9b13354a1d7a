"""Oban for Python on psycopg's asynchronous pool; it keeps each job for a day."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from oban import Oban, worker
from oban.schema import install
from uvloop import run as run  # the loop of its command: `oban start`

from tests.benchmarks.queues.queue import Arrived, Queue

LIMIT = 500
"""How many jobs of a queue run at once, which is also how many it claims at once."""

POOL = 20
LEFT = "select count(*) from oban_jobs where state <> 'completed'"


class ObanQueue:
    def __init__(self, url: str) -> None:
        arrived: asyncio.Queue[float] = asyncio.Queue()

        class Noop:
            async def process(self, job: Any) -> None: ...

        class Stamp:
            async def process(self, job: Any) -> None:
                arrived.put_nowait(time.perf_counter())

        self._url = url
        self._arrived = arrived
        self._noop = worker(queue="noop")(Noop)
        self._stamp = worker(queue="stamp")(Stamp)

    async def open(self, connections: int) -> None:
        self._pool = await Oban.create_pool(self._url, min_size=POOL, max_size=POOL)
        await install(self._pool)
        self._client = Oban(pool=self._pool, name="client")
        await self._client.start()

    async def close(self) -> None:
        await self._client.stop()
        await self._pool.close()

    async def enqueue(self, number: int) -> None:
        await self._client.enqueue(self._noop.new({"number": number}))

    async def enqueue_many(self, count: int) -> None:
        await self._client.enqueue_many(
            self._noop.new({"number": number}) for number in range(count)
        )

    async def process(self, count: int) -> float:
        """The clock begins when the queue is let go: a worker that starts looks once a second."""
        paused = {"noop": {"limit": LIMIT, "paused": True}}
        async with (
            Oban(pool=self._pool, queues=paused) as server,
            await psycopg.AsyncConnection.connect(self._url, autocommit=True) as watcher,
        ):
            await asyncio.sleep(1)
            began = time.perf_counter()
            await server.resume_queue("noop")
            while await self._left(watcher):
                await asyncio.sleep(0.02)
            return time.perf_counter() - began

    async def _left(self, watcher: psycopg.AsyncConnection) -> int:
        (left,) = await (await watcher.execute(LEFT)).fetchone() or (0,)
        return int(left)

    async def enqueue_stamp(self) -> None:
        await self._client.enqueue(self._stamp.new())

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Arrived]:
        async with Oban(pool=self._pool, queues={"stamp": LIMIT}):
            yield self._arrived.get


def make(url: str) -> Queue:
    return ObanQueue(url)
