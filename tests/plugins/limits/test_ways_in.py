"""Jobs that come in without their keys are limited too: from SQL, and from what lacks the plugin."""

import json

import asyncpg

from soniq import JobContext, Soniq, hookimpl
from soniq.plugin import JobDefinition
from soniq_limits import Limit
from tests.conftest import MakeApp
from tests.plugins.limits.conftest import Connection, Observer, left
from tests.plugins.limits.test_limit import all_end
from tests.support.jobs import working


class Unread:
    """Reads the option in an app that does not have the plugin."""

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        job.option(Limit)


def define(app: Soniq, observer: Observer) -> Soniq:
    @app.job(Limit(2, by="customer"), name="send")
    async def send(customer: int = 7) -> None:
        await observer.run(f"customer {customer}")

    @app.job(name="parent")
    async def parent(ctx: JobContext) -> None:
        for n in range(10):
            await ctx.enqueue("send", customer=n % 2)

    return app


async def test_jobs_from_sql_and_from_a_producer_without_the_plugin_are_limited(
    app: Soniq,
    make_app: MakeApp,
    observer: Observer,
    connection: "Connection[asyncpg.Record]",
    schema: str,
) -> None:
    define(app, observer)
    without = define(make_app(plugins=[Unread()]), observer)
    await without.enqueue_many("send", [{"customer": n % 2} for n in range(20)])
    for arguments in [{"customer": 0}] * 10 + [{}] * 10:
        await connection.execute(
            f"select {schema}.enqueue('send', $1::jsonb)", json.dumps(arguments)
        )
    await app.enqueue_many("send", [{"customer": 7}] * 10)
    async with working(app):
        await all_end(app, 50)
    assert observer.most == {"customer 0": 2, "customer 1": 2, "customer 7": 2}
    assert await left(app, connection, schema) == [0, 0, 0]


async def test_children_and_jobs_of_an_open_transaction_are_limited(
    app: Soniq, observer: Observer, connection: "Connection[asyncpg.Record]", schema: str
) -> None:
    define(app, observer)
    async with working(app):
        await app.enqueue("parent")
        async with connection.transaction():
            for n in range(10):
                await app.enqueue("send", customer=n % 2, connection=connection)
        await all_end(app, 21)
    assert observer.most == {"customer 0": 2, "customer 1": 2}
    assert await left(app, connection, schema) == [0, 0, 0]


async def test_an_open_transaction_with_a_job_keeps_no_other_of_its_key_waiting(
    app: Soniq, observer: Observer, connection: "Connection[asyncpg.Record]"
) -> None:
    define(app, observer)
    async with working(app):
        async with connection.transaction():
            await app.enqueue("send", customer=1, connection=connection)
            for _ in range(10):
                await app.enqueue("send", customer=1)
            await all_end(app, 10)
        await all_end(app, 11)
    assert observer.most == {"customer 1": 2}
