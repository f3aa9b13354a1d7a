"""The small app: its jobs on a real worker, and one of them as the plain function it is."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from examples.app import Currency, Invoice, Line, ask_bank, book, eq, make_invoice
from soniq import Retry, Soniq
from soniq.job import JobContext

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
async def app(
    database_url: str,
    schema: str,
    connection: "asyncpg.Connection[asyncpg.Record]",
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Soniq]:
    """The example's app on this test's schema; the table that it books into is in a schema beside
    it.
    """
    separator = "&" if "?" in database_url else "?"
    monkeypatch.setenv("SONIQ_DATABASE_URL", f"{database_url}{separator}search_path={schema}_own")
    monkeypatch.setenv("SONIQ_SCHEMA", schema)
    await connection.execute(f"create schema {schema}_own; set search_path to {schema}_own")
    await connection.execute("create table example_booking (account text, amount numeric)")
    async with eq:
        yield eq


async def test_typed_arguments_arrive_as_what_they_are_and_so_does_the_result(app: Soniq) -> None:
    due = datetime(2030, 1, 31, tzinfo=UTC)
    lines = [Line("coffee", Decimal("3.20"), 2), Line("cake", Decimal("4.50"))]
    job = await app.enqueue(make_invoice, "Ada", lines, currency=Currency.EUR, due=due)
    await app.run_worker(run_once=True)
    assert await app.get_result(job) == Invoice(Decimal("10.90"), Currency.EUR, due)


async def test_the_bank_is_asked_three_times(app: Soniq) -> None:
    job = await app.enqueue(ask_bank, "DE02")
    worker = asyncio.create_task(app.run_worker())
    assert await app.wait_for(job, timeout=30) == "DE02: fine, at attempt 3"
    app.stop_workers()
    await worker


async def test_a_booking_is_made_in_the_transaction_that_completes_the_job(
    app: Soniq, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    job = await app.enqueue(book, "DE02", Decimal("10.90"))
    await app.run_worker(run_once=True)
    rows = await connection.fetch("select account, amount, xmin::text from example_booking")
    finished = f"select xmin::text from {app.settings.schema}.history where id = $1"
    completed = await connection.fetchval(finished, str(job))
    assert [tuple(row) for row in rows] == [("DE02", Decimal("10.90"), completed)]


async def test_producer_and_worker_are_processes_that_meet_in_the_database(
    app: Soniq, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    produce = [sys.executable, "-m", "examples.app"]
    produced = await asyncio.to_thread(
        subprocess.check_output, produce, cwd=ROOT, text=True, timeout=60
    )
    jobs = produced.split()
    assert len(jobs) == 3
    command = [str(Path(sys.executable).parent / "soniq"), "worker", "examples.app:eq"]
    worker = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=os.environ, stderr=subprocess.DEVNULL
    )
    try:
        assert [type(await app.wait_for(job, timeout=60)) for job in jobs] == [
            Invoice,
            str,
            type(None),
        ]
        worker.terminate()
        assert await asyncio.wait_for(worker.wait(), 60) == 0
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
    assert await connection.fetchval("select count(*) from example_booking") == 1


async def test_a_job_is_a_plain_function_in_a_unit_test() -> None:
    assert (
        await ask_bank("DE02", JobContext(job_id="", job_name="", attempt=3))
        == "DE02: fine, at attempt 3"
    )
    with pytest.raises(Retry):
        await ask_bank("DE02", JobContext(job_id="", job_name="", attempt=1))
