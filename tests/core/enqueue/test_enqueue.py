"""Enqueueing: in the caller's transaction, at a time, with options, many at once, and what a bad
one does to others.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import asyncpg
import pytest

from soniq import (
    DatabaseError,
    InvalidOption,
    JobContext,
    JobId,
    PayloadTooLarge,
    SerializationError,
    Soniq,
    hookimpl,
)
from soniq.plugin import EnqueueBatch, Serializer
from soniq.status import JobStatus
from tests.conftest import MakeApp
from tests.core.postgres.support import own_database
from tests.support.jobs import falls_asleep

Connection = asyncpg.Connection


async def no_op(n: int = 0) -> int:
    return n


async def known(app: Soniq, job_id: str) -> JobStatus:
    """The status of a job that exists."""
    status = await app.get_job_status(job_id)
    assert status is not None
    return status


async def count(app: Soniq) -> int:
    """How many jobs there are."""
    return len(await app.jobs(limit=10_000))


# --- the caller's transaction --------------------------------------------------------------------


async def test_a_job_on_the_callers_connection_is_part_of_its_transaction(
    app: Soniq, connection: Connection
) -> None:
    job = app.job(name="no-op")(no_op)
    keyed = app.job(name="keyed", unique=True)(no_op)

    async with connection.transaction():
        ids = [await app.enqueue(job, 1, connection=connection)]
        ids += [await app.enqueue(keyed, 2, connection=connection)]
        ids += await app.enqueue_many(job, [{"n": 3}, {"n": 4}], connection=connection)
        ids += await app.enqueue_many(job, [{"n": n} for n in range(5, 105)], connection=connection)
        assert await count(app) == 0
        assert all(each.inserted for each in ids)
    assert await count(app) == 104
    await app.run_worker(run_once=True)
    assert [await app.get_result(each) for each in ids[:5]] == [1, 2, 3, 4, 5]


async def test_a_rollback_takes_the_jobs_with_it(app: Soniq, connection: Connection) -> None:
    job = app.job(name="no-op")(no_op)
    keyed = app.job(name="keyed", unique=True)(no_op)

    transaction = connection.transaction()
    await transaction.start()
    undone = await app.enqueue(keyed, 2, connection=connection)
    await app.enqueue(job, 1, connection=connection)
    await app.enqueue_many(job, [{"n": n} for n in range(100)], connection=connection)
    await app.enqueue_many(keyed, [{"n": n} for n in range(100)], connection=connection)
    await transaction.rollback()
    assert await count(app) == 0
    assert await app.get_job_status(undone) is None
    again = await app.enqueue(keyed, 2)
    assert again.inserted
    assert again != undone


async def test_without_a_transaction_a_job_on_the_callers_connection_is_committed(
    app: Soniq, connection: Connection
) -> None:
    job = app.job()(no_op)
    await app.enqueue(job, connection=connection)
    await app.enqueue_many(job, [{}, {}], connection=connection)
    assert await count(app) == 3


async def test_a_duplicate_in_the_callers_transaction_learns_the_id_and_does_not_abort_it(
    app: Soniq, connection: Connection
) -> None:
    job = app.job(unique=True)(no_op)
    first = await app.enqueue(job, 1)
    async with connection.transaction():
        second = await app.enqueue(job, 1, connection=connection)
        assert (second, second.inserted) == (first, False)
        third = await app.enqueue(job, 2, connection=connection)
        fourth = await app.enqueue(job, 2, connection=connection)
        assert (fourth, fourth.inserted, third.inserted) == (third, False, True)
    assert await count(app) == 2


async def test_a_refused_enqueue_leaves_the_callers_transaction_usable(
    app: Soniq, connection: Connection
) -> None:
    job = app.job()(no_op)
    async with connection.transaction():
        with pytest.raises(InvalidOption):
            await app.enqueue(job, 1, connection=connection, delay=-1)
        await app.enqueue(job, 2, connection=connection)
    assert await count(app) == 1


async def test_a_connection_from_a_pool_of_the_callers_will_do(
    app: Soniq, database_url: str
) -> None:
    job = app.job()(no_op)
    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool,
        pool.acquire() as connection,
    ):
        async with connection.transaction():
            await app.enqueue(job, connection=connection)
            assert await count(app) == 0
        assert await count(app) == 1


async def test_a_new_queue_in_a_transaction_needs_no_second_connection(make_app: MakeApp) -> None:
    app = make_app(pool_size=1, connect_timeout=1)
    job = app.job()(no_op)
    await app.start()
    async with app.connection() as connection, connection.transaction():
        await app.enqueue(job, 1, queue="new", connection=connection)
    assert await app.run_worker(run_once=True) == 1


async def test_a_queue_that_a_rollback_took_away_is_noted_again(
    app: Soniq, connection: Connection
) -> None:
    job = app.job()(no_op)
    await app.start()
    for _ in range(2):
        transaction = connection.transaction()
        await transaction.start()
        await app.enqueue(job, 1, queue="new", connection=connection)
        async with connection.transaction():
            await app.enqueue(job, 2, queue="new", connection=connection)
        await transaction.rollback()
    await app.enqueue(job, 3, queue="new", connection=connection)
    assert await app.run_worker(run_once=True) == 1


async def test_a_worker_learns_a_new_priority_that_is_committed_late(
    make_app: MakeApp, connection: Connection
) -> None:
    app = make_app(poll_interval=60)
    job = app.job()(no_op)
    working = asyncio.create_task(app.run_worker())
    try:
        async with asyncio.timeout(20):
            await app.wait_for(await app.enqueue(job))
            await falls_asleep(app)
            async with connection.transaction():
                late = await app.enqueue(job, 5, priority=7, connection=connection)
                await app.wait_for(await app.enqueue(job))
            assert await app.wait_for(late) == 5
    finally:
        working.cancel()
        await asyncio.wait([working])


async def test_what_is_no_connection_is_refused(app: Soniq) -> None:
    job = app.job()(no_op)
    for wrong in ("postgresql://localhost", object(), 5):
        with pytest.raises(InvalidOption, match="connection= takes an asyncpg connection"):
            await app.enqueue(job, connection=wrong)
    assert await count(app) == 0


# --- when it is due ------------------------------------------------------------------------------


async def test_a_delayed_job_is_not_run_before_it_is_due(app: Soniq) -> None:
    job = app.job()(no_op)
    in_paris = datetime.now(timezone(timedelta(hours=1))) + timedelta(hours=1)
    later = [
        await app.enqueue(job, delay=3600),
        await app.enqueue(job, delay=3600.5),
        await app.enqueue(job, scheduled_at=in_paris),
        *await app.enqueue_many(job, [{}, {}], delay=3600),
    ]
    now = [
        await app.enqueue(job, delay=0),
        await app.enqueue(job, scheduled_at=datetime(1999, 1, 1, tzinfo=UTC)),
        await app.enqueue(job),
    ]
    assert await app.run_worker(run_once=True) == 3
    assert [(await known(app, each))["status"] for each in later] == ["queued"] * 5
    assert [(await known(app, each))["status"] for each in now] == ["done"] * 3
    delayed, _, scheduled, *_ = [await known(app, each) for each in later]
    assert scheduled["scheduled_at"] == in_paris
    assert (delayed["scheduled_at"] - delayed["created_at"]).total_seconds() == pytest.approx(
        3600, abs=0.001
    )


async def test_a_time_that_is_past_means_now(app: Soniq) -> None:
    job_id = await app.enqueue(app.job()(no_op), scheduled_at=datetime(1999, 1, 1, tzinfo=UTC))
    status = await known(app, job_id)
    assert status["scheduled_at"] >= status["created_at"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"delay": -1}, "delay= is between 0 and"),
    ({"delay": -0.001}, "delay= is between 0 and"),
    ({"delay": float("nan")}, "delay= is a number of seconds"),
    ({"delay": float("inf")}, "delay= is a number of seconds"),
    ({"delay": 1e12}, "delay= is between 0 and"),
    ({"delay": "5"}, "delay= is a number of seconds"),
    ({"delay": True}, "delay= is a number of seconds"),
    ({"scheduled_at": datetime(2026, 1, 2)}, "scheduled_at=2026-01-02T00:00:00 has no time zone"),
    ({"scheduled_at": "2026-01-02"}, "scheduled_at= takes a datetime with a time zone"),
    ({"scheduled_at": 5}, "scheduled_at= takes a datetime with a time zone"),
    ({"scheduled_at": datetime(2026, 1, 2, tzinfo=UTC), "delay": 1}, "exclude each other"),
    ({"expires": datetime(2026, 1, 2)}, "expires=2026-01-02T00:00:00 has no time zone"),
    ({"expires": -1}, "expires= is between 0 and"),
    ({"keep": -1}, "keep= is between 0 and"),
    ({"timeout": 0}, "timeout= must be more than 0"),
    ({"queue": ""}, "queue= takes 1 to 200 bytes"),
    ({"queue": "a\0"}, "queue= cannot hold the character NUL"),
    ({"queue": "\ud800"}, "queue= cannot hold .* surrogate"),
    ({"queue": "a\nb"}, "queue= cannot hold control characters"),
    ({"queue": "\x01cancel x"}, "queue= cannot hold control characters"),
    ({"queue": "\x7f"}, "queue= cannot hold control characters"),
    (
        {"delay": 60, "expires": 60},
        r"delay= is not before it expires \(60\), and it would never start",
    ),
    (
        {
            "scheduled_at": datetime(2026, 1, 2, 1, tzinfo=UTC),
            "expires": datetime(2026, 1, 2, tzinfo=UTC),
        },
        "scheduled_at= is not before it expires",
    ),
    ({"dedup_key": ""}, "dedup_key= takes 1 to 2000 bytes"),
    ({"dedup_key": "a\0"}, "dedup_key= cannot hold the character NUL"),
    ({"dedup_key": "\udc00"}, "dedup_key= cannot hold .* surrogate"),
    ({"dedup_key": "x" * 2001}, "dedup_key= takes 1 to 2000 bytes"),
    ({"dedup_key": "\u2603" * 1000}, "dedup_key= takes 1 to 2000 bytes"),
    ({"dedup_key": 5}, "dedup_key= takes text"),
    ({"tags": "abc"}, "tags= takes a list of strings"),
    ({"tags": ["a\0"]}, "tags= cannot hold the character NUL"),
    ({"tags": ["\ud800"]}, "tags= cannot hold .* surrogate"),
    ({"tags": [1]}, "tags= takes text"),
    ({"headers": {"a": "x\0y"}}, "headers= cannot hold the character NUL"),
    ({"headers": {"a\0": 1}}, "headers= cannot hold the character NUL"),
    ({"headers": {"a": "\ud800"}}, "headers= holds a value that JSON cannot hold"),
    ({"headers": {"a": object()}}, "headers= holds a value that JSON cannot hold"),
    ({"headers": {1: "a"}}, "headers= takes JSON values by name"),
    ({"headers": "a"}, "headers= takes JSON values by name"),
    ({"priority": 1.5}, "priority= is an integer from -32768 to 32767"),
    ({"priority": 32_768}, "priority= is an integer from -32768 to 32767"),
    ({"max_attempts": 0}, "max_attempts= is an integer from 1"),
    ({"unique": "no"}, "unique= is True or False"),
    ({"notify": 1}, "notify= is True or False"),
    ({"serializer": "pickle"}, "no serializer is named 'pickle'; there are json"),
    ({"retry": 5}, "retry= is an option of the job"),
    ({"args": [1]}, "args= takes the arguments by name"),
]


async def test_an_option_that_cannot_be_is_refused_and_nothing_enqueued(app: Soniq) -> None:
    job = app.job()(no_op)
    for options, said in REFUSED:
        with pytest.raises(InvalidOption, match=said) as caught:
            await app.enqueue(job, **options)
        assert caught.value.option in options
        if "args" not in options:
            with pytest.raises(InvalidOption, match=said):
                await app.enqueue_many(job, [{}, {}], **options)
    assert await count(app) == 0


async def test_text_of_any_kind_is_kept_where_it_can_be(app: Soniq) -> None:
    text = "na\u00efve \u2603 \U0001f600 \\u0000 '\"\n\t\u0001;drop table job;--"
    queue = text.replace("\n\t\u0001", "")
    received: list[object] = []

    @app.job(name=text, queue=queue, tags=[text])
    async def odd(value: str, ctx: JobContext) -> str:
        received.append((value, ctx.job_name, ctx.queue, ctx.headers))
        return value

    job_id = await app.enqueue(odd, text, headers={text: text}, dedup_key=text)
    assert not (await app.enqueue(odd, text, dedup_key=text)).inserted
    await app.run_worker(run_once=True)
    status = await known(app, job_id)
    assert status["result"] == text
    assert (status["queue"], status["tags"], status["job_name"]) == (queue, [text], text)
    assert received == [(text, text, queue, {text: text})]
    assert [each["job_id"] for each in await app.jobs(queue=queue, name=text, tag=text)] == [job_id]


async def test_an_argument_may_hold_nul(app: Soniq) -> None:
    @app.job()
    async def echo(value: str, anything: Any) -> list[Any]:
        return [value, anything]

    job_id = await app.enqueue(echo, "a\0b", {"\0": "\0"})
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == ["a\0b", {"\0": "\0"}]


# --- options of one enqueue ----------------------------------------------------------------------


async def test_an_enqueue_overrides_the_options_of_its_job(
    app: Soniq, connection: Connection
) -> None:
    job = app.job(
        queue="a",
        priority=1,
        max_attempts=2,
        timeout=3,
        tags=["t"],
        expires=100,
        keep=5,
        unique=True,
    )(no_op)
    ids = [
        await app.enqueue(job),
        await app.enqueue(
            job,
            queue="b",
            priority=-1,
            max_attempts=9,
            timeout=8,
            tags=["u", "v"],
            expires=200,
            keep=6,
            unique=False,
        ),
        await app.enqueue(job, tags=[], priority=0, unique=False),
    ]
    assert all(each.inserted for each in ids)
    rows = await connection.fetch(
        "select queue, priority, max_attempts, timeout, coalesce(tags, '{}') as tags, keep,"
        " dedup_key is null as free, round(extract(epoch from expires_at - created_at)) as expires"
        f" from {app.settings.schema}.job order by id"
    )
    assert [tuple(row) for row in rows] == [
        ("a", 1, 2, None, ["t"], 5, False, 100),
        ("b", -1, 9, 8, ["u", "v"], 6, True, 200),
        ("a", 0, 2, None, [], 5, True, 100),
    ]


async def test_an_option_of_enqueue_many_is_that_of_each_of_its_jobs(app: Soniq) -> None:
    job = app.job()(no_op)
    ids = await app.enqueue_many(
        job, [{"n": 1}, {"n": 2}], queue="b", tags=["t"], headers={"a": 1}, priority=3
    )
    for job_id in ids:
        status = await known(app, job_id)
        assert (status["queue"], status["tags"], status["priority"]) == ("b", ["t"], 3)


async def test_headers_reach_the_handler(app: Soniq) -> None:
    received: list[object] = []

    @app.job()
    async def look(ctx: JobContext) -> None:
        received.append(dict(ctx.headers))

    headers = {"trace": {"id": "1", "n": [1, None, 2.5, True]}}
    await app.enqueue(look, headers=headers)
    await app.enqueue(look, headers={})
    await app.enqueue(look)
    await app.enqueue_many(look, [{}] * 70, headers=headers)
    await app.run_worker(run_once=True)
    assert len(received) == 73
    assert received.count(headers) == 71
    assert received.count({}) == 2


async def test_of_two_due_jobs_the_lower_priority_runs_first(app: Soniq) -> None:
    order: list[int] = []

    @app.job()
    async def note(n: int) -> None:
        order.append(n)

    for n, priority in ((1, 5), (2, 0), (3, -5), (4, 0), (5, -5), (6, 32_767), (7, -32_768)):
        await app.enqueue(note, n, priority=priority)
    await app.run_worker(run_once=True, concurrency=1)
    assert order == [7, 3, 5, 2, 4, 1, 6]


async def test_a_job_that_expired_before_it_started_is_cancelled_with_the_reason(
    app: Soniq,
) -> None:
    ran: list[int] = []

    @app.job()
    async def note(n: int) -> None:
        ran.append(n)

    expired = [
        await app.enqueue(note, 1, expires=0),
        await app.enqueue(note, 2, expires=datetime.now(UTC) - timedelta(minutes=1)),
        *await app.enqueue_many(note, [{"n": 3}], expires=0),
    ]
    fresh = await app.enqueue(note, 4, expires=datetime.now(UTC) + timedelta(hours=1))
    await app.run_worker(run_once=True)
    for job_id in expired:
        status = await known(app, job_id)
        assert status["status"] == "cancelled"
        assert status["attempt"] == 0
        assert status["error"] is not None
        assert status["error"]["message"] == "expired before it started"
    assert (await known(app, fresh))["status"] == "done"
    assert ran == [4]


async def test_keep_says_for_how_long_a_finished_job_can_be_looked_up(app: Soniq) -> None:
    job = app.job()(no_op)
    short, long, forever = [
        await app.enqueue(job, 1, keep=keep) for keep in (0, 3600, 100 * 365 * 86_400)
    ]
    await app.run_worker(run_once=True)
    assert await app.prune() == 1
    assert await app.get_job_status(short) is None
    assert await app.get_result(short) is None
    assert (await known(app, long))["result"] == 1
    assert (await known(app, forever))["result"] == 1


async def test_notify_false_wakes_nobody(app: Soniq, connection: Connection) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    await connection.add_listener(
        app.settings.schema, lambda *about: heard.put_nowait(str(about[-1]))
    )
    job = app.job()(no_op)
    await app.enqueue(job, queue="silent", notify=False)
    await app.enqueue_many(job, [{}], queue="silent", notify=False)
    await app.enqueue(job, queue="silent", delay=60)
    await app.enqueue(job, queue="loud")
    assert "loud\t0" in (await asyncio.wait_for(heard.get(), 10)).split("\n")
    assert heard.empty()


# --- many ----------------------------------------------------------------------------------------


async def test_enqueue_many_returns_the_ids_in_order(app: Soniq) -> None:
    job = app.job()(no_op)
    for size in (0, 1, 63, 64, 1000):
        ids = await app.enqueue_many(job, [{"n": n} for n in range(size)])
        assert len(ids) == size
        assert ids == sorted(ids)
        assert all(each.inserted for each in ids)
    assert await count(app) == 1128
    await app.run_worker(run_once=True)
    assert [await app.get_result(each) for each in (ids[0], ids[500], ids[-1])] == [0, 500, 999]


async def test_enqueue_many_takes_any_iterable_and_names(app: Soniq) -> None:
    app.job(name="no-op")(no_op)
    ids = await app.enqueue_many("no-op", ({"n": n} for n in (1, 2)))
    await app.run_worker(run_once=True)
    assert [await app.get_result(each) for each in ids] == [1, 2]


async def test_enqueue_many_is_all_or_none(app: Soniq) -> None:
    @app.job(name="echo")
    async def echo(value: Any) -> None: ...

    with pytest.raises(SerializationError):
        await app.enqueue_many(echo, [*({"value": n} for n in range(100)), {"value": object()}])
    with pytest.raises(InvalidOption, match="value= is no option"):
        await app.enqueue_many(echo, [{"value": 1}], value=2)
    with pytest.raises(InvalidOption, match="args= is no option"):
        await app.enqueue_many(echo, [{"value": 1}], args={})
    assert await count(app) == 0


async def test_three_hundred_concurrent_enqueues_all_arrive(app: Soniq) -> None:
    job = app.job()(no_op)
    keyed = app.job(name="keyed", unique=True)(no_op)
    ids = await asyncio.gather(
        *(app.enqueue(job, n) for n in range(300)),
        *(app.enqueue(keyed, n % 50) for n in range(100)),
    )
    assert len(set(ids[:300])) == 300
    assert len(set(ids[300:])) == 50
    assert sum(each.inserted for each in ids[300:]) == 50
    assert await count(app) == 350
    assert await app.run_worker(run_once=True) == 350
    assert [await app.get_result(each) for each in ids[:300:60]] == [0, 60, 120, 180, 240]


async def test_an_enqueue_is_there_when_it_returns(app: Soniq, database_url: str) -> None:
    job = app.job()(no_op)
    await app.start()

    async def check(n: int) -> None:
        job_id = await app.enqueue(job, n)
        rows = await read.fetch(
            f"select 1 from {app.settings.schema}.job where id = $1", str(job_id)
        )
        assert len(rows) == 1

    async with asyncpg.create_pool(database_url, min_size=1, max_size=3) as read:
        await asyncio.gather(*(check(n) for n in range(50)))


class TextSerializer:
    """Breaks its promise for some values: what it returns is no bytes, which only the driver
    notices.
    """

    name = "text"

    def dumps(self, value: Any) -> bytes:
        broken: Any = "text" if value["n"] < 0 else b"5"
        return broken  # type: ignore[no-any-return]

    def loads(self, data: bytes, type: Any) -> Any:
        return type(n=5)


class TextPlugin:
    name = "text"

    @hookimpl
    def serializers(self) -> list[Serializer]:
        return [TextSerializer()]


async def test_one_bad_row_in_a_shared_insert_fails_alone(make_app: MakeApp) -> None:
    app = make_app(plugins=[TextPlugin()], pool_size=1)
    job = app.job(serializer="text")(no_op)
    keyed = app.job(name="keyed", serializer="text", unique=True)(no_op)
    await app.start()
    numbers = [*range(1, 20), -1, *range(20, 40), -2, -3]
    results = await asyncio.gather(
        *(app.enqueue(job, n) for n in numbers),
        *(app.enqueue(keyed, n) for n in numbers),
        return_exceptions=True,
    )
    for n, result in zip(numbers * 2, results, strict=True):
        assert isinstance(result, DatabaseError if n < 0 else JobId), (n, result)
    assert "cannot be enqueued" in str(results[19])
    assert await count(app) == 78


async def test_parts_of_a_shared_insert_that_is_slow_have_one_limit_together(
    make_app: MakeApp, connection: Connection, schema: str
) -> None:
    app = make_app(command_timeout=2)
    job = app.job()(no_op)
    await app.enqueue(job)
    await connection.execute(
        f"create function {schema}.slow() returns trigger language plpgsql as"
        f" $$begin perform pg_sleep(0.8); return null; end$$;"
        f"create trigger slow before insert on {schema}.job execute function {schema}.slow();"
        f"alter table {schema}.job add check (priority <> 7)"
    )
    began = time.monotonic()
    results = await asyncio.gather(
        *(app.enqueue(job, priority=n) for n in [7, *range(10, 25)]), return_exceptions=True
    )  # each part with the bad row is tried, and its two halves: 9 inserts, of 0.8 s
    assert time.monotonic() - began < 5
    assert isinstance(results[0], DatabaseError)


async def test_an_error_in_the_statement_itself_is_told_to_all_and_leaves_the_app_usable(
    app: Soniq, connection: Connection
) -> None:
    job = app.job()(no_op)
    await app.enqueue(job)
    schema = app.settings.schema
    await connection.execute(f"alter table {schema}.job rename to gone")
    results = await asyncio.gather(*(app.enqueue(job) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(each, DatabaseError) for each in results)
    await connection.execute(f"alter table {schema}.gone rename to job")
    await app.enqueue(job)
    assert await count(app) == 2


async def test_a_key_that_an_open_transaction_holds_does_not_hold_up_others(
    app: Soniq, connection: Connection
) -> None:
    job = app.job(name="plain")(no_op)
    keyed = app.job(name="keyed")(no_op)
    transaction = connection.transaction()
    await transaction.start()
    held = await app.enqueue(keyed, dedup_key="held", connection=connection)
    waiting = [asyncio.create_task(app.enqueue(keyed, dedup_key="held")) for _ in range(3)]
    others = await asyncio.wait_for(
        asyncio.gather(
            *(app.enqueue(job, n) for n in range(50)),
            *(app.enqueue(keyed, dedup_key=f"free-{n}") for n in range(50)),
        ),
        30,
    )
    assert all(each.inserted for each in others)
    assert not any(each.done() for each in waiting)
    assert await count(app) == 100
    await transaction.commit()
    ids = await asyncio.wait_for(asyncio.gather(*waiting), 30)
    assert [(each, each.inserted) for each in ids] == [(held, False)] * 3


async def test_when_the_transaction_that_holds_a_key_is_undone_one_of_those_that_wait_has_it(
    app: Soniq, connection: Connection
) -> None:
    keyed = app.job(name="keyed")(no_op)
    transaction = connection.transaction()
    await transaction.start()
    held = await app.enqueue(keyed, dedup_key="held", connection=connection)
    waiting = [asyncio.create_task(app.enqueue(keyed, dedup_key="held")) for _ in range(3)]
    await asyncio.wait_for(app.enqueue(keyed, dedup_key="free"), 30)
    await transaction.rollback()
    ids = await asyncio.wait_for(asyncio.gather(*waiting), 30)
    assert len(set(ids)) == 1
    assert ids[0] != held
    assert sum(each.inserted for each in ids) == 1


# --- the limit of size ---------------------------------------------------------------------------


async def test_arguments_over_the_limit_are_refused_with_both_sizes(make_app: MakeApp) -> None:
    app = make_app(max_payload=100)

    @app.job(name="store")
    async def store(text: str) -> None: ...

    await app.enqueue(store, "x" * 89)
    with pytest.raises(
        PayloadTooLarge, match=r"the arguments of store take 101 bytes; the limit is 100"
    ) as caught:
        await app.enqueue(store, "x" * 90)
    error = caught.value
    assert (error.job, error.what, error.size, error.limit) == ("store", "arguments", 101, 100)
    with pytest.raises(PayloadTooLarge):
        await app.enqueue_many(store, [{"text": "x"}, {"text": "x" * 90}])
    assert await count(app) == 1


async def test_a_result_over_the_limit_fails_the_attempt_with_both_sizes(make_app: MakeApp) -> None:
    app = make_app(max_payload=100)

    @app.job(name="produce", max_attempts=1)
    async def produce(length: int) -> str:
        return "x" * length

    fits, too_large = await app.enqueue(produce, 98), await app.enqueue(produce, 99)
    await app.run_worker(run_once=True)
    assert await app.get_result(fits) == "x" * 98
    status = await known(app, too_large)
    assert status["status"] == "dead"
    assert status["result"] is None
    assert status["error"] is not None
    assert status["error"]["type"] == "soniq.errors.PayloadTooLarge"
    assert "the result of produce takes 101 bytes; the limit is 100" in status["error"]["message"]


async def test_a_large_payload_below_the_limit_arrives(app: Soniq) -> None:
    @app.job()
    async def echo(text: str) -> str:
        return text

    text = "x" * 1_000_000
    ids = await asyncio.gather(*(app.enqueue(echo, text) for _ in range(6)))
    await app.run_worker(run_once=True)
    for job_id in ids:
        assert await app.get_result(job_id) == text


# --- hooks around --------------------------------------------------------------------------------


class Stamp:
    """Adds a header, and notes what it saw."""

    name = "stamp"

    def __init__(self) -> None:
        self.seen: list[tuple[bool, list[str], list[bool]]] = []

    @hookimpl
    async def around_enqueue(self, batch: EnqueueBatch) -> AsyncIterator[None]:
        for job in batch.jobs:
            job.headers["stamp"] = {"key": "stamp", "bulk": batch.bulk}
        yield
        self.seen.append(
            (
                batch.bulk,
                [str(job.id) for job in batch.jobs],
                [job.id.inserted for job in batch.jobs],
            )
        )


async def test_a_hook_around_the_enqueue_may_add_headers_and_sees_the_ids(
    make_app: MakeApp,
) -> None:
    stamp = Stamp()
    app = make_app(plugins=[stamp])
    received: list[object] = []

    @app.job(unique=True)
    async def look(n: int, ctx: JobContext) -> None:
        received.append(ctx.headers["stamp"]["bulk"])

    headers: dict[str, object] = {}
    one = await app.enqueue(look, 1, headers=headers)
    many = await app.enqueue_many(look, [{"n": 1}, {"n": 2}])
    await app.run_worker(run_once=True)
    assert stamp.seen == [(False, [one], [True]), (True, many, [False, True])]
    assert sorted(received, key=str) == [False, True]
    assert headers == {}


async def test_an_enqueue_right_after_another_is_never_left_waiting(app: Soniq) -> None:
    @app.job()
    async def work(n: int) -> None: ...

    async def twice() -> None:
        await app.enqueue(work, 1)
        await app.enqueue(work, 2)

    await app.enqueue(work, 0)
    for _ in range(200):
        one = asyncio.create_task(twice())
        await asyncio.sleep(0)
        other = asyncio.create_task(app.enqueue(work, 3))
        for _ in range(2):
            await asyncio.sleep(0)
        time.sleep(
            0.002
        )  # both answers are there when the loop looks next: both writers end in one step
        async with asyncio.timeout(10):
            await asyncio.gather(one, other)


@pytest.mark.parametrize("unique", [False, True])
async def test_a_connection_to_another_database_is_an_error_that_says_so(
    app: Soniq, database_url: str, unique: bool
) -> None:
    @app.job(name="job", unique=unique)
    async def job(n: int) -> None: ...

    async with own_database(database_url) as other:
        connection = await asyncpg.connect(other)
        with pytest.raises(
            DatabaseError,
            match=r"a database without Soniq's tables.*it must lead to that of the app",
        ):
            await app.enqueue(job, 1, connection=connection)
        with pytest.raises(DatabaseError, match="a database without Soniq's tables"):
            await app.enqueue_many(job, [{"n": n} for n in range(100)], connection=connection)
        await connection.close()
    assert await app.jobs() == []


async def test_a_connection_to_another_apps_database_is_an_error_that_says_so(
    app: Soniq, database_url: str
) -> None:
    @app.job(name="job")
    async def job(n: int) -> None: ...

    async with own_database(database_url) as url:
        other = Soniq(url, discover=False, schema=app.settings.schema, unknown_jobs="allow")
        async with other:
            connection = await asyncpg.connect(url)
            await other.enqueue("job", args={"n": 1}, connection=connection)
            with pytest.raises(
                DatabaseError, match=r"leads to another database; it must lead to that of the app"
            ):
                async with connection.transaction():
                    await app.enqueue(job, 2, connection=connection)
            await connection.close()
            assert len(await other.jobs()) == 1
    assert await app.jobs() == []
