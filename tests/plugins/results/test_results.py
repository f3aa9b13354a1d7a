"""Results go to a store outside PostgreSQL, are read from it unnoticed, and go with their jobs."""

import asyncio
import hashlib
import json
from typing import Any

import asyncpg
import msgspec
import pytest

from soniq import Job, Soniq
from soniq_results import ResultsPlugin
from tests.conftest import MakeApp
from tests.plugins.results.places import Folder, Place
from tests.plugins.results.support import AppWith, Run, Uploads


class Report(msgspec.Struct):
    title: str
    lines: list[str]


def text_job(app: Soniq) -> Job[..., Any]:
    """A job whose result is a text of the length asked for."""

    @app.job(name="text")
    async def text(length: int) -> str:
        return "x" * length

    return text


async def row_of(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> asyncpg.Record:
    row = await connection.fetchrow(f"select id, result_store, result from {schema}.history")
    assert row is not None
    return row


async def test_a_result_is_in_the_store_and_is_read_from_it(
    store: Place, app_with: AppWith, run: Run
) -> None:
    app = app_with(store)
    status = await run(app, text_job(app), length=100_000)
    assert len(store.names()) == 1
    assert await app.get_result(status["job_id"]) == "x" * 100_000
    assert await app.wait_for(status["job_id"], timeout=5) == "x" * 100_000


async def test_the_row_keeps_a_small_reference_with_size_and_checksum(
    store: Place,
    app_with: AppWith,
    run: Run,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
) -> None:
    app = app_with(store)
    await run(app, text_job(app), length=100_000)
    row = await row_of(connection, schema)
    reference, data = json.loads(row["result"]), b'"' + b"x" * 100_000 + b'"'
    assert (reference["v"], reference["size"], reference["sha256"]) == (
        1,
        100_002,
        hashlib.sha256(data).hexdigest(),
    )
    assert row["result_store"] == "results"
    assert len(row["result"]) < 300
    assert store.names() == {f"{reference['key']}/0"}
    assert reference["key"].startswith(f"{schema}/")
    assert f"/{row['id']}/" in reference["key"]


async def test_up_to_the_threshold_it_stays_in_the_row(
    folder: Folder, app_with: AppWith, run: Run
) -> None:
    app = app_with(folder, threshold=102)
    text = text_job(app)
    small, large = await run(app, text, length=100), await run(app, text, length=101)
    assert [name.split("/")[2] for name in folder.names()] == [large["job_id"]]
    assert await app.get_result(small["job_id"]) == "x" * 100
    assert await app.get_result(large["job_id"]) == "x" * 101


async def test_it_may_be_larger_than_a_row_may_hold(
    store: Place, app_with: AppWith, run: Run
) -> None:
    app = app_with(store, max_payload=1_000)
    status = await run(app, text_job(app), length=20_000_000)
    assert len(store.names()) == 3
    assert await app.get_result(status["job_id"]) == "x" * 20_000_000


async def test_it_is_read_as_the_type_that_the_job_returns(
    folder: Folder, app_with: AppWith, run: Run
) -> None:
    app = app_with(folder)

    @app.job
    async def report() -> Report:
        return Report("all", ["a", "b"])

    status = await run(app, report)
    assert await app.get_result(status["job_id"]) == Report("all", ["a", "b"])


async def test_pruning_a_job_removes_its_objects_and_no_others(
    store: Place,
    app_with: AppWith,
    run: Run,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
) -> None:
    app = app_with(store)
    text = text_job(app)
    await run(app, text, length=20_000_000)
    await run(app, text, length=3)
    await connection.execute(
        f"update {schema}.history set finished_at = finished_at - interval '1 hour'"
    )
    kept = await run(app, text, length=4)
    assert await app.prune(older_than=600) == 2
    assert [name.split("/")[2] for name in store.names()] == [kept["job_id"]]
    assert await app.get_result(kept["job_id"]) == "xxxx"


async def test_pruning_does_not_mind_an_object_that_is_gone(
    store: Place, app_with: AppWith
) -> None:
    app = app_with(store)
    await app.enqueue_many(text_job(app), [{"length": 3}] * 30)
    assert await app.run_worker(run_once=True) == 30
    store.remove(min(store.names()))
    assert await app.prune(older_than=0) == 30
    assert store.names() == set()


async def test_a_settled_result_leaves_nothing_behind_in_the_plugins_table(
    store: Place, app_with: AppWith, run: Run, uploads: Uploads
) -> None:
    app = app_with(store)
    assert (await run(app, text_job(app), length=20_000_000))["status"] == "done"
    assert await uploads.all() == []


async def test_the_transaction_of_an_injected_connection_settles_it_too(
    folder: Folder, app_with: AppWith, run: Run, uploads: Uploads
) -> None:
    app = app_with(folder)

    @app.job
    async def injected(connection: asyncpg.Connection) -> str:
        return str(await connection.fetchval("select 'from the database'"))

    status = await run(app, injected)
    assert await app.get_result(status["job_id"]) == "from the database"
    assert await uploads.all() == []


async def test_a_process_that_only_reads_needs_the_plugin_with_the_same_url(
    store: Place, app_with: AppWith, run: Run
) -> None:
    worker, reader = app_with(store), app_with(store, threshold=10**9)
    status = await run(worker, text_job(worker), length=10)
    assert await reader.get_result(status["job_id"]) == "x" * 10


async def test_results_in_memory_outlive_the_close_of_the_app(app_with: AppWith, run: Run) -> None:
    app = app_with("memory://")
    status = await run(app, text_job(app), length=10)
    await app.close()
    assert await app.get_result(status["job_id"]) == "x" * 10


def test_an_app_may_be_used_in_one_event_loop_after_the_other(
    store: Place, database_url: str, schema: str, connection: object, run: Run
) -> None:
    app = Soniq(
        database_url, schema=schema, discover=False, plugins=[ResultsPlugin(store.url, threshold=0)]
    )
    text = text_job(app)

    async def once() -> object:
        async with app:
            return await app.get_result((await run(app, text, length=10))["job_id"])

    assert [asyncio.run(once()), asyncio.run(once())] == ["x" * 10] * 2


async def test_without_a_url_results_stay_in_the_row_and_no_table_is_made(
    make_app: MakeApp,
    run: Run,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "soniq.results")
    app = make_app(plugins=[ResultsPlugin(threshold=0)])
    await run(app, text_job(app), length=10)
    assert (await row_of(connection, schema))["result"] == b'"xxxxxxxxxx"'
    assert not await connection.fetchval(
        "select to_regnamespace($1) is not null", f"{schema}_results"
    )
    assert "SONIQ_RESULTS_URL is not set: results stay in PostgreSQL" in caplog.text


async def test_without_a_url_settling_costs_nothing_more(make_app: MakeApp) -> None:
    async def settling(plugin: ResultsPlugin) -> int:
        async with make_app(plugins=[plugin]) as app:
            return len(app._hooks().implementations("settle_tx"))

    assert await settling(ResultsPlugin()) == 0
    assert await settling(ResultsPlugin("memory://")) == 1
