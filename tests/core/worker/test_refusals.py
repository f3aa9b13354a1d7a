"""What PostgreSQL does not take is charged, has its error, and comes to an end."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from soniq import Soniq
from soniq.job import JobContext
from tests.conftest import MakeApp
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import eventually

Connection = asyncpg.Connection  # the class itself: that is how a handler asks for one


@pytest.mark.parametrize("injected", [False, True])
@pytest.mark.parametrize("letter", ["q", "€"])
async def test_children_in_more_queues_than_a_notification_names_are_enqueued(
    make_app: MakeApp, letter: str, injected: bool
) -> None:
    app, another = make_app(), make_app()
    queues = [f"{letter * 40}{number:03}" for number in range(250)]

    @app.job()
    async def child() -> None: ...

    if injected:

        @app.job(name="parent", queue="parents", max_attempts=1)
        async def parent(ctx: JobContext, connection: Connection) -> None:
            for queue in queues:
                await child.using(queue=queue, connection=connection).enqueue()

    else:

        @app.job(name="parent", queue="parents", max_attempts=1)
        async def parent(ctx: JobContext) -> None:
            for queue in queues:
                await ctx.enqueue(child, queue=queue)

    async with working(app, queues=["parents"]), working(another, queues=["asleep"]):
        async with app.connection() as connection:

            async def asleep() -> Any:
                return await connection.fetchval(
                    f"select bool_and(waiting) from {app.settings.schema}.worker"
                )

            await eventually(asleep)
        status = await finished(app, await app.enqueue("parent"))
    assert (status["status"], status["attempt"]) == ("done", 1)
    assert len([job for job in await app.jobs(limit=300) if job["queue"] in queues]) == 250


async def test_queues_with_long_names_wake_a_worker_that_sleeps(make_app: MakeApp) -> None:
    app = make_app(poll_interval=20)
    queues = [f"{'€' * 60}{number:02}" for number in range(60)]

    @app.job()
    async def one() -> None: ...

    for queue in queues:
        await app.enqueue(one, queue=queue)
    async with working(app):
        for job in await app.jobs(limit=100):
            await finished(app, job["job_id"])
        await asyncio.sleep(0.3)  # it is asleep now
        ids = await asyncio.gather(*(app.enqueue(one, queue=queue) for queue in queues))
        for each in ids:
            await finished(app, each, 8)


async def refuse(app: Soniq, table: str, when: str) -> None:
    """Let PostgreSQL refuse to insert such rows."""
    schema = app.settings.schema
    await app.start()
    async with app.connection() as connection:
        await connection.execute(
            f"create function {schema}.refuse() returns trigger language plpgsql as $$ begin "
            "raise exception 'this row is refused'; end $$; "
            f"create trigger refuse before insert on {schema}.{table} for each row when ({when}) "
            f"execute function {schema}.refuse()"
        )


@pytest.mark.parametrize("attempts", [1, 3])
async def test_children_that_are_refused_fail_the_attempt_with_the_error(
    app: Soniq, attempts: int
) -> None:
    runs: list[int] = []

    @app.job(priority=7)
    async def child() -> None: ...

    @app.job(max_attempts=attempts)
    async def parent(ctx: JobContext) -> None:
        runs.append(ctx.attempt)
        await ctx.enqueue(child)

    @app.job()
    async def other() -> None: ...

    await refuse(app, "job", "new.priority = 7")
    async with working(app):
        status = await finished(app, await app.enqueue(parent), 30)
        await finished(app, await app.enqueue(other))
    assert (status["status"], status["attempt"], runs) == (
        "dead",
        attempts,
        list(range(1, attempts + 1)),
    )
    assert status["error"] is not None
    assert "this row is refused" in status["error"]["message"]


@pytest.mark.parametrize("fails", [False, True])
async def test_an_end_that_cannot_be_written_is_charged_and_written_once_it_can_be(
    app: Soniq, fails: bool
) -> None:
    runs: list[int] = []

    @app.job(max_attempts=2, retry=0)
    async def one(ctx: JobContext) -> None:
        runs.append(ctx.attempt)
        if fails:
            raise LookupError("it fails")

    await refuse(app, "history", "true")
    schema = app.settings.schema
    job_id = await app.enqueue(one)
    async with working(app), app.connection() as connection:

        async def put_off() -> bool:
            status = await status_of(app, job_id)
            return (status["status"], status["attempt"]) == ("queued", 2)

        await eventually(put_off, 30)
        assert runs == [1, 2]
        status = await status_of(app, job_id)
        assert status["error"] is not None
        assert "this row is refused" in status["error"]["message"]
        await connection.execute(f"drop trigger refuse on {schema}.history")
        await connection.execute(
            f"update {schema}.job set scheduled_at = now() where id = $1", UUID(job_id)
        )
        ended = await finished(app, job_id)
    assert (ended["status"], ended["attempt"], runs) == ("dead", 2, [1, 2])
    assert ended["error"] is not None
    assert "this row is refused" in ended["error"]["message"]
