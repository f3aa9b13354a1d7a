"""What is done to a job only as long as it is what somebody has seen."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from soniq import InvalidOption, JobChanged, JobNotFound, JobNotRetryable, Soniq
from tests.support.jobs import run_job, status_of
from tests.support.waiting import eventually

NOWHERE = "01900000-0000-7000-8000-000000000000"


async def dead(app: Soniq) -> str:
    if "fail" not in app.registry:

        @app.job(name="fail", max_attempts=1)
        async def fail() -> None:
            raise ValueError

    return (await run_job(app, "fail"))["job_id"]


@pytest.mark.parametrize("delete", ["delete", "delete_many", "delete_all"])
async def test_a_job_that_is_retried_while_it_is_deleted_stays(
    app: Soniq, connection: "asyncpg.Connection[asyncpg.Record]", schema: str, delete: str
) -> None:
    """The delete waits for the retry, whose transaction is open, and then finds no dead job."""
    job_id = await dead(app)

    async def deleted() -> Any:
        if delete == "delete":
            return await app.delete(job_id, status="dead")
        if delete == "delete_many":
            return await app.delete_many([job_id], status="dead")
        return await app.delete_all(status="dead")

    async with connection.transaction():
        await connection.execute(
            f"select from {schema}.retry_3(array[$1::uuid], null, null, null, null, null, null, null)",
            job_id,
        )
        deleting = asyncio.create_task(deleted())
        await eventually(lambda: is_waited_for(connection))
    if delete == "delete":
        with pytest.raises(JobChanged) as refused:
            await deleting
        assert (refused.value.job_id, refused.value.status) == (job_id, "queued")
    else:
        left = {job_id: "it is queued"} if delete == "delete_many" else {}
        assert await deleting == {"deleted": 0, "left": left}
    assert (await status_of(app, job_id))["status"] == "queued"


async def is_waited_for(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    return bool(
        await connection.fetchval(
            "select exists (select from pg_locks where pg_backend_pid() ="
            " any(pg_blocking_pids(pid)))"
        )
    )


async def test_a_job_is_deleted_if_it_is_what_was_seen(app: Soniq) -> None:
    ids = [await dead(app), await app.enqueue("fail", delay=600), await app.enqueue("fail")]
    for job_id, status in zip(ids, ["queued", "dead", "running"], strict=True):
        with pytest.raises(JobChanged):
            await app.delete(job_id, status=status)  # type: ignore[arg-type]
    left = {ids[0]: "it is dead"}
    assert await app.delete_many(ids, status="held") == {"deleted": 2, "left": left}
    assert await app.delete(ids[0], status="dead")
    assert not await app.delete(ids[0], status="dead")
    with pytest.raises(InvalidOption, match="status="):
        await app.delete(ids[0], status="gone")  # type: ignore[arg-type]


async def test_a_job_that_is_due_later_runs_now_and_none_of_another_kind(
    app: Soniq, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    lost, later = await dead(app), await app.enqueue("fail", delay=600)
    cancelled = await app.enqueue("fail")
    await app.cancel(cancelled)
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        each: (lambda each=each: app.retry(each, status="queued"))  # type: ignore[misc]
        for each in (lost, cancelled, NOWHERE)
    }
    for job_id, error in ((lost, JobChanged), (cancelled, JobChanged), (NOWHERE, JobNotFound)):
        with pytest.raises(error):
            await calls[job_id]()
    with pytest.raises(JobChanged):
        await app.retry(lost, status="cancelled")

    held = await app.enqueue("fail", delay=600)
    await connection.execute(
        f"update {schema}.job set status = 'held', held_by = array['gate'] where id = $1", str(held)
    )
    with pytest.raises(JobNotRetryable, match="held by gate"):
        await app.retry(held, status="queued")

    many = await app.retry_many([lost, later, cancelled, held], status="queued")
    assert many["left"] == {
        lost: "it is dead", cancelled: "it is cancelled", held: "it is held by gate",
    }  # fmt: skip
    assert many["queued"] == 1
    await app.retry(later, status="queued")  # it is due already
    await app.run_worker(run_once=True)
    assert (await status_of(app, later))["attempt"] == 1
    assert (await app.retry_many([lost, cancelled], status="dead"))["queued"] == 1
    with pytest.raises(InvalidOption, match="status="):
        await app.retry(lost, status="done")  # type: ignore[arg-type]
