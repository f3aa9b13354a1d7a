"""What a person asks for reads no more than it must, whatever is kept and whatever waits."""

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from soniq import Search, Soniq
from soniq.postgres import live
from soniq.postgres import overview as overview_module
from soniq.postgres.reading import SETTINGS

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

LIVE = """
insert into {schema}.job (id, name, queue, priority, max_attempts, serializer, keep, args, scheduled_at)
select gen_random_uuid(), 'job', 'queue ' || n % 5, n % 2, 5, 'json', 60, '', now() - make_interval(secs => n)
from generate_series(1, 2000) n
"""
FINISHED = """
insert into {schema}.history (id, forget_at, created_at, scheduled_at, finished_at, claim, keep, priority, attempt,
    max_attempts, name, queue, status, serializer, args)
select gen_random_uuid(), now() + interval '1 day', now(), now(), now(), 1, 86400, 0, 1, 1, 'job', 'queue 1',
    case n % 100 when 0 then 'dead' else 'done' end, 'json', '' from generate_series(1, 2000) n
"""
MANY = """
insert into {schema}.history (id, forget_at, created_at, scheduled_at, finished_at, claim, keep, priority, attempt,
    max_attempts, name, queue, status, serializer, args)
select {schema}.new_id_1(), now() + interval '1 day', now(), now(), now() - make_interval(secs => 40000 - n), 1, 86400,
    0, 1, 1, case when n <= 100 then 'rare' else 'job' end, case when n <= 100 then 'seldom' else 'usual' end,
    case n % 1000 when 0 then 'dead' else 'done' end, 'json', '' from generate_series(1, 40000) n
"""
"""Forty thousand finished jobs, one a second; a hundred old ones of a name and a queue of their own."""
WORKER = """
insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, names, running_jobs)
values (gen_random_uuid(), 60, 1, 1, '', '', '{{other}}', $1)
"""
READ = """
select
    coalesce(sum(read) filter (where relname = 'job'), 0)::int as live,
    coalesce(sum(read) filter (where relname like 'history%'), 0)::int as past
from (
    select relname, coalesce(idx_tup_fetch, 0) + coalesce(seq_tup_read, 0) as read
    from pg_stat_xact_user_tables where schemaname = $1
) as tables
"""


async def read(
    connection: "Connection", schema: str, statement: str, *values: object
) -> tuple[int, int, int]:
    """How many rows of live and of finished jobs a statement reads, and how many it returns."""
    async with connection.transaction():
        before = await connection.fetchrow(READ, schema)
        rows = await connection.fetch(statement, *values)
        after = await connection.fetchrow(READ, schema)
    assert before is not None
    assert after is not None
    return after["live"] - before["live"], after["past"] - before["past"], len(rows)


@pytest.fixture
async def filled(app: Soniq, connection: "Connection", schema: str) -> Soniq:
    await app.start()
    for statement in (LIVE, FINISHED):
        await connection.execute(statement.format(schema=schema))
    return app


@pytest.mark.parametrize("calls", [1, 8])  # the first plans are for the values, later ones for all
async def test_a_finished_status_reads_nothing_that_is_alive_and_the_other_way_round(
    filled: Soniq, connection: "Connection", schema: str, calls: int
) -> None:
    jobs, count = filled._database.sql["jobs"], filled._database.sql["count"]
    for _ in range(calls):
        live, past, found = await read(
            connection, schema, jobs, "dead", None, None, None, None, 50, None
        )
        assert (live, found) == (0, 20)
        assert past > 0
        live, past, found = await read(
            connection, schema, jobs, "held", None, None, None, None, 50, None
        )
        assert (past, found) == (0, 0)
        live, past, _ = await read(connection, schema, count, "done", None, None, None, False)
        assert (live, past >= 1980) == (0, True)
        live, past, _ = await read(connection, schema, count, "queued", None, None, None, False)
        assert (live >= 2000, past) == (True, 0)
        _, _, found = await read(
            connection, schema, jobs, None, None, None, None, None, 5_000, None
        )
        assert found == 4_000


async def test_the_oldest_job_is_found_by_the_first_of_each_queue_and_priority(
    filled: Soniq, connection: "Connection", schema: str
) -> None:
    situation = filled._database.sql["situation"]
    live, _, found = await read(connection, schema, situation, 10_000, False, False)
    assert found == 1
    assert live < 50  # there are ten queues and priorities
    oldest = (await filled.overview())["oldest_waiting"]
    assert oldest is not None
    assert oldest["waiting"] == pytest.approx(2000, abs=30)
    await connection.execute(f"truncate {schema}.job")
    assert (await filled.overview())["oldest_waiting"] is None


@pytest.fixture
async def much_kept(app: Soniq, connection: "Connection", schema: str) -> Soniq:
    """The app with many finished jobs, and the indexes as autovacuum leaves them."""
    await app.start()
    await connection.execute(MANY.format(schema=schema))
    await connection.execute(f"vacuum analyze {schema}.history")
    return app


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((None, "nobody", None, None), 0),
        ((None, None, "nowhere", None), 0),
        (("done", "nobody", None, None), 0),
        ((None, None, None, "unheard of"), 0),
        ((None, "rare", None, None), 50),
        (("done", "rare", "seldom", None), 50),
    ],
)
@pytest.mark.parametrize("calls", [1, 8])
async def test_a_search_that_little_matches_does_not_read_all_that_is_kept(
    much_kept: Soniq,
    connection: "Connection",
    schema: str,
    values: tuple[str | None, ...],
    found: int,
    calls: int,
) -> None:
    for _ in range(calls):
        _, past, count = await read(
            connection, schema, much_kept._database.sql["jobs"], *values, None, 50, None
        )
        assert count == found
        assert past < 16_000  # the newest ten thousand, and the stretches that may hold the name


async def test_a_search_by_time_reads_what_finished_since_then(
    much_kept: Soniq, connection: "Connection", schema: str
) -> None:
    jobs = much_kept._database.sql["jobs"]
    await connection.execute(  # the newest by their ids finished first
        f"update {schema}.history set finished_at = finished_at - interval '1 day'"
        f" where id in (select id from {schema}.history order by id desc limit 20000)"
    )
    await connection.execute(f"vacuum analyze {schema}.history")
    recently = await connection.fetchval(
        f"select max(finished_at) - interval '30 seconds' from {schema}.history"
    )
    _, past, count = await read(
        connection, schema, jobs, None, None, None, None, None, 50, recently
    )
    assert count == 31
    assert past < 16_000


async def test_pages_of_a_search_follow_each_other_whichever_way_they_are_found(
    much_kept: Soniq,
) -> None:
    choices: list[dict[str, Any]] = [
        {"name": "rare"},
        {"status": "dead"},
        {"queue": "usual", "status": "dead"},
        {},
    ]
    for filters in choices:
        seen: list[str] = []
        page = await much_kept.jobs(**filters, limit=15)
        while page and len(seen) < 200:
            seen += [job["job_id"] for job in page]
            page = await much_kept.jobs(**filters, before=seen[-1], limit=15)
        assert seen == sorted(set(seen), reverse=True)
        if filters:
            assert len(seen) == (100 if filters == {"name": "rare"} else 40)


async def test_a_status_that_ends_badly_is_found_and_counted_by_an_index_of_its_own(
    much_kept: Soniq, connection: "Connection", schema: str
) -> None:
    sql = much_kept._database.sql
    for values, found in ((("dead", None, None, None), 40), (("dead", "rare", None, None), 0)):
        _, past, count = await read(connection, schema, sql["jobs"], *values, None, 50, None)
        assert count == found
        assert past <= 2 * found
    _, past, _ = await read(connection, schema, sql["count"], "dead", None, None, None, False)
    assert past <= 40


async def test_counts_of_what_is_done_are_exact_up_to_a_bound_and_estimated_beyond(
    app: Soniq, connection: "Connection", schema: str
) -> None:
    await app.start()
    await connection.execute(MANY.format(schema=schema).replace("40000", "2000"))
    overview = await app.overview()
    assert overview["exact"]
    assert overview["queues"]["usual"] == {"dead": 2, "done": 1_898}
    await connection.execute(MANY.format(schema=schema))
    await connection.execute(f"vacuum analyze {schema}.history")
    overview = await app.overview()
    assert not overview["exact"]
    assert overview["queues"]["usual"]["dead"] == 42
    assert overview["queues"]["usual"]["done"] == pytest.approx(1_898 + 39_860, rel=0.05)


async def test_an_overview_tells_all_of_what_is_alive_where_that_is_little(
    filled: Soniq, connection: "Connection", schema: str
) -> None:
    await connection.execute(WORKER.format(schema=schema), "[]")
    overview = await filled.overview()
    assert overview["at_least"] == {}
    assert overview["unknown_names"] == {"job": 2_000}
    assert overview["backlog"] == await filled.backlog() | {
        queue: each | {"oldest_waiting": pytest.approx(each["oldest_waiting"], abs=5)}
        for queue, each in overview["backlog"].items()
    }
    assert {
        queue: each["queued"] for queue, each in overview["queues"].items() if "queued" in each
    } == {f"queue {n}": 400 for n in range(5)}


async def test_an_overview_reads_a_bounded_part_of_what_is_alive_and_says_so(
    filled: Soniq, connection: "Connection", schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "FEW", 200)
    monkeypatch.setattr(live, "OF_LANES", 1_500)  # of ten lanes: 150 of each
    monkeypatch.setattr(live, "IN_FRONT", 200)
    monkeypatch.setattr(overview_module, "FEW", 200)
    newest = await connection.fetch(
        f"update {schema}.job set status = 'running', started_at = now(), priority = 9 where id in"
        f" (select id from {schema}.job where queue = 'queue 1' order by id desc limit 3)"
        " returning id::text"
    )
    running = [[row["id"], "job", 1.0] for row in newest]
    await connection.execute(WORKER.format(schema=schema), json.dumps(running))

    overview = await filled.overview()
    one = overview["backlog"]["queue 1"]
    assert (one["waiting"], one["running"]) == (300, 3)
    assert one["oldest_waiting"] > 1_990
    assert overview["queues"]["queue 1"]["queued"] == 300
    assert overview["at_least"]["queue 2"] == ["held", "queued", "running", "waiting"]
    assert overview["unknown_names"] == {"job": 200}


@pytest.mark.parametrize(
    ("statement", "values", "most"),
    [
        ("oldest_live", [200], 200),
        ("live_lanes", [1_500, 0, 200], 3_050),  # ten lanes, each looked at for due and later ones
        ("live_lanes", [1, 200, 200], 2_260),
        ("situation", [200, False, False], 50),
        ("situation", [200, True, False], 250),
        ("situation", [200, True, True], 450),
        ("finished", [500, 100], 0),
    ],
)
async def test_what_an_overview_is_made_of_reads_so_many_rows_at_most(
    filled: Soniq,
    connection: "Connection",
    schema: str,
    statement: str,
    values: list[object],
    most: int,
) -> None:
    await connection.execute(f"vacuum analyze {schema}.job")
    await connection.execute(WORKER.format(schema=schema), json.dumps([[str(uuid4()), "job", 1.0]]))
    async with connection.transaction():
        await connection.execute(SETTINGS)
        alive, past, _ = await read(connection, schema, filled._database.sql[statement], *values)
    assert alive <= most
    assert past <= (700 if statement == "finished" else 0)


async def test_the_jobs_that_failed_of_late_are_counted_and_found_without_the_earlier_ones(
    much_kept: Soniq, plans: list[str]
) -> None:
    since = datetime.now(UTC) - timedelta(seconds=3_500)
    for finished in ((since, None), (None, since)):
        search = Search(order="finished", statuses=["dead"], finished=finished)
        count = await much_kept.count(search)
        page = await much_kept.search(search, rows=100)
        assert (count.exact, page.complete, page.next) == (True, True, None)
        assert count.value == len(page.jobs)
        assert 0 < count.value < 40
    assert all("Index Cond" in plan and "finished_at" in plan for plan in plans), plans
