"""One job of a key: what makes two jobs the same, for how long, what a duplicate does, and who wins
a race.
"""

import asyncio
import enum
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg
import pytest

from soniq import (
    DuplicateJob,
    InvalidOption,
    JobContext,
    JobId,
    SerializationError,
    Snooze,
    Soniq,
    Unique,
    hookimpl,
)
from soniq.plugin import NO_DEDUP, Dedup, NewJob
from tests.conftest import MakeApp

Connection = asyncpg.Connection


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


async def sync_user(
    user_id: int, *, colour: Colour = Colour.RED, since: datetime | None = None
) -> int:
    return user_id


async def args_of(connection: Connection, app: Soniq, job_id: str) -> tuple[bytes, datetime]:
    """The stored arguments of a job that waits, and when it is due."""
    row = await connection.fetchrow(
        f"select args, scheduled_at from {app.settings.schema}.job where id = $1", UUID(job_id)
    )
    assert row is not None
    return row["args"], row["scheduled_at"]


# --- what makes two jobs the same ----------------------------------------------------------------


async def test_unique_jobs_of_the_same_arguments_are_one(app: Soniq) -> None:
    job = app.job(unique=True)(sync_user)
    first = await app.enqueue(job, user_id=42)
    assert first.inserted
    same = [
        await app.enqueue(job, 42),
        await app.enqueue(job.name, args={"user_id": 42}),
        await app.enqueue(job, colour=Colour.RED, user_id=42),
        await app.enqueue(job, 42, since=None),
        *await app.enqueue_many(job, [{"user_id": 42}, {"user_id": 42, "colour": Colour.RED}]),
    ]
    assert same == [first] * 6
    assert not any(each.inserted or each.replaced for each in same)
    assert len(await app.jobs()) == 1


async def test_unique_jobs_of_other_arguments_are_others(app: Soniq) -> None:
    job = app.job(unique=True)(sync_user)
    when = datetime(2026, 1, 2, tzinfo=UTC)
    ids = [
        await app.enqueue(job, 42),
        await app.enqueue(job, 43),
        await app.enqueue(job, 42, colour=Colour.GREEN),
        await app.enqueue(job, 42, since=when),
        await app.enqueue(job, 42, since=when.replace(microsecond=1)),
    ]
    assert all(each.inserted for each in ids)
    assert not (await app.enqueue(job, 42, since=when)).inserted
    assert not (await app.enqueue(job, 42, colour=Colour.GREEN)).inserted
    assert len(await app.jobs()) == 5


async def test_the_order_within_a_mapping_makes_no_difference(app: Soniq) -> None:
    @app.job(unique=True)
    async def index(document: dict[str, Any], key: UUID) -> None: ...

    key = UUID(int=5)
    assert (await app.enqueue(index, {"a": 1, "b": {"c": 2, "d": 3}}, key)).inserted
    assert not (await app.enqueue(index, {"b": {"d": 3, "c": 2}, "a": 1}, key)).inserted
    assert (await app.enqueue(index, {"a": 1, "b": {"c": 3, "d": 2}}, key)).inserted


async def test_a_value_and_its_text_are_one_argument(app: Soniq) -> None:
    @app.job(unique=True)
    async def measure(key: UUID, at: datetime, colour: Colour) -> None: ...

    at = datetime(2026, 1, 2, tzinfo=UTC)
    assert (await app.enqueue(measure, UUID(int=5), at, Colour.RED)).inserted
    assert not (
        await app.enqueue(measure, str(UUID(int=5)), "2026-01-02T00:00:00Z", "red")
    ).inserted


async def test_jobs_of_two_names_do_not_share_a_key(app: Soniq) -> None:
    one, two = (
        app.job(name="one", unique=True)(sync_user),
        app.job(name="two", unique=True)(sync_user),
    )
    ids = [await app.enqueue(job, 42) for job in (one, two)]
    ids += [await app.enqueue(job, 42, dedup_key="k") for job in (one, two)]
    assert all(each.inserted for each in ids)
    assert len(set(ids)) == 4


async def test_a_dedup_key_stands_for_all_arguments(app: Soniq) -> None:
    job = app.job(unique=True)(sync_user)
    plain = app.job(name="plain")(sync_user)
    first = await app.enqueue(job, user_id=42, dedup_key="sync-user-42")
    second = await app.enqueue(job, user_id=43, dedup_key="sync-user-42")
    assert (second, second.inserted) == (first, False)
    assert (await app.enqueue(job, user_id=42)).inserted
    assert (await app.enqueue(plain, 1, dedup_key="k")).inserted
    assert not (await app.enqueue(plain, 2, dedup_key="k")).inserted
    assert (await app.enqueue(plain, 2)).inserted
    await app.run_worker(run_once=True)
    assert await app.get_result(first) == 42


async def test_a_call_may_make_a_job_unique_or_not(app: Soniq) -> None:
    job, unique = app.job(name="plain")(sync_user), app.job(name="unique", unique=True)(sync_user)
    assert (await app.enqueue(job, 1, unique=True)).inserted
    assert not (await app.enqueue(job, 1, unique=True)).inserted
    assert (await app.enqueue(unique, 1)).inserted
    assert (await app.enqueue(unique, 1, unique=False)).inserted
    assert len(await app.jobs()) == 3


async def test_arguments_that_json_cannot_hold_need_a_key_of_their_own(app: Soniq) -> None:
    @app.job(name="odd", unique=True)
    async def odd(value: Any) -> None: ...

    with pytest.raises(SerializationError, match="unique=True needs arguments that JSON can hold"):
        await app.enqueue(odd, object())
    with pytest.raises(SerializationError, match="odd"):
        await app.enqueue(odd, "\ud800")
    assert await app.jobs() == []


async def test_the_longest_key_fits_whatever_the_name(app: Soniq) -> None:
    job = app.job(name="n" * 500)(sync_user)
    key = "".join(chr(33 + (n * n * 7 + n * 13) % 90) for n in range(2000))
    assert (await app.enqueue(job, 1, dedup_key=key)).inserted
    assert not (await app.enqueue(job, 2, dedup_key=key)).inserted


# --- for how long --------------------------------------------------------------------------------


async def test_a_key_is_free_again_when_its_job_is_done_dead_or_cancelled(app: Soniq) -> None:
    @app.job(unique=True, max_attempts=1)
    async def work(how: str) -> None:
        if how == "dead":
            raise RuntimeError("boom")

    first = [await app.enqueue(work, how) for how in ("done", "dead", "cancelled")]
    assert await app.cancel(first[2])
    await app.run_worker(run_once=True)
    assert [status["status"] for status in await app.jobs()] == ["cancelled", "dead", "done"]
    second = [await app.enqueue(work, how) for how in ("done", "dead", "cancelled")]
    assert all(each.inserted for each in second)
    assert not set(first) & set(second)


async def test_a_key_is_held_while_its_job_runs_or_waits_for_its_retry(app: Soniq) -> None:
    seen: list[JobId] = []

    @app.job(unique=True, retry=3600)
    async def work(how: str) -> None:
        seen.append(await app.enqueue(work, how))
        if how == "fails":
            raise RuntimeError("boom")
        raise Snooze(3600)

    ids = [await app.enqueue(work, how) for how in ("fails", "snoozes")]
    await app.run_worker(run_once=True)
    assert sorted(seen) == sorted(ids)
    again = [await app.enqueue(work, how) for how in ("fails", "snoozes")]
    assert again == ids
    assert not any(each.inserted for each in [*seen, *again])


async def test_a_dead_job_whose_key_is_taken_cannot_come_back_until_it_is_free(app: Soniq) -> None:
    fail = True

    @app.job(unique=True, max_attempts=1)
    async def work(n: int) -> int:
        if fail:
            raise RuntimeError("boom")
        return n

    dead = await app.enqueue(work, 1)
    await app.run_worker(run_once=True)
    holder = await app.enqueue(work, 1)
    with pytest.raises(
        DuplicateJob, match=f"{dead} cannot be retried: {holder} holds its dedup key"
    ) as caught:
        await app.retry(dead)
    assert caught.value.job_id == holder
    status = await app.get_job_status(dead)
    assert status is not None
    assert status["status"] == "dead"
    assert await app.cancel(holder)
    await app.retry(dead)
    assert not (await app.enqueue(work, 1)).inserted
    fail = False
    await app.run_worker(run_once=True)
    assert await app.get_result(dead) == 1


async def test_a_cancelled_job_whose_key_is_taken_cannot_come_back_until_it_is_free(
    app: Soniq,
) -> None:
    @app.job(unique=True)
    async def work(n: int) -> int:
        return n

    cancelled = await app.enqueue(work, 1)
    assert await app.cancel(cancelled)
    holder = await app.enqueue(work, 1)
    with pytest.raises(
        DuplicateJob, match=f"{cancelled} cannot be retried: {holder} holds its dedup key"
    ):
        await app.retry(cancelled)
    assert [each["job_id"] for each in await app.jobs(status="cancelled")] == [cancelled]
    await app.run_worker(run_once=True)
    await app.retry(cancelled)
    assert not (await app.enqueue(work, 1)).inserted
    await app.run_worker(run_once=True)
    assert await app.get_result(cancelled) == 1


# --- a hook that says how ------------------------------------------------------------------------


class KeyPlugin:
    """Answers each enqueue with what the test has set, and notes whether it was asked."""

    name = "key"

    def __init__(self) -> None:
        self.answer: str | Dedup | None = None
        self.asked: list[str] = []

    @hookimpl
    async def dedup_key(self, job: NewJob) -> str | Dedup | None:
        self.asked.append(job.name)
        return self.answer


Asked = tuple[Soniq, KeyPlugin]


@pytest.fixture
def asked(make_app: MakeApp) -> Asked:
    """An app with a plugin that decides the key."""
    plugin = KeyPlugin()
    return make_app(plugins=[plugin]), plugin


async def test_a_hook_names_the_key_before_the_default_does(asked: Asked) -> None:
    app, plugin = asked
    job = app.job(unique=True)(sync_user)
    plugin.answer = "k"
    first = await app.enqueue(job, 1)
    assert await app.enqueue(job, 2) == first
    plugin.answer = NO_DEDUP
    assert [(await app.enqueue(job, 1)).inserted for _ in range(2)] == [True, True]
    plugin.answer = None
    assert [(await app.enqueue(job, 1)).inserted for _ in range(2)] == [True, False]
    plugin.asked.clear()
    plugin.answer = "k"
    assert (await app.enqueue(job, 3, dedup_key="mine")).inserted
    assert plugin.asked == []


async def test_a_key_from_a_hook_that_a_row_cannot_hold_is_refused(asked: Asked) -> None:
    app, plugin = asked
    job = app.job()(sync_user)
    for key in ("", "a\0", "\ud800", "x" * 2001):
        plugin.answer = Dedup(key)
        with pytest.raises(InvalidOption, match="dedup_key="):
            await app.enqueue(job, 1)
    assert await app.jobs() == []


async def test_replace_gives_the_queued_job_new_arguments_headers_and_time(
    asked: Asked, connection: Connection
) -> None:
    app, plugin = asked
    received: list[object] = []

    @app.job()
    async def save(text: str, ctx: JobContext) -> None:
        received.append((text, dict(ctx.headers)))

    plugin.answer = Dedup("k", on_conflict="replace")
    first = await app.enqueue(save, "old", headers={"v": 1}, delay=3600)
    _, due = await args_of(connection, app, first)
    second = await app.enqueue(save, "new", headers={"v": 2})
    assert (second, second.inserted, second.replaced) == (first, False, True)
    args, sooner = await args_of(connection, app, first)
    assert args == b'{"text":"new"}'
    assert sooner < due
    await app.run_worker(run_once=True)
    assert received == [("new", {"v": 2})]
    assert (await app.enqueue(save, "next")).inserted


async def test_debounce_pushes_the_time_back_and_keeps_the_arguments(
    asked: Asked, connection: Connection
) -> None:
    app, plugin = asked
    job = app.job()(sync_user)
    plugin.answer = Dedup("k", on_conflict="debounce")
    first = await app.enqueue(job, 1, delay=600)
    before, due = await args_of(connection, app, first)
    second = await app.enqueue(job, 2, delay=1200)
    assert (second, second.inserted, second.replaced) == (first, False, True)
    after, later = await args_of(connection, app, first)
    assert after == before
    assert (later - due).total_seconds() >= 600


async def test_debounce_does_not_start_a_retry_before_its_time(
    asked: Asked, connection: Connection
) -> None:
    app, plugin = asked

    @app.job(retry=600)
    async def fail(n: int) -> None:
        raise RuntimeError("broken")

    plugin.answer = Dedup("k", on_conflict="debounce")
    first = await app.enqueue(fail, 1)
    await app.run_worker(run_once=True)
    _, retry = await args_of(connection, app, first)
    assert (await app.enqueue(fail, 2, delay=1)).replaced
    assert (await args_of(connection, app, first))[1] == retry
    assert (await app.enqueue(fail, 2, delay=1200)).replaced
    assert (await args_of(connection, app, first))[1] > retry


@pytest.mark.parametrize("on_conflict", ["replace", "debounce"])
async def test_what_runs_is_neither_replaced_nor_pushed_back(
    asked: Asked, on_conflict: Literal["replace", "debounce"]
) -> None:
    app, plugin = asked
    plugin.answer = Dedup("k", on_conflict=on_conflict)
    seen: list[JobId] = []
    received: list[int] = []

    @app.job()
    async def work(n: int) -> None:
        received.append(n)
        seen.append(await app.enqueue(work, n + 1))

    job_id = await app.enqueue(work, 1)
    await app.run_worker(run_once=True)
    assert [(each, each.inserted, each.replaced) for each in seen] == [(job_id, False, False)]
    assert received == [1]


async def test_scope_queued_lets_one_wait_while_one_runs(asked: Asked) -> None:
    app, plugin = asked
    plugin.answer = Dedup("k", scope="queued")
    seen: list[JobId] = []
    received: list[int] = []

    @app.job()
    async def work(n: int) -> None:
        received.append(n)
        if n == 1:  # in one transaction, so that no worker begins with the one before the other
            async with app.connection() as connection, connection.transaction():
                for each in (2, 3):
                    seen.append(await app.enqueue(work, each, connection=connection))

    first = await app.enqueue(work, 1)
    assert not (await app.enqueue(work, 9)).inserted
    await app.run_worker(run_once=True)
    assert received == [1, 2]
    assert seen[0] == seen[1] != first
    assert [each.inserted for each in seen] == [True, False]


async def test_a_job_of_scope_queued_that_waits_for_its_retry_does_not_absorb_others(
    asked: Asked,
) -> None:
    app, plugin = asked
    plugin.answer = Dedup("k", scope="queued")

    @app.job(retry=3600)
    async def work(n: int) -> None:
        raise RuntimeError("boom")

    first = await app.enqueue(work, 1)
    await app.run_worker(run_once=True)
    second = await app.enqueue(work, 2)
    assert second.inserted
    assert second != first


async def test_a_dead_job_of_scope_queued_comes_back_beside_one_that_waits(asked: Asked) -> None:
    app, plugin = asked
    plugin.answer = Dedup("k", scope="queued")

    @app.job(max_attempts=1)
    async def work(n: int) -> None:
        raise RuntimeError("boom")

    first = await app.enqueue(work, 1)
    await app.run_worker(run_once=True)
    second = await app.enqueue(work, 2)
    await app.retry(first)
    assert {(each["job_id"], each["status"]) for each in await app.jobs()} == {
        (first, "queued"),
        (second, "queued"),
    }


async def test_within_one_call_the_first_of_a_key_wins_and_the_last_replaces(asked: Asked) -> None:
    app, plugin = asked
    received: list[int] = []

    @app.job()
    async def work(n: int) -> None:
        received.append(n)

    plugin.answer = Dedup("keep")
    kept = await app.enqueue_many(work, [{"n": n} for n in (1, 2, 3)])
    plugin.answer = Dedup("replace", on_conflict="replace")
    replaced = await app.enqueue_many(work, [{"n": n} for n in (4, 5, 6)])
    assert (
        [each.inserted for each in kept]
        == [each.inserted for each in replaced]
        == [True, False, False]
    )
    assert [each.replaced for each in replaced] == [False, True, True]
    await app.run_worker(run_once=True)
    assert sorted(received) == [1, 6]


# --- races ---------------------------------------------------------------------------------------


async def test_a_hundred_enqueues_of_one_unique_job_by_several_apps_make_one_row_and_all_learn_its_id(
    make_app: MakeApp,
) -> None:
    apps = [make_app(pool_size=4) for _ in range(4)]
    jobs = [app.job(unique=True)(sync_user) for app in apps]
    await asyncio.gather(*(app.start() for app in apps))
    for user in range(5):
        ids = await asyncio.gather(*(apps[n % 4].enqueue(jobs[n % 4], user) for n in range(100)))
        assert len(set(ids)) == 1
        assert sum(each.inserted for each in ids) == 1
    assert len(await apps[0].jobs()) == 5


async def test_callers_that_take_keys_in_opposite_order_all_end(make_app: MakeApp) -> None:
    apps = [make_app(pool_size=4) for _ in range(2)]
    jobs = [app.job(unique=True)(sync_user) for app in apps]
    await asyncio.gather(*(app.start() for app in apps))
    forward = [{"user_id": n} for n in range(100)]
    calls = [(0, forward), (1, forward[::-1])] * 4
    results = await asyncio.wait_for(
        asyncio.gather(*(apps[n].enqueue_many(jobs[n], arguments) for n, arguments in calls)), 60
    )
    assert {frozenset(ids) for ids in results} == {frozenset(results[0])}
    assert sum(each.inserted for ids in results for each in ids) == 100


async def test_enqueue_many_is_tried_again_after_a_deadlock(
    make_app: MakeApp, database_url: str, connection: Connection
) -> None:
    class ByNumber:
        name = "by_number"

        @hookimpl
        def dedup_key(self, job: NewJob) -> str:
            return str(job.args["user_id"])

    separator = "&" if "?" in database_url else "?"
    app = make_app(
        plugins=[ByNumber()], database_url=f"{database_url}{separator}deadlock_timeout=2s"
    )
    job = app.job()(sync_user)
    await app.start()
    await connection.execute(
        "set deadlock_timeout = '30s'"
    )  # so that it is the other one that is ended
    async with asyncio.timeout(60):
        async with connection.transaction():
            held = [await app.enqueue(job, 2, connection=connection)]
            many = asyncio.create_task(
                app.enqueue_many(job, [{"user_id": 2}, {"user_id": 1}, {"user_id": 0}])
            )
            while not await connection.fetchval(
                "select exists (select from pg_locks where pg_backend_pid() ="
                " any(pg_blocking_pids(pid)))"
            ):
                await asyncio.sleep(0.005)
            held.append(await app.enqueue(job, 1, connection=connection))
        ids = await many
    assert ids[:2] == held
    assert [each.inserted for each in ids] == [False, False, True]


async def test_enqueueing_against_completion_never_loses_a_trigger(make_app: MakeApp) -> None:
    """Each trigger either ran after it was enqueued, or met a job that was not finished."""
    app = make_app(poll_interval=0.02)
    ran = 0
    stop = asyncio.Event()

    @app.job(unique=True)
    async def work() -> None:
        nonlocal ran
        ran += 1

    await app.start()
    worker = asyncio.create_task(app.run_worker(concurrency=4))

    async def trigger() -> list[JobId]:
        ids = []
        while not stop.is_set():
            ids.append(await app.enqueue(work))
        return ids

    async def enough() -> None:
        while ran < 40:
            await asyncio.sleep(0.01)
        stop.set()

    *found, _ = await asyncio.gather(*(trigger() for _ in range(4)), asyncio.wait_for(enough(), 60))
    ids = [each for some in found if some for each in some]
    for job_id in set(ids):
        await app.wait_for(job_id, timeout=30)
    app.stop_workers()
    await worker
    inserted = [each for each in ids if each.inserted]
    assert len(inserted) == len(set(inserted)) == len(set(ids)) == ran


@pytest.mark.parametrize("ends", ["commit", "rollback"])
async def test_an_enqueue_that_meets_a_job_being_settled_waits_for_how_that_ends(
    app: Soniq, connection: Connection, ends: Literal["commit", "rollback"]
) -> None:
    job = app.job(unique=True)(sync_user)
    first = await app.enqueue(job, 1)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(f"delete from {app.settings.schema}.job where id = $1", UUID(first))
    own = await connection.fetchval("select pg_current_xact_id()::text::bigint")
    enqueueing = asyncio.create_task(app.enqueue(job, 1))
    waits = (
        "select count(*) from pg_locks where transactionid = ($1::bigint & 4294967295)::text::xid"
        " and not granted"
    )
    while not await connection.fetchval(waits, own):
        await asyncio.sleep(0.005)
    assert (await app.enqueue(job, 2)).inserted
    await (transaction.commit() if ends == "commit" else transaction.rollback())
    second = await asyncio.wait_for(enqueueing, 30)
    assert second.inserted is (ends == "commit")
    assert (second == first) is (ends == "rollback")


async def test_a_child_whose_key_gets_free_between_two_tries_to_settle_its_parent_is_made(
    make_app: MakeApp, connection: Connection, schema: str
) -> None:
    class FailsOnce:
        name = "fails_once"
        failed = False

        @hookimpl
        async def settle_tx(self, tx: object, outcomes: object) -> None:
            if not self.failed:
                self.failed = True  # and the other job gives its key up, as a claim lets it
                await connection.execute(
                    f"update {schema}.job set dedup_key = null where name = 'child'"
                )
                raise asyncpg.DeadlockDetectedError("deadlock detected")

    app = make_app(plugins=[FailsOnce()])
    latest = Unique(scope="queued")

    @app.job(name="child")
    async def child() -> None: ...

    @app.job()
    async def parent(ctx: JobContext) -> None:
        await ctx.enqueue("child", dedup_key="k", unique=latest)

    first = await app.enqueue("child", dedup_key="k", unique=latest, delay=60)
    await app.enqueue(parent)
    await app.run_worker(run_once=True)
    assert len(await app.jobs(name="child")) == 2
    assert (await app.jobs(name="child", status="done"))[0]["job_id"] != first
