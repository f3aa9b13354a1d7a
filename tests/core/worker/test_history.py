"""What is finished: where it is kept, for how long, and how it is forgotten."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from soniq import Soniq, hookimpl
from soniq.job import JobContext
from soniq.postgres import retention
from soniq.postgres.partitions import drop_partitions, ensure_partitions, past_partitions
from tests.conftest import MakeApp
from tests.support.jobs import status_of, working
from tests.support.waiting import eventually

DAY = 86_400.0


async def row_of(app: Soniq, job_id: str) -> asyncpg.Record:
    """A finished job's row, with the name of the partition it is in."""
    async with app._database.acquire() as connection:
        row = await connection.fetchrow(
            f"select *, tableoid::regclass::text as partition from {app.settings.schema}.history"
            " where id = $1",
            UUID(job_id),
        )
    assert row is not None
    return row


async def partitions(app: Soniq) -> list[str]:
    """The partitions of history by time, in order."""
    async with app._database.acquire() as connection:
        rows = await connection.fetch(
            "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where"
            " i.inhparent = to_regclass($1) and c.relname <> 'history_forever' order by 1",
            f"{app.settings.schema}.history",
        )
    return [row["relname"] for row in rows]


async def age(app: Soniq, days: int) -> None:
    """Let `days` days pass for what is finished: move the oldest partition, and what is in it, into
    the past.
    """
    own = app.settings.schema
    async with app._database.acquire() as connection:
        await connection.execute(
            f"create table {own}.history_old (like {own}.history including all)"
        )
        await connection.execute(
            f"alter table {own}.history attach partition {own}.history_old "
            "for values from ('2001-01-01') to ('2002-01-01')"
        )
        await connection.execute(
            f"update {own}.history set forget_at = '2001-06-01', finished_at = finished_at -"
            " make_interval(days => $1) where forget_at < 'infinity'",
            days,
        )


@pytest.fixture
async def one(app: Soniq) -> Soniq:
    """An app with a job named `one`."""

    @app.job(name="one", max_attempts=1)
    async def one(fail: bool = False) -> int:
        if fail:
            raise LookupError("no")
        return 1

    return app


async def test_a_finished_job_is_kept_for_as_long_as_the_settings_say(one: Soniq) -> None:
    job_id = await one.enqueue("one")
    await one.run_worker(run_once=True)
    row = await row_of(one, job_id)
    assert row["forget_at"] - row["finished_at"] == timedelta(seconds=one.settings.keep)
    due = row["forget_at"]
    assert row["partition"].endswith(f"history_{due:%Y%m%d}")


@pytest.mark.parametrize("keep", [0, 3600, 3 * DAY])
async def test_a_job_may_say_itself_how_long_it_is_kept(one: Soniq, keep: float) -> None:
    job_id = await one.enqueue("one", keep=keep)
    await one.run_worker(run_once=True)
    row = await row_of(one, job_id)
    assert row["forget_at"] - row["finished_at"] == timedelta(seconds=keep)
    assert row["partition"].endswith(f"history_{row['forget_at']:%Y%m%d}")


async def test_cancelled_jobs_are_kept_likewise_and_dead_ones_apart(one: Soniq) -> None:
    dead = await one.enqueue("one", args={"fail": True}, keep=3600)
    cancelled = await one.enqueue("one", keep=3600)
    await one.cancel(cancelled)
    await one.run_worker(run_once=True)
    row = await row_of(one, cancelled)
    assert row["status"] == "cancelled"
    assert row["forget_at"] - row["finished_at"] == timedelta(hours=1)
    row = await row_of(one, dead)
    assert row["status"] == "dead"
    assert row["partition"].endswith("history_forever")


async def test_what_is_kept_beyond_the_last_partition_is_kept_apart_and_pruned_when_its_time_is_past(
    one: Soniq, schema: str
) -> None:
    job_id = await one.enqueue("one", keep=400 * DAY)
    await one.run_worker(run_once=True)
    row = await row_of(one, job_id)
    assert row["partition"].endswith("history_forever")
    assert await one.prune() == 0
    async with one._database.acquire() as connection:
        await connection.execute(
            f"update {schema}.history set finished_at = now() - interval '401 days'"
        )
    assert await one.prune() == 1
    assert await one.get_job_status(job_id) is None


async def test_what_is_kept_for_a_lifetime_is_not_pruned(one: Soniq, schema: str) -> None:
    job_id = await one.enqueue("one", keep=80 * 365 * DAY)
    await one.run_worker(run_once=True)
    async with one._database.acquire() as connection:
        await connection.execute(
            f"update {schema}.history set finished_at = now() - interval '5000 days'"
        )
    assert await one.prune() == 0
    assert (await status_of(one, job_id))["status"] == "done"


async def test_partitions_are_made_ahead_for_as_long_as_jobs_are_kept(
    app: Soniq, schema: str
) -> None:
    await app.start()
    names = await partitions(app)
    assert 8 <= len(names) <= 14
    async with app._database.acquire() as connection:
        bound = await connection.fetchval(f"select bound - now() from {schema}.retention")
        assert bound >= timedelta(days=8)
        await ensure_partitions(connection, schema, app.settings.keep)
    assert await partitions(app) == names


async def test_a_longer_retention_makes_more_and_wider_partitions(app: Soniq, schema: str) -> None:
    await app.start()
    before = await partitions(app)
    async with app._database.acquire() as connection:
        await ensure_partitions(connection, schema, 100 * DAY)
        bound = await connection.fetchval(f"select bound - now() from {schema}.retention")
    assert bound >= timedelta(days=110)
    after = await partitions(app)
    assert set(before) < set(after)
    assert len(after) <= len(before) + 15


async def test_partitions_go_on_from_where_they_end(app: Soniq, schema: str) -> None:
    @app.job()
    async def one() -> None: ...

    await app.start()
    async with app._database.acquire() as connection:
        last = (await partitions(app))[-1]
        await connection.execute(f"drop table {schema}.{last}")
        await connection.execute(f"update {schema}.retention set bound = bound - interval '1 day'")
        await ensure_partitions(connection, schema, app.settings.keep)
    assert (await partitions(app))[-1] == last
    job_id = await app.enqueue(one)
    await app.run_worker(run_once=True)
    assert (await status_of(app, job_id))["status"] == "done"


async def test_jobs_are_finished_also_where_no_partition_was_made_for_long(
    one: Soniq, schema: str
) -> None:
    await one.start()
    async with one._database.acquire() as connection:
        await connection.execute(
            f"update {schema}.retention set bound = now() - interval '30 days'"
        )
        for name in await partitions(one):
            await connection.execute(f"drop table {schema}.{name}")
    dead = await one.enqueue("one", args={"fail": True})
    cancelled = await one.enqueue("one")
    await one.cancel(cancelled)
    await one.run_worker(run_once=True)
    assert (await status_of(one, dead))["status"] == "dead"
    assert (await status_of(one, cancelled))["status"] == "cancelled"


async def test_partitions_whose_time_is_past_are_dropped_with_all_that_is_in_them(
    one: Soniq, schema: str
) -> None:
    job_id = await one.enqueue("one")
    kept = await one.enqueue("one", keep=400 * DAY)
    await one.run_worker(run_once=True)
    await age(one, 8)
    async with one._database.acquire() as connection:
        assert await past_partitions(connection, schema) == ["history_old"]
        await drop_partitions(connection, schema, ["history_old"])
        assert await past_partitions(connection, schema) == []
    assert await one.get_job_status(job_id) is None
    assert (await status_of(one, kept))["status"] == "done"
    assert "history_old" not in await partitions(one)


async def test_a_partition_that_was_left_half_detached_is_dropped(
    one: Soniq, schema: str, database_url: str
) -> None:
    await one.enqueue("one")
    await one.run_worker(run_once=True)
    await age(one, 8)
    reader = await asyncpg.connect(database_url)
    async with one._database.acquire() as connection:
        reading = reader.transaction(isolation="repeatable_read")
        await reading.start()
        await reader.fetch(f"select from {schema}.history")
        await connection.execute("set statement_timeout = '300ms'")
        with pytest.raises(
            asyncpg.QueryCanceledError
        ):  # detaching waits for the reader, and is ended
            await connection.execute(
                f"alter table {schema}.history detach partition {schema}.history_old concurrently"
            )
        await connection.execute("reset statement_timeout")
        await reading.rollback()
        assert await past_partitions(connection, schema) == ["history_old"]
        await drop_partitions(connection, schema, ["history_old"])
        assert await past_partitions(connection, schema) == []
    await reader.close()


class Shelf:
    """A result store that keeps all results, and fails to delete at first."""

    name = "shelf"

    def __init__(self) -> None:
        self.results: dict[bytes, bytes] = {}
        self.refusals = 1

    async def put(self, ctx: JobContext, data: bytes) -> bytes:
        self.results[ctx.job_id.encode()] = data
        return ctx.job_id.encode()

    async def get(self, reference: bytes) -> bytes:
        return self.results[reference]

    async def delete(self, references: Sequence[bytes]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError("the shelf is out of reach")
        for reference in references:
            del self.results[reference]


class ShelfPlugin:
    name = "shelf-results"

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    @hookimpl
    def result_stores(self) -> list[Shelf]:
        return [self.shelf]


async def test_a_worker_drops_past_partitions_and_has_their_results_removed(
    make_app: MakeApp,
) -> None:
    shelf = Shelf()
    app = make_app(plugins=[ShelfPlugin(shelf)])

    @app.job()
    async def one(number: int) -> int:
        return number

    ids = await app.enqueue_many(one, [{"number": n} for n in range(3)])
    await app.run_worker(run_once=True)
    assert await app.get_result(ids[2]) == 2
    await age(app, 8)
    kept = await app.enqueue(one, number=7)
    await app.run_worker(run_once=True)

    async def dropped() -> bool:
        return "history_old" not in await partitions(app)

    async with working(app):
        await eventually(dropped)
    assert list(shelf.results) == [kept.encode()]
    assert shelf.refusals == 0
    assert await app.get_job_status(ids[0]) is None
    assert await app.get_result(kept) == 7


@pytest.mark.parametrize("way", ["sweep", "prune"])
async def test_many_results_elsewhere_are_removed_some_at_a_time_and_no_connection_is_lent_for_it(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    sizes: list[int] = []

    class Slow(Shelf):
        async def delete(self, references: Sequence[bytes]) -> None:
            sizes.append(len(references))
            if way == "sweep":
                await app.jobs(limit=1)  # the pool has one connection
            await super().delete(references)

    shelf = Slow()
    shelf.refusals = 0
    app = make_app(plugins=[ShelfPlugin(shelf)], pool_size=1)

    @app.job()
    async def one(number: int) -> int | None:
        return number

    await app.enqueue_many(one, [{"number": n} for n in range(25)])
    await app.run_worker(run_once=True)
    assert len(shelf.results) == 25
    if way == "sweep":
        await age(app, 8)

        async def dropped() -> bool:
            return "history_old" not in await partitions(app)

        async with working(app):
            await eventually(dropped)
    else:
        assert await app.prune(older_than=0) == 25
    assert shelf.results == {}
    assert sizes == [10, 10, 5]


async def test_pruning_removes_results_that_are_kept_elsewhere(make_app: MakeApp) -> None:
    shelf = Shelf()
    shelf.refusals = 0
    app = make_app(plugins=[ShelfPlugin(shelf)])

    @app.job()
    async def one() -> int:
        return 1

    await app.enqueue(one)
    await app.run_worker(run_once=True)
    assert len(shelf.results) == 1
    assert await app.prune(older_than=0) == 1
    assert shelf.results == {}


async def test_a_row_in_history_says_how_it_ended(one: Soniq) -> None:
    done = await one.enqueue("one", tags=["a", "b"], headers={"h": 1}, priority=3, queue="q")
    await one.run_worker(run_once=True)
    row = await row_of(one, done)
    assert (row["status"], row["attempt"], row["result_store"], row["result"]) == (
        "done",
        1,
        "row",
        b"1",
    )
    assert (row["tags"], row["priority"], row["queue"], row["args"]) == (
        ["a", "b"],
        3,
        "q",
        b'{"fail":false}',
    )
    assert row["created_at"] <= row["started_at"] <= row["finished_at"]
    assert row["claim"] == 1
