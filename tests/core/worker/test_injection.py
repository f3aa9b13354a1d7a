"""A handler with an asyncpg.Connection: its effects and the completion are one transaction."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import pytest

from soniq import Cancel, Snooze, Soniq
from soniq.errors import JobDefinitionError
from soniq.job import JobContext
from tests.support.jobs import run_job, status_of
from tests.support.waiting import in_time


@pytest.fixture
async def effects(app: Soniq, schema: str) -> str:
    """The name of a table that handlers write to; its constraint on `note` is checked at the
    commit.
    """
    await app.start()
    async with app._database.acquire() as connection:
        await connection.execute(
            f"create table {schema}.effect (note text unique deferrable initially deferred, xact"
            " bigint)"
        )
    return f"{schema}.effect"


async def notes(app: Soniq, effects: str) -> list[str]:
    async with app._database.acquire() as connection:
        return [
            row["note"]
            for row in await connection.fetch(f"select note from {effects} order by note")
        ]


async def test_effects_and_completion_commit_together(
    app: Soniq, effects: str, schema: str
) -> None:
    @app.job()
    async def writes(note: str, connection: asyncpg.Connection) -> str:
        await connection.execute(
            f"insert into {effects} values ($1, pg_current_xact_id()::text::bigint)", note
        )
        return "written"

    job_id = await app.enqueue(writes, note="one")
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == "written"
    async with app._database.acquire() as connection:
        same = await connection.fetchval(
            f"select history.xmin::text = (e.xact % (2 ^ 32)::bigint)::text from {schema}.history,"
            f" {effects} e"
        )
    assert same, "the completion was written by another transaction"


@pytest.mark.parametrize(
    "annotation",
    [
        asyncpg.Connection | None,
        Annotated[asyncpg.Connection, "the app's"],
        "asyncpg.Connection | None",
    ],
    ids=["optional", "annotated", "text"],
)
async def test_the_annotation_may_be_optional_annotated_or_text(
    app: Soniq, effects: str, annotation: Any
) -> None:
    async def writes(connection: Any) -> None:
        await connection.execute(f"insert into {effects} values ('there')")

    writes.__annotations__["connection"] = annotation
    job_id = await app.enqueue(app.job()(writes))
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["status"] == "done"
    assert await notes(app, effects) == ["there"]


async def test_an_error_of_the_handler_rolls_its_effects_back(app: Soniq, effects: str) -> None:
    @app.job(retry=0.0)
    async def writes(connection: asyncpg.Connection, ctx: JobContext) -> None:
        await connection.execute(f"insert into {effects} values ($1)", f"attempt {ctx.attempt}")
        if ctx.attempt < 3:
            raise LookupError("after the write")

    job_id = await app.enqueue(writes)
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["attempt"] == 3
    assert await notes(app, effects) == ["attempt 3"]


@pytest.mark.parametrize(
    ("signal", "status"), [(Snooze(600), "queued"), (Cancel("no"), "cancelled")]
)
@pytest.mark.parametrize("how", ["raised", "returned"])
async def test_a_signal_rolls_the_effects_back(
    app: Soniq, effects: str, signal: Exception, status: str, how: str
) -> None:
    @app.job()
    async def writes(connection: asyncpg.Connection) -> Any:
        await connection.execute(f"insert into {effects} values ('never')")
        if how == "raised":
            raise signal
        return signal

    job_id = await app.enqueue(writes)
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["status"] == status
    assert await notes(app, effects) == []


async def test_a_timeout_rolls_the_effects_back(app: Soniq, effects: str) -> None:
    @app.job(timeout=0.3, max_attempts=1)
    async def writes(connection: asyncpg.Connection) -> None:
        await connection.execute(f"insert into {effects} values ('never')")
        await connection.execute("select pg_sleep(60)")

    job_id = await app.enqueue(writes)
    await in_time(app.run_worker(run_once=True))
    assert (await status_of(app, job_id))["status"] == "dead"
    assert await notes(app, effects) == []


async def test_a_job_that_was_taken_meanwhile_has_no_effect_here(
    app: Soniq, effects: str, schema: str
) -> None:
    seen: list[str] = []
    app.after_job(lambda ctx, result: seen.append("after"))
    app.on_error(lambda ctx, error: seen.append("error"))

    @app.job()
    async def writes(connection: asyncpg.Connection, ctx: JobContext) -> None:
        await connection.execute(f"insert into {effects} values ('never')")
        async with app._database.acquire() as another:
            taken = (
                f"update {schema}.job set claim = claim + 1, worker_id = gen_random_uuid() where id"
                " = $1"
            )
            await another.execute(taken, UUID(ctx.job_id))

    job_id = await app.enqueue(writes)
    await in_time(app.run_worker(run_once=True))
    assert await notes(app, effects) == []
    assert seen == []
    assert (await status_of(app, job_id))["status"] == "running"


async def test_an_error_at_the_commit_fails_the_attempt(app: Soniq, effects: str) -> None:
    errors: list[BaseException] = []
    app.on_error(lambda ctx, error: errors.append(error))
    done: list[int] = []
    app.after_job(lambda ctx, result: done.append(ctx.attempt))

    @app.job(retry=0.0, max_attempts=2)
    async def writes(connection: asyncpg.Connection, ctx: JobContext) -> None:
        await connection.execute(f"insert into {effects} values ('twice')")
        if ctx.attempt == 1:
            await connection.execute(f"insert into {effects} values ('twice')")

    job_id = await app.enqueue(writes)
    await app.run_worker(run_once=True)
    assert [type(error) for error in errors] == [asyncpg.UniqueViolationError]
    assert done == [2]
    status = await status_of(app, job_id)
    assert (status["status"], status["attempt"]) == ("done", 2)
    assert await notes(app, effects) == ["twice"]


async def test_a_handlers_error_is_not_hidden_by_its_broken_transaction(
    app: Soniq, effects: str
) -> None:
    @app.job(max_attempts=1)
    async def writes(connection: asyncpg.Connection) -> str:
        try:
            await connection.execute("select 1 / 0")
        except asyncpg.DivisionByZeroError:
            return "went on, in a transaction that is broken"
        return "never"

    status = await run_job(app, writes)
    assert status["status"] == "dead"
    assert status["error"] is not None
    assert "transaction is aborted" in status["error"]["message"]


async def test_two_workers_do_the_effects_once(app: Soniq, effects: str) -> None:
    @app.job()
    async def writes(number: int, connection: asyncpg.Connection) -> None:
        await connection.execute(f"insert into {effects} values ($1)", str(number))

    await app.enqueue_many(writes, [{"number": n} for n in range(40)])
    counts = await asyncio.gather(*(app.run_worker(run_once=True, concurrency=4) for _ in range(2)))
    assert sum(counts) == 40
    assert sorted(map(int, await notes(app, effects))) == list(range(40))


async def test_a_connection_holds_no_snapshot_until_it_is_used(app: Soniq) -> None:
    @app.job()
    async def looks(connection: asyncpg.Connection) -> list[str | None]:
        pid = connection.get_server_pid()
        async with app._database.acquire() as another:
            row = await another.fetchrow(
                "select state, backend_xmin::text, xact_start is not null as begun "
                "from pg_stat_activity where pid = $1",
                pid,
            )
        assert row is not None
        return [row["state"], row["backend_xmin"], "begun" if row["begun"] else None]

    job_id = await app.enqueue(looks)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == ["idle in transaction", None, "begun"]


async def test_its_transaction_is_read_committed(app: Soniq) -> None:
    @app.job()
    async def looks(connection: asyncpg.Connection) -> str:
        return str(await connection.fetchval("show transaction_isolation"))

    job_id = await app.enqueue(looks)
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == "read committed"


async def test_a_job_enqueued_on_it_is_part_of_its_transaction(app: Soniq, effects: str) -> None:
    @app.job()
    async def child() -> None: ...

    @app.job(max_attempts=2, retry=0.0)
    async def parent(connection: asyncpg.Connection, ctx: JobContext) -> None:
        await app.enqueue(child, connection=connection)
        if ctx.attempt == 1:
            raise LookupError("takes the child with it")

    await app.enqueue(parent)
    assert await in_time(app.run_worker(run_once=True)) == 3
    assert [job["job_name"] for job in await app.jobs()].count(child.name) == 1


async def test_what_a_handler_sets_on_its_connection_is_gone_afterwards(app: Soniq) -> None:
    @app.job()
    async def sets(connection: asyncpg.Connection) -> None:
        await connection.execute("set application_name = 'left behind'")

    await app.enqueue(sets)
    await app.run_worker(run_once=True)
    async with app._database.acquire() as connection:
        assert await connection.fetchval("show application_name") == "soniq"


async def test_a_def_handler_cannot_have_a_connection(app: Soniq) -> None:
    @app.job(name="in_a_thread")
    def handler(connection: asyncpg.Connection) -> None: ...

    with pytest.raises(
        JobDefinitionError, match=r"in_a_thread.*`async def`.*asyncpg.Connection"
    ) as caught:
        await app.start()
    assert caught.value.job == "in_a_thread"


@pytest.mark.parametrize("how", ["close", "terminate"])
async def test_a_handler_that_closes_its_connection_fails_and_is_told_why(
    app: Soniq, how: str
) -> None:
    @app.job(name="closes", max_attempts=1)
    async def closes(connection: asyncpg.Connection) -> None:
        closed = getattr(connection, how)()
        if how == "close":
            await closed

    job_id = await app.enqueue(closes)
    await app.run_worker(run_once=True)
    status = await status_of(app, job_id)
    assert (status["status"], status["error"]) == (
        "dead",
        {
            "type": "soniq.errors.CompletionError",
            "message": "closes closed the connection that was to complete it; nothing is completed",
            "traceback": status["error"] and status["error"]["traceback"],
        },
    )
