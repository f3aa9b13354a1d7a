"""Jobs of every kind, and how they end: the same with a plugin as without it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

from soniq import Cancel, JobContext, Retry, Snooze, Soniq

from .jobs import drain, travel
from .neighbours import Foreign

Step = Callable[[], Awaitable[Sequence[str]]]
"""Enqueues jobs; their ids."""

LARGE = 200_000
"""Bytes of a large result: one that a store outside the database may take."""
BULK = 10
SUCCEEDS = "a job that succeeds"
DAY = 86_400.0


@dataclass
class Order:
    """An argument that is no plain value."""

    number: int
    due: datetime


class Scenario:
    """The jobs of one app. `options` are typed options that each of them has."""

    def __init__(self, app: Soniq, options: Sequence[object]) -> None:
        self._app = app
        self._options = options
        self._seen: set[str] = set()
        self._define()

    async def run(self, serializers: Sequence[str], timeout: float) -> dict[str, str]:
        """Enqueue all, work them off; for each kind of job how it ended, or the error of its
        enqueue.

        `serializers`: names of some to try as well. `timeout` in seconds, for each of the two times
        that jobs are worked off. Raises `TimeoutError`.
        """
        ended: dict[str, str] = {}
        ids: dict[str, Sequence[str]] = {}
        for kind, step in self._steps(serializers).items():
            try:
                ids[kind] = await step()
            except Exception as error:
                ended[kind] = f"is refused: {type(error).__name__}: {error}"
        await drain(self._app, timeout=timeout)
        await travel(self._app, DAY)
        await drain(self._app, timeout=timeout)
        for kind, jobs in ids.items():
            ended[kind] = (
                "; ".join(dict.fromkeys([await self._ended(job_id) for job_id in jobs]))
                or "does not exist"
            )
        await self._app.prune(older_than=0)
        return ended

    async def run_one(self) -> None:
        """Run one job. Raises `AssertionError` where it is not done then."""
        job_id = await self._app.enqueue("check.thread", word="once more")
        await drain(self._app)
        ended = await self._ended(job_id)
        if not ended.startswith("done"):
            raise AssertionError(f"a job is {ended}")

    # --- the kinds of jobs -----------------------------------------------------------------------

    def _define(self) -> None:
        app, options = self._app, self._options

        @app.job(*options, name="check.succeed")
        async def succeed(order: Order) -> Order:
            return order

        @app.job(*options, name="check.large")
        async def large() -> bytes:
            return b"x" * LARGE

        @app.job(*options, name="check.thread")
        def thread(word: str) -> str:
            return word

        @app.job(*options, name="check.context")
        async def context(ctx: JobContext, connection: asyncpg.Connection) -> list[Any]:
            return [ctx.headers["check"], ctx.attempt, await connection.fetchval("select 1")]

        @app.job(*options, name="check.foreign", max_attempts=1)
        async def foreign(connection: Foreign) -> int:
            ((answer,),) = await connection.fetch("select 1")
            return int(answer)

        @app.job(*options, name="check.fail", max_attempts=1)
        async def fail() -> None:
            raise ValueError("as it should")

        @app.job(*options, name="check.fail_once", max_attempts=2)
        async def fail_once(ctx: JobContext) -> int:
            if ctx.attempt == 1:
                raise ValueError("at first")
            return ctx.attempt

        @app.job(*options, name="check.retry", max_attempts=2)
        async def retry(ctx: JobContext) -> int:
            if ctx.attempt == 1:
                raise Retry(0)
            return ctx.attempt

        @app.job(*options, name="check.snooze", max_attempts=1)
        async def snooze(ctx: JobContext) -> int:
            if ctx.job_id not in self._seen:
                self._seen.add(ctx.job_id)
                raise Snooze(0)
            return ctx.attempt

        @app.job(*options, name="check.cancel")
        async def cancel() -> None:
            raise Cancel("not wanted")

        @app.job(*options, name="check.time_out", max_attempts=1, timeout=0.1)
        async def time_out() -> None:
            await asyncio.Event().wait()

        @app.job(*options, name="check.unique", unique=True)
        async def unique(word: str) -> str:
            return word

    def _steps(self, serializers: Sequence[str]) -> dict[str, Step]:
        """What is enqueued, by what it is."""
        order = Order(7, datetime(2030, 1, 31, tzinfo=UTC))
        enqueue = self._enqueue
        steps = {
            SUCCEEDS: enqueue("check.succeed", order=order),
            "a job with a large result": enqueue("check.large"),
            "a job that is a def": enqueue("check.thread", word="in a thread"),
            "a job with headers, a context and a connection": enqueue(
                "check.context", headers={"check": "along"}
            ),
            "a job that is completed in a transaction of another driver": enqueue("check.foreign"),
            "a job that fails": enqueue("check.fail"),
            "a job that fails once": enqueue("check.fail_once"),
            "a job that raises Retry": enqueue("check.retry"),
            "a job that raises Snooze": enqueue("check.snooze"),
            "a job that raises Cancel": enqueue("check.cancel"),
            "a job that takes longer than its timeout": enqueue("check.time_out"),
            "a job with a delay": enqueue("check.thread", word="later", delay=DAY),
            "a job that is cancelled while it waits": self._cancelled,
            "a bulk of jobs": self._bulk,
            "a job of a transaction that is rolled back": self._rolled_back,
            "a job of a transaction of another driver": self._of_another_driver,
            "a unique job, enqueued twice": self._twice(unique=True),
            "a job with a dedup key, enqueued twice": self._twice(dedup_key="check"),
        }

        for name in serializers:
            steps[f"a job with the serializer {name!r}"] = enqueue(
                "check.succeed", order=order, serializer=name
            )
        return steps

    def _enqueue(self, job: str, **arguments: object) -> Step:
        async def step() -> Sequence[str]:
            return [await self._app.enqueue(job, **arguments)]

        return step

    def _twice(self, **options: object) -> Step:
        async def step() -> Sequence[str]:
            first = await self._app.enqueue("check.unique", word=f"{options}", **options)
            second = await self._app.enqueue("check.unique", word=f"{options}", **options)
            if not first.inserted or second.inserted or second != first:
                raise AssertionError(
                    "two jobs came of it" if second != first else "the ids do not say so"
                )
            return [first]

        return step

    async def _bulk(self) -> Sequence[str]:
        return await self._app.enqueue_many(
            "check.thread", [{"word": str(i % 2)} for i in range(BULK)]
        )

    async def _cancelled(self) -> Sequence[str]:
        job_id = await self._app.enqueue("check.thread", word="never", delay=DAY)
        await self._app.cancel(job_id, "not needed")
        return [job_id]

    async def _rolled_back(self) -> Sequence[str]:
        async with self._app.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            job_id = await self._app.enqueue("check.thread", word="never", connection=connection)
            await transaction.rollback()
        return [job_id]

    async def _of_another_driver(self) -> Sequence[str]:
        async with self._app.connection() as connection, connection.transaction():
            return [
                await self._app.enqueue(
                    "check.thread", word="foreign", connection=Foreign(connection)
                )
            ]

    # --- how they end ----------------------------------------------------------------------------

    async def _ended(self, job_id: str) -> str:
        try:
            job = await self._app.get_job_status(job_id)
        except Exception as error:
            return f"cannot be read: {type(error).__name__}: {error}"
        if job is None:
            return "does not exist"
        text = f"{job['status']} at attempt {job['attempt']}"
        if job["error"]:
            text += f" with {job['error']['type']}: {job['error']['message']}"
        result = repr(job["result"])
        return f"{text}, result {result if len(result) < 100 else f'of {len(result)} characters'}"
