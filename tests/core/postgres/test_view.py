"""The view `jobs`: what SQL tools read, with columns that stay, quick for one id, and for a role
that may only read.
"""

import re

import asyncpg
import pytest

from soniq import Soniq

COLUMNS = {
    "id": "uuid", "name": "text", "queue": "text", "status": "text", "priority": "integer",
    "attempt": "integer", "max_attempts": "integer", "created_at": "timestamp with time zone",
    "scheduled_at": "timestamp with time zone", "started_at": "timestamp with time zone",
    "finished_at": "timestamp with time zone", "worker_id": "uuid", "tags": "ARRAY",
    "dedup_key": "text", "headers": "jsonb", "error_type": "text", "error_message": "text",
    "error_traceback": "text", "progress": "jsonb", "arguments": "json", "result": "json",
    "held_by": "ARRAY",
}  # fmt: skip


@pytest.fixture
async def filled(app: Soniq) -> Soniq:
    """An app whose jobs are live and finished."""

    @app.job(name="greet", max_attempts=1)
    async def greet(name: str) -> str:
        if name == "nobody":
            raise ValueError("there is nobody")
        return f"hello {name}"

    await app.enqueue_many("greet", [{"name": "eva"}] * 50)
    await app.enqueue("greet", "nobody", dedup_key="k", headers={"tenant": "acme"}, tags=["t"])
    await app.run_worker(run_once=True)
    await app.enqueue_many("greet", [{"name": "adam"}] * 50, delay=60)
    return app


async def test_the_columns_are_what_was_announced(
    filled: Soniq, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    rows = await connection.fetch(
        "select column_name, data_type from information_schema.columns "
        "where table_schema = $1 and table_name = 'jobs' order by ordinal_position",
        schema,
    )
    assert {row["column_name"]: row["data_type"] for row in rows} == COLUMNS
    assert [row["column_name"] for row in rows] == list(COLUMNS)


async def test_live_and_finished_jobs_are_in_one(
    filled: Soniq, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    counts = await connection.fetch(
        f"select status, count(*) from {schema}.jobs group by status order by status"
    )
    assert [tuple(row) for row in counts] == [("dead", 1), ("done", 50), ("queued", 50)]
    dead = await connection.fetchrow(f"select * from {schema}.jobs where status = 'dead'")
    assert dead is not None
    assert (dead["arguments"], dead["dedup_key"], dead["tags"]) == ('{"name":"nobody"}', "k", ["t"])
    assert (dead["error_type"], dead["error_message"]) == ("ValueError", "there is nobody")
    assert "there is nobody" in dead["error_traceback"]
    greeted = await connection.fetch(
        "select distinct arguments ->> 'name' as name, result #>> '{}' as result from"
        f" {schema}.jobs where status = 'done'"
    )
    assert [tuple(row) for row in greeted] == [("eva", "hello eva")]


async def test_a_row_whose_arguments_are_no_json_keeps_no_other_from_being_read(
    filled: Soniq, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    await connection.execute(
        f"update {schema}.job set args = '\\xff00' where id = (select id from {schema}.job limit 1)"
    )
    rows = await connection.fetch(f"select arguments from {schema}.jobs where status = 'queued'")
    assert sorted(str(row["arguments"]) for row in rows) == sorted(
        ["None", *['{"name":"adam"}'] * 49]
    )


@pytest.mark.parametrize("condition", ["id = $1", "id = any(array[$1]::uuid[])"])
async def test_one_id_is_found_without_walking_anything(
    filled: Soniq, connection: "asyncpg.Connection[asyncpg.Record]", schema: str, condition: str
) -> None:
    await connection.execute(
        f"insert into {schema}.job (id, keep, max_attempts, name, serializer, args) "
        "select gen_random_uuid(), 1, 1, 'greet', 'json', '{}' from generate_series(1, 20000)"
    )
    await connection.execute(
        f"insert into {schema}.history (id, forget_at, created_at, scheduled_at, finished_at,"
        " claim, keep, priority, attempt, max_attempts, name, queue, status, serializer, args)"
        " select gen_random_uuid(), now() + make_interval(days => n % 7), now(), now(), now(), 1,"
        " 1, 0, 1, 1, 'greet', 'default', 'done', 'json', '{}' from generate_series(1, 20000)"
        " as n"
    )
    await connection.execute(f"analyze {schema}.job")
    await connection.execute(f"analyze {schema}.history")
    job_id = await connection.fetchval(f"select id from {schema}.history limit 1")
    plan = "\n".join(
        row[0]
        for row in await connection.fetch(
            f"explain (analyze, buffers) select * from {schema}.jobs where {condition}", job_id
        )
    )
    removed = sum(int(rows) for rows in re.findall(r"Rows Removed by Filter: (\d+)", plan))
    assert removed < 200, plan  # a partition of one page is read as it is
    assert (
        len(await connection.fetch(f"select * from {schema}.jobs where {condition}", job_id)) == 1
    )


async def test_a_role_that_may_read_the_view_needs_no_other_right(
    filled: Soniq, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    role = f"{schema}_reader"
    await connection.execute(f"create role {role}")
    try:
        await connection.execute(f"grant usage on schema {schema} to {role}")
        await connection.execute(f"grant select on {schema}.jobs to {role}")
        await connection.execute(f"set role {role}")
        assert len(await connection.fetch(f"select * from {schema}.jobs")) == 101
        for refused in (
            f"select * from {schema}.job",
            f"delete from {schema}.jobs",
            f"update {schema}.jobs set name = ''",
        ):
            with pytest.raises(asyncpg.PostgresError):
                await connection.execute(refused)
    finally:
        await connection.execute("reset role")
        await connection.execute(f"drop owned by {role}")
        await connection.execute(f"drop role {role}")
