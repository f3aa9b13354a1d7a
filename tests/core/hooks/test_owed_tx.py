"""owed_tx: what a plugin could not be told in the transaction in which it happened is told later, and
once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import asyncpg
import pytest

from soniq import Soniq, Unique
from soniq.errors import StoredError
from soniq.plugin import (
    EnqueueBatch,
    Holds,
    JobDefinition,
    Outcome,
    OwedEvent,
    TransactionConnection,
    hookimpl,
)
from tests.conftest import MakeApp
from tests.core.hooks.test_marks import claimed_by_a_lost_worker
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import eventually

Connection = asyncpg.Connection


class Kept:
    """The option of a job that the keeper holds as it comes in."""


class Heard:
    """The option of a job whose end the keeper hears of."""


class Keeper:
    """Holds marked jobs, and lets each go when it is told that it came in."""

    name = "keeper"

    def __init__(self) -> None:
        self.told: list[OwedEvent] = []
        self.settled: list[str] = []
        self.lets_go = True
        self.fails_for: set[str] = set()
        self.calls: list[int] = []

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        if job.option(Kept) is not None:
            job.mark("keeper", hold=True)
        if job.option(Heard) is not None:
            job.mark("keeper")

    @hookimpl
    async def around_enqueue(self, batch: EnqueueBatch) -> AsyncIterator[None]:
        for job in batch.jobs:
            if "mark" in job.headers:
                job.mark("keeper")
            if "flow" in job.headers:
                job.mark("keeper", hold=True)
                job.hold("flow", first=True)
        yield

    @hookimpl(marked=True)
    async def settle_tx(self, outcomes: Sequence[Outcome]) -> None:
        self.settled += [each.status for each in outcomes]

    @hookimpl
    async def owed_tx(
        self, tx: TransactionConnection, events: Sequence[OwedEvent], holds: Holds
    ) -> None:
        self.calls.append(len(events))
        if any(each.job_id in self.fails_for for each in events):
            await tx.execute("select 1 / 0")
        if self.lets_go:
            mine = [each.job_id for each in events if [*each.held_by[:1]] == ["keeper"]]
            await holds.release([each for each in mine if each is not None])
        self.told += events

    @property
    def kinds(self) -> list[str]:
        return [each.kind for each in self.told]


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


def define(app: Soniq) -> Soniq:
    @app.job(Kept(), name="kept")
    async def kept(n: int = 0) -> int:
        return n

    @app.job(name="free", max_attempts=1)
    async def free(n: int = 0) -> int:
        if n < 0:
            raise ValueError("below zero")
        return n

    return app


@pytest.fixture
def app(make_app: MakeApp, keeper: Keeper) -> Soniq:
    return define(make_app(plugins=[keeper]))


@pytest.fixture
def without(make_app: MakeApp) -> Soniq:
    """An app of the same jobs that does not have the plugin."""

    class Unread:
        @hookimpl
        def configure_job(self, job: JobDefinition) -> None:
            job.option(Kept)

    return define(make_app(plugins=[Unread()]))


async def owed(connection: "Connection[asyncpg.Record]", schema: str) -> int:
    return int(await connection.fetchval(f"select count(*) from {schema}.owed"))


# --- that a job came in --------------------------------------------------------------------------


async def one(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    return [await app.enqueue("kept", headers={"k": 1})]


async def many(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    return await app.enqueue_many("kept", [{"n": n} for n in range(1_200)], headers={"k": 1})


async def keyed(app: Soniq, _: "Connection[asyncpg.Record]") -> Sequence[str]:
    await app.enqueue("kept", dedup_key="a", headers={"k": 1})
    return [await app.enqueue("kept", dedup_key="a", headers={"k": 1})]


async def in_theirs(app: Soniq, connection: "Connection[asyncpg.Record]") -> Sequence[str]:
    async with connection.transaction():
        return [await app.enqueue("kept", headers={"k": 1}, connection=connection)]


@pytest.mark.parametrize("enqueue", [one, many, keyed, in_theirs], ids=lambda way: way.__name__)
async def test_a_plugin_is_told_once_of_each_job_that_came_in_and_that_it_holds(
    app: Soniq,
    keeper: Keeper,
    connection: "Connection[asyncpg.Record]",
    schema: str,
    enqueue: Callable[[Soniq, "Connection[asyncpg.Record]"], Awaitable[Sequence[str]]],
) -> None:
    ids = await enqueue(app, connection)
    assert await app.run_worker(run_once=True) == len(ids)
    assert keeper.kinds == ["enqueued"] * len(ids)
    assert [each.job_id for each in keeper.told] == sorted(ids)
    first = keeper.told[0]
    assert (first.job_name, first.queue, first.held_by) == ("kept", "default", ["keeper"])
    assert (first.headers, first.outcome, first.what) == ({"k": 1}, None, {})
    assert first.scheduled_at is not None
    assert keeper.settled == ["done"] * len(ids)
    assert await owed(connection, schema) == 0


async def from_sql(app: Soniq, connection: "Connection[asyncpg.Record]", name: str) -> str:
    await app.start()
    return str(await connection.fetchval(f"select {app.settings.schema}.enqueue('{name}')"))


async def by_a_program_without(app: Soniq, _: "Connection[asyncpg.Record]", name: str) -> str:
    other = Soniq(
        app.settings.database_url, schema=app.settings.schema, discover=False, unknown_jobs="allow"
    )
    async with other:
        return str(await other.enqueue(name))


@pytest.mark.parametrize("enqueue", [from_sql, by_a_program_without], ids=lambda way: way.__name__)
@pytest.mark.parametrize("hold", [True, False], ids=["held", "only marked"])
async def test_a_job_that_came_in_without_its_mark_gets_it_before_it_starts(
    make_app: MakeApp,
    connection: "Connection[asyncpg.Record]",
    schema: str,
    enqueue: Callable[[Soniq, "Connection[asyncpg.Record]", str], Awaitable[str]],
    hold: bool,
) -> None:
    keeper = Keeper()
    keeper.lets_go = False
    app = define(make_app(plugins=[keeper]))

    @app.job(Heard(), name="heard")
    async def heard() -> None: ...

    job_id = await enqueue(app, connection, "kept" if hold else "heard")
    assert await app.run_worker(run_once=True) == (0 if hold else 1)
    assert [(each.kind, each.job_id) for each in keeper.told] == [("enqueued", job_id)]
    if hold:
        assert (await status_of(app, job_id))["held_by"] == ["keeper"]
        await app.release(job_id, holder="keeper")
        assert await app.run_worker(run_once=True) == 1
    assert keeper.settled == ["done"]
    assert len(keeper.told) == 1
    assert await owed(connection, schema) == 0


async def test_a_job_that_is_marked_and_not_held_is_not_told_of(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    await app.enqueue("free", headers={"mark": True})
    assert await owed(connection, schema) == 0


async def test_a_job_of_a_transaction_that_stays_open_is_told_of_after_its_commit_at_once(
    make_app: MakeApp, keeper: Keeper, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    """Also where no worker slept when it was enqueued."""
    app = define(make_app(plugins=[keeper], poll_interval=60))
    async with working(app):
        transaction = connection.transaction()
        await transaction.start()
        theirs = await app.enqueue("kept", connection=connection)
        others = [await app.enqueue("kept", n=n) for n in range(10)]
        for each in others:
            assert (await finished(app, each))["status"] == "done"
        await transaction.commit()
        assert (await finished(app, theirs))["status"] == "done"
    assert await owed(connection, schema) == 0


async def test_what_is_rolled_back_is_not_told_of(
    app: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await app.enqueue("kept", connection=connection)
    await transaction.rollback()
    assert await owed(connection, schema) == 0


# --- what else is told ---------------------------------------------------------------------------


async def test_a_replaced_job_is_told_of_with_its_new_headers(app: Soniq, keeper: Keeper) -> None:
    keeper.lets_go = False
    latest = Unique(on_conflict="replace")
    for key in ("p", "q"):
        job_id = await app.enqueue("kept", dedup_key="k", unique=latest, headers={"limit": key})
    await app.run_worker(run_once=True)
    assert [(each.kind, each.job_id, each.headers["limit"]) for each in keeper.told] == [
        ("enqueued", job_id, "q"), ("replaced", job_id, "q"),
    ]  # fmt: skip


async def test_a_retry_by_an_operator_is_told_of_and_the_job_is_held_again(
    app: Soniq, keeper: Keeper
) -> None:
    keeper.lets_go = False
    job_id = await app.enqueue("kept")
    assert await app.cancel(job_id)
    await app.retry(job_id)
    assert (await status_of(app, job_id))["held_by"] == ["keeper"]
    keeper.lets_go = True
    assert await app.run_worker(run_once=True) == 1
    assert (keeper.kinds, keeper.settled) == (["enqueued", "retried"], ["cancelled", "done"])


async def test_the_next_holder_is_told_that_it_is_the_first(app: Soniq, keeper: Keeper) -> None:
    job_id = await app.enqueue("free", headers={"flow": True})
    assert await app.run_worker(run_once=True) == 0
    assert (await status_of(app, job_id))["held_by"] == ["flow", "keeper"]
    await app.release(job_id, holder="flow")
    assert await app.run_worker(run_once=True) == 1
    assert keeper.kinds == ["enqueued", "first"]


async def test_a_release_in_a_transaction_tells_the_next_holder_at_once(
    make_app: MakeApp, keeper: Keeper, connection: "Connection[asyncpg.Record]"
) -> None:
    app = define(make_app(plugins=[keeper], poll_interval=60))
    job_id = await app.enqueue("free", headers={"flow": True})
    async with working(app):
        await eventually(lambda: is_true(keeper.kinds == ["enqueued"]))
        async with connection.transaction():
            await app.release(job_id, holder="flow", connection=connection)
        assert (await finished(app, job_id))["status"] == "done"


async def is_true(value: bool) -> bool:
    return value


async def test_a_cancel_and_a_release_of_one_job_at_once_end_it_once(
    app: Soniq, keeper: Keeper, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    """The release waits for the cancel, finds no job any more, and lets nothing go."""
    job_id = await app.enqueue("kept")
    keeper.lets_go = False
    await app.run_worker(run_once=True)
    transaction = connection.transaction()
    await transaction.start()
    gone = f"select status from {schema}.cancel_waiting_1($1, null), {schema}.job_1($2)"
    await connection.fetch(gone, [job_id.uuid], job_id.uuid)
    async with app.connection() as other:
        released = asyncio.create_task(
            other.fetchval(f"select {schema}.release($1, 'keeper')", [job_id.uuid])
        )
        await eventually(
            lambda: connection.fetchval(
                "select exists (select from pg_locks where not granted and pid = $1)",
                other.get_server_pid(),
            )
        )
        await transaction.commit()
        assert await released == 0
    assert (await status_of(app, job_id))["status"] == "cancelled"
    assert await app.run_worker(run_once=True) == 0


async def test_a_release_in_a_transaction_that_stays_open_holds_up_no_other_job(
    make_app: MakeApp, keeper: Keeper, connection: "Connection[asyncpg.Record]"
) -> None:
    keeper.lets_go = False
    app = define(make_app(plugins=[keeper], poll_interval=60))
    ids = [await app.enqueue("kept", n=n) for n in range(3)]
    async with working(app):
        await eventually(lambda: is_true(len(keeper.told) == 3))
        transaction = connection.transaction()
        await transaction.start()
        assert await app.release(ids[0], holder="keeper", connection=connection) == 1
        assert await app.release(ids[1], holder="keeper") == 1
        assert (await finished(app, ids[1]))["status"] == "done"
        assert (await finished(app, await app.enqueue("free")))["status"] == "done"
        assert (await status_of(app, ids[0]))["status"] == "held"
        await transaction.commit()
        assert (await finished(app, ids[0]))["status"] == "done"


# --- how it ended where the plugin could not hear of it ------------------------------------------


async def settled_elsewhere(without: Soniq, _: "Connection[asyncpg.Record]", __: str) -> None:
    await without.run_worker(run_once=True)


async def cancelled_elsewhere(without: Soniq, _: "Connection[asyncpg.Record]", __: str) -> None:
    assert await without.cancel_all(name="free") == 1


async def rescued_elsewhere(
    without: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    await claimed_by_a_lost_worker(connection, schema)
    async with working(without):
        await eventually(lambda: owed(connection, schema))


ENDS = [
    (settled_elsewhere, "done"), (cancelled_elsewhere, "cancelled"), (rescued_elsewhere, "dead"),
]  # fmt: skip


@pytest.mark.parametrize(("end", "status"), ENDS, ids=lambda each: getattr(each, "__name__", each))
async def test_an_end_where_the_plugin_is_not_loaded_is_told_once_where_it_is(
    app: Soniq,
    without: Soniq,
    keeper: Keeper,
    connection: "Connection[asyncpg.Record]",
    schema: str,
    end: Callable[[Soniq, "Connection[asyncpg.Record]", str], Awaitable[None]],
    status: str,
) -> None:
    job_id = await app.enqueue("free", headers={"mark": True, "k": 2})
    await end(without, connection, schema)
    assert await owed(connection, schema) == 1

    await app.run_worker(run_once=True)
    (event,) = keeper.told
    assert (event.kind, event.job_id, event.job_name) == ("settled", job_id, "free")
    assert event.headers["k"] == 2
    assert event.outcome is not None
    assert (event.outcome.status, event.outcome.job_id) == (status, job_id)
    assert keeper.settled == []
    assert await owed(connection, schema) == 0


async def test_an_error_is_told_by_its_type_and_its_text(
    app: Soniq, without: Soniq, keeper: Keeper
) -> None:
    await app.enqueue("free", n=-1, headers={"mark": True})
    await without.run_worker(run_once=True)
    await app.run_worker(run_once=True)
    (event,) = keeper.told
    assert event.outcome is not None
    assert isinstance(event.outcome.error, StoredError)
    assert event.outcome.error_message == "below zero"


async def test_an_end_that_a_plugin_has_refused_three_times_is_told_later(
    make_app: MakeApp, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    class Refusing(Keeper):
        @hookimpl(marked=True)
        async def settle_tx(self, outcomes: Sequence[Outcome]) -> None:
            self.settled += [each.status for each in outcomes]
            raise RuntimeError("not this")

    keeper = Refusing()
    app = define(make_app(plugins=[keeper]))
    job_id = await app.enqueue("free", headers={"mark": True})
    async with working(app):
        assert (await finished(app, job_id))["status"] == "dead"
        await eventually(lambda: is_true(bool(keeper.told)))
    (event,) = keeper.told
    assert event.outcome is not None
    assert event.outcome.status == "dead"
    assert keeper.settled == ["done", "dead", "dead"]
    assert await owed(connection, schema) == 0


# --- what the plugin does ------------------------------------------------------------------------


async def test_an_event_that_fails_keeps_no_other_and_is_told_again(
    app: Soniq,
    keeper: Keeper,
    connection: "Connection[asyncpg.Record]",
    schema: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ids = await app.enqueue_many("kept", [{"n": n} for n in range(20)])
    bad = ids[7]
    keeper.fails_for = {str(bad)}
    async with working(app):
        for each in ids:
            if each != bad:
                assert (await finished(app, each))["status"] == "done"
        await eventually(lambda: several_tries(connection, schema))
        assert (await status_of(app, bad))["held_by"] == ["keeper"]
        keeper.fails_for = set()
        assert (await finished(app, bad))["status"] == "done"
    told = [record for record in caplog.records if "owed_tx of keeper failed" in record.message]
    assert len(told) == 1
    assert str(bad) in told[0].message
    assert len(keeper.told) == 20


async def several_tries(connection: "Connection[asyncpg.Record]", schema: str) -> bool:
    return bool(await connection.fetchval(f"select max(tries) > 1 from {schema}.owed"))


async def test_a_note_of_a_plugin_comes_back_and_counts_only_with_its_transaction(
    make_app: MakeApp, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    class Noting(Keeper):
        @hookimpl(marked=True)
        async def settle_tx(  # type: ignore[override]
            self, outcomes: Sequence[Outcome], holds: Holds
        ) -> None:
            await holds.owe({"key": "k", "done": outcomes[0].status == "done"})
            if outcomes[0].status == "done":
                raise RuntimeError("this one did not count")

    keeper = Noting()
    app = define(make_app(plugins=[keeper]))
    await app.enqueue("free", headers={"mark": True})
    await app.run_worker(run_once=True)
    assert [(each.kind, each.job_id, each.what) for each in keeper.told] == [
        ("note", None, {"key": "k", "done": False})
    ]
    assert await owed(connection, schema) == 0


async def test_two_workers_tell_each_event_once(
    make_app: MakeApp, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    keepers = [Keeper(), Keeper()]
    apps = [define(make_app(plugins=[each])) for each in keepers]
    ids = await apps[0].enqueue_many("kept", [{"n": n} for n in range(2_000)])
    async with working(apps[0]), working(apps[1]):

        async def done() -> bool:
            return await done_in(apps[0]) == 2_000

        await eventually(done, 60)
    told = sorted(each.job_id or "" for keeper in keepers for each in keeper.told)
    assert told == sorted(ids)
    assert await owed(connection, schema) == 0


async def test_what_is_owed_to_a_plugin_that_nobody_has_waits_for_it(
    app: Soniq,
    without: Soniq,
    keeper: Keeper,
    connection: "Connection[asyncpg.Record]",
    schema: str,
) -> None:
    job_id = await app.enqueue("kept")
    assert await without.run_worker(run_once=True) == 0
    assert await owed(connection, schema) == 1
    async with working(without):
        await asyncio.gather(*(without.enqueue("free") for _ in range(5)))
        await eventually(lambda: free_are_done(without))
        assert (await status_of(app, job_id))["status"] == "held"
    assert await app.run_worker(run_once=True) == 1


async def free_are_done(app: Soniq) -> bool:
    return await done_in(app) == 5


async def done_in(app: Soniq) -> int:
    return (await app.overview())["queues"]["default"].get("done", 0)


# --- what is seen of it --------------------------------------------------------------------------


async def test_the_overview_says_what_is_owed_to_whom_and_which_plugin_no_worker_has(
    app: Soniq, without: Soniq
) -> None:
    await app.enqueue_many("kept", [{"n": n} for n in range(3)])
    before = await app.overview()
    assert before["owed"]["keeper"]["events"] == 3
    assert before["owed"]["keeper"]["waiting"] >= 0
    assert before["missing_plugins"] == {}  # no worker lives, and that is said already

    async with working(without):
        await eventually(lambda: has_a_worker(app))
        assert (await app.overview())["missing_plugins"] == {"keeper": 3}
    keeper_again = await app.run_worker(run_once=True)
    assert keeper_again == 3
    assert (await app.overview())["owed"] == {}


async def test_a_worker_that_has_the_plugin_is_known_as_one(make_app: MakeApp) -> None:
    keeper = Keeper()
    keeper.lets_go = False
    app = define(make_app(plugins=[keeper]))
    await app.enqueue("kept")
    async with working(app):
        await eventually(lambda: has_a_worker(app))
        assert (await app.overview())["missing_plugins"] == {}


async def has_a_worker(app: Soniq) -> bool:
    return bool((await app.overview())["workers"])


async def test_a_plugin_that_is_gone_is_forgotten(
    app: Soniq, without: Soniq, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    job_id = await app.enqueue("free", headers={"flow": True})
    await app.enqueue("free", headers={"mark": True})
    assert await without.release_all(held_by="keeper", forget=True) == 0
    overview = await without.overview()
    assert (overview["owed"], overview["held_by"]) == ({}, {"flow": 1})
    marked = f"select count(*) from {schema}.job where marks is not null or 'keeper' = any(holders)"
    assert await connection.fetchval(marked) == 0
    assert await without.release(job_id) == 1
    assert await without.run_worker(run_once=True) == 2
    assert await owed(connection, schema) == 0
