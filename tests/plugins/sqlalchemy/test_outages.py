"""A handler that finds no session, because the database is away, never began; one whose completion
meets a gap in history is put off.
"""

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from soniq import Soniq
from soniq_sqlalchemy import SQLAlchemyPlugin
from tests.conftest import MakeApp
from tests.plugins.sqlalchemy.support import url_for
from tests.support.clock import (
    hold_the_sweep,
    is_put_off_uncharged_and_then_done,
    sweep_ahead,
)
from tests.support.jobs import status_of, working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection


def define(app: Soniq, driver: str) -> list[int]:
    """The job `one`, which asks for a session of this driver; each run adds to the list."""
    runs: list[int] = []

    if driver == "blocking":

        @app.job(name="one", max_attempts=1)
        def one(session: Session) -> None:
            runs.append(1)

    else:

        @app.job(name="one", max_attempts=1)
        async def one(session: AsyncSession) -> None:
            runs.append(1)

    return runs


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "blocking"])
async def test_a_job_whose_session_cannot_be_had_is_put_off_and_not_charged(
    make_app: MakeApp, driver: str
) -> None:
    url = "postgresql+{}://nobody@127.0.0.1:1/nowhere"
    engine = (
        create_engine(url.format("psycopg"))
        if driver == "blocking"
        else create_async_engine(url.format(driver))
    )
    app = make_app(plugins=[SQLAlchemyPlugin(engine)])
    runs = define(app, driver)
    job_id = await app.enqueue("one")
    async with working(app):

        async def put_off() -> bool:
            status = await status_of(app, job_id)
            return status["status"] == "queued" and status["error"] is not None

        await eventually(put_off)
    status = await status_of(app, job_id)
    assert (status["attempt"], runs) == (0, [])


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "blocking"])
async def test_a_completion_that_meets_a_gap_in_history_is_put_off_and_not_charged(
    make_app: MakeApp, schema: str, connection: "Connection", database_url: str, driver: str
) -> None:
    blocking = create_engine(url_for(database_url, "psycopg"))
    pooled = create_async_engine(url_for(database_url, driver.replace("blocking", "psycopg")))
    engine = blocking if driver == "blocking" else pooled
    app = make_app(plugins=[SQLAlchemyPlugin(engine)])
    runs = define(app, driver)
    job_id = await app.enqueue("one")
    await hold_the_sweep(connection, schema)
    await sweep_ahead(connection, schema, 40)
    await is_put_off_uncharged_and_then_done(app, job_id)
    assert len(runs) == 2
    blocking.dispose()
    await pooled.dispose()
