"""Forgetting jobs because a person asks for it, running them again with changes, and how long dead
ones are kept.
"""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from soniq import InvalidOption, JobContext, JobNotFound, JobRunning, Soniq, SoniqError, hookimpl
from soniq.plugin import Outcome
from soniq_results import ResultsPlugin
from tests.conftest import MakeApp
from tests.support.jobs import status_of, working
from tests.support.waiting import eventually

Connection = "asyncpg.Connection[asyncpg.Record]"
MISSING = "01900000-0000-7000-8000-000000000000"


def define(app: Soniq) -> None:
    @app.job(name="greet", max_attempts=1)
    async def greet(name: str) -> str:
        if name == "nobody":
            raise ValueError("there is nobody")
        return f"hello {name}"


async def rows(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> int:
    """How many rows there are of jobs, live and finished."""
    count: int = await connection.fetchval(
        f"select (select count(*) from {schema}.job) + (select count(*) from {schema}.history)"
    )
    return count


async def test_a_deleted_job_leaves_no_row_whatever_its_state(
    app: Soniq, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    define(app)
    done = await app.enqueue("greet", "eva")
    dead = await app.enqueue("greet", "nobody")
    await app.run_worker(run_once=True)
    waits = await app.enqueue("greet", "eva", dedup_key="k")
    cancelled = await app.enqueue("greet", "eva", delay=60)
    await app.cancel(cancelled)
    for job_id in (done, dead, waits, cancelled):
        assert await app.delete(job_id) is True
        assert await app.get_job_status(job_id) is None
        assert await app.delete(job_id) is False
    assert await rows(connection, schema) == 0
    assert (await app.enqueue("greet", "eva", dedup_key="k")).inserted, "its key is free"
    with pytest.raises(JobNotFound):
        await app.retry(dead)


async def test_a_job_that_runs_is_refused_until_it_has_ended(app: Soniq) -> None:
    running = asyncio.Event()

    @app.job(name="wait")
    async def wait() -> None:
        running.set()
        await asyncio.Event().wait()

    job_id = await app.enqueue(wait)
    async with working(app):
        await asyncio.wait_for(running.wait(), 20)
        with pytest.raises(JobRunning) as refused:
            await app.delete(job_id)
        assert refused.value.job_id == job_id
        await app.cancel(job_id)

        async def ended() -> bool:
            return (await status_of(app, job_id))["status"] == "cancelled"

        await eventually(ended)
        assert await app.delete(job_id)
    assert await app.jobs() == []


async def test_plugins_hear_that_a_job_that_waited_was_cancelled(make_app: MakeApp) -> None:
    heard: list[Outcome] = []

    class Listens:
        name = "listens"

        @hookimpl
        def settled(self, outcomes: list[Outcome]) -> None:
            heard.extend(outcomes)

    app = make_app(plugins=[Listens()])
    define(app)
    job_id = await app.enqueue("greet", "eva")
    await app.delete(job_id)
    assert [(each.job_id, each.status, each.reason) for each in heard] == [
        (job_id, "cancelled", "deleted")
    ]


async def test_a_result_in_a_store_is_deleted_with_its_job(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app = make_app(plugins=[ResultsPlugin(tmp_path.as_uri(), threshold=0)])
    define(app)
    job_id = await app.enqueue("greet", "eva")
    await app.run_worker(run_once=True)
    assert any(path.is_file() for path in tmp_path.rglob("*"))
    without = make_app()
    with pytest.raises(
        SoniqError, match="its result is in the store 'results', which no plugin here provides"
    ):
        await without.delete(job_id)
    assert (await without.delete_all(name="greet"))["left"][job_id].startswith(
        "its result is in the store"
    )
    assert await app.delete(job_id)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


async def test_all_that_match_are_deleted_and_those_that_run_are_told(app: Soniq) -> None:
    define(app)
    running = asyncio.Event()

    @app.job(name="wait", tags=["eva"])
    async def wait() -> None:
        running.set()
        await asyncio.Event().wait()

    await app.enqueue_many("greet", [{"name": "eva"}] * 600, tags=["eva"])
    await app.run_worker(run_once=True)
    await app.enqueue("greet", "eva", tags=["eva"], delay=60)
    other = await app.enqueue("greet", "adam", tags=["adam"], delay=60)
    runs = await app.enqueue(wait)
    async with working(app):
        await asyncio.wait_for(running.wait(), 20)
        assert await app.delete_all(tag="eva") == {"deleted": 601, "left": {runs: "it runs"}}
        assert {job["job_id"] for job in await app.jobs()} == {other, runs}
        await app.cancel(runs)


async def test_what_says_nothing_deletes_nothing(app: Soniq) -> None:
    define(app)
    await app.enqueue("greet", "eva")
    with pytest.raises(InvalidOption, match="at least one of"):
        await app.delete_all()
    assert len(await app.jobs()) == 1


async def test_a_job_is_retried_with_what_is_to_change(app: Soniq) -> None:
    seen = []

    @app.job(name="fail", max_attempts=1)
    async def fail(ctx: JobContext) -> None:
        seen.append((ctx.queue, ctx.max_attempts))
        raise ValueError("no")

    job_id = await app.enqueue(fail)
    await app.run_worker(run_once=True)
    await app.retry(job_id, queue="rescue", priority=-5, max_attempts=3, timeout=7)
    status = await status_of(app, job_id)
    assert (status["status"], status["queue"], status["priority"], status["max_attempts"]) == (
        "queued",
        "rescue",
        -5,
        3,
    )
    async with app.connection() as connection:
        timeout = await connection.fetchval(
            f"select timeout from {app.settings.schema}.job where id = $1", str(job_id)
        )
    assert timeout == 7
    await app.run_worker(run_once=True)
    assert seen == [("default", 1), ("rescue", 3)]


async def test_a_worker_that_waits_finds_a_job_that_was_moved_to_a_queue_no_job_ever_had(
    make_app: MakeApp,
) -> None:
    app = make_app(poll_interval=60)
    ran = asyncio.Event()

    @app.job(name="note")
    async def note() -> None:
        ran.set()

    job_id = await app.enqueue(note, delay=3600)
    async with working(app):
        await app.retry(job_id, queue="new", priority=9)
        await asyncio.wait_for(ran.wait(), 20)


async def test_a_job_that_is_due_is_changed_where_it_waits_and_may_be_put_off(app: Soniq) -> None:
    define(app)
    job_id = await app.enqueue("greet", "eva")
    await app.retry(job_id, queue="other", delay=3600)
    assert (await status_of(app, job_id))["queue"] == "other"
    assert await app.run_worker(run_once=True) == 0
    await app.retry(job_id)
    assert await app.run_worker(run_once=True) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"queue": ""}, {"priority": 40_000}, {"max_attempts": 0}, {"timeout": 0}, {"delay": -1}],
)
async def test_a_change_that_cannot_be_changes_nothing(
    app: Soniq, wrong: dict[str, object]
) -> None:
    define(app)
    job_id = await app.enqueue("greet", "nobody")
    await app.run_worker(run_once=True)
    with pytest.raises(InvalidOption):
        await app.retry(job_id, **wrong)  # type: ignore[arg-type]
    assert (await status_of(app, job_id))["status"] == "dead"


# --- dead jobs -----------------------------------------------------------------------------------


async def age(connection: "asyncpg.Connection[asyncpg.Record]", schema: str, days: int) -> None:
    """As if the finished jobs had finished so many days ago."""
    await connection.execute(
        f"update {schema}.history set finished_at = finished_at - make_interval(days => $1)", days
    )


async def test_a_dead_job_is_kept_until_somebody_has_looked_at_it(
    app: Soniq, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    define(app)
    dead = await app.enqueue("greet", "nobody", keep=0)
    await app.enqueue("greet", "eva", keep=0)
    await app.run_worker(run_once=True)
    assert await connection.fetchval(
        f"select forget_at from {schema}.history_forever where id = $1", str(dead)
    )
    await age(connection, schema, 3_000)
    assert await app.prune() == 1
    assert await app.prune(older_than=0) == 0
    assert (await status_of(app, dead))["status"] == "dead"
    assert await app.prune(older_than=0, status="dead") == 1


async def test_dead_jobs_go_by_the_setting_or_by_their_own_time(
    make_app: MakeApp, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    app = make_app(keep_dead=30 * 86_400)
    define(app)

    @app.job(name="brief", max_attempts=1, keep_dead=86_400)
    async def brief() -> None:
        raise ValueError("no")

    usual = await app.enqueue("greet", "nobody", keep=1)
    short = await app.enqueue("brief")
    long = await app.enqueue("greet", "nobody", keep_dead=90 * 86_400)
    sql = await connection.fetchval(
        f"""select {schema}.enqueue('greet', '{{"name": "nobody"}}', '{{"keep_dead": 5, "max_attempts": 1}}')"""
    )
    await app.run_worker(run_once=True)
    await age(connection, schema, 2)
    assert await app.prune() == 2
    assert [await app.get_job_status(each) for each in (short, str(sql))] == [None, None]
    await age(connection, schema, 40)
    assert await app.prune() == 1
    assert await app.get_job_status(usual) is None
    await app.retry(long)
    await app.run_worker(run_once=True)
    await age(connection, schema, 40)
    assert await app.prune() == 0, "its own time goes with it"


async def test_a_worker_forgets_dead_jobs_whose_time_is_past(
    make_app: MakeApp, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    app = make_app(keep_dead=60)
    define(app)
    dead = await app.enqueue("greet", "nobody")
    await app.run_worker(run_once=True)
    await age(connection, schema, 1)
    async with working(app):

        async def forgotten() -> bool:
            return await app.get_job_status(dead) is None

        await eventually(forgotten)


async def test_a_job_that_the_death_of_its_worker_made_dead_is_kept_as_others(
    make_app: MakeApp, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    app = make_app()
    define(app)
    job_id = await app.enqueue("greet", "eva", keep=1)
    await connection.execute(
        f"update {schema}.job set status = 'running', started = true, worker_id = gen_random_uuid()"
    )
    await connection.fetch(f"select * from {schema}.rescue_1(array[$1::uuid], null)", str(job_id))
    await age(connection, schema, 40)
    assert await app.prune() == 0
    assert (await status_of(app, job_id))["status"] == "dead"
