"""Beside Sentry's own integration of asyncpg: what a worker does for itself makes no spans, jobs
and requests do.
"""

import asyncio

from sentry_sdk.integrations.asyncpg import AsyncPGIntegration

from soniq import Soniq
from soniq_sentry import SentryPlugin
from tests.conftest import MakeApp
from tests.plugins.sentry.conftest import Init
from tests.support.jobs import finished, working


def queried(app: Soniq) -> None:
    """Defines the job `work`, which asks the database something of its own."""

    @app.job(name="work")
    async def work() -> None:
        async with app.connection() as connection:
            await connection.execute("select 1 as mine")


async def test_an_idle_worker_sends_no_spans(init: Init, make_app: MakeApp) -> None:
    backend = init(integrations=[AsyncPGIntegration()])
    app = make_app(plugins=[SentryPlugin()], lease=1, poll_interval=0.05)
    await app.start()
    before = len(backend.spans("db"))
    async with working(app):
        await asyncio.sleep(1.5)
    assert backend.spans("db")[before:] == []


async def test_what_a_job_asks_of_the_database_is_a_span_of_its_attempt(
    init: Init, make_app: MakeApp
) -> None:
    backend = init(integrations=[AsyncPGIntegration()])
    app = make_app(plugins=[SentryPlugin()])
    queried(app)
    async with working(app):
        await finished(app, await app.enqueue("work"))
    process = backend.span("queue.process")
    (mine,) = [span for span in backend.spans("db") if "as mine" in span.name]
    assert mine.trace == process.trace
