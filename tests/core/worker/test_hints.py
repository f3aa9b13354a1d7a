"""A notification is a hint: whoever may connect can send one, and what it says is looked up."""

import asyncio
import logging
from typing import TYPE_CHECKING

import asyncpg
import pytest

from soniq import Soniq
from tests.conftest import MakeApp
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import in_time

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


def begun_job(app: Soniq) -> tuple[asyncio.Event, asyncio.Event]:
    """Defines the job `wait`, which runs until it may end; the events of its begin and its end."""
    began, may_end = asyncio.Event(), asyncio.Event()

    @app.job(name="wait")
    async def wait() -> str:
        began.set()
        await may_end.wait()
        return "whole"

    return began, may_end


async def test_a_notification_alone_ends_no_attempt(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    app = make_app(lease=600)
    began, may_end = begun_job(app)
    job_id = await app.enqueue("wait")

    async with working(app):
        await in_time(began.wait())
        for _ in range(20):
            await connection.execute("select pg_notify($1, $2)", schema, f"\x01cancel {job_id}")
        await connection.execute(
            "select pg_notify($1, $2)", schema, f"\x01cancel {job_id}\n\x01cancel {job_id}"
        )
        await asyncio.sleep(0.3)  # for what must not happen
        may_end.set()
        status = await finished(app, job_id)

    assert (status["status"], status["result"]) == ("done", "whole")


@pytest.mark.parametrize(
    "payload",
    [
        "\x01cancel ",
        "\x01cancel 1",
        "\x01cancel no-id\n\x01cancel {",
        "\x01cancel " + "9" * 5000,
        "\x01",
        "\x02",
        "\n\n",
    ],
)
async def test_a_notification_that_says_nothing_sensible_is_ignored(
    make_app: MakeApp,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    payload: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app()
    _, may_end = begun_job(app)
    may_end.set()

    async with working(app):
        await connection.execute("select pg_notify($1, $2)", schema, payload)
        job_id = await app.enqueue("wait")
        status = await finished(app, job_id)

    assert status["status"] == "done"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_many_notifications_cost_few_statements(
    make_app: MakeApp, connection: "Connection", schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(lease=600)
    began, may_end = begun_job(app)
    job_id = await app.enqueue("wait")
    looks: list[str] = []

    async with working(app):
        await in_time(began.wait())
        fetch = app._database.fetch

        async def counted(statement: str, *values: object) -> list[asyncpg.Record]:
            looks.append(statement)
            return await fetch(statement, *values)

        monkeypatch.setattr(app._database, "fetch", counted)
        for number in range(500):
            await connection.execute(
                "select pg_notify($1, $2)", schema, f"\x01cancel {job_id}\n{number}"
            )
        may_end.set()
        await finished(app, job_id)

    assert 0 < looks.count("to_cancel") < 100


async def test_a_job_that_is_cancelled_is_ended_long_before_the_heartbeat(
    make_app: MakeApp,
) -> None:
    app = make_app(lease=600, poll_interval=30)
    began, _ = begun_job(app)
    job_id = await app.enqueue("wait")

    async with working(app):
        await in_time(began.wait())
        assert await app.cancel(job_id)
        await finished(app, job_id)

    assert (await status_of(app, job_id))["status"] == "cancelled"
