"""Which lanes hold jobs: known by the rows alone, whatever was there before, and found however many
there are.
"""

import asyncio
import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import pytest

from soniq import JobContext, Soniq
from soniq.worker import lanes as lanes_
from soniq.worker import survey as survey_
from soniq.worker.lanes import LANES_PER_CLAIM, MOST_LANES, Lanes
from soniq.worker.survey import BELOW_ALL, LANES_PER_ROUND, Survey
from tests.conftest import MakeApp
from tests.core.postgres.test_reading_little import read
from tests.support.jobs import working

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

FILL = """
insert into {schema}.job (id, name, queue, priority, max_attempts, serializer, keep, args, scheduled_at)
select gen_random_uuid(), 'job', 'queue ' || n % {queues}, n % {priorities}, 5, 'json', 60, '{{}}', now() + $2
from generate_series(1, $1::int) n
"""


def hot(lanes: Lanes) -> set[tuple[str, int]]:
    queues, priorities, *_ = lanes.ask()
    return set(zip(queues, priorities, strict=True))


async def fill(
    connection: "Connection",
    schema: str,
    count: int,
    *,
    queues: int = 1,
    priorities: int = 1,
    due: float = -1.0,
) -> None:
    await connection.execute(
        FILL.format(schema=schema, queues=queues, priorities=priorities),
        count,
        timedelta(seconds=due),
    )


async def test_lanes_without_jobs_are_not_known(
    app: Soniq, connection: "Connection", schema: str
) -> None:
    await app.start()
    await fill(connection, schema, 200, queues=200)
    await connection.execute(f"delete from {schema}.job where queue <> 'queue 7'")
    lanes = Lanes()
    await Survey(app._database.fetch, lanes, None).round()
    assert hot(lanes) == {("queue 7", 0)}


@pytest.mark.parametrize("queues", [None, [f"queue {n}" for n in range(0, 20, 2)]])
async def test_all_lanes_are_found_in_rounds_that_begin_where_the_last_ended(
    app: Soniq,
    connection: "Connection",
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
    queues: list[str] | None,
) -> None:
    monkeypatch.setattr(survey_, "LANES_PER_ROUND", 3)
    await app.start()
    await fill(connection, schema, 100, queues=20, priorities=5)
    rows = await connection.fetch(f"select distinct queue, priority from {schema}.job")
    wanted = {
        (row["queue"], row["priority"]) for row in rows if queues is None or row["queue"] in queues
    }
    lanes = Lanes()
    survey = Survey(app._database.fetch, lanes, queues)
    for _ in range(len(wanted) // 3):
        await survey.round()
        assert survey.next_at(time.monotonic() + 60) < time.monotonic() + 50  # there is more
    await survey.round()
    assert hot(lanes) == wanted
    assert survey.next_at(ends := time.monotonic() + 60) == ends


async def test_lanes_of_which_the_first_job_is_due_later_set_a_time(
    app: Soniq, connection: "Connection", schema: str
) -> None:
    await app.start()
    await fill(connection, schema, 10, queues=10, due=30.0)
    lanes = Lanes()
    survey = Survey(app._database.fetch, lanes, None)
    await survey.round()
    assert not lanes.hot
    assert survey.next_at(time.monotonic() + 60) == pytest.approx(time.monotonic() + 30, abs=2)


async def test_a_delayed_job_starts_on_time_however_seldom_a_worker_polls(
    make_app: MakeApp,
) -> None:
    app = make_app(poll_interval=600)
    ran = asyncio.Event()

    @app.job(name="job")
    async def job() -> None:
        ran.set()

    await app.enqueue(job, delay=1.0, queue="slow", priority=3)
    async with working(app):
        await asyncio.wait_for(ran.wait(), 20)


async def test_a_queue_or_priority_for_each_job_is_worked_off(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    app = make_app()
    ran: set[int] = set()

    @app.job(name="job")
    async def job(number: int) -> None:
        ran.add(number)

    await app.start()
    for number in range(300):
        await app.enqueue(
            job,
            args={"number": number},
            queue=f"tenant {number}",
            priority=random.randint(-32768, 32767),
        )
    await app.enqueue_many(job, [{"number": number} for number in range(300, 310)])
    await app.run_worker(run_once=True)
    assert ran == set(range(310))


async def test_a_paused_queue_is_told_where_it_holds_nothing(app: Soniq) -> None:
    await app.pause("idle")
    assert await Survey(app._database.fetch, Lanes(), None).round() == {"idle"}
    assert await Survey(app._database.fetch, Lanes(), ["other"]).round() == set()


def test_a_claim_that_many_lanes_give_little_asks_more_of_them() -> None:
    lanes = Lanes()
    lanes.heat((f"queue {number}", 0) for number in range(1_000))
    asked = []
    while lanes.hot:
        asked.append(len(lanes.ask()[0]))
        lanes.answer([], 500)
    assert asked[:4] == [LANES_PER_CLAIM, 2 * LANES_PER_CLAIM, 4 * LANES_PER_CLAIM, MOST_LANES]
    assert sum(asked) == 1_000


def test_a_lane_that_is_of_no_use_for_long_is_forgotten_with_its_cursor() -> None:
    lanes = Lanes()
    lanes.heat([("once", 0), ("used", 0)])
    lanes.ask()
    lanes.answer(
        [
            (queue, 0, lanes_.START + timedelta(days=1), lanes_.FIRST_ID)
            for queue in ("once", "used")
        ],
        9,
    )
    assert len(lanes.passed()) == 2
    now = time.monotonic()
    lanes._lanes["used", 0].used = now + lanes_.FORGET_AFTER
    lanes.forget(now + lanes_.FORGET_AFTER + lanes_.FORGET_INTERVAL)
    assert [queue for queue, *_ in lanes.passed()] == ["used"]
    assert not lanes.wake(["once"])


def test_what_comes_in_behind_a_cursor_during_a_look_from_an_earlier_place_is_looked_for() -> None:
    lanes, now = Lanes(), datetime.now(UTC)
    earlier, later = now - timedelta(seconds=20), now - timedelta(seconds=10)
    lanes.add([("default", 0)])
    lanes.ask()
    lanes.answer([("default", 0, now, UUID(int=1))], 10)

    lanes.look_from("default", 0, earlier)
    lanes.ask()
    lanes.look_from("default", 0, later)  # while that look is under way
    lanes.answer([], 10)
    _, _, (begins,), _ = lanes.ask()
    assert begins <= later
    lanes.answer([], 10)
    assert not lanes.hot


async def test_thousands_of_queues_are_all_found_and_a_look_reads_a_row_for_each(
    app: Soniq, connection: "Connection", schema: str
) -> None:
    ran: Counter[str] = Counter()

    @app.job(name="job")
    async def job(ctx: JobContext) -> None:
        ran[ctx.queue] += 1

    await app.start()
    await fill(connection, schema, 9_000, queues=3_000)
    look = app._database.sql["lanes"], "", BELOW_ALL, LANES_PER_ROUND
    rows, _, found = await read(connection, schema, *look)
    assert (found, rows <= 2 * LANES_PER_ROUND) == (LANES_PER_ROUND, True)
    assert len({row["queue"] for row in await connection.fetch(*look)}) == LANES_PER_ROUND

    await app.run_worker(run_once=True)
    assert ran == Counter({f"queue {number}": 3 for number in range(3_000)})
    assert await read(connection, schema, *look) == (0, 0, 0)
