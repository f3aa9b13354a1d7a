"""The FastAPI example: a real server, a real worker, and a client that orders."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.conftest import MakeApp
from tests.support.forks import Fork, Forks
from tests.support.urls import of_database

ROOT = Path(__file__).parent.parent.parent
LIMIT = 40


@pytest.fixture
async def url(
    database_url: str,
    schema: str,
    connection: "asyncpg.Connection[asyncpg.Record]",
    make_app: MakeApp,
) -> AsyncIterator[str]:
    """The URL of a database of this test's own, for the service's table."""
    name = f"{schema}_own"
    await connection.execute(f"create database {name}")
    url = of_database(database_url, name)
    app = make_app(database_url=url)
    await app.start()
    await app.close()
    yield url
    await connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def environment(url: str, schema: str) -> dict[str, str]:
    """The environment of server and worker."""
    return {
        **os.environ,
        "SONIQ_DATABASE_URL": url,
        "SONIQ_SCHEMA": schema,
        "SONIQ_PLUGINS": "schedules",
    }


@pytest.fixture
def processes(environment: dict[str, str], forks_with_plugins: Forks) -> Iterator[list[Fork]]:
    """The server and a worker."""
    commands = [
        ["uvicorn", "--port", "0", "examples.fastapi_app:api"],
        ["soniq", "worker", "examples.fastapi_app:eq"],
    ]
    started = [
        forks_with_plugins.start(["-m", *command], cwd=ROOT, env=environment)
        for command in commands
    ]
    yield started
    for process in started:
        process.send_signal(signal.SIGTERM)
    for process in started:
        process.communicate(LIMIT)


@pytest.fixture
async def client(processes: list[Fork]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server, which says in its log where it is."""
    errors = processes[0].stderr
    assert errors is not None
    for line in errors:
        if "running on" in line:
            url = line.partition("running on ")[2].split()[0]
            async with httpx.AsyncClient(base_url=url, timeout=LIMIT) as client:
                yield client
            return
    raise AssertionError("the server did not start")


async def test_an_order_leads_to_its_invoice(client: httpx.AsyncClient) -> None:
    ordered = (
        (await client.post("/orders", json={"customer": "Ada", "amount": 7}))
        .raise_for_status()
        .json()
    )
    job: dict[str, Any] = {}
    async with asyncio.timeout(LIMIT):
        while job.get("status") != "done":
            job = (await client.get(f"/jobs/{ordered['job']}")).raise_for_status().json()
            await asyncio.sleep(0.05)
    assert job["result"] == f"invoice of order {ordered['order']}"


async def test_an_order_that_is_refused_leaves_neither_order_nor_job(
    client: httpx.AsyncClient, schema: str, url: str
) -> None:
    assert (await client.post("/orders", json={"customer": "Ada", "amount": 0})).status_code == 422
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval("select count(*) from example_order") == 0
        assert await connection.fetchval(f"select count(*) from {schema}.job") == 0
    finally:
        await connection.close()


async def test_what_is_no_job_is_said(client: httpx.AsyncClient) -> None:
    assert (await client.get("/jobs/nonsense")).status_code == 422
    assert (await client.get("/jobs/00000000-0000-7000-8000-000000000000")).status_code == 404


async def test_a_customer_chooses_when_reports_come(
    client: httpx.AsyncClient, schema: str, url: str
) -> None:
    for cron in ("0 8 * * mon", "* * * * * *"):
        times = {"cron": cron, "tz": "Europe/Berlin"}
        answer = await client.put("/customers/Ada/report", json=times)
        assert len(answer.raise_for_status().json()["next"]) == 3
    times = {"cron": "0 25 * * *", "tz": "Europe/Berlin"}
    refused = await client.put("/customers/Ada/report", json=times)
    assert (refused.status_code, "hour '25'" in refused.text) == (422, True)

    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(LIMIT):
            while not await connection.fetchval(f"select count(*) from {schema}.history"):
                await asyncio.sleep(0.05)
    finally:
        await connection.close()
