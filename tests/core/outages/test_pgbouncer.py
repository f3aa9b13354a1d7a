"""Behind a PgBouncer, which keeps no state of a session: no LISTEN, no settings, in transaction mode
no prepared statements. The long races are in tests/chaos.
"""

from collections.abc import Iterator

import asyncpg
import pytest

from soniq import DatabaseError
from tests.conftest import MakeApp
from tests.support.jobs import falls_asleep, finished, status_of, working
from tests.support.pgbouncer import behind, needs_pgbouncer, pgbouncer
from tests.support.waiting import in_time

pytestmark = needs_pgbouncer


@pytest.fixture(scope="module", params=["transaction", "session"])
def url(request: pytest.FixtureRequest, database_url: str) -> Iterator[str]:
    """The URL of the database through a PgBouncer in this mode."""
    with pgbouncer(database_url, mode=request.param, sessions=40) as folder:
        yield behind(folder, database_url)


async def test_jobs_are_enqueued_and_run_in_every_way_and_nobody_listens(
    url: str,
    make_app: MakeApp,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
) -> None:
    await connection.execute(f"create table {schema}.effect (number integer)")
    app = make_app(database_url=url, pgbouncer=True)

    @app.job(unique=True)
    async def plain(number: int) -> int:
        return number

    @app.job(max_attempts=1)
    async def effect(number: int, connection: asyncpg.Connection) -> None:
        await connection.execute(f"insert into {schema}.effect values ($1)", number)
        if number:
            raise LookupError("rolled back")

    async with working(app):
        await falls_asleep(app)
        listening = (
            "select count(*) from pg_stat_activity where query ilike 'listen%'"
            " and strpos(query, $1) > 0"  # tests of others on this server listen, too
        )
        assert await connection.fetchval(listening, schema) == 0

        ids = [await app.enqueue(plain, number=1), *await app.enqueue_many(plain, [{"number": 2}])]
        assert [await in_time(app.wait_for(each)) for each in ids] == [1, 2]
        statuses = [await finished(app, await app.enqueue(effect, number=each)) for each in (0, 1)]
        assert [each["status"] for each in statuses] == ["done", "dead"]
    assert [row["number"] for row in await connection.fetch(f"table {schema}.effect")] == [0]
    await connection.execute(f"drop table {schema}.effect")


async def test_an_enqueue_joins_the_transaction_of_a_connection_that_was_handed_in(
    url: str, make_app: MakeApp
) -> None:
    app = make_app(database_url=url, pgbouncer=True)

    @app.job(unique=True)
    async def plain() -> None: ...

    await app.start()
    async with app.connection() as caller:
        transaction = caller.transaction()
        await transaction.start()
        gone = await app.enqueue(plain, connection=caller)
        await transaction.rollback()
        assert await app.get_job_status(gone) is None
        async with caller.transaction():
            kept = await app.enqueue(plain, connection=caller)
    assert (await status_of(app, kept))["status"] == "queued"


async def test_an_app_that_does_not_know_of_it_is_told_the_setting(
    url: str, make_app: MakeApp
) -> None:
    with pytest.raises(DatabaseError, match="SONIQ_PGBOUNCER=true"):
        await make_app(database_url=url).start()
