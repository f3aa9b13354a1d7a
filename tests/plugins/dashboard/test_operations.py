"""What is done to all jobs that match: once, whoever carries it out and whatever comes between."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from soniq import Page, Search, Soniq
from soniq.cli.person import this_person
from soniq_dashboard import Dashboard, operations, running
from soniq_dashboard.audit import KEPT, lines
from soniq_dashboard.operations import (
    MOST_OPEN,
    Act,
    NotPossible,
    Operation,
    begin,
    frozen,
    stop,
    time_of,
)
from soniq_dashboard.running import MOST_FAILURES, run_batch
from soniq_dashboard.sampling import AT_ONCE, forget
from soniq_dashboard.settings import KEEP
from tests.conftest import MakeApp
from tests.core.cli.conftest import Project
from tests.support.forks import Forks
from tests.support.jobs import status_of, working
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

from .conftest import Connection


@pytest.fixture
def app(make_app: MakeApp, dashboard: Dashboard) -> Soniq:
    """An app with the plugin, and a job that dies where it is told to."""
    app = make_app(plugins=[dashboard], unknown_jobs="allow")

    @app.job(name="pay", max_attempts=1)
    async def pay(n: int) -> None:
        raise ValueError(f"no account {n}")

    return app


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers carry out no operation: one that ends would cut off a batch, whose counts are lost."""

    async def nothing(app: Soniq) -> None: ...

    monkeypatch.setattr("soniq_dashboard.collector.keep_running", nothing)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two jobs."""
    monkeypatch.setattr(running, "BATCH", 2)


async def dead(app: Soniq, jobs: int) -> list[str]:
    """The ids of so many jobs that have died."""
    await app.start()
    ids = await app.enqueue_many("pay", [{"n": n} for n in range(jobs)])
    await app.run_worker(run_once=True)
    return [*map(str, ids)]


async def asked(
    app: Soniq, action: Act, search: Search | None = None, *, secret: bool = False, by: str = "eva"
) -> int:
    """The id of an operation that somebody asks for now."""
    at = await time_of(app)
    meant = frozen(action, search or Search(names=["pay"]), at)
    count = await app.count(meant)
    made = await begin(
        app, action, meant, at, secret=secret, by=by, reason=None, found=count.value,
        exact=count.exact,
    )  # fmt: skip
    assert made is not None
    return made


async def seen(app: Soniq, operation_id: int) -> Operation:
    (operation,) = await operations.operations(app, only=operation_id)
    return operation


async def carried_out(app: Soniq, operation_id: int) -> Operation:
    """An operation once no batch of it is left."""
    while await run_batch(app):
        pass
    return await seen(app, operation_id)


async def statuses(app: Soniq, ids: Sequence[str]) -> list[str | None]:
    found = [await app.get_job_status(each) for each in ids]
    return [each and each["status"] for each in found]


@pytest.mark.usefixtures("small")
async def test_all_that_match_are_changed_in_batches_and_no_others(app: Soniq) -> None:
    ids = await dead(app, 5)
    other = await app.enqueue("other", args={})
    made = await asked(app, "retry")
    assert (await seen(app, made)).found == 5
    assert await run_batch(app)
    half = await seen(app, made)
    assert (half.state, half.seen, half.changed) == ("open", 2, 2)

    done = await carried_out(app, made)
    assert (done.state, done.seen, done.changed, done.kept) == ("done", 5, 5, 0)
    assert done.ended_at is not None
    assert await statuses(app, [*ids, other]) == ["queued"] * 6
    attempts = [(await status_of(app, each))["attempts"] for each in ids]
    assert {each[-1]["by"] for each in attempts} == {"eva"}


@pytest.mark.parametrize(("action", "then"), [("cancel", "cancelled"), ("delete", None)])
async def test_jobs_that_wait_are_cancelled_and_deleted(
    app: Soniq, action: Act, then: str | None
) -> None:
    await app.start()
    ids = [*await app.enqueue_many("pay", [{"n": n} for n in range(3)], delay=60)]
    done = await carried_out(app, await asked(app, action))
    assert (done.state, done.changed) == ("done", 3)
    assert await statuses(app, ids) == [then] * 3


@pytest.mark.usefixtures("small")
@pytest.mark.usefixtures("by_hand")
async def test_it_does_not_chase_what_it_has_retried(app: Soniq) -> None:
    ids = await dead(app, 4)
    made = await asked(app, "retry")
    while await run_batch(app):
        await app.run_worker(run_once=True)  # they die again at once
    assert (await seen(app, made)).changed == 4
    attempts = [(await status_of(app, each))["attempts"] for each in ids]
    assert [[attempt["kind"] for attempt in each].count("retried") for each in attempts] == [1] * 4


@pytest.mark.usefixtures("by_hand")
async def test_what_comes_later_is_not_touched(app: Soniq) -> None:
    await dead(app, 2)
    late = await app.enqueue("pay", n=7, delay=60)
    made = await asked(app, "retry")
    await app.retry(late)
    later = await dead(app, 1)  # runs the one above as well: created before, and died after
    done = await carried_out(app, made)
    assert (done.found, done.changed) == (2, 2)
    assert await statuses(app, [late, *later]) == ["dead", "dead"]

    await app.enqueue("pay", n=1, delay=60)
    made = await asked(app, "cancel")
    later = [await app.enqueue("pay", n=2, delay=60)]
    await carried_out(app, made)
    assert await statuses(app, later) == ["queued"]


@pytest.mark.usefixtures("by_hand")
async def test_a_job_that_ends_between_list_and_action_is_left_and_said(
    app: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    await app.start()
    ids = [await app.enqueue("pay", n=n) for n in range(2)]
    made, search = await asked(app, "cancel"), app.search

    async def and_they_run(*arguments: Any, **options: Any) -> Page:
        found = await search(*arguments, **options)
        await app.run_worker(run_once=True)
        return found

    monkeypatch.setattr(app, "search", and_they_run)
    done = await carried_out(app, made)
    assert (done.state, done.seen, done.changed, done.kept) == ("done", 2, 0, 2)
    assert done.why == {"it is dead": 2}
    assert {job_id for job_id, _ in done.examples} == {*ids}
    assert await statuses(app, ids) == ["dead", "dead"]


async def test_a_job_that_somebody_else_retries_between_is_as_it_should_be(
    app: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job_id,) = await dead(app, 1)
    made, search = await asked(app, "retry"), app.search

    async def and_is_retried(*arguments: Any, **options: Any) -> Page:
        found = await search(*arguments, **options)
        await app.retry(job_id)
        return found

    monkeypatch.setattr(app, "search", and_is_retried)
    done = await carried_out(app, made)
    assert (done.state, done.seen, done.changed, done.unchanged) == ("done", 1, 0, 1)
    attempts = (await status_of(app, job_id))["attempts"]
    assert [each["kind"] for each in attempts].count("retried") == 1


@pytest.mark.usefixtures("small")
async def test_two_operations_over_the_same_jobs_take_turns_and_both_end(app: Soniq) -> None:
    ids = await dead(app, 9)
    first = await asked(app, "retry")
    second = await asked(app, "delete", Search(statuses=["dead"]))
    again, removed = await carried_out(app, first), await seen(app, second)
    assert {again.state, removed.state} == {"done"}
    assert again.changed + removed.changed == 9
    left = await statuses(app, ids)
    assert (left.count("queued"), left.count(None)) == (again.changed, removed.changed)
    assert again.changed > 0
    assert removed.changed > 0


async def test_a_key_that_another_job_has_is_told_as_one_reason(app: Soniq) -> None:
    await app.start()
    for n in range(3):
        await app.enqueue("pay", n=n, dedup_key=f"k{n}")
    await app.run_worker(run_once=True)
    for n in range(3):
        await app.enqueue("pay", n=n, dedup_key=f"k{n}", delay=60)
    done = await carried_out(app, await asked(app, "retry"))
    assert (done.state, done.kept) == ("done", 3)
    assert done.why == {"another job holds its dedup key and is not finished": 3}


async def test_a_batch_runs_once_however_many_try(
    app: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    await dead(app, 3)
    made = await asked(app, "retry")
    retry_many, at_once, most = app.retry_many, 0, 0

    async def slow(*arguments: Any, **options: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.3)
        at_once -= 1
        return await retry_many(*arguments, **options)

    monkeypatch.setattr(app, "retry_many", slow)
    ran = await asyncio.gather(*(run_batch(app) for _ in range(5)))
    assert ran.count(True) == 1
    assert most == 1
    assert (await seen(app, made)).changed == 3


@pytest.mark.usefixtures("small")
async def test_it_is_stopped_half_way_and_what_was_done_is_told(
    app: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await dead(app, 5)
    made, retry_many = await asked(app, "retry"), app.retry_many

    async def and_is_stopped(*arguments: Any, **options: Any) -> Any:
        assert await stop(app, made, "bob")  # which does not wait for the batch
        return await retry_many(*arguments, **options)

    monkeypatch.setattr(app, "retry_many", and_is_stopped)
    stopped = await carried_out(app, made)
    assert (stopped.state, stopped.stopped_by) == ("stopped", "bob")
    assert (stopped.seen, stopped.changed) == (2, 2)
    assert (await statuses(app, ids)).count("dead") == 3
    assert not await stop(app, made, "bob")
    told = await lines(app)
    assert [(each.action, each.by, each.operation_id) for each in told] == [
        ("stop", "bob", made),
        ("retry", "eva", made),
    ]
    assert told[0].done == 2


@pytest.mark.usefixtures("small")
async def test_a_runner_that_is_cut_off_leaves_the_batch_to_the_next(
    app: Soniq, monkeypatch: pytest.MonkeyPatch
) -> None:
    await dead(app, 5)
    made, retry_many = await asked(app, "retry"), app.retry_many
    changed = asyncio.Event()

    async def and_hangs(*arguments: Any, **options: Any) -> Any:
        await retry_many(*arguments, **options)
        changed.set()
        await asyncio.sleep(60)

    with monkeypatch.context() as patched:
        patched.setattr(app, "retry_many", and_hangs)
        cut_off = asyncio.create_task(run_batch(app))
        await asyncio.wait_for(changed.wait(), 20)
        assert not await run_batch(app)  # it is locked
        cut_off.cancel()
        await asyncio.wait([cut_off], timeout=20)
    done = await carried_out(app, made)
    assert done.state == "done"
    assert done.changed == 3  # those of the batch that was cut off are in no count, and not twice


async def test_batches_that_fail_are_tried_again_with_fewer_jobs_and_not_for_ever(
    app: Soniq,
    connection: "Connection[Any]",
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ids = await dead(app, 40)
    made, sizes = await asked(app, "retry"), list[int]()

    async def fails(job_ids: list[str], **options: Any) -> None:
        sizes.append(len(job_ids))
        raise RuntimeError("a plugin's own")

    async def again() -> None:
        assert not await run_batch(app)  # it waits for a moment
        await connection.execute(
            f"update {schema}_dashboard.operation set due_at = clock_timestamp()"
        )

    with monkeypatch.context() as patched:
        patched.setattr(app, "retry_many", fails)
        for _ in range(MOST_FAILURES - 1):
            assert await run_batch(app)
            assert (await seen(app, made)).state == "open"
            await again()
        assert await run_batch(app)
    assert sizes == [40, 40, 31, 7, 1]
    failed = await seen(app, made)
    assert (failed.state, failed.seen) == ("failed", 0)
    assert failed.error == (
        "5 batches failed one after the other, the last with RuntimeError: see a worker's log"
    )
    assert "a plugin's own" in caplog.text
    assert await statuses(app, ids[:1]) == ["dead"]
    assert not await run_batch(app)


@pytest.mark.usefixtures("by_hand")
async def test_what_nobody_carried_out_for_a_day_is_not_begun(
    app: Soniq, connection: "Connection[Any]", schema: str
) -> None:
    ids = await dead(app, 1)
    made = await asked(app, "retry")
    await connection.execute(
        f"update {schema}_dashboard.operation set updated_at = updated_at - interval '25 hours'"
    )
    done = await carried_out(app, made)
    assert (done.state, done.error) == ("failed", "no worker ran it for a day")
    assert await statuses(app, ids) == ["dead"]


async def test_so_many_are_open_at_once_and_a_form_that_is_sent_twice_is_one(app: Soniq) -> None:
    await app.start()
    at = await time_of(app)
    about: dict[str, Any] = {
        "secret": False, "by": "eva", "reason": None, "found": 0, "exact": True,
    }  # fmt: skip
    times = [at - timedelta(seconds=n) for n in range(MOST_OPEN + 5)]
    made = await asyncio.gather(
        *(begin(app, "retry", Search(names=["pay"]), each, **about) for each in times)
    )
    assert len({each for each in made if each is not None}) == MOST_OPEN
    assert made.count(None) == 5

    which = next(n for n, each in enumerate(made) if each is not None)
    again = await begin(app, "retry", Search(names=["pay"]), times[which], **about)
    assert again == made[which]
    assert len(await lines(app)) == MOST_OPEN

    await carried_out(app, made[which] or 0)
    old, early = at - timedelta(hours=2), at + timedelta(hours=2)
    assert await begin(app, "retry", Search(names=["pay"]), old, **about) is None
    assert await begin(app, "retry", Search(names=["pay"]), early, **about) is None


async def test_a_worker_carries_them_out(app: Soniq) -> None:
    await dead(app, 3)
    made = await asked(app, "delete")
    async with working(app):

        async def done() -> bool:
            return (await seen(app, made)).state == "done"

        await eventually(done)
    assert await app.jobs() == []


APP = """
from soniq import Soniq
from soniq_dashboard import Dashboard

eq = Soniq(plugins=[Dashboard], discover=False, lease=2, unknown_jobs="allow")
"""


@pytest.fixture
def project(tmp_path: Path, database_url: str, schema: str, forks: Forks) -> Iterator[Project]:
    environment = {
        "SONIQ_DATABASE_URL": database_url,
        "SONIQ_SCHEMA": schema,
        "SONIQ_APP": "shop:eq",
        "SONIQ_PLUGINS": "dashboard",
    }
    project = Project(tmp_path, environment, forks)
    project.write("shop.py", APP)
    yield project
    project.close()


JOBS = 6_000


@pytest.mark.timeout(120)
async def test_a_worker_that_is_killed_is_taken_over_from(app: Soniq, project: Project) -> None:
    await app.start()
    await app.enqueue_many("later", [{"n": n} for n in range(JOBS)], queue="idle", delay=3_600)
    made = await asked(app, "cancel", Search(queues=["idle"]))
    first = project.start("worker", "--queues", "nothing")

    async def begun() -> bool:
        return (await seen(app, made)).seen > 0

    await eventually(begun)
    first.process.kill()
    before = await seen(app, made)
    assert before.state == "open"

    second = project.start("worker", "--queues", "nothing")

    async def done() -> bool:
        return (await seen(app, made)).state == "done"

    await eventually(done, 40)
    second.process.kill()
    found = await seen(app, made)
    assert found.kept == 0
    assert JOBS - running.BATCH <= found.changed <= JOBS
    cancelled = await app.count(Search(queues=["idle"], statuses=["cancelled"]))
    assert cancelled.value == JOBS


@pytest.mark.usefixtures("small")
async def test_a_database_that_goes_away_puts_it_off(
    app: Soniq, make_app: MakeApp, proxy: Proxy, database_url: str
) -> None:
    ids = await dead(app, 9)
    made = await asked(app, "retry")
    away = make_app(
        database_url=proxy.url(database_url), plugins=[Dashboard()], unknown_jobs="allow"
    )
    async with working(away, queues=["nothing"]):

        async def begun() -> bool:
            return (await seen(app, made)).seen > 0

        async def done() -> bool:
            return (await seen(app, made)).state == "done"

        await eventually(begun)
        proxy.refuse()
        await asyncio.sleep(1)
        proxy.restore()
        await eventually(done)
    assert set(await statuses(app, ids)) == {"queued"}
    attempts = [(await status_of(app, each))["attempts"] for each in ids]
    assert [[attempt["kind"] for attempt in each].count("retried") for each in attempts] == [1] * 9


async def test_what_was_done_is_kept_with_a_name_on_it(app: Soniq) -> None:
    first, second = await dead(app, 2)
    await app.retry(first, by="eva")
    await app.retry_many([second], by="eva")
    await app.cancel(first, "no need", by="bob")
    await app.pause("mail", reason="smtp is down", by="bob")
    await app.resume("mail", by="eva")
    await app.delete(first)  # a program's own work: nobody's
    told = [
        (each.action, each.by, each.queue, each.reason, each.job_ids) for each in await lines(app)
    ]
    assert told == [
        ("resume", "eva", "mail", None, []),
        ("pause", "bob", "mail", "smtp is down", []),
        ("cancel", "bob", None, "no need", [first]),
        ("retry", "eva", None, None, [second]),
        ("retry", "eva", None, None, [first]),
    ]
    assert [each.by for each in await lines(app, by="bob")] == ["bob", "bob"]
    assert [each.action for each in await lines(app, action="retry")] == ["retry", "retry"]
    newest = (await lines(app, most=1))[0].id
    assert len(await lines(app, before=newest)) == 4


async def test_what_was_done_by_command_is_there_too(app: Soniq, project: Project) -> None:
    first, _ = await dead(app, 2)
    for command in (
        ["retry", first],
        ["cancel", first],
        ["delete", "--status", "dead", "--name", "pay", "--all", "--yes"],
        ["pause", "mail", "--reason", "smtp is down"],
    ):
        done = await asyncio.to_thread(project.soniq, *command)
        assert done.returncode == 0, done.stderr
        assert "failed" not in done.stderr
    told = await lines(app)
    assert [(each.action, each.jobs) for each in told] == [
        ("pause", 0), ("delete", 1), ("cancel", 1), ("retry", 1),
    ]  # fmt: skip
    assert {each.by for each in told} == {this_person()}


@pytest.mark.usefixtures("small")
async def test_an_operation_is_one_line_of_who_asked_for_it(app: Soniq) -> None:
    await dead(app, 5)
    made = await asked(app, "retry")
    await carried_out(app, made)
    (line,) = await lines(app)
    assert (line.action, line.by, line.operation_id, line.done) == ("retry", "eva", made, 5)


async def test_what_is_past_is_forgotten_after_ninety_days(
    app: Soniq, connection: "Connection[Any]", schema: str
) -> None:
    await dead(app, 1)
    await carried_out(app, await asked(app, "retry"))
    still = await asked(app, "delete")
    old = f"clock_timestamp() - make_interval(secs => {KEPT} + 1)"
    await connection.execute(
        f"update {schema}_dashboard.operation set created_at = {old},"
        f" ended_at = case when ended_at is null then ended_at else {old} end"
    )
    await connection.execute(
        f"update {schema}_dashboard.audit set at = {old} where action = 'retry'"
    )
    await connection.execute(
        f"insert into {schema}_dashboard.audit (at, jobs, action, by, job_ids)"
        f" select {old}, 1, 'retry', 'eva', '{{}}' from generate_series(1, {AT_ONCE + 1})"
    )
    keep = {tier: each.default for tier, each in KEEP.items()}
    assert await forget(app, keep) == 1 + AT_ONCE + 2
    assert [each.id for each in await operations.operations(app)] == [still]
    assert [each.action for each in await lines(app)] == ["delete"]


# --- what a search means -------------------------------------------------------------------------

AT = datetime(2030, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("action", "search", "means"),
    [
        ("retry", Search(), ["dead"]),
        ("retry", Search(statuses=["cancelled", "queued"]), ["cancelled"]),
        ("retry", Search(order="finished"), ["dead"]),
        ("cancel", Search(), ["queued", "held", "running"]),
        ("cancel", Search(order="due"), ["queued"]),
        ("cancel", Search(order="started"), ["running"]),
        ("delete", Search(names=["a"]), ["queued", "held", "done", "dead", "cancelled"]),
        ("delete", Search(order="finished", names=["a"]), ["dead", "cancelled"]),
        ("delete", Search(statuses=["done"]), ["done"]),
    ],
)
def test_of_what_a_search_finds_it_means_what_can_be_changed_so(
    action: Act, search: Search, means: list[str]
) -> None:
    meant = frozen(action, search, AT)
    assert meant.statuses == means
    assert (meant.order, meant.created) == ("newest", (None, AT))
    finished = {*means} <= {"done", "dead", "cancelled"}
    assert meant.finished == ((None, AT) if finished else None)


def test_times_of_a_search_stay_where_they_are_earlier() -> None:
    early = AT - timedelta(hours=1)
    meant = frozen("retry", Search(created=(early, None), finished=(None, early)), AT)
    assert meant.created == (early, AT)
    assert meant.finished == (None, early)
    assert frozen("delete", Search(finished=(early, None)), AT).statuses == [
        "done", "dead", "cancelled",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("action", "search", "why"),
    [
        ("retry", Search(statuses=["queued"]), "none of these matches"),
        ("retry", Search(order="due"), "none of these matches"),
        ("cancel", Search(statuses=["done"]), "none of these matches"),
        ("delete", Search(statuses=["running"]), "none of these matches"),
        ("delete", Search(), "say which"),
        ("delete", Search(order="finished"), "say which"),
    ],
)
def test_what_cannot_be_is_said(action: Act, search: Search, why: str) -> None:
    with pytest.raises(NotPossible, match=re.escape(why)):
        frozen(action, search, AT)
