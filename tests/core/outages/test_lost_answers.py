"""What the server has done and nobody was told: the answer to a settlement is lost on the way, as
where a synchronous standby is away for too long.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import pytest

from soniq import JobContext, Soniq, hookimpl
from soniq.plugin import Outcome
from tests.conftest import MakeApp
from tests.core.outages.conftest import COMMAND
from tests.support.jobs import finished, working
from tests.support.proxy import Proxy
from tests.support.waiting import eventually, in_time


@pytest.mark.parametrize("way", ["plain", "with_a_child", "in_its_transaction"])
async def test_an_outcome_whose_answer_is_lost_is_recorded_and_told_once(
    make_app: MakeApp,
    app: Soniq,
    database_url: str,
    proxy: Proxy,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    caplog: pytest.LogCaptureFixture,
    way: str,
) -> None:
    ran: Counter[str] = Counter()
    told: Counter[str] = Counter()
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Telling:
        name = "telling"

        @hookimpl
        def settled(self, outcomes: Sequence[Outcome]) -> None:
            told.update(f"{each.job_name} {each.status}" for each in outcomes)

    far_app = make_app(
        database_url=proxy.url(database_url), command_timeout=COMMAND, plugins=[Telling()]
    )

    @far_app.job(name="child")
    async def child() -> None:
        ran["child"] += 1

    async def work(ctx: JobContext) -> str:
        ran["work"] += 1
        begun.set()
        await go_on.wait()
        if way == "with_a_child":
            await ctx.enqueue(child)
        return "fine"

    if way == "in_its_transaction":

        @far_app.job(name="work", max_attempts=1)
        async def in_a_transaction(ctx: JobContext, connection: asyncpg.Connection) -> str:
            return await work(ctx)
    else:
        far_app.job(name="work", max_attempts=1)(work)

    async with working(far_app):
        job_id = await far_app.enqueue("work")
        await in_time(begun.wait())
        commits = way != "plain"
        proxy.lose_answers(b"COMMIT;" if commits else UUID(job_id).bytes)
        go_on.set()
        status = await finished(app, job_id)
        await eventually(lambda: _told(told, "work done"))
        if way == "with_a_child":
            await eventually(lambda: _told(told, "child done"))

    assert (status["status"], status["result"]) == ("done", "fine")
    assert set(ran.values()) == {1}
    assert set(told.values()) == {1}
    assert "lost lease" not in caplog.text
    kept = await connection.fetchval(f"select count(*) from {schema}.history where name = 'work'")
    alive = await connection.fetchval(f"select count(*) from {schema}.job")
    assert (kept, alive) == (1, 0)


async def _told(told: "Counter[str]", what: str) -> bool:
    return told[what] > 0
