"""The plans of the statements, which must not change whatever the table holds or is taken to hold.

A plan that is made while the table is empty stays in its session, and an ANALYZE that finds pages
and no rows makes the planner take a table for empty however large it grows. So each scan of jobs
must be one of an index with a condition on its first column, in each of these states, by the plan's
text; and by what is read, once the table has grown.
"""

import re
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import pytest

from soniq.postgres.sql import Statements
from tests.conftest import MakeApp

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

STATEMENTS = sorted(
    entry.name.removesuffix(".sql") for entry in (files("soniq.postgres") / "queries").iterdir()
)

READS_ALL = {
    "backlog": "counts what is alive, when a person or a gauge asks",
    "count": "counts what matches, when a person asks",
    "finished": "counts the newest of what is finished, when a person asks",
    "forget_beyond": "looks at all in the last partition of history, once an hour",
    "held_by": "looks for what somebody holds, when a person asks",
    "requeue_unreceived": "looks at all that runs, after a lost connection and once a minute",
    "forget_plugin": "looks for what is marked, when a person asks",
    "ids": "walks the newest jobs until enough match, when a person asks",
    "live_lanes": "counts so many of each lane, when a person asks",
    "newest_finished": "counts the newest of what is finished, when a person asks",
    "oldest_live": "counts the oldest of what is alive, when a person asks",
    "jobs": "walks the newest jobs until enough match, when a person asks",
    "orphans": "looks at all that runs, after a death and once a minute",
    "situation": "looks at the oldest of what is alive, when a person asks",
    "prune": "looks at all that is finished, when a person asks",
}
"""Statements that may read all that is alive, or all that is finished, and why that is right."""

BY_WHAT_IT_READS = {
    "insert_keyed": "a function of several statements, in a loop",
    "settle_tell_and_claim": "a function that calls others, one of a plugin's",
    "tell_owed": "a function that calls others, one of a plugin's",
}
"""Statements whose plans cannot be shown here, and why; what they read is tested below."""

FIRST = {
    "job_pkey": "id",
    "job_ready": "queue",
    "job_dedup": "name",
    "job_held_until": "expires_at",
}
"""The first column of each index of jobs."""


def filled(count: int, status: str = "queued") -> str:
    held = "array['me']" if status == "held" else "null"
    return (
        "insert into {schema}.job (id, name, queue, priority, max_attempts, serializer, keep,"
        " args, status, dedup_key, held_by) select gen_random_uuid(), 'job', 'queue ' || n % 5, n % 2, 5,"
        f" 'json', 60, '', '{status}', 'key ' || n, {held} from generate_series(1, {count}) n"
    )


GONE = "delete from {schema}.job"
ANALYZE = "analyze {schema}.job"
VACUUM = "vacuum analyze {schema}.job"

STATES: dict[str, Sequence[str]] = {
    "the empty table": [],
    "the empty table, analyzed": [ANALYZE],
    "the empty table, vacuumed": [VACUUM],
    "a hundred done, analyzed": [filled(100), GONE, ANALYZE],
    "a hundred done, vacuumed": [filled(100), GONE, VACUUM],
    **{f"{n} jobs, analyzed": [filled(n), ANALYZE] for n in (1, 2, 10, 100, 1_000)},
    **{
        f"{n} jobs beside 2,000 done, analyzed": [filled(2_000), GONE, filled(n), ANALYZE]
        for n in (0, 1, 2, 10, 100)
    },
    "two running beside 2,000 done, analyzed": [filled(2_000), GONE, filled(2, "running"), ANALYZE],
    "20,000 jobs, not analyzed": [filled(20_000)],
    "20,000 jobs, analyzed": [filled(20_000), ANALYZE],
    "a hundred done, analyzed, then 20,000": [filled(100), GONE, ANALYZE, filled(20_000)],
    "20,000 held": [filled(20_000, "held"), ANALYZE],
    "20,000 running": [filled(20_000, "running"), ANALYZE],
    "emptied": [filled(20_000), GONE, ANALYZE],
    "emptied and vacuumed": [filled(20_000), GONE, VACUUM],
}


class Prepared(NamedTuple):
    """A statement as PostgreSQL gets to plan it: the text, types of its parameters, settings of its
    function.
    """

    text: str
    types: Sequence[str]
    settings: Sequence[str]


QUERY = re.compile(
    r"^ *(?:return query\n *)?((?:with|select|insert|update|delete)\b.*?);$",
    re.DOTALL | re.MULTILINE,
)
"""A query in the body of a function, from the start of a line."""

OF_SEVERAL = {"settle": 3, "settle_and_claim": 3}
"""How many queries the functions have that have more than one."""


async def prepared(connection: "Connection", schema: str, name: str) -> list[Prepared]:
    """A statement, or the queries in the function that it calls."""
    text = Statements(schema)[name]
    called = re.search(r"(?:from|select) \"?\w+\"?\.(\w+_\d)\(", text)
    if called is None:
        return [Prepared(text, (), ())]
    row = await connection.fetchrow(
        "select prosrc, proargnames, proargtypes::regtype[]::text[] as types, proconfig from"
        " pg_proc where proname = $1 and pronamespace = to_regnamespace($2)",
        called[1],
        schema,
    )
    assert row is not None, name
    queries = QUERY.findall(row["prosrc"])
    assert len(queries) == OF_SEVERAL.get(name, 1), name
    settings = [each.replace("=", " to ", 1) for each in row["proconfig"]]
    found = []
    for query in queries:
        body = query
        for place, argument in enumerate(row["proargnames"][: len(row["types"])], 1):
            body = re.sub(rf"\b{argument}\b", f"${place}", body)
        found.append(Prepared(body, row["types"], settings))
    return found


async def plan_of(connection: "Connection", schema: str, name: str) -> str:
    """The plans of a statement, as a session has them once it has used it often: one for all
    values.
    """
    statements = await prepared(connection, schema, name)
    plans = [
        await _plan_of(connection, f"{name}_{number}", each)
        for number, each in enumerate(statements)
    ]
    return "\n".join(plans)


async def _plan_of(connection: "Connection", name: str, statement: Prepared) -> str:
    async with connection.transaction():
        await connection.execute("set local plan_cache_mode to force_generic_plan")
        for setting in statement.settings:
            key, _, value = setting.partition(" to ")
            await connection.execute("select set_config($1, $2, true)", key, value.strip('"'))
        known = f"select from pg_prepared_statements where name = '{name}'"
        if not await connection.fetch(known):
            types = f"({', '.join(statement.types)})" if statement.types else ""
            await connection.execute(f"prepare {name} {types} as {statement.text}")
        count = await connection.fetchval(
            "select cardinality(parameter_types) from pg_prepared_statements where name = $1", name
        )
        values = f"({', '.join(['null'] * count)})" if count else ""
        rows = await connection.fetch(f"explain (costs off) execute {name} {values}")
    return "\n".join(row[0] for row in rows)


def walks(plan: str) -> list[str]:
    """The scans of jobs, and of finished ones, that no condition of an index bounds."""
    lines = plan.splitlines()
    found = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        scan = re.search(
            r"(\w[\w ]*Scan(?: Backward)?)(?: using (\w+))? on (?:job|history)(?:_\w+)?\b", line
        )
        if scan is None:
            continue
        kind, index = scan.groups()
        first = FIRST.get(index or "", "id")
        if (index or "").endswith("status_id_queue_name_idx"):  # of what did not end well
            first = r"status = ANY .* AND \(id"
        if not kind.startswith("Index") or not re.match(
            rf"\s*Index Cond: \(+(?:ROW\()?{first}\b", following
        ):
            found.append(f"{line.strip()} / {following.strip()}")
    return found


@pytest.mark.parametrize("statements", STATES.values(), ids=STATES)
async def test_each_statement_finds_its_jobs_by_an_index_whatever_the_table_holds(
    make_app: MakeApp, database_url: str, schema: str, statements: Sequence[str]
) -> None:
    await make_app().start()
    checked = [name for name in STATEMENTS if name not in {**READS_ALL, **BY_WHAT_IT_READS}]
    async with connected(database_url) as early, connected(database_url) as late:
        first = {
            name: await plan_of(early, schema, name) for name in checked
        }  # the table is empty, and was always
        for statement in statements:
            await early.execute(statement.format(schema=schema))
        wrong = []
        for when, connection in (("made before", early), ("made then", late)):
            for name in checked:
                plan = await plan_of(connection, schema, name)
                wrong += [f"{name} ({when}): {walk}" for walk in walks(plan)]
                if plan != first[name] and "history" not in plan:
                    wrong.append(
                        f"{name} ({when}) has another plan:\n{plan}\n-- instead of"
                        f" --\n{first[name]}"
                    )
        assert not wrong, "\n".join(wrong)


def test_each_exception_is_a_statement() -> None:
    assert set(STATEMENTS) >= set(READS_ALL) | set(BY_WHAT_IT_READS)


@asynccontextmanager
async def connected(url: str) -> "AsyncIterator[Connection]":
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


# --- what is read --------------------------------------------------------------------------------

READ = """
select coalesce(idx_tup_fetch, 0) + coalesce(seq_tup_read, 0) from pg_stat_xact_user_tables
where relid = '{schema}.job'::regclass
"""

NEVER = uuid.UUID(int=0)
TOLD, CAME = "pg_temp.told", "pg_temp.came"
"""Functions as a plugin has them."""
TELL = f"""
create function {CAME}(ids uuid[], out told uuid[], out released uuid[], out last uuid[], out note jsonb)
language sql return (ids, ids, '{{}}'::uuid[], null::jsonb);
create function {TOLD}(ids uuid[], statuses text[], claims bigint[], out released uuid[], out last uuid[], out note jsonb)
language sql return (ids, '{{}}'::uuid[], null::jsonb)
"""


class World(NamedTuple):
    """What the statements are called with."""

    ids: Sequence[uuid.UUID]
    me: uuid.UUID
    """A worker."""
    gone: uuid.UUID
    """A dead job, whose key another holds."""
    soon: datetime


class Case(NamedTuple):
    """How a statement is called, and how many rows it may read."""

    values: Callable[[World], Sequence[object]]
    most: int


def settling(world: World) -> Sequence[object]:
    """Settle a hundred, give fifty back, and claim a hundred from two lanes."""
    return [
        world.me, world.ids[:100], [1] * 100, None, [None] * 100, None, None, [1.0] * 100,
        world.ids[100:], [1] * 50, [2] * 50, [1.0] * 50, [None] * 50, [1.0] * 50,
        ["queue 1", "queue 2"], [1, 0], [world.soon.replace(year=1970)] * 2, [NEVER] * 2, 100,
    ]  # fmt: skip


def telling(world: World) -> Sequence[object]:
    """The same where a plugin's function lets the fifty go that were given back."""
    if NEVER in world.ids:
        world = world._replace(ids=[])  # it fails where nothing changes
    ended = world.ids[:100]
    return ["me", TOLD, ended, ["done"] * 100, [1] * 100, [], [], [], [], *settling(world)]


def replacing(_: World) -> Sequence[object]:
    """Enqueue with a key that another job holds."""
    return [
        [NEVER], ["job"], ["queue 1"], [0], [5], ["json"], [60.0], [b""], [None], ["{}"], ["key 7"],
        ["unfinished"], ["replace"], None,
    ]  # fmt: skip


def releasing(world: World) -> Sequence[object]:
    """Release a hundred, with the cursor of one of their lanes."""
    cursor = ["queue 1"], [1], [world.soon.replace(year=1970)], [NEVER]
    return [world.ids[:100], "me", *cursor, False]


CASES = {
    "job": Case(lambda world: [world.ids[0]], 2),
    "detail": Case(lambda world: [world.ids[0], 100_000], 2),
    "existing": Case(lambda world: [world.ids[:100]], 200),
    "write_start": Case(lambda world: [world.ids[0], 1], 2),
    "heartbeat": Case(
        lambda world: [world.me, world.ids[:100], world.ids[:50], ["1"] * 50, 50, "[]"], 400
    ),
    "still_claimed": Case(lambda world: [world.ids[0], 1], 4),
    "running": Case(lambda world: [world.ids[:100], [1] * 100], 300),
    "locked": Case(lambda world: [world.ids[:100]], 400),
    "lost_settlements": Case(lambda world: [world.ids[:100], [1] * 100], 200),
    "to_cancel": Case(lambda world: [world.me, world.ids[:100]], 200),
    "states": Case(lambda world: [world.ids[:100]], 200),
    "cancel_running": Case(lambda world: [world.ids[:100], None], 200),
    "cancel_waiting": Case(lambda world: [world.ids[:100], None], 300),
    "retry": Case(lambda world: [world.ids[:100], *[None] * 7], 400),
    "retry with changes": Case(
        lambda world: [world.ids[:100], "queue 7", 3, 2, 1.0, 60.0, "Eva", "queued"], 500
    ),
    "holder_of_key": Case(lambda world: [world.gone], 2),
    "rescue": Case(lambda world: [world.ids[:100], None], 400),
    "insert_keyed": Case(replacing, 10),
    "release": Case(releasing, 700),
    "hold": Case(lambda world: [world.ids[:100], ["me"], False], 300),
    "expired": Case(lambda world: [100], 150),
    "surface": Case(lambda world: [["queue 1", "queue 2"], [1, 0], [world.soon] * 2], 2_200),
    "settle_and_claim": Case(settling, 500),
    "settle_tell_and_claim": Case(telling, 700),
    "tell_owed": Case(lambda world: ["me", CAME, 100, [], [], [], []], 500),
}
STATUS = {
    **dict.fromkeys(
        (
            "write_start",
            "heartbeat",
            "to_cancel",
            "running",
            "cancel_running",
            "rescue",
            "settle_and_claim",
            "settle_tell_and_claim",
        ),
        "running",
    ),
    **dict.fromkeys(("release", "expired", "tell_owed"), "held"),
}
"""What those jobs are that a statement is called with, where they are not queued."""


async def called(
    connection: "Connection", schema: str, name: str, values: Sequence[object]
) -> None:
    await connection.fetch(Statements(schema)[name.partition(" ")[0]], *values)


async def read(connection: "Connection", schema: str) -> int:
    """How many rows of jobs this transaction has read."""
    return int(await connection.fetchval(READ.format(schema=schema)) or 0)


async def become(
    connection: "Connection",
    schema: str,
    ids: Sequence[uuid.UUID],
    status: str,
    worker: uuid.UUID | None,
) -> None:
    """Give jobs this status, and this worker."""
    await connection.execute(
        f"update {schema}.job set status = $2, claim = 1, worker_id = $3, held_by = $4,"
        " expires_at = now() - interval '1 second' where id = any($1)",
        ids,
        status,
        worker,
        ["me"] if status == "held" else None,
    )


async def test_sessions_from_quiet_times_read_no_more_than_they_need_when_many_jobs_come(
    make_app: MakeApp,
    connection: "Connection",
    database_url: str,
    schema: str,
    subtests: pytest.Subtests,
) -> None:
    """A session for each statement, in which its plan was made while the table was empty."""
    await make_app().start()
    for statement in (filled(100), GONE, ANALYZE):
        await connection.execute(statement.format(schema=schema))
    gone, me = uuid.uuid4(), uuid.uuid4()
    await connection.execute(
        f"insert into {schema}.history (id, forget_at, created_at, scheduled_at, finished_at,"
        " claim, keep, priority, attempt, max_attempts, name, queue, status, serializer,"
        " dedup_label, args) values ($1, now(), now(), now(), now(), 1, 0, 0, 1, 1, 'job', 'queue"
        " 1', 'dead', 'json', 'key 7', '')",
        gone,
    )
    await connection.execute(
        f"insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, names) "
        "values ($1, 60, 1, 1, '', '', '{}')",
        me,
    )
    soon = await connection.fetchval("select now() + interval '1 hour'")
    nothing = World([NEVER] * 150, me, gone, soon)

    async with AsyncExitStack() as stack:
        sessions = {}
        for name, case in CASES.items():
            sessions[name] = await stack.enter_async_context(connected(database_url))
            await sessions[name].execute(TELL)
            for _ in range(8):  # after five uses a plan is made for all values
                async with rolled_back(sessions[name]):
                    await called(sessions[name], schema, name, case.values(nothing))

        await connection.execute(filled(20_000).format(schema=schema))
        rows = await connection.fetch(f"select id from {schema}.job order by id limit 150")
        ids = [row["id"] for row in rows]
        owing = f"insert into {schema}.owed (plugin, job_id, kind) select 'me', unnest($1::uuid[]), 'enqueued'"
        await connection.execute(owing, ids)
        for name, case in CASES.items():
            async with rolled_back(sessions[name]):
                worker = None if name == "rescue" else me
                await become(sessions[name], schema, ids, STATUS.get(name, "queued"), worker)
                before = await read(sessions[name], schema)
                values = case.values(World(ids, me, gone, soon))
                await called(sessions[name], schema, name, values)
                after = await read(sessions[name], schema)
            with subtests.test(name):
                assert 0 < after - before <= case.most


@asynccontextmanager
async def rolled_back(connection: "Connection") -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()
