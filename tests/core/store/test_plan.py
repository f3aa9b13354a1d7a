"""The plan of the claim, which must not change whatever the table holds: measured, another plan is a third as fast.

From PostgreSQL 16 on the statement's own text is explained with a generic plan. On 15 the function runs, and
auto_explain says how: the wheel's 18 has no auto_explain, and 15 no GENERIC_PLAN.
"""

import re
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Protocol

import asyncpg
import pytest

from tests.conftest import MakeApp

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

FILL = """
insert into {schema}.job (id, name, queue, priority, max_attempts, serializer, keep, args)
select gen_random_uuid(), 'job', 'queue ' || n % 5, n % 2, 5, 'json', 60, '{{}}' from generate_series(1, 20000) n
"""

STATES = {
    "the empty table": [],
    "20,000 jobs, not analyzed": [FILL],
    "20,000 jobs, analyzed": [FILL, "analyze {schema}.job"],
    "all running": [FILL, "update {schema}.job set status = 'running'", "analyze {schema}.job"],
    "emptied and vacuumed": [FILL, "delete from {schema}.job", "vacuum analyze {schema}.job"],
}

CLAIM = """
select from {schema}.settle_and_claim_1(
    gen_random_uuid(), '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}',
    array['queue 1', 'queue 2'], array[0, 1]::smallint[], array['1970-01-01', '1970-01-01']::timestamptz[],
    array_fill('00000000-0000-0000-0000-000000000000'::uuid, array[2]), 100
)
"""
SURFACE = "select {schema}.surface_1('queue 1', 0::smallint, now() - interval '1 hour')"


class Plans(Protocol):
    async def __call__(self, function: str) -> str: ...


@pytest.fixture
async def plan(make_app: MakeApp, database_url: str, schema: str) -> "AsyncIterator[Plans]":
    """The plan of the statement in a function of the schema, on one connection, as a worker has it."""
    await make_app().start()
    connection = await asyncpg.connect(database_url)

    async def of(function: str) -> str:
        if connection.get_server_version().major >= 16:
            return await _generic(connection, schema, function)
        return await _logged(connection, (CLAIM if function == "settle_and_claim_1" else SURFACE).format(schema=schema))

    yield of
    await connection.close()


@pytest.mark.parametrize("statements", STATES.values(), ids=STATES)
@pytest.mark.parametrize("function", ["settle_and_claim_1", "surface_1"])
async def test_jobs_are_found_by_index_alone(
    plan: Plans, connection: "Connection", schema: str, function: str, statements: Sequence[str]
) -> None:
    await plan(function)  # made once before, as in a worker that was there when the table was empty
    for statement in statements:
        await connection.execute(statement.format(schema=schema))
    _check(await plan(function), function)


async def test_the_plan_holds_through_all_states_on_one_connection(
    plan: Plans, connection: "Connection", schema: str
) -> None:
    for statements in STATES.values():
        await connection.execute(f"truncate {schema}.job")
        for statement in statements:
            await connection.execute(statement.format(schema=schema))
        for function in ("settle_and_claim_1", "surface_1"):
            _check(await plan(function), function)


def _check(plan: str, function: str) -> None:
    """Index scans on the jobs, and nowhere a sort, a bitmap or a walk through the table."""
    used = re.findall(r"(?:Index Scan|Index Only Scan)(?: Backward)? using (\w+) on (?:\w+\.)?job\b", plan)
    assert set(used) == {"job_ready", "job_pkey"}, plan
    assert used.count("job_ready") == 1, plan
    assert used.count("job_pkey") == (3 if function == "settle_and_claim_1" else 1), plan  # settle, give back, claim
    walks = [line for line in plan.splitlines() if "Seq Scan" in line and "Seq Scan on retention" not in line]
    assert not walks, plan
    for bad in ("Sort", "Bitmap", "Hash Join", "Merge Join"):
        assert bad not in plan, plan


async def _generic(connection: "Connection", schema: str, function: str) -> str:
    """The generic plan of the query in a function, under the function's own settings."""
    row = await connection.fetchrow(
        "select prosrc, proargnames, proargtypes::regtype[]::text[] as types, proconfig from pg_proc "
        "where proname = $1 and pronamespace = to_regnamespace($2)",
        function,
        schema,
    )
    assert row is not None
    query = re.search(r"(?:return query|begin)\n(with .*?);\n(?:end|get)", row["prosrc"], re.DOTALL)
    assert query is not None
    text = query[1]
    for place, (name, kind) in enumerate(zip(row["proargnames"], row["types"], strict=False), 1):
        text = re.sub(rf"\b{name}\b", f"${place}::{kind}", text)
    settings = " ".join("set {} = '{}'".format(*each.split("=", 1)) for each in row["proconfig"])
    # In a function, because EXECUTE sends it as the simple protocol does, without values for its parameters.
    await connection.execute(
        f"create or replace function pg_temp.explain(query text) returns setof text language plpgsql {settings} "
        "as $$ begin return query execute 'explain (generic_plan, verbose off) ' || query; end $$"
    )
    lines = await connection.fetch("select * from pg_temp.explain($1)", text)
    return "\n".join(line[0] for line in lines)


async def _logged(connection: "Connection", call: str) -> str:
    """The plan that a function really used, from auto_explain's log."""
    logged: list[str] = []

    def collect(_: object, message: asyncpg.PostgresLogMessage) -> None:
        logged.append(message.message)

    connection.add_log_listener(collect)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(
        "load 'auto_explain'; set local auto_explain.log_min_duration = 0; "
        "set local auto_explain.log_nested_statements = on; set local client_min_messages = log"
    )
    await connection.execute(call)
    await transaction.rollback()
    connection.remove_log_listener(collect)
    inner = [message for message in logged if "Query Text: with" in message]
    assert len(inner) == 1, logged
    return inner[0].partition("\n")[2]
