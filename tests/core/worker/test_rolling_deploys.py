"""Old and new code side by side: names, parameters and tables that only one of them knows."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest

from soniq import Jobs, Soniq
from tests.conftest import MakeApp
from tests.support.jobs import status_of, working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


@pytest.fixture
def old(make_app: MakeApp) -> Soniq:
    """An app whose job `send` takes one argument."""
    app = make_app()

    @app.job(name="send", max_attempts=1)
    async def send(to: str) -> str:
        return f"old {to}"

    return app


@pytest.fixture
def new(make_app: MakeApp) -> Soniq:
    """The app of the next release: `send` has gained a parameter with a default, and there is
    another job.
    """
    app = make_app()

    @app.job(name="send", max_attempts=1)
    async def send(to: str, copies: int = 3) -> str:
        return f"new {to} {copies}"

    @app.job(name="added", max_attempts=1)
    async def added() -> str:
        return "added"

    return app


async def due_now(
    connection: "Connection", schema: str, job_id: str, *, deferred_for: float = 0.0
) -> None:
    """Let no time pass: a job that was given back is due, and was given back first so many seconds
    ago.
    """
    await connection.execute(
        f"update {schema}.job set scheduled_at = now(), deferred_since = deferred_since -"
        " make_interval(secs => $2) where id = $1",
        UUID(job_id),
        deferred_for,
    )


async def test_a_name_that_an_older_worker_does_not_know_waits_without_a_charge_for_one_that_does(
    old: Soniq, new: Soniq, connection: "Connection", schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = await new.enqueue("added")
    assert await old.run_worker(run_once=True) == 0
    status = await status_of(new, job_id)
    assert (status["status"], status["attempt"], status["error"]) == ("queued", 0, None)
    assert (
        "no job named 'added' is known here; it is requeued for a worker that knows it"
        in caplog.text
    )
    await due_now(connection, schema, job_id)
    assert await new.run_worker(run_once=True) == 1
    status = await status_of(new, job_id)
    assert (status["status"], status["attempt"], status["result"]) == ("done", 1, "added")


async def test_workers_of_both_releases_share_the_work(
    old: Soniq, new: Soniq, connection: "Connection", schema: str
) -> None:
    async with working(old), working(new):
        ids = [
            *await old.enqueue_many("send", [{"to": "a"}] * 20),
            *await new.enqueue_many("added", [{}] * 5),
        ]

        async def all_done() -> bool:
            await connection.execute(
                f"update {schema}.job set scheduled_at = now() where status = 'queued'"
            )
            return {(await status_of(new, job_id))["status"] for job_id in ids} == {"done"}

        await eventually(all_done)


async def test_many_jobs_of_an_unknown_name_are_one_warning(
    old: Soniq, new: Soniq, caplog: pytest.LogCaptureFixture
) -> None:
    await new.enqueue_many("added", [{}] * 20)
    await old.run_worker(run_once=True)
    assert caplog.text.count("is known here") == 1


async def test_an_older_payload_runs_where_the_job_has_gained_a_parameter_with_a_default(
    old: Soniq, new: Soniq
) -> None:
    job_id = await old.enqueue("send", to="eva")
    assert await new.run_worker(run_once=True) == 1
    assert await new.get_result(job_id) == "new eva 3"


async def test_a_newer_payload_waits_without_a_charge_for_a_worker_that_takes_all_its_arguments(
    old: Soniq, new: Soniq, connection: "Connection", schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[object] = []
    old.on_error(lambda ctx, error: heard.append(error))
    job_id = await new.enqueue("send", to="eva")
    await old.run_worker(run_once=True)
    status = await status_of(new, job_id)
    assert (status["status"], status["attempt"]) == ("queued", 0)
    assert status["error"] is not None
    assert status["error"]["message"] == "send takes no argument 'copies' here"
    assert heard == []
    assert (
        "waits for a worker with other code: UnknownArguments: send takes no argument 'copies' here"
        in caplog.text
    )
    await due_now(connection, schema, job_id)
    await new.run_worker(run_once=True)
    status = await status_of(new, job_id)
    assert (status["status"], status["attempt"], status["result"], status["error"]) == (
        "done",
        1,
        "new eva 3",
        None,
    )


async def test_an_older_payload_with_a_parameter_that_is_gone_waits_a_day_and_is_dead_then(
    old: Soniq, new: Soniq, connection: "Connection", schema: str
) -> None:
    without, another = [await new.enqueue("send", to=to) for to in ("eva", "ada")]
    await old.run_worker(run_once=True)
    await due_now(connection, schema, without, deferred_for=86_500)
    await due_now(connection, schema, another, deferred_for=86_300)
    await old.run_worker(run_once=True)
    status = await status_of(new, without)
    assert status["status"] == "dead"
    assert status["error"] is not None
    assert status["error"]["message"] == "send takes no argument 'copies' here"
    assert (await status_of(new, another))["status"] == "queued"


async def test_a_dead_job_of_other_code_runs_once_that_is_back(
    old: Soniq, new: Soniq, connection: "Connection", schema: str
) -> None:
    job_id = await new.enqueue("send", to="eva")
    await old.run_worker(run_once=True)
    await due_now(connection, schema, job_id, deferred_for=86_500)
    await old.run_worker(run_once=True)
    await new.retry(job_id)
    await new.run_worker(run_once=True)
    assert await new.get_result(job_id) == "new eva 3"


@pytest.mark.parametrize("arguments", [{}, {"to": 5}, {"to": None}])
async def test_arguments_that_no_other_code_would_explain_make_a_job_dead_at_once(
    old: Soniq, make_app: MakeApp, arguments: dict[str, Any]
) -> None:
    producer = make_app(unknown_jobs="allow")
    job_id = await producer.enqueue("send", args=arguments)
    await old.run_worker(run_once=True)
    assert (await status_of(old, job_id))["status"] == "dead"


async def test_a_function_that_moved_keeps_its_jobs_by_its_name(make_app: MakeApp) -> None:
    before, after = make_app(), make_app()

    @before.job(name="reports.send")
    async def send(to: str) -> None: ...

    moved = Jobs()

    @moved.job(name="reports.send")
    async def send_report(to: str) -> str:
        return f"to {to}"

    after.include(moved)
    job_id = await before.enqueue(send, to="eva")
    await after.run_worker(run_once=True)
    assert await after.get_result(job_id) == "to eva"


async def test_old_code_works_on_with_newer_tables_that_allow_it(
    old: Soniq, connection: "Connection", schema: str
) -> None:
    async with working(old):
        await old.wait_for(await old.enqueue("send", to="eva"), 20)
        # the newer release sets up: a column and a step that says that this code can live with it
        await connection.execute(
            f"alter table {schema}.job add gained text; alter table {schema}.history add gained"
            f" text;insert into {schema}.migration (namespace, version, oldest) values ('soniq',"
            " 99, 1)"
        )
        assert await old.wait_for(await old.enqueue("send", to="ada"), 20) == "old ada"
    await old.close()
    job_id = await old.enqueue("send", to="ina")  # started anew, with the newer tables there
    assert await old.run_worker(run_once=True) == 1
    assert await old.get_result(job_id) == "old ina"
