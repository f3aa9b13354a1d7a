"""The functions that do for plain limits what a look and a settlement do for all, and as exactly."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from soniq import Soniq
from soniq_limits import AllOf, Limit, Limits
from tests.conftest import MakeApp
from tests.plugins.limits.conftest import Connection, Observer, left, rows
from tests.plugins.limits.test_limit import all_end
from tests.support.jobs import working

KEY = 'limit["a"]'


@pytest.fixture
async def app(make_app: MakeApp) -> AsyncIterator[Soniq]:
    """An app in use, with a limit of two, and no worker."""
    app = make_app(plugins=[Limits()])

    @app.job(Limit(2, name="limit", by="key"), name="one")
    async def one(key: str) -> None: ...

    @app.job(AllOf(Limit(2, name="limit", by="key"), Limit(1, name="beside")), name="several")
    async def several(key: str) -> None: ...

    async with app:
        yield app


class Sql:
    """The functions of one app, on a connection."""

    def __init__(self, app: Soniq, connection: "Connection[asyncpg.Record]") -> None:
        self.connection = connection
        self.schema, self.limits = f'"{app.settings.schema}"', app.plugin_schema("limits")

    async def arrived(self, ids: Sequence[str]) -> list[str]:
        sql = f"select free from {self.limits}.arrived_1($1::text[]::uuid[], $2)"
        free = await self.connection.fetchval(sql, [*map(str, ids)], [KEY] * len(ids))
        return [*map(str, free)]

    async def came(self, *ids: str) -> tuple[list[str], list[str]]:
        """Which of these need no other look, and which may go, that go then."""
        async with self.connection.transaction():
            sql = f"select told, released from {self.limits}.came_1($1::text[]::uuid[])"
            row = await self.connection.fetchrow(sql, ids)
            assert row is not None
            told, released = ([*map(str, each)] for each in row)
            await self.release(released)
        return sorted(told), sorted(released)

    async def release(self, ids: Sequence[str]) -> None:
        sql = f"select {self.schema}.release($1::text[]::uuid[], 'limits')"
        await self.connection.execute(sql, [*map(str, ids)])

    async def look(self, ids: Sequence[str]) -> None:
        """Let jobs wait, and go, as a worker does."""
        sql = f"select released from {self.limits}.look_1($1, $1, $2, '{{}}')"
        await self.release(await self.connection.fetchval(sql, ids, [KEY] * len(ids)))

    async def ended(self, *ids: str) -> tuple[list[str], Any]:
        """What may go, and what is noted, once these have ended."""
        async with self.connection.transaction():
            gone = f"delete from {self.schema}.job where id = any($1)"
            await self.connection.execute(gone, ids)
            call = f"select * from {self.limits}.ended_1($1, $2, $3)"
            row = await self.connection.fetchrow(call, ids, ["done"] * len(ids), [1] * len(ids))
            assert row is not None
            await self.release([*map(str, row["released"])])
        return [*map(str, row["released"])], row["note"]


@pytest.fixture
def sql(app: Soniq, connection: "Connection[asyncpg.Record]") -> Sql:
    return Sql(app, connection)


@asynccontextmanager
async def locked(url: str, statement: str) -> AsyncIterator[None]:
    """What a statement locks stays locked meanwhile."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(statement)
            yield
    finally:
        await connection.close()


async def waiting_ones(app: Soniq, sql: Sql, count: int, name: str = "one") -> list[str]:
    """Jobs of one key, of which the first two go."""
    ids = [str(await app.enqueue(name, key="a")) for _ in range(count)]
    await sql.look(ids)
    return ids


async def test_who_comes_in_goes_as_far_as_there_is_room(app: Soniq, sql: Sql) -> None:
    ids = [str(await app.enqueue("one", key="a")) for _ in range(3)]
    assert await sql.arrived(ids[:1]) == ids[:1]
    await sql.release(ids[:1])
    assert await sql.arrived(ids) == ids[1:2]


async def test_who_comes_in_passes_nobody_who_waits(app: Soniq, sql: Sql) -> None:
    ids = await waiting_ones(app, sql, 3)
    await sql.connection.execute(f"delete from {sql.limits}.slot where job_id = $1", ids[0])
    late = str(await app.enqueue("one", key="a"))
    assert await sql.arrived([late]) == ids[2:]
    waits = await sql.connection.fetch(f"select job_id::text, at from {sql.limits}.waiting")
    assert [tuple(row) for row in waits] == [(late, KEY)]


async def test_who_comes_in_gets_the_slot_of_a_job_that_is_gone_without_a_word(
    app: Soniq, sql: Sql
) -> None:
    await waiting_ones(app, sql, 2)
    await sql.connection.execute(f"delete from {sql.schema}.job")
    late = str(await app.enqueue("one", key="a"))
    assert await sql.arrived([late]) == [late]


@pytest.mark.parametrize("what", ["key", "job", "uncommitted"])
async def test_who_comes_in_where_somebody_has_it_locked_is_left(
    app: Soniq, sql: Sql, database_url: str, what: str
) -> None:
    job_id = str(await app.enqueue("one", key="a"))
    first = str(await app.enqueue("one", key="a"))
    await sql.arrived([first])
    lock = {
        "key": f"select from {sql.limits}.key for update",
        "job": f"select from {sql.schema}.job where id = '{job_id}' for update",
        "uncommitted": f"select {sql.limits}.arrived_1(array['{job_id}']::uuid[], array['{KEY}'])",
    }[what]
    async with locked(database_url, lock), asyncio.timeout(5):
        assert await sql.arrived([job_id]) == []
    assert await sql.arrived([job_id]) == ([] if what == "uncommitted" else [job_id])


async def test_who_comes_in_to_a_paused_queue_or_later_is_left(app: Soniq, sql: Sql) -> None:
    later = str(await app.enqueue("one", key="a", delay=60))
    paused = str(await app.enqueue("one", key="a", queue="paused"))
    await app.pause("paused")
    assert await sql.arrived([later, paused]) == []


async def test_who_comes_in_alone_or_with_others_goes_as_far_as_there_is_room(
    app: Soniq, sql: Sql, schema: str
) -> None:
    ids = [str(await app.enqueue("one", key="a")) for _ in range(4)]
    assert await sql.came(ids[0]) == (ids[:1], ids[:1])
    assert await sql.came(*ids[:3]) == (ids[1:3], ids[1:2])
    assert await sql.came(ids[3]) == (ids[3:], [])
    assert await rows(sql.connection, schema, "slot", "waiting", "key") == [2, 2, 1]


async def test_all_of_several_keys_go_where_there_is_room(app: Soniq, sql: Sql) -> None:
    ids = [str(await app.enqueue("one", key=key)) for key in "abcabcabc"]
    assert await sql.came(*ids) == (ids, ids[:6])


async def test_who_has_several_keys_or_cannot_start_now_is_left_for_a_look(
    app: Soniq, sql: Sql
) -> None:
    several = str(await app.enqueue("several", key="a"))
    later = str(await app.enqueue("one", key="a", delay=60))
    paused = str(await app.enqueue("one", key="a", queue="paused"))
    await app.pause("paused")
    one = str(await app.enqueue("one", key="a"))
    assert await sql.came(several, later, paused, one) == ([one], [one])
    assert await sql.came(several, later, paused, one) == ([], [])


async def test_who_ends_and_who_comes_in_are_not_in_each_others_way_where_there_is_room(
    app: Soniq, sql: Sql, database_url: str
) -> None:
    ids = [str(await app.enqueue("one", key="a")) for _ in range(3)]
    await sql.came(ids[0])
    comes = f"select {sql.limits}.came_1(array['{ids[1]}']::uuid[])"
    async with locked(database_url, comes):
        assert await sql.ended(ids[0]) == ([], None)
    await sql.came(ids[1])
    ends = f"select {sql.limits}.ended_1(array['{ids[1]}']::uuid[], '{{done}}', '{{1}}')"
    async with locked(database_url, ends):
        assert await sql.came(ids[2]) == (ids[2:], ids[2:])


async def test_who_comes_in_while_the_last_one_ends_waits_only_once_that_is_committed(
    app: Soniq, sql: Sql, database_url: str, schema: str
) -> None:
    first, second, late = [str(await app.enqueue("one", key="a")) for _ in range(3)]
    await sql.came(first, second)
    ends = f"select {sql.limits}.ended_1(array['{first}']::uuid[], '{{done}}', '{{1}}')"
    async with locked(database_url, ends):
        assert await sql.came(late) == ([], [])
    assert await rows(sql.connection, schema, "slot", "waiting") == [1, 0]
    assert await sql.came(late) == ([late], [late])


async def test_who_ends_while_another_comes_in_and_has_to_wait_leaves_a_note(
    app: Soniq, sql: Sql, database_url: str
) -> None:
    first, second, late = [str(await app.enqueue("one", key="a")) for _ in range(3)]
    await sql.came(first, second)
    async with locked(database_url, f"select {sql.limits}.came_1(array['{late}']::uuid[])"):
        released, note = await sql.ended(first)
    assert (released, json.loads(note)) == ([], {"keys": [KEY]})


@pytest.mark.parametrize("what", ["key", "job", "uncommitted"])
async def test_who_comes_in_where_somebody_has_it_locked_stays_to_be_told(
    app: Soniq, sql: Sql, database_url: str, what: str
) -> None:
    first, job_id = [str(await app.enqueue("one", key="a")) for _ in range(2)]
    await sql.came(first)
    lock = {
        "key": f"select from {sql.limits}.key for update",
        "job": f"select from {sql.schema}.job where id = '{job_id}' for update",
        "uncommitted": f"select {sql.limits}.came_1(array['{job_id}']::uuid[])",
    }[what]
    async with locked(database_url, lock), asyncio.timeout(5):
        assert await sql.came(job_id) == ([], [])


async def test_the_next_goes_as_one_ends(app: Soniq, sql: Sql, schema: str) -> None:
    ids = await waiting_ones(app, sql, 5)
    assert await sql.ended(ids[0]) == ([ids[2]], None)
    assert await sql.ended(ids[1], ids[2]) == (ids[3:], None)
    assert await sql.ended(*ids[3:]) == ([], None)
    assert await left(app, sql.connection, schema) == [0, 0, 0]


async def test_the_next_is_noted_where_somebody_has_the_key_locked(
    app: Soniq, sql: Sql, database_url: str, schema: str
) -> None:
    ids = await waiting_ones(app, sql, 3)
    async with locked(database_url, f"select from {sql.limits}.key for update"):
        released, note = await sql.ended(ids[0])
    assert (released, json.loads(note)) == ([], {"keys": [KEY]})
    assert await rows(sql.connection, schema, "slot", "waiting") == [1, 1]


async def test_the_next_but_one_goes_where_the_next_is_locked_or_put_off(
    app: Soniq, sql: Sql, database_url: str
) -> None:
    ids = await waiting_ones(app, sql, 6)
    one = f"select from {sql.schema}.job where id = '{ids[2]}' for update"
    async with locked(database_url, one):
        released, note = await sql.ended(ids[0])
        assert released == [ids[3]]
        assert note is not None
    later = f"update {sql.schema}.job set scheduled_at = now() + interval '1 hour' where id = $1"
    await sql.connection.execute(later, ids[2])
    assert (await sql.ended(ids[1]))[0] == [ids[4]]


async def test_the_slot_of_a_job_that_is_gone_without_a_word_is_given_out_as_another_ends(
    app: Soniq, sql: Sql
) -> None:
    ids = await waiting_ones(app, sql, 4)
    await sql.connection.execute(f"delete from {sql.schema}.job where id = $1", ids[0])
    assert (await sql.ended(ids[1]))[0] == ids[2:]


async def test_the_next_has_room_at_all_its_keys(app: Soniq, sql: Sql) -> None:
    ids = await waiting_ones(app, sql, 2)
    several = [str(await app.enqueue("several", key="a")) for _ in range(2)]
    keys = [key for _ in several for key in ("beside", KEY)]
    twice = [each for each in several for _ in range(2)]
    look = f"select released from {sql.limits}.look_1($1, $2, $3, '{{}}')"
    assert await sql.connection.fetchval(look, several, twice, keys) == []
    assert (await sql.ended(*ids))[0] == several[:1]


async def test_limits_hold_where_plain_ones_and_others_are_mixed_in_several_workers(
    make_app: MakeApp, observer: Observer, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    apps = [make_app(plugins=[Limits()]) for _ in range(3)]
    for each in apps:

        @each.job(Limit(2, name="limit", by="key"), name="one")
        async def one(key: int) -> None:
            await observer.run(f"limit {key}", seconds=0.002)

        @each.job(AllOf(Limit(2, name="limit", by="key"), Limit(3, name="all")), name="several")
        async def several(key: int) -> None:
            await observer.run(f"limit {key}", "all", seconds=0.002)

    async with working(apps[0]), working(apps[1]), working(apps[2]):
        for n in range(6):
            for name in ("one", "several"):
                await apps[n % 3].enqueue_many(name, [{"key": k % 3} for k in range(40)])
        await all_end(apps[0], 480)
    assert max(observer.most[f"limit {key}"] for key in range(3)) == 2
    assert observer.most["all"] <= 3
    assert await left(apps[0], connection, schema) == [0, 0, 0]
