"""Where a worker looks: cursors that step over what was claimed, and nothing that they leave behind
for good.
"""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest

from soniq import Soniq
from soniq.worker import lanes as lanes_
from soniq.worker.lanes import FIRST_ID, GLANCE_BACK, LANES_PER_CLAIM, LOOK_BACK, START, Lanes
from tests.conftest import MakeApp
from tests.core.postgres.support import Exchanger
from tests.support.jobs import working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

T0 = START + timedelta(days=20_000)
Found = tuple[str, int, datetime, UUID]


def lanes_of(*keys: tuple[str, int]) -> Lanes:
    lanes = Lanes()
    lanes.add(keys)
    return lanes


def found(queue: str, priority: int, *seconds: float) -> list[Found]:
    """Jobs as a claim reports them, scheduled so many seconds after T0."""
    return [
        (queue, priority, T0 + timedelta(seconds=s), UUID(int=1000 + n))
        for n, s in enumerate(seconds)
    ]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic time that lanes see, in a list of one."""
    now = [1000.0]
    monkeypatch.setattr(lanes_, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


# --- cursors -------------------------------------------------------------------------------------


def test_the_first_look_begins_at_the_start() -> None:
    assert lanes_of(("a", 0)).ask() == (["a"], [0], [START], [FIRST_ID])


def test_while_a_lane_fills_the_claims_the_next_look_begins_at_the_last_job(
    clock: list[float],
) -> None:
    lanes = lanes_of(("a", 0))
    lanes.ask()
    lanes.answer(found("a", 0, 1, 2, 3), 3)
    lanes.ask()  # the look back of this second
    lanes.answer(found("a", 0, 4, 5, 6), 3)
    _, _, times, ids = lanes.ask()
    assert (times, ids) == ([T0 + timedelta(seconds=6)], [UUID(int=1002)])


def test_without_a_backlog_each_look_begins_a_moment_before_the_last_job(
    clock: list[float],
) -> None:
    lanes = lanes_of(("a", 0))
    for second in (1, 2):
        lanes.wake()
        lanes.ask()
        lanes.answer(found("a", 0, second), 10)
    lanes.wake()
    _, _, times, ids = lanes.ask()
    assert (times, ids) == ([T0 + timedelta(seconds=2) - GLANCE_BACK], [FIRST_ID])


def test_once_a_second_a_look_begins_well_before_the_last_job(clock: list[float]) -> None:
    lanes = lanes_of(("a", 0))
    lanes.ask()
    lanes.answer(found("a", 0, 1, 2), 2)
    lanes.ask()
    clock[0] += 1.1
    _, _, times, ids = lanes.ask()
    assert (times, ids) == ([T0 + timedelta(seconds=2) - LOOK_BACK], [FIRST_ID])
    clock[0] += 0.5
    _, _, times, ids = lanes.ask()
    assert times == [T0 + timedelta(seconds=2)]


def test_a_cursor_never_goes_back(clock: list[float]) -> None:
    lanes = lanes_of(("a", 0))
    for seconds in ((5, 6), (1, 2), (3, 4)):  # late ones, as a look back finds them
        lanes.ask()
        lanes.answer(found("a", 0, *seconds), 2)
    assert lanes.cursors()[2] == [T0 + timedelta(seconds=6)]
    lanes.ask()  # for more that came late
    lanes.answer([], 2)
    lanes.wake()
    _, _, times, _ = lanes.ask()
    assert times == [T0 + timedelta(seconds=6) - GLANCE_BACK]


def test_where_late_ones_fill_a_claim_the_next_look_begins_at_the_last_of_them(
    clock: list[float],
) -> None:
    lanes = lanes_of(("a", 0))
    lanes.ask()
    lanes.answer(found("a", 0, 5, 6), 2)
    lanes.ask()
    lanes.answer(found("a", 0, 1, 2), 2)
    assert lanes.ask() == (["a"], [0], [T0 + timedelta(seconds=2)], [UUID(int=1001)])
    lanes.answer(found("a", 0, 3, 7), 2)
    assert lanes.ask()[2:] == ([T0 + timedelta(seconds=7)], [UUID(int=1001)])


def test_each_lane_has_a_cursor_of_its_own(clock: list[float]) -> None:
    lanes = lanes_of(("a", 0), ("a", 1), ("b", 0))
    lanes.ask()
    lanes.answer([*found("a", 0, 1), *found("b", 0, 7), *found("a", 1, 3)], 10)
    lanes.wake()
    lanes.ask()
    lanes.wake()
    queues, priorities, times, _ = lanes.ask()
    begins = dict(zip(zip(queues, priorities, strict=True), times, strict=True))
    seconds = {lane: (begin + GLANCE_BACK - T0).total_seconds() for lane, begin in begins.items()}
    assert seconds == {("a", 0): 1, ("a", 1): 3, ("b", 0): 7}


def test_what_no_look_reaches_is_reported_as_passed_without_a_gap(clock: list[float]) -> None:
    lanes = lanes_of(("a", 0), ("b", 1))
    lanes.ask()
    lanes.answer(found("a", 0, 10), 1)
    _, _, times, _ = lanes.ask()  # looks back as far as a look ever does
    assert lanes.passed() == [("a", 0, times[0])]


def test_after_a_rewind_a_look_begins_at_the_start() -> None:
    lanes = lanes_of(("a", 0))
    lanes.ask()
    lanes.answer(found("a", 0, 1, 2), 2)
    lanes.rewind()
    assert lanes.ask() == (["a"], [0], [START], [FIRST_ID])


def test_a_lane_that_gives_nothing_although_one_was_seen_due_is_looked_into_from_that_one(
    clock: list[float],
) -> None:
    lanes = lanes_of(("a", 0))
    lanes.ask()
    lanes.answer(found("a", 0, 500), 10)  # a cursor that has passed what came late
    first = T0 + timedelta(seconds=1)
    lanes.see([("a", 0, first)])
    lanes.ask()
    lanes.answer([], 10)
    assert lanes.ask() == (["a"], [0], [first - GLANCE_BACK], [FIRST_ID])
    lanes.answer([], 10)  # somebody else has it
    assert not lanes.hot


def test_a_lane_in_which_the_look_could_see_the_one_that_was_due_is_left(
    clock: list[float],
) -> None:
    lanes = lanes_of(("a", 0))
    lanes.ask()
    lanes.answer(found("a", 0, 500), 10)
    lanes.see([("a", 0, T0 + timedelta(seconds=501))])
    lanes.ask()
    lanes.answer([], 10)  # somebody else was faster
    assert not lanes.hot
    assert lanes.passed() == [("a", 0, T0 + timedelta(seconds=500) - LOOK_BACK)]


# --- which lanes are asked -----------------------------------------------------------------------


def test_urgent_lanes_are_asked_first() -> None:
    lanes = lanes_of(("a", 5), ("b", -3), ("c", 0), ("d", 5), ("e", -3))
    for _ in range(6):
        _, priorities, _, _ = lanes.ask()
        assert priorities == [-3, -3, 0, 5, 5]


def test_the_queues_of_one_priority_take_turns_at_being_asked_first() -> None:
    names = ["a", "b", "c", "d"]
    lanes = lanes_of(*((name, 0) for name in names))
    firsts = []
    for _ in range(8):
        firsts.append(lanes.ask()[0][0])
        lanes.answer(found(firsts[-1], 0, 1), 1)
    assert firsts == names * 2


def test_a_queue_that_was_served_waits_for_its_neighbours_whatever_else_comes_and_goes() -> None:
    lanes = lanes_of(("a", 0), ("b", 0), ("urgent", -1), ("c", 0))
    served = []
    for n in range(12):
        if n % 2:
            lanes.wake(["urgent"])
        queues, *_ = lanes.ask()
        queue = next(each for each in queues if each != "urgent")
        served.append(queue)
        lanes.answer(found(queue, 0, 1), 1)
    assert served == ["a", "b", "c"] * 4


def test_at_most_so_many_lanes_are_asked_and_all_get_their_turn() -> None:
    names = [f"queue {n}" for n in range(3 * LANES_PER_CLAIM)]
    lanes = lanes_of(*((name, 0) for name in names))
    asked: Counter[str] = Counter()
    for _ in range(len(names)):
        queues, *_ = lanes.ask()
        assert len(queues) == LANES_PER_CLAIM
        asked.update(queues[:1])
        lanes.answer(found(queues[0], 0, 1), 1)
    assert asked == Counter(names)


def test_a_lane_that_gave_nothing_is_not_asked_again_until_it_is_woken() -> None:
    lanes = lanes_of(("a", 0), ("b", 0))
    lanes.ask()
    lanes.answer(found("a", 0, 1), 10)
    assert not lanes.hot
    assert lanes.ask() == ([], [], [], [])
    assert lanes.wake(["b"])
    assert lanes.ask()[0] == ["b"]


def test_lanes_after_the_one_that_filled_a_claim_are_asked_again() -> None:
    lanes = lanes_of(("a", 0), ("b", 1), ("c", 2))
    lanes.ask()
    lanes.answer([*found("a", 0, 1), *found("b", 1, 1, 2)], 3)
    assert lanes.ask()[0] == [
        "b",
        "c",
    ]  # a was looked through, and gave less than there was room for


def test_a_partial_claim_has_looked_through_all_lanes() -> None:
    lanes = lanes_of(("a", 0), ("b", 1))
    lanes.ask()
    lanes.answer(found("a", 0, 1, 2), 3)
    assert not lanes.hot


def test_a_lane_that_is_woken_while_it_is_asked_stays_hot() -> None:
    lanes = lanes_of(("a", 0), ("b", 0))
    lanes.ask()
    lanes.wake(["a"])  # a job that was committed after the claim's snapshot
    lanes.answer([], 10)
    assert lanes.ask()[0] == ["a"]


def test_waking_all_wakes_all_and_an_unknown_queue_is_told() -> None:
    lanes = lanes_of(("a", 0), ("b", 0))
    lanes.ask()
    lanes.answer([], 10)
    assert not lanes.wake(["a", "new"])
    assert lanes.ask()[0] == ["a"]
    assert lanes.wake()
    assert sorted(lanes.ask()[0]) == ["a", "b"]


def test_a_new_lane_is_hot_and_a_known_one_is_left_as_it_is() -> None:
    lanes = lanes_of(("a", 0))
    lanes.ask()
    lanes.answer(found("a", 0, 1), 10)
    lanes.add([("a", 0), ("a", 1)])
    queues, priorities, times, _ = lanes.ask()
    assert (queues, priorities, times) == (["a"], [1], [START])


# --- on the database -----------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1.0, 2.2, 60.0])
async def test_a_job_that_is_committed_after_the_cursor_has_passed_it_is_run(
    make_app: MakeApp, connection: "Connection", schema: str, seconds: float
) -> None:
    app = make_app()
    ran: Counter[int] = Counter()
    late = asyncio.Event()

    @app.job(name="count")
    async def count(number: int) -> None:
        ran[number] += 1
        if number == 0:
            late.set()

    running = asyncio.create_task(app.run_worker())
    transaction = connection.transaction()
    await transaction.start()
    id_ = str(await app.enqueue(count, number=0, connection=connection, notify=False))
    await connection.execute(
        f"update {schema}.job set scheduled_at = scheduled_at - make_interval(secs => $2) where id"
        " = $1",
        id_,
        seconds,
    )
    for number in range(1, 5):
        await app.wait_for(await app.enqueue(count, number=number), 10)
    await transaction.commit()
    await asyncio.wait_for(late.wait(), 20)
    app.stop_workers()
    await running
    assert ran == Counter(range(5))


async def test_what_fell_behind_a_cursor_is_found_by_a_poll(
    make_app: MakeApp,
    connection: "Connection",
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Lanes, "passed", lambda self: [])  # nothing is moved to where looks begin
    app = make_app(poll_interval=0.5)
    ran: Counter[int] = Counter()
    late = asyncio.Event()

    @app.job(name="count")
    async def count(number: int) -> None:
        ran[number] += 1
        if number == 0:
            late.set()

    async with working(app):
        await app.wait_for(await app.enqueue(count, number=1), 10)
        async with connection.transaction():
            id_ = await app.enqueue(count, number=0, connection=connection, notify=False)
            await connection.execute(
                f"update {schema}.job set scheduled_at = now() - interval '1 minute' where id = $1",
                str(id_),
            )
        await asyncio.wait_for(late.wait(), 20)
    assert ran == Counter(range(2))


@pytest.mark.parametrize("late", [3, 1_500])
async def test_what_fell_behind_the_cursors_of_many_lanes_is_moved_by_one_statement(
    app: Soniq, connection: "Connection", schema: str, late: int
) -> None:
    await app.start()
    await connection.execute(
        f"insert into {schema}.job (id, name, queue, max_attempts, serializer, keep, args,"
        " scheduled_at) select gen_random_uuid(), 'job', 'queue ' || q, 5, 'json', 60, '',"
        " now() - make_interval(secs => n) from generate_series(0, 9) q, generate_series(1, $1) n",
        late,
    )
    before = await connection.fetchval("select now() - interval '1 second'")
    queues = [f"queue {n}" for n in range(0, 20, 2)]  # of which five hold jobs
    values = queues, [0] * 10, [before] * 10
    moved: Counter[str] = Counter()
    while rows := await connection.fetch(app._database.sql["surface"], *values):
        assert sum(row["moved"] for row in rows) <= 1_000
        for row in rows:
            moved[row["queue"]] += row["moved"]
    assert set(moved) == {f"queue {n}" for n in range(0, 10, 2)}
    assert await connection.fetchval(
        f"select count(*) from {schema}.job where scheduled_at < $1", before
    ) == sum(moved.values())  # as many again are in queues that were not asked for
    assert late - 2 <= min(moved.values()) <= max(moved.values()) <= late


async def test_a_worker_looks_behind_many_cursors_with_few_statements(
    own_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = urlsplit(own_database_url).path[1:]
    admin = await asyncpg.connect(own_database_url)
    await admin.execute(f"alter database {database} set track_functions = 'pl'")
    async with Soniq(own_database_url, discover=False) as app:
        app.job(name="job")(_nothing)
        await admin.execute(
            "select soniq.enqueue('job', '{\"number\": 1}', jsonb_build_object('queue', 'q ' || n))"
            " from generate_series(1, 1000) n"
        )
        calls = "select calls from pg_stat_user_functions where funcname = 'surface_1'"
        async with working(app):
            await eventually(lambda: admin.fetchval("select not exists (select from soniq.job)"))
            await eventually(lambda: admin.fetchval(calls))
            await asyncio.sleep(1)  # for more, where each lane is asked for by itself
        assert await admin.fetchval(calls) <= 10
    await admin.close()


async def test_urgent_jobs_are_claimed_first_and_queues_of_one_priority_take_turns(
    app: Soniq,
) -> None:
    app.job(name="job")(_nothing)
    queues = ["a", "b", "c"]
    for priority in (1, 0, -1):  # the urgent ones last
        for queue in queues:
            await app.enqueue_many(
                "job", [{"number": n} for n in range(40)], queue=queue, priority=priority
            )
    worker = Exchanger(app)
    await worker.register()
    claims = [await worker.claim(limit=10) for _ in range(36)]
    await worker.close()
    assert [claim[0].priority for claim in claims] == [-1] * 12 + [0] * 12 + [1] * 12
    assert all(len({job.priority for job in claim}) == 1 for claim in claims)
    for claim, *others in zip(claims[::3], claims[1::3], claims[2::3], strict=True):
        assert {each[0].queue for each in (claim, *others)} == set(queues)


async def test_a_short_queue_is_not_kept_waiting_by_the_backlog_of_another(
    make_app: MakeApp,
) -> None:
    app = make_app(concurrency=1, prefetch=0)
    order: list[str] = []

    @app.job(name="note")
    async def note(queue: str) -> None:
        order.append(queue)

    await app.enqueue_many(note, [{"queue": "long"}] * 300, queue="long")
    await app.enqueue_many(note, [{"queue": "short"}] * 5, queue="short")
    await app.run_worker(run_once=True)
    assert len(order) == 305
    assert max(place for place, queue in enumerate(order) if queue == "short") < 30


async def test_many_queues_and_priorities_are_all_worked_off(make_app: MakeApp) -> None:
    app = make_app()
    ran: Counter[int] = Counter()

    @app.job(name="count")
    async def count(number: int) -> None:
        ran[number] += 1

    await asyncio.gather(
        *(
            app.enqueue(count, args={"number": n}, queue=f"queue {n % 60}", priority=n % 3)
            for n in range(600)
        )
    )
    await app.run_worker(run_once=True)
    assert ran == Counter(range(600))


async def test_a_lane_that_is_new_while_a_worker_runs_is_found(make_app: MakeApp) -> None:
    app, producer = make_app(poll_interval=0.2), make_app()
    done = asyncio.Event()

    @app.job(name="job")
    async def job(number: int) -> None:
        if number == 3:
            done.set()

    producer.job(name="job")(_nothing)
    running = asyncio.create_task(app.run_worker())
    await app.wait_for(await producer.enqueue("job", number=1), 10)
    await app.wait_for(await producer.enqueue("job", number=2, queue="new"), 10)
    await producer.enqueue("job", number=3, queue="new", priority=7, notify=False)
    await asyncio.wait_for(done.wait(), 10)
    app.stop_workers()
    await running


async def _nothing(number: int) -> None: ...
