"""`select soniq.enqueue(name, arguments, options)`: the function for triggers and for other
languages.
"""

import asyncio
import json
import subprocess
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest

from soniq import JobContext, Settings, Soniq
from soniq_embedded.binaries import install_folder
from tests.conftest import MakeApp
from tests.support.jobs import falls_asleep, working
from tests.support.waiting import eventually

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Enqueue = Callable[..., Awaitable[str]]


@pytest.fixture
async def app(make_app: MakeApp) -> Soniq:
    """An app that has started, with the job `greet`."""
    app = make_app()

    @app.job(name="greet")
    async def greet(name: str = "nobody", ctx: JobContext | None = None) -> str:
        return f"hello {name}"

    await app.start()
    return app


@pytest.fixture
def enqueue(app: Soniq, connection: Connection, schema: str) -> Enqueue:
    """`await enqueue("greet", {...}, {...})` in SQL; the id."""

    async def enqueue(name: str | None, *values: object, on: Connection = connection) -> str:
        texts = [
            value if value is None or isinstance(value, str) else json.dumps(value)
            for value in values
        ]
        places = "".join(f", ${place}::jsonb" for place in range(2, len(texts) + 2))
        return str(await on.fetchval(f"select {schema}.enqueue($1{places})", name, *texts))

    return enqueue


async def row(connection: Connection, schema: str, job_id: str) -> dict[str, Any]:
    """The row of a job that waits, its times as seconds from its making."""
    found = await connection.fetchrow(
        f"""
        select name, queue, priority, max_attempts, serializer, headers, timeout, keep, tags, status, dedup_key,
            dedup_label, dedup_scope, convert_from(args, 'UTF8')::jsonb as args,
            extract(epoch from scheduled_at - created_at)::float8 as delay,
            extract(epoch from expires_at - created_at)::float8 as expires
        from {schema}.job where id = $1
        """,
        uuid.UUID(job_id),
    )
    assert found is not None
    return dict(found)


async def test_a_worker_runs_it(app: Soniq, enqueue: Enqueue) -> None:
    job_id = await enqueue("greet", {"name": "wörld"})
    without_arguments = await enqueue("greet")
    assert await app.run_worker(run_once=True) == 2
    assert await app.get_result(job_id) == "hello wörld"
    assert await app.get_result(without_arguments) == "hello nobody"


def test_psql_enqueues(app: Soniq, database_url: str, schema: str) -> None:
    statement = f"select {schema}.enqueue('greet', '{{\"name\": \"x\"}}', '{{\"delay\": 60}}')"
    done = subprocess.run(
        [install_folder() / "bin" / "psql", database_url, "-XAtqc", statement],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert uuid.UUID(done.stdout.strip()).version == 7


async def test_arguments_may_be_named(connection: Connection, app: Soniq, schema: str) -> None:
    job_id = await connection.fetchval(
        f"""select {schema}.enqueue(name => 'greet', options => jsonb_build_object('priority', 3, 'delay', null))"""
    )
    status = await app.get_job_status(str(job_id))
    assert status is not None
    assert status["priority"] == 3


async def test_it_belongs_to_the_callers_transaction(
    app: Soniq, enqueue: Enqueue, connection: Connection
) -> None:
    transaction = connection.transaction()
    await transaction.start()
    undone = await enqueue("greet")
    await transaction.rollback()
    async with connection.transaction():
        kept = await enqueue("greet")
        assert await app.get_job_status(kept) is None
    assert await app.get_job_status(undone) is None
    assert await app.get_job_status(kept) is not None


async def test_the_defaults_are_those_of_the_settings(
    app: Soniq, enqueue: Enqueue, connection: Connection, schema: str
) -> None:
    in_sql = await row(connection, schema, await enqueue("greet"))
    in_python = await row(connection, schema, await app.enqueue("greet"))
    assert {**in_sql, "args": None} == {**in_python, "args": None}
    assert (in_sql["keep"], in_sql["max_attempts"]) == (Settings().keep, Settings().max_attempts)
    assert in_sql["args"] == "{}"


LATER = datetime(2099, 1, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    "options",
    [
        {"queue": "media's", "priority": -7, "max_attempts": 2, "keep": 0},
        {
            "delay": 60.5,
            "timeout": 0.25,
            "tags": ["a", 'b "c"'],
            "headers": {"a": {"b": [1, None]}},
        },
        {"scheduled_at": LATER, "expires": LATER + timedelta(hours=1), "dedup_key": "k"},
        {
            "scheduled_at": datetime(2001, 1, 1, tzinfo=UTC),
            "expires": 90,
            "headers": {},
            "tags": [],
        },
        {"delay": 0, "dedup_key": "k", "priority": 32767, "max_attempts": 32767},
    ],
)
async def test_each_option_means_what_it_means_in_python(
    app: Soniq, enqueue: Enqueue, connection: Connection, schema: str, options: dict[str, Any]
) -> None:
    plain = json.loads(json.dumps(options, default=datetime.isoformat))
    in_sql = await row(connection, schema, await enqueue("greet", {"name": "x"}, plain))
    await connection.execute(f"delete from {schema}.job")
    in_python = await row(connection, schema, await app.enqueue("greet", "x", **options))
    for time in ("delay", "expires"):
        one, other = in_sql.pop(time), in_python.pop(time)
        assert one == other or abs(one - other) < 60
    assert in_sql == in_python


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"qeue": "mail"}, 'options takes queue, priority, .*; got "qeue"'),
        ([], "options takes a JSON object"),
        ({"queue": ""}, "queue takes 1 to 200 bytes of text"),
        ({"queue": "ü" * 101}, "queue takes"),
        ({"queue": 5}, "queue takes"),
        ({"queue": "a\nb"}, "queue takes text without control characters"),
        ({"queue": "\x01cancel x"}, "queue takes text without"),
        ({"queue": "\x7f"}, "queue takes text without"),
        ({"priority": 1.5}, "priority takes an integer from -32768 to 32767; got 1.5"),
        ({"priority": 32768}, "priority takes"),
        ({"priority": "1"}, "priority takes"),
        ({"max_attempts": 0}, "max_attempts takes an integer from 1 to 32767; got 0"),
        ({"delay": -1}, "delay takes seconds from 0 to"),
        ({"delay": True}, "delay takes"),
        ({"delay": 1e10}, "delay takes"),
        ({"keep": -0.5}, "keep takes seconds"),
        ({"timeout": 0.0}, "timeout takes more than 0 seconds"),
        ({"timeout": 1e-300}, "timeout takes more than 0 seconds"),
        ({"timeout": "5"}, "timeout takes seconds"),
        ({"scheduled_at": "2030-01-31T08:00:00"}, "scheduled_at takes a time with a zone"),
        ({"scheduled_at": "tomorrow"}, "scheduled_at takes"),
        ({"scheduled_at": 5}, "scheduled_at takes"),
        ({"scheduled_at": "2030-02-30T08:00:00Z"}, "scheduled_at takes a time with a zone"),
        ({"expires": "2030-01-31T08:00:00+99"}, "expires takes a time with a zone"),
        ({"expires": "infinity"}, "expires takes"),
        ({"delay": 60, "expires": 60}, "it expires before it is due"),
        (
            {"scheduled_at": "2030-01-31T08:00:00Z", "expires": "2030-01-31T08:30:00+01"},
            "it expires before it is due",
        ),
        ({"expires": -1}, "expires takes seconds"),
        ({"expires": []}, "expires takes"),
        ({"delay": 0, "scheduled_at": "2030-01-31T08:00:00Z"}, "delay and scheduled_at"),
        ({"dedup_key": ""}, "dedup_key takes 1 to 2000 bytes"),
        ({"dedup_key": 1}, "dedup_key takes"),
        ({"dedup_key": "k", "scope": "running"}, "scope takes unfinished or queued; got"),
        ({"dedup_key": "k", "scope": ["queued"]}, "scope takes"),
        ({"dedup_key": "k", "on_conflict": True}, "on_conflict takes keep or replace or debounce"),
        ({"scope": "queued"}, "scope and on_conflict belong to a dedup_key"),
        ({"on_conflict": "keep"}, "scope and on_conflict belong to a dedup_key"),
        ({"headers": [1]}, "headers takes a JSON object"),
        ({"tags": "a"}, "tags takes a list"),
        ({"tags": {"a": 1}}, "tags takes"),
        ({"tags": ["a", 1]}, "tags takes"),
        ({"tags": ["a", None]}, "tags takes"),
        ({"tags": [["a"]]}, "tags takes"),
        ({"tags": ["a", ""]}, "tags takes"),
    ],
)
async def test_an_option_that_cannot_be_is_an_error(
    app: Soniq, enqueue: Enqueue, options: object, told: str
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=f"enqueue: {told}"):
        await enqueue("greet", {}, options)
    assert await app.jobs() == []


@pytest.mark.parametrize("name", [None, "", "x" * 501])
async def test_a_name_that_cannot_be_is_an_error(enqueue: Enqueue, name: str | None) -> None:
    with pytest.raises(
        asyncpg.InvalidParameterValueError, match="enqueue: name takes 1 to 500 bytes"
    ):
        await enqueue(name)


@pytest.mark.parametrize("arguments", [[1], "null", None, 5])
async def test_arguments_that_are_no_object_are_an_error(
    enqueue: Enqueue, arguments: object
) -> None:
    with pytest.raises(
        asyncpg.InvalidParameterValueError, match="enqueue: arguments takes a JSON object"
    ):
        await enqueue("greet", arguments)


async def test_null_is_as_if_not_given(
    app: Soniq, enqueue: Enqueue, connection: Connection, schema: str
) -> None:
    names = (
        "queue",
        "priority",
        "delay",
        "scheduled_at",
        "dedup_key",
        "headers",
        "tags",
        "max_attempts",
        "keep",
    )
    given = await enqueue("greet", {}, dict.fromkeys((*names, "timeout", "expires")))
    assert await row(connection, schema, given) == await row(
        connection, schema, await enqueue("greet", {}, None)
    )


async def test_a_key_is_shared_with_jobs_from_python(app: Soniq, enqueue: Enqueue) -> None:
    first = await enqueue("greet", {"name": "one"}, {"dedup_key": "k"})
    assert await enqueue("greet", {"name": "two"}, {"dedup_key": "k"}) == first
    again = await app.enqueue("greet", "three", dedup_key="k")
    assert (again, again.inserted) == (first, False)
    assert await enqueue("greet", {}, {"dedup_key": "another"}) != first
    assert await app.run_worker(run_once=True) == 2
    assert await app.get_result(first) == "hello one"
    assert await enqueue("greet", {}, {"dedup_key": "k"}) != first


async def test_a_key_of_scope_queued_is_free_while_its_job_runs(
    app: Soniq, enqueue: Enqueue, connection: Connection
) -> None:
    options = {"dedup_key": "k", "scope": "queued"}
    during: list[str] = []
    runs = [False, True]

    @app.job(name="trigger")
    async def trigger() -> None:
        if not runs.pop():
            return
        async with connection.transaction():  # else the first could be claimed before the second
            during.extend(
                [await enqueue("trigger", {}, options), await enqueue("trigger", {}, options)]
            )

    first = await enqueue("trigger", {}, options)
    assert await enqueue("trigger", {}, options) == first
    assert await app.run_worker(run_once=True) == 2
    assert during[0] == during[1] != first


async def test_a_duplicate_replaces_what_waits(
    app: Soniq, enqueue: Enqueue, connection: Connection, schema: str
) -> None:
    key = {"dedup_key": "k", "delay": 60}
    first = await enqueue("greet", {"name": "one"}, key)
    assert (
        await enqueue("greet", {"name": "two"}, {**key, "on_conflict": "debounce", "delay": 120})
        == first
    )
    moved = await row(connection, schema, first)
    assert (moved["args"], round(moved["delay"])) == ('{"name": "one"}', 120)
    options = {"dedup_key": "k", "on_conflict": "replace", "headers": {"a": 1}}
    assert await enqueue("greet", {"name": "three"}, options) == first
    assert (await row(connection, schema, first))["headers"] == '{"a": 1}'
    assert await app.run_worker(run_once=True) == 1
    assert await app.get_result(first) == "hello three"


async def test_a_job_that_a_duplicate_makes_due_wakes_a_worker(
    app: Soniq, enqueue: Enqueue
) -> None:
    first = await enqueue("greet", {}, {"dedup_key": "k", "delay": 3600})
    async with working(app):
        await enqueue("greet", {}, {"dedup_key": "k", "on_conflict": "debounce"})
        assert await app.wait_for(first, timeout=20) == "hello nobody"


async def test_of_two_at_once_one_is_enqueued(
    app: Soniq, enqueue: Enqueue, connection: Connection, other_connection: Connection
) -> None:
    async with connection.transaction():
        first = await enqueue("greet", {}, {"dedup_key": "k"})
        waiting = asyncio.ensure_future(
            enqueue("greet", {}, {"dedup_key": "k"}, on=other_connection)
        )
        await asyncio.sleep(0.2)
        assert not waiting.done()
    assert await waiting == first


async def test_nobody_waits_for_a_transaction_that_uses_a_queue_for_the_first_time(
    app: Soniq, enqueue: Enqueue, connection: Connection, other_connection: Connection, schema: str
) -> None:
    new = {"queue": "new"}
    async with asyncio.timeout(20):
        async with connection.transaction():
            await enqueue("greet", {}, new)
            await app.enqueue("greet", queue="new", connection=connection)
            async with other_connection.transaction():
                await enqueue("greet", {}, new, on=other_connection)
                await app.enqueue("greet", queue="new")
        for _ in range(3):
            await enqueue("greet", {}, new)
            await enqueue("greet", {}, new, on=other_connection)
        assert await app.run_worker(run_once=True) == 10


async def test_an_id_that_is_there_and_has_given_its_key_up_is_found(
    app: Soniq, enqueue: Enqueue, connection: Connection, schema: str
) -> None:
    job_id = uuid.UUID(await enqueue("greet", {}, {"dedup_key": "k", "scope": "queued"}))
    await connection.execute(
        f"update {schema}.job set dedup_key = null; set statement_timeout = '10s'"
    )
    again = await connection.fetchrow(
        f"""
        select job_id, inserted, replaced from {schema}.enqueue_keyed_1(
            array[$1::uuid], '{{greet}}', '{{default}}', '{{0}}', '{{5}}', '{{json}}', '{{60}}', '{{x}}',
            array[null], array[null], '{{k}}', '{{queued}}', '{{replace}}', null
        )
        """,
        job_id,
    )
    assert again is not None
    assert tuple(again) == (job_id, True, False)


async def test_ids_are_of_version_7_and_rise(
    app: Soniq, connection: Connection, schema: str
) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    rows = await connection.fetch(
        f"""select {schema}.enqueue('greet', jsonb_build_object('name', n)) as id from generate_series(1, 300) as n"""
    )
    ids = [uuid.UUID(str(each["id"])) for each in rows]
    assert {(each.version, each.variant) for each in ids} == {(7, uuid.RFC_4122)}
    assert ids == sorted(set(ids))
    made = datetime.fromtimestamp((ids[0].int >> 80) / 1000, UTC)
    assert before < made < datetime.now(UTC) + timedelta(seconds=1)


async def test_jobs_of_one_statement_run_in_its_order(
    make_app: MakeApp, connection: Connection, schema: str
) -> None:
    app = make_app()
    ran: list[int] = []

    @app.job(name="count")
    async def count(n: int) -> None:
        ran.append(n)

    await app.start()
    await connection.execute(
        f"select {schema}.enqueue('count', jsonb_build_object('n', n)) from generate_series(1, 50)"
        " as n"
    )
    await app.run_worker(run_once=True, concurrency=1)
    assert ran == list(range(1, 51))


@pytest.mark.parametrize("queue", ["default", "a queue that is new"])
async def test_a_worker_that_sleeps_is_woken(
    make_app: MakeApp, connection: Connection, schema: str, queue: str
) -> None:
    app = make_app(poll_interval=60)
    ran: asyncio.Queue[str] = asyncio.Queue()

    @app.job(name="one")
    async def one(ctx: JobContext) -> None:
        ran.put_nowait(ctx.queue)

    async with working(app):
        await app.enqueue("one")
        await asyncio.wait_for(ran.get(), 20)
        await falls_asleep(app)
        await connection.execute(
            f"select {schema}.enqueue('one', '{{}}', jsonb_build_object('queue', $1::text))", queue
        )
        assert await asyncio.wait_for(ran.get(), 20) == queue


async def test_nobody_is_notified_while_no_worker_waits_nor_of_a_job_for_later(
    app: Soniq, enqueue: Enqueue, connection: Connection, other_connection: Connection, schema: str
) -> None:
    heard: list[str] = []
    await other_connection.add_listener(schema, lambda *told: heard.append(str(told[-1])))
    await enqueue("greet")
    await connection.execute(
        f"insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, names,"
        " waiting) values (gen_random_uuid(), 1000, 1, 1, 'host', '0', '{}', false)"
    )
    await enqueue("greet", {}, {"priority": 4})
    await connection.execute(f"update {schema}.worker set waiting = true")
    await enqueue("greet", {}, {"delay": 60})
    await enqueue("greet", {}, {"scheduled_at": LATER.isoformat()})
    await enqueue("greet", {}, {"priority": 5, "delay": 60})
    await enqueue("greet", {}, {"priority": 6})
    await enqueue("greet")

    async def all_heard() -> bool:
        await other_connection.execute("select 1")
        return len(heard) >= 2

    await eventually(all_heard)
    assert heard == ["default\t6", "default\t0"]


async def test_a_trigger_enqueues(app: Soniq, connection: Connection, schema: str) -> None:
    await connection.execute(f"""
        create schema {schema}_app;
        create table {schema}_app.person (name text not null);
        create function {schema}_app.welcome() returns trigger language plpgsql as $$
        begin
            perform {schema}.enqueue('greet', jsonb_build_object('name', new.name));
            return null;
        end
        $$;
        create trigger welcome after insert on {schema}_app.person
            for each row execute function {schema}_app.welcome();
        insert into {schema}_app.person values ('Ada'), ('Grace');
        """)
    assert await app.run_worker(run_once=True) == 2
    results = [await app.get_result(job["job_id"]) for job in await app.jobs()]
    assert sorted(results) == ["hello Ada", "hello Grace"]


async def test_arguments_of_a_wrong_type_are_found_by_the_worker(
    app: Soniq, enqueue: Enqueue
) -> None:
    job_id = await enqueue("greet", {"name": 5})
    await app.run_worker(run_once=True)
    status = await app.get_job_status(job_id)
    assert status is not None
    assert (status["status"], status["attempt"]) == ("dead", 1)
    assert status["error"] is not None
    assert "the stored arguments cannot be read" in status["error"]["message"]


async def test_a_role_with_the_rights_that_are_documented_enqueues(
    app: Soniq, enqueue: Enqueue, connection: Connection, schema: str
) -> None:
    role = f"role_{schema}"
    await connection.execute(
        f"create role {role}; grant usage on schema {schema} to {role}; grant select on"
        f" {schema}.worker to {role}; grant select, insert on {schema}.job to {role}; set role"
        f" {role}"
    )
    try:
        first = await enqueue("greet", {}, {"dedup_key": "k", "queue": "new"})
        assert await enqueue("greet", {}, {"dedup_key": "k"}) == first
    finally:
        await connection.execute(f"reset role; drop owned by {role}; drop role {role}")
