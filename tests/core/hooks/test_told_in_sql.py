"""Plugins with functions in the database for `settle_tx`, where one statement settles, tells and claims, and for
`owed_tx`, where one takes what is owed and tells.
"""

from collections.abc import Sequence

import asyncpg
import pytest

from soniq import JobContext, Snooze, Soniq
from soniq.errors import PluginError
from soniq.plugin import (
    Holds,
    JobDefinition,
    Migration,
    Outcome,
    OwedEvent,
    TransactionConnection,
    hookimpl,
)
from soniq.worker.settling.writing import Writing
from tests.conftest import MakeApp
from tests.support.jobs import finished, working
from tests.support.waiting import eventually

Connection = asyncpg.Connection

TABLES = """
create table {schema}.next (id uuid primary key);
create table {schema}.told (id uuid, status text, claim bigint);
create function {schema}.ended_1(
    p_ids uuid[], p_statuses text[], p_claims bigint[], out released uuid[], out last uuid[], out note jsonb
)
language plpgsql
as $$
begin
if p_statuses[1] = 'dead' then
    raise division_by_zero;
end if;
insert into {schema}.told select * from unnest(p_ids, p_statuses, p_claims);
with taken as (
    delete from {schema}.next where id = (select id from {schema}.next order by id limit 1) returning id
)
select array(select id from taken) into released;
last := '{}';
note := case when released = '{}' then '{"left": 0}' end;
end
$$;
"""


class InTurn:
    """An option of a job."""


class Turns:
    """Lets a job go as another ends."""

    name = "turns"

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.notes: list[object] = []

    @hookimpl
    def migrations(self) -> Sequence[Migration]:
        return [Migration(version=1, sql=TABLES)]

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        if job.option(InTurn) is not None:
            job.mark("turns", hold=True)

    @hookimpl(marked=True, sql_function="ended_1")
    async def settle_tx(self, outcomes: Sequence[Outcome]) -> None:
        self.heard += [each.status for each in outcomes]

    @hookimpl
    async def owed_tx(
        self, tx: TransactionConnection, events: Sequence[OwedEvent], holds: Holds
    ) -> None:
        self.notes += [each.what for each in events if each.kind == "note"]


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def app(make_app: MakeApp, turns: Turns) -> Soniq:
    app = make_app(plugins=[turns])

    @app.job(InTurn(), name="turn", max_attempts=1)
    async def turn(ctx: JobContext, does: str = "") -> None:
        if does == "children":
            await ctx.enqueue("free")
        if does == "snooze" and ctx.claim == 1:
            raise Snooze(0)
        if does == "vanish":
            async with app.connection() as connection:
                sql = f"delete from {app.settings.schema}.job where id = $1"
                await connection.execute(sql, ctx.job_id)
        if does == "fail":
            raise ValueError

    @app.job(name="free")
    async def free() -> None: ...

    return app


async def first_and_next(app: Soniq, *does: str) -> list[str]:
    """Jobs of which the first may go, and each next one once one has ended."""
    first, *others = [await app.enqueue("turn", does=each) for each in does]
    async with app.connection() as connection:
        schema = app.plugin_schema("turns")
        await connection.execute(
            f"insert into {schema}.next select unnest($1::uuid[])", [*map(str, others)]
        )
    await app.release(first)
    return [first, *others]


async def test_what_a_function_lets_go_runs_and_the_hook_is_not_called(
    app: Soniq, turns: Turns, connection: "Connection[asyncpg.Record]"
) -> None:
    async with app:
        ids = await first_and_next(app, *[""] * 5)
        async with working(app):
            for each in ids:
                await finished(app, each)

            async def noted() -> bool:
                return turns.notes == [{"left": 0}]

            await eventually(noted)
        told = f"select id::text, status, claim from {app.plugin_schema('turns')}.told"
        rows = [tuple(row) for row in await connection.fetch(told)]
    assert rows == [(each, "done", 1) for each in ids]
    assert turns.heard == []


async def test_what_is_let_go_comes_with_the_claim_of_the_same_statement(
    app: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought: list[int] = []
    settled = Writing.settle_tell_and_claim

    async def noted(self: Writing, *args: object) -> object:
        done = await settled(self, *args)  # type: ignore[arg-type]
        assert done is not None
        brought.append(len(done[1]))
        assert not {each for each in self.freed if "turn" in each or "default" in each}
        return done

    monkeypatch.setattr(Writing, "settle_tell_and_claim", noted)
    async with app:
        ids = await first_and_next(app, *[""] * 5)
        async with working(app):
            await finished(app, ids[-1])
    assert brought == [1, 1, 1, 1, 0]


async def test_of_what_does_not_end_or_brings_children_the_hook_hears(
    app: Soniq, turns: Turns
) -> None:
    async with app:
        snoozed, parent = [
            await app.enqueue("turn", does="snooze"),
            await app.enqueue("turn", does="children"),
        ]
        await app.release([snoozed, parent])
        async with working(app):
            await finished(app, snoozed)
            await finished(app, parent)
    assert sorted(turns.heard) == ["done", "queued"]


async def test_a_plugin_beside_it_that_hears_of_all_hears_of_these_too(
    make_app: MakeApp, turns: Turns
) -> None:
    heard: list[str] = []

    class All:
        name = "all"

        @hookimpl
        async def settle_tx(self, outcomes: Sequence[Outcome]) -> None:
            heard.extend(each.job_name for each in outcomes)

    app = make_app(plugins=[turns, All()])

    @app.job(InTurn(), name="turn")
    async def turn() -> None: ...

    async with app:
        job_id = await app.enqueue("turn")
        await app.release(job_id)
        async with working(app):
            await finished(app, job_id)
    assert heard == ["turn"]
    assert turns.heard == ["done"]


async def test_where_the_function_fails_the_hook_is_called(app: Soniq, turns: Turns) -> None:
    async with app:
        (job_id,) = await first_and_next(app, "fail")
        async with working(app):
            assert (await finished(app, job_id))["status"] == "dead"
    assert turns.heard == ["dead"]


async def test_a_function_that_fails_each_time_is_told_of_once(
    app: Soniq,
    turns: Turns,
    connection: "Connection[asyncpg.Record]",
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "soniq.worker")
    async with app, working(app):
        schema = app.plugin_schema("turns")
        await connection.execute(f"drop function {schema}.ended_1")
        for _ in range(5):
            job_id = await app.enqueue("turn")
            await app.release(job_id)
            await finished(app, job_id)
    assert turns.heard == ["done"] * 5
    (told,) = [each.message for each in caplog.records if "ended_1" in each.message]
    assert "of turns failed, settle_tx is called in its place for 60 s: function" in told


@pytest.mark.parametrize("code", ["57014", "08006"])
async def test_where_the_function_is_cut_off_each_time_the_hook_is_called(
    make_app: MakeApp, turns: Turns, connection: "Connection[asyncpg.Record]", code: str
) -> None:
    app = make_app(plugins=[turns])

    @app.job(InTurn(), name="turn", max_attempts=1)
    async def turn(does: str = "") -> None: ...

    async with app:
        await connection.execute(
            f"create or replace function {app.plugin_schema('turns')}.ended_1(p_ids uuid[],"
            " p_statuses text[], p_claims bigint[], out released uuid[], out last uuid[], out note jsonb)"
            f" language plpgsql as $$ begin raise sqlstate '{code}'; end $$"
        )
        ids = await first_and_next(app, "", "")
        await app.release(ids[1])
        async with working(app):
            assert [(await finished(app, each))["status"] for each in ids] == ["done", "done"]
    assert turns.heard == ["done", "done"]


async def test_a_settlement_that_changes_nothing_is_not_told(app: Soniq, turns: Turns) -> None:
    async with app:
        ids = await first_and_next(app, "vanish", "")
        await app.release(ids[1])
        async with working(app):
            await finished(app, ids[1])
        async with app.connection() as connection:
            told = await connection.fetch(f"select id from {app.plugin_schema('turns')}.told")
    assert turns.heard in ([], ["done"])
    assert [str(row["id"]) for row in told] == ids[1:][len(turns.heard) :]


async def test_a_function_belongs_to_a_hook_that_hears_of_marked_jobs(make_app: MakeApp) -> None:
    class Wrong:
        name = "wrong"

        @hookimpl(sql_function="ended_1")
        async def settle_tx(self, outcomes: Sequence[Outcome]) -> None: ...

    with pytest.raises(PluginError, match="and to settle_tx with marked=True"):
        await make_app(plugins=[Wrong()]).start()


# --- owed_tx -------------------------------------------------------------------------------------

CAME = """
create function {schema}.came_1(p_ids uuid[], out told uuid[], out released uuid[], out last uuid[], out note jsonb)
language plpgsql
as $$
begin
if exists (select from {soniq}.job where id = any(p_ids) and queue = 'fails') then
    raise division_by_zero;
end if;
select
    array_agg(id) filter (where queue <> 'left'), array_agg(id) filter (where queue = 'goes'),
    array_agg(id) filter (where queue = 'last'), case when count(*) filter (where queue = 'noted') > 0 then '{"n": 1}'::jsonb end
into told, released, last, note from {soniq}.job where id = any(p_ids);
end
$$;
"""
"""What it does with a job is what its queue is called."""


class Gate:
    """Lets jobs go as they come in, in the database where it can."""

    name = "gate"

    def __init__(self) -> None:
        self.heard: list[tuple[str, str | None, object]] = []

    @hookimpl
    def migrations(self) -> Sequence[Migration]:
        return [Migration(version=1, sql=CAME)]

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        if job.option(InTurn) is not None:
            job.mark("gate", hold=True)

    @hookimpl(marked=True)
    async def settle_tx(self, outcomes: Sequence[Outcome]) -> None: ...

    @hookimpl(sql_function="came_1")
    async def owed_tx(
        self, tx: TransactionConnection, events: Sequence[OwedEvent], holds: Holds
    ) -> None:
        self.heard += [(each.kind, each.job_id, dict(each.what)) for each in events]
        await holds.release([each.job_id for each in events if each.job_id is not None])


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def gated(make_app: MakeApp, gate: Gate) -> Soniq:
    app = make_app(plugins=[gate], poll_interval=60)

    @app.job(InTurn(), name="gated")
    async def gated() -> None: ...

    return app


@pytest.mark.parametrize("queue", ["goes", "last"])
async def test_what_a_function_is_told_of_the_hook_does_not_hear(
    gated: Soniq, gate: Gate, queue: str
) -> None:
    async with gated, working(gated):
        for _ in range(3):
            await finished(gated, await gated.enqueue("gated", queue=queue))
        many = await gated.enqueue_many("gated", [{}] * 1_200, queue=queue)
        for each in many:
            await finished(gated, each)
    assert gate.heard == []


async def test_of_what_a_function_leaves_the_hook_hears(gated: Soniq, gate: Gate) -> None:
    async with gated:
        ids = [str(await gated.enqueue("gated", queue=each)) for each in ("goes", "left", "goes")]
        async with working(gated):
            for each in ids:
                await finished(gated, each)
    assert gate.heard == [("enqueued", ids[1], {})]


async def test_what_a_function_notes_is_told_to_the_hook(gated: Soniq, gate: Gate) -> None:
    async with gated, working(gated):
        await gated.enqueue("gated", queue="noted")

        async def noted() -> bool:
            return gate.heard == [("note", None, {"n": 1})]

        await eventually(noted)


async def test_where_a_function_fails_that_is_told_who_came_in_the_hook_hears_of_all(
    gated: Soniq, gate: Gate
) -> None:
    async with gated:
        ids = [str(await gated.enqueue("gated", queue=each)) for each in ("goes", "fails")]
        async with working(gated):
            for each in ids:
                await finished(gated, each)
    assert gate.heard == [("enqueued", each, {}) for each in ids]


async def test_a_function_that_fails_each_time_for_what_is_owed_is_told_of_once(
    gated: Soniq,
    gate: Gate,
    connection: "Connection[asyncpg.Record]",
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "soniq.worker")
    async with gated, working(gated):
        await connection.execute(f"drop function {gated.plugin_schema('gate')}.came_1")
        for _ in range(5):
            await finished(gated, await gated.enqueue("gated"))
    assert len(gate.heard) == 5
    (told,) = [each.message for each in caplog.records if "came_1" in each.message]
    assert "of gate failed, owed_tx is called in its place for 60 s: function" in told


async def test_where_a_function_is_cut_off_each_time_the_hook_hears_of_all(
    gated: Soniq, gate: Gate, connection: "Connection[asyncpg.Record]"
) -> None:
    async with gated:
        await connection.execute(
            f"create or replace function {gated.plugin_schema('gate')}.came_1(p_ids uuid[], out told uuid[],"
            " out released uuid[], out last uuid[], out note jsonb)"
            " language plpgsql as $$ begin raise sqlstate '08006'; end $$"
        )
        ids = [str(await gated.enqueue("gated")) for _ in range(3)]
        async with working(gated):
            for each in ids:
                await finished(gated, each)
    assert gate.heard == [("enqueued", each, {}) for each in ids]


async def test_what_is_not_told_stays_owed(
    gated: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    tell = f"select * from {schema}.tell_owed_1('gate', $1, 10, '{{}}', '{{}}', '{{}}', '{{}}')"
    async with gated:
        for queue in ("left", "other", "goes", "goes"):
            await gated.enqueue("gated", queue=queue)
        found = await connection.fetch(tell, f"{schema}_gate.came_1")
        owed = await connection.fetchval(f"select count(*) from {schema}.owed")
    assert [tuple(row)[:4] for row in found] == [(3, 1, None, None), (None, None, "goes", 0)]
    assert owed == 1
