"""Many jobs of one call, which are made while the first of them are written: all or none."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from soniq import Soniq
from soniq.errors import (
    DatabaseUnavailable,
    InvalidArguments,
    PayloadTooLarge,
    SerializationError,
)
from soniq.job.new import NewJob
from soniq.plugin import Dedup, hookimpl
from tests.conftest import MakeApp
from tests.support.jobs import working
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

COUNT = 2_500


@pytest.fixture
def ran(app: Soniq) -> list[int]:
    """The numbers that the job `note` was run with."""
    numbers: list[int] = []

    @app.job(name="note")
    async def note(number: int, text: str = "") -> None:
        numbers.append(number)

    return numbers


def calls(count: int = COUNT, **more: object) -> list[Mapping[str, object]]:
    return [{"number": number, **more} for number in range(count)]


async def rows(connection: "Connection", schema: str) -> int:
    found: int = await connection.fetchval(f"select count(*) from {schema}.job")
    return found


async def test_all_are_there_each_once_and_their_ids_are_in_order(
    app: Soniq, ran: list[int], connection: "Connection", schema: str
) -> None:
    ids = await app.enqueue_many("note", calls(), queue="many", priority=3, headers={"by": "eva"})
    assert len(set(ids)) == COUNT
    found = await connection.fetch(
        f"select id, convert_from(args, 'UTF8')::json ->> 'number' as number, headers ->> 'by' as by,"
        f" queue, priority, status from {schema}.job order by id"
    )
    assert [(str(row["id"]), int(row["number"])) for row in found] == [
        *zip(ids, range(COUNT), strict=True)
    ]
    assert {tuple(row)[2:] for row in found} == {("eva", "many", 3, "queued")}
    assert await app.run_worker(run_once=True) == COUNT
    assert sorted(ran) == [*range(COUNT)]


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"number": "seven"}, InvalidArguments),
        ({}, InvalidArguments),
        ({"number": 1, "text": object()}, SerializationError),
        ({"number": 1, "text": "x" * 10_000_000}, PayloadTooLarge),
    ],
)
@pytest.mark.parametrize("place", [0, COUNT - 1])
async def test_none_is_there_where_one_of_them_cannot_be(
    app: Soniq,
    ran: list[int],
    connection: "Connection",
    schema: str,
    bad: Mapping[str, object],
    error: type[Exception],
    place: int,
) -> None:
    many = calls()
    many[place] = bad
    for _ in range(3):
        with pytest.raises(error):
            await app.enqueue_many("note", many)
    assert await rows(connection, schema) == 0
    await app.enqueue_many("note", calls())
    await app.enqueue("note", number=1)
    assert await rows(connection, schema) == COUNT + 1


@pytest.mark.parametrize("bad", [False, True])
async def test_what_several_statements_carry_is_all_or_none_too(
    app: Soniq,
    ran: list[int],
    connection: "Connection",
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
    bad: bool,
) -> None:
    monkeypatch.setattr("soniq.enqueue.insert.ROUND_BYTES", 20_000)
    many = calls()
    if bad:
        many[-1] = {"number": None}
        with pytest.raises(InvalidArguments):
            await app.enqueue_many("note", many)
    else:
        await app.enqueue_many("note", many)
    assert await rows(connection, schema) == (0 if bad else COUNT)


async def test_a_serializer_that_is_slow_has_no_limit_for_all_of_them(
    make_app: MakeApp, connection: "Connection", schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.enqueue.insert.SHARE_OF_TIMEOUT", 0.0)  # each has its own statement
    app = make_app(unknown_jobs="allow")
    await app.enqueue_many("note", calls(1_000))
    assert await rows(connection, schema) == 1_000


class Telling(dict[str, object]):
    """Arguments of which something is told when their turn comes."""

    tell: Callable[[], None]

    def keys(self) -> Any:
        self.tell()
        return super().keys()


async def test_the_first_are_written_while_the_last_are_made(
    app: Soniq, ran: list[int], database_url: str, schema: str
) -> None:
    written = 0

    def look() -> None:
        nonlocal written
        with psycopg.connect(database_url, autocommit=True) as own:
            ends = time.monotonic() + 30
            while not written and time.monotonic() < ends:
                [(written,)] = own.execute(
                    "select coalesce(sum(tuples_processed), 0)::int from pg_stat_progress_copy"
                    f" where relid = '{schema}.job'::regclass"
                ).fetchall()

    many = calls(20_000, text="x" * 100)
    many[-1] = last = Telling(many[-1])
    last.tell = look
    await app.enqueue_many("note", many)
    assert written > 0


async def test_none_is_there_where_the_caller_is_cancelled(
    app: Soniq, ran: list[int], connection: "Connection", schema: str
) -> None:
    begun, many = asyncio.Event(), calls()
    many[10] = first = Telling(many[10])
    first.tell = begun.set
    task = asyncio.create_task(app.enqueue_many("note", many))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await app.enqueue("note", number=1)
    assert await rows(connection, schema) == 1


async def test_a_server_that_takes_in_nothing_more_is_waited_for_for_so_long_and_no_longer(
    make_app: MakeApp, connection: "Connection", database_url: str, proxy: Proxy, schema: str
) -> None:
    app = make_app(database_url=proxy.url(database_url), command_timeout=2)

    @app.job(name="note")
    async def note(number: int, text: str) -> None: ...

    many = calls(2_000, text="x" * 50_000)
    many[5] = fifth = Telling(many[5])
    fifth.tell = proxy.darken
    with pytest.raises(DatabaseUnavailable, match="no answer within 2 s"):
        await asyncio.wait_for(app.enqueue_many("note", many), 20)
    proxy.restore()
    assert await rows(connection, schema) == 0
    await app.enqueue("note", number=1, text="")


async def test_nothing_is_sent_on_a_connection_that_is_lost(
    app: Soniq,
    ran: list[int],
    connection: "Connection",
    database_url: str,
    schema: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def end() -> None:
        with psycopg.connect(database_url, autocommit=True) as own:
            ended = own.execute(
                "select pg_terminate_backend(pid, 10000) from pg_stat_progress_copy"
                f" where relid = '{schema}.job'::regclass"
            ).fetchall()
            assert ended == [(True,)]

    made = 0

    def count() -> None:
        nonlocal made
        made += 1

    many: list[Mapping[str, object]] = []
    for each in calls(1_500, text="x" * 10_000):
        many.append(last := Telling(each))
        last.tell = count
    many[200] = ending = Telling(many[200])
    ending.tell = end

    with pytest.raises(DatabaseUnavailable, match="was lost"):
        await app.enqueue_many("note", many)
    assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == []
    assert made < 1_000
    assert await rows(connection, schema) == 0


async def test_a_plugin_that_gives_keys_is_asked_for_each(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    class Keys:
        name = "keys"

        @hookimpl
        def dedup_key(self, job: NewJob) -> Dedup:
            return Dedup(str(int(job.args["number"]) // 2))  # type: ignore[call-overload]

    app = make_app(plugins=[Keys()], unknown_jobs="allow")
    ids = await app.enqueue_many("note", calls())
    assert len(set(ids)) == await rows(connection, schema) == COUNT // 2


async def test_of_a_unique_job_each_is_there_once(
    app: Soniq, connection: "Connection", schema: str
) -> None:
    @app.job(unique=True)
    async def once(number: int) -> None: ...

    ids = await app.enqueue_many(once, [{"number": number % 10} for number in range(COUNT)])
    assert len(set(ids)) == await rows(connection, schema) == 10


async def test_a_plugin_around_the_enqueue_sees_all_of_them(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    class Around:
        name = "around"

        @hookimpl
        async def around_enqueue(self, batch: Any) -> Any:
            for job in batch.jobs:
                job.headers["of"] = len(batch.jobs)
            yield

    app = make_app(plugins=[Around()], unknown_jobs="allow")
    await app.enqueue_many("note", calls())
    assert (
        await connection.fetchval(
            f"select count(*) from {schema}.job where headers ->> 'of' = '{COUNT}'"
        )
        == COUNT
    )


async def test_those_for_later_are_for_later(
    app: Soniq, ran: list[int], connection: "Connection", schema: str
) -> None:
    await app.enqueue_many("note", calls(), delay=60, tags=["t"])
    assert (
        await connection.fetchval(
            f"select count(*) from {schema}.job where scheduled_at > now() and tags = '{{t}}'"
        )
        == COUNT
    )


async def test_while_they_are_made_others_get_the_only_connection_of_the_pool(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    app = make_app(pool_size=1, connect_timeout=0.5)

    @app.job(name="note")
    async def note(number: int) -> None: ...

    await app.enqueue("note", number=-1)
    many = [Telling(each) for each in calls()]
    for each in many:
        each.tell = lambda: time.sleep(0.002)

    bulk = asyncio.create_task(app.enqueue_many("note", many))
    singles = 1
    while not bulk.done():
        await app.enqueue("note", number=-1)
        singles += 1
    assert len(await bulk) == COUNT
    assert await rows(connection, schema) == singles + COUNT


async def test_workers_find_at_once_those_that_came_late_into_a_lane_that_is_in_use(
    make_app: MakeApp,
) -> None:
    app, other, ran = make_app(poll_interval=20), make_app(), set[int]()

    @app.job(name="note")
    async def note(number: int) -> None:
        ran.add(number)

    @other.job(name="note")
    async def theirs(number: int) -> None: ...

    many = calls(1_000)
    many[0] = first = Telling(many[0])
    first.tell = lambda: time.sleep(3)

    async def all_ran() -> bool:
        return len(ran) == 1_030

    async with working(app, concurrency=10):
        task = asyncio.create_task(asyncio.to_thread(other.sync.enqueue_many, "note", many))
        for number in range(1, 31):
            await asyncio.sleep(0.1)
            await app.enqueue("note", number=-number)
        await task
        await eventually(all_ran, 5)
    other.sync.close()
