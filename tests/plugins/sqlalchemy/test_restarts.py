"""The server restarts under an application that has an engine of its own, and gives it to Soniq."""

import asyncio
import tempfile
from pathlib import Path

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from soniq import Soniq
from soniq_embedded import EmbeddedServer
from soniq_sqlalchemy import SQLAlchemyPlugin
from tests.conftest import OPTIONS
from tests.plugins.sqlalchemy.support import url_for
from tests.support.jobs import finished, status_of, working
from tests.support.waiting import in_time


async def test_what_runs_meanwhile_is_not_charged_and_all_ways_in_work_afterwards() -> None:
    with (
        # Where the name is long the server's socket is elsewhere, and not in the same place again
        tempfile.TemporaryDirectory(prefix="soniq-restarts-") as folder,
        EmbeddedServer(Path(folder), options=OPTIONS) as server,
    ):
        url = server.start()
        engine = create_async_engine(url_for(url, "asyncpg"), pool_pre_ping=True)
        plugins = [SQLAlchemyPlugin(engine)]
        async with Soniq(url, discover=False, poll_interval=0.1, plugins=plugins) as app:
            await _restart_under(app, server)
            async with AsyncSession(engine) as session, session.begin():
                job_id = await app.enqueue("one", connection=session)
            assert (await status_of(app, job_id))["status"] == "queued"
        await engine.dispose()


async def _restart_under(app: Soniq, server: EmbeddedServer) -> None:
    """Two jobs hold connections while it happens, and a third is enqueued right after it."""
    runs: list[str] = []
    both, go_on = asyncio.Barrier(3), asyncio.Event()

    async def hold(name: str) -> None:
        runs.append(name)
        if runs.count(name) == 1:
            await both.wait()
            await go_on.wait()

    @app.job(name="one", max_attempts=1)
    async def one(connection: asyncpg.Connection) -> None:
        await hold("one")
        await connection.execute("select 1")

    @app.job(name="other", max_attempts=1)
    async def other(session: AsyncSession) -> None:
        await session.execute(text("select 1"))
        await hold("other")
        await session.execute(text("select 1"))

    async with working(app):
        ids = [await app.enqueue(one), await app.enqueue(other)]
        await in_time(both.wait())
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        go_on.set()
        ids.append(await app.enqueue(one))
        statuses = [await finished(app, each) for each in ids]
    assert [(each["status"], each["attempt"]) for each in statuses] == [("done", 1)] * 3
    assert sorted(runs) == ["one", "one", "one", "other", "other"]
