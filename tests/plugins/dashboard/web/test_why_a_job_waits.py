"""The page of a job that is due says why it does not run, as far as that is known."""

from typing import Any

import asyncpg
import pytest

from soniq import Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.web import anyone
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.conftest import Browse
from tests.plugins.dashboard.web.test_pages import HOSTILE, checked

Connection = asyncpg.Connection


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    return make_app(plugins=[Dashboard()], unknown_jobs="allow")


async def worker(connection: "Connection[Any]", schema: str, queues: Any, *names: str) -> None:
    """Add the row of a worker that is alive for ten minutes."""
    await connection.execute(
        f"insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, queues, names,"
        " plugins) values (gen_random_uuid(), 600, 8, 1, 'a', '1', $1, $2, '{}')", queues, names
    )  # fmt: skip


async def test_why_a_job_waits_is_said_the_first_cause_first(
    app: Soniq, browse: Browse, schema: str, connection: "Connection[Any]"
) -> None:
    await app.start()
    later = await app.enqueue("send", queue="mail", delay=600)
    due = await app.enqueue("send", queue="mail")

    async def said(job_id: str = due) -> str:
        text = checked(await browse(app, anyone()).get(f"/jobs/{job_id}")).text
        return text.partition("It waits: ")[2].partition("\n")[0]

    assert await said() == "no worker is alive"
    assert await said(later) == ""
    for queues, names, expected in (
        (["other"], ["send"], "no live worker serves the queue mail"),
        (None, ["other"], "no live worker that serves the queue mail knows send"),
        (["other", "mail"], ["send"], ""),  # they are busy
    ):
        await worker(connection, schema, queues, *names)
        assert await said() == expected
    await app.pause("mail", by="eva", reason=HOSTILE[0])
    assert await said() == f"the queue mail is paused by eva: {HOSTILE[0]}"

    await app.cancel(due)
    assert await said() == ""


async def test_where_it_cannot_be_read_the_page_is_there_without(
    app: Soniq, browse: Browse, schema: str, connection: "Connection[Any]"
) -> None:
    await app.start()
    due = await app.enqueue("send")
    await connection.execute(f"drop function {schema}_dashboard.who_runs")
    page = checked(await browse(app).get(f"/jobs/{due}"))
    assert "It waits" not in page.text
