"""Jobs and their calls as they may be written: neither checker reports anything, and each result
has its type.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn, assert_type

import asyncpg

from soniq import (
    PROVIDED,
    Backoff,
    Cancel,
    Job,
    JobContext,
    JobId,
    Jobs,
    Retry,
    Snooze,
    Soniq,
    Unique,
)

eq = Soniq(discover=False)
jobs = Jobs(queue="mail", max_attempts=3)
eq.include(jobs)

# --- the decorator -------------------------------------------------------------------------------


@eq.job
async def sync_user(user_id: int, full: bool = False) -> int:
    return user_id


@jobs.job
async def greet(name: str) -> str:
    return name


@eq.job(name="b", queue="q", priority=-1, max_attempts=2, timeout=1.5, retry=Backoff(), unique=True)
@jobs.job(
    serializer="json", tags=["t"], expires=60, keep=3600, unique=Unique(by=("n",), scope="queued")
)
def double(n: int) -> int:
    return 2 * n


@jobs.job(object(), retry=lambda ctx, error: Cancel("no"))
async def may_wait(n: int) -> str | Retry | Snooze | None:
    return Snooze(1) if n else None


@eq.job()
def may_cancel(n: int) -> int | Cancel:
    return n


@eq.job()
async def lines() -> AsyncIterator[bytes]:
    yield b""


@eq.job()
async def export(day: str) -> Path:
    return Path(day)


@eq.job()
def export_in_a_thread() -> Path:
    return Path()


@eq.job()
async def nothing() -> None: ...


@eq.job()
async def anything(value: object) -> Any:
    return value


@eq.job()
async def polls() -> Snooze:
    return Snooze(5)


@eq.job()
async def fails() -> NoReturn:
    raise RuntimeError


@eq.job()
async def charge(
    order_id: int, ctx: JobContext = PROVIDED, connection: asyncpg.Connection = PROVIDED
) -> bool:
    return await connection.fetchval("select $1 = $2", order_id, ctx.attempt) is True


assert_type(double(4), int)


# --- its calls -----------------------------------------------------------------------------------


async def enqueue(connection: "asyncpg.Connection[asyncpg.Record]", ctx: JobContext) -> None:
    assert_type(await sync_user.using(delay=60, dedup_key="k").enqueue(user_id=42), JobId)
    assert_type(await sync_user.enqueue(42, full=True), JobId)
    assert_type(await sync_user(42), int)
    later = sync_user.using(
        app=eq, connection=connection, notify=False, unique=Unique(on_conflict="replace"), keep=5
    )
    await later.enqueue(1)
    await later.enqueue(2, True)
    await greet.using(queue="q", priority=1, max_attempts=1, tags=("a",), headers={"a": 1}).enqueue(
        "x"
    )
    await charge.enqueue(7)
    await charge.using(timeout=3).enqueue(order_id=7)
    await charge(7, ctx, connection)
    await eq.enqueue(sync_user, 42, delay=5)
    await ctx.enqueue(greet, "x")


async def read(job_id: JobId, text: str) -> None:
    assert_type(await sync_user.get_result(job_id), int | None)
    assert_type(await sync_user.wait_for(text), int)
    assert_type(await sync_user.using(app=eq).wait_for(job_id, timeout=5), int)
    assert_type(await double.wait_for(job_id), int)
    assert_type(await may_wait.wait_for(job_id), str | None)
    assert_type(await may_cancel.get_result(job_id), int | None)
    assert_type(await lines.get_result(job_id), bytes | None)
    assert_type(await export.wait_for(job_id), bytes)
    assert_type(await export_in_a_thread.wait_for(job_id), bytes)
    assert_type(await nothing.wait_for(job_id), None)
    assert_type(await anything.wait_for(job_id), Any)
    assert_type(await polls.wait_for(job_id), Any)
    assert_type(await fails.wait_for(job_id), Any)
    assert_type(await charge.wait_for(job_id), bool)


async def any_job(job: Job[..., Any], function: Callable[[int], Awaitable[None]]) -> None:
    await job.enqueue(1, a=2)
    assert_type(await job.get_result(""), Any)
    await eq.job(function).enqueue(1)
