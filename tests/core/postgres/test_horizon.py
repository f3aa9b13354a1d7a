"""An open transaction that keeps PostgreSQL from cleaning up: what is claimed stays in the index,
and costs nothing.
"""

import json
import uuid
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from soniq.worker.lanes import FIRST_ID, START, Lanes
from tests.conftest import MakeApp

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


async def test_a_claim_does_not_get_dearer_by_what_was_claimed_before_it(
    make_app: MakeApp, connection: "Connection", other_connection: "Connection", schema: str
) -> None:
    app = make_app()
    lanes = Lanes()
    lanes.add([("default", 0)])

    @app.job(name="job")
    async def job(number: int) -> None: ...

    await app.start()
    holding = other_connection.transaction(isolation="repeatable_read")
    await holding.start()
    await other_connection.fetch(f"select from {schema}.job")

    async def work_off(count: int) -> None:
        for _ in range(count // 1_000):
            await app.enqueue_many(job, [{"number": number} for number in range(1_000)])
        assert await app.run_worker(run_once=True) >= count
        await app.enqueue(job, number=0)  # one that is still to be claimed

    async def touched(time: datetime, id_: UUID) -> int:
        """The buffers that a claim touches which begins to look there, the plan once made; it is
        rolled back.
        """
        await explained(time, id_)
        return await explained(time, id_)

    async def explained(time: datetime, id_: UUID) -> int:
        transaction = connection.transaction()
        await transaction.start()
        me = uuid.uuid4()
        await connection.execute(
            f"insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, names) "
            "values ($1, 60, 1, 1, '', '', '{}')",
            me,
        )
        plan = await connection.fetchval(
            f"explain (analyze, buffers, format json) select * from {schema}.settle_and_claim_2($1,"
            " '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',"
            " '{}', '{}', array['default'], array[0::smallint], array[$2::timestamptz],"
            " array[$3::uuid], 10)",
            me,
            time,
            id_,
        )
        await transaction.rollback()
        top = json.loads(plan)[0]["Plan"]
        assert top["Actual Rows"] == 2  # the header, and the one job that waits
        return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])

    async def touched_from_the_cursor() -> int:
        """The same for a worker that has claimed all that was finished."""
        rows = await connection.fetch(
            f"select scheduled_at, id from {schema}.history order by 1 desc, 2 desc limit 500"
        )
        lanes.wake()
        lanes.ask()
        lanes.answer([("default", 0, row["scheduled_at"], row["id"]) for row in rows], len(rows))
        lanes.ask()  # once a second a look begins earlier; not the next
        _, _, times, ids = lanes.ask()
        return await touched(times[0], ids[0])

    await work_off(2_000)
    few = await touched_from_the_cursor()
    await work_off(28_000)
    many = await touched_from_the_cursor()
    from_the_start = await touched(START, FIRST_ID)
    await holding.rollback()
    assert many < 3 * few
    assert from_the_start > 10 * many, "nothing was left behind, so that the test shows nothing"
