"""Searches: pages that together are what a plain filter finds, and that read little each."""

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soniq import (
    Count,
    DatabaseError,
    DatabaseUnavailable,
    Facets,
    InvalidJobId,
    InvalidOption,
    Page,
    Search,
    Soniq,
)
from soniq.postgres import walking
from soniq.search import ORDERED, Order
from soniq.status import FINISHED, STATUSES, Status
from tests.conftest import MakeApp
from tests.core.postgres.conftest import FINISHED_JOBS
from tests.support.waiting import eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

START = datetime(2030, 1, 31, 12, tzinfo=UTC)
NAMES = ["mail.send", "mail.read", "pay"]
QUEUES = ["a", "b"]
TAGS = ["x", "y"]
ERRORS = ["ValueError", "KeyError"]
WORKERS = [uuid.UUID(int=1), uuid.UUID(int=2)]


@dataclass(frozen=True)
class Row:
    """A job as the test puts it into the tables; times in steps of ten minutes."""

    number: int
    status: Status
    name: str
    queue: str
    priority: int
    tags: tuple[str, ...]
    worker: int | None
    label: str | None
    error: str | None
    customer: int
    created: int
    scheduled: int
    started: int
    finished: int

    @property
    def id(self) -> uuid.UUID:
        """Of version 7, made when it was created; of equal times in no order."""
        milliseconds = round(time(self.created).timestamp() * 1000)
        low = random.Random(self.number).getrandbits(74)
        return uuid.UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | (low & (1 << 62) - 1))


def time(step: int) -> datetime:
    return START + timedelta(minutes=10 * step)


def some_rows(seed: int, count: int) -> list[Row]:
    """So many jobs, of all kinds: two tables full of equal values say more than short lists do."""
    some = random.Random(seed)
    return [
        Row(
            number=some.getrandbits(40),
            status=some.choice([*STATUSES, "queued", "queued", "queued", "dead"]),
            name=some.choice(NAMES),
            queue=some.choice(QUEUES),
            priority=some.randrange(2),
            tags=some.choice([(), ("x",), ("x", "y")]),
            worker=some.choice([None, 0, 1]),
            label=some.choice([None, "k"]),
            error=some.choice([None, *ERRORS]),
            customer=some.randrange(3),
            created=some.randrange(4),
            scheduled=some.randrange(4),
            started=some.randrange(4),
            finished=some.randrange(4),
        )
        for _ in range(count)
    ]


STEPS = st.integers(0, 3)
RANGES = (
    st.none()
    | st.tuples(st.none() | STEPS.map(time), st.none())
    | st.tuples(STEPS, STEPS).map(sorted).map(lambda steps: tuple(map(time, steps)))
    | st.tuples(st.none(), STEPS.map(time))
)


@st.composite
def some_search(draw: st.DrawFn) -> Search:
    """A search by a few of all there is."""
    order: Order = draw(st.sampled_from(list(ORDERED)))
    possible: dict[str, st.SearchStrategy[Any]] = {
        "statuses": st.lists(st.sampled_from(ORDERED[order]), unique=True, min_size=1),
        "names": st.lists(st.sampled_from(NAMES), unique=True, min_size=1),
        "name_prefix": st.sampled_from(["mail.", "p", "q"]),
        "queues": st.lists(st.sampled_from(QUEUES), unique=True, min_size=1),
        "tags": st.lists(st.sampled_from(TAGS), unique=True, min_size=1),
        "priorities": st.lists(st.integers(0, 1), unique=True, min_size=1),
        "worker_id": st.sampled_from([str(each) for each in WORKERS]),
        "dedup_label": st.just("k"),
        "error_type": st.sampled_from(ERRORS),
        "error_text": st.sampled_from(["of Value", "of"]),
        "args": st.builds(lambda n: {"customer": {"id": n}}, st.integers(0, 2)),
        "args_text": st.sampled_from(['"id":1', "customer"]),
        "headers": st.builds(lambda n: {"trace": str(n)}, st.integers(0, 2)),
        "created": RANGES, "scheduled": RANGES, "started": RANGES, "finished": RANGES,
    }  # fmt: skip
    chosen = draw(st.lists(st.sampled_from(list(possible)), max_size=2, unique=True))
    return Search(order=order, **{field: draw(possible[field]) for field in chosen})


# --- as plain Python -----------------------------------------------------------------------------


def within(value: datetime | None, times: Any) -> bool:
    if times in (None, (None, None)):
        return True
    since, before = times
    return (
        value is not None
        and (since is None or value >= since)
        and (before is None or value < before)
    )


def matches(row: Row, search: Search) -> bool:
    """Whether a job is searched for."""
    args = json.dumps(arguments(row), separators=(",", ":"))
    message = None if row.error is None else f"text of {row.error}"
    return (
        row.status in ORDERED[search.order]
        and (search.statuses is None or row.status in search.statuses)
        and (search.names is None or row.name in search.names)
        and (search.name_prefix is None or row.name.startswith(search.name_prefix))
        and (search.queues is None or row.queue in search.queues)
        and (search.tags is None or set(search.tags) <= set(row.tags))
        and (search.priorities is None or row.priority in search.priorities)
        and (search.worker_id is None or worker(row) == uuid.UUID(search.worker_id))
        and (search.dedup_label is None or row.label == search.dedup_label)
        and (search.error_type is None or row.error == search.error_type)
        and (search.error_text is None or (message is not None and search.error_text in message))
        and (search.args is None or search.args == arguments(row))
        and (search.args_text is None or search.args_text in args)
        and (search.headers is None or search.headers == headers(row))
        and within(time(row.created), search.created)
        and within(time(row.scheduled), search.scheduled)
        and within(started(row), search.started)
        and within(finished(row), search.finished)
    )


def expected(rows: list[Row], search: Search) -> list[str]:
    """The ids of what is searched for, in order."""
    keys: dict[Order, Callable[[Row], Any]] = {
        "newest": lambda row: row.id,
        "finished": lambda row: (row.finished, row.id),
        "due": lambda row: (row.scheduled, row.id),
        "started": lambda row: (row.started, row.id),
    }
    found = sorted((row for row in rows if matches(row, search)), key=keys[search.order])
    if search.order in ("newest", "finished"):
        found.reverse()
    return [str(row.id) for row in found]


def arguments(row: Row) -> Mapping[str, Any]:
    return {"customer": {"id": row.customer}}


def headers(row: Row) -> Mapping[str, str]:
    return {"trace": str(row.customer)}


def worker(row: Row) -> uuid.UUID | None:
    return None if row.worker is None or row.status in ("queued", "held") else WORKERS[row.worker]


def started(row: Row) -> datetime | None:
    return None if row.status in ("queued", "held") else time(row.started)


def finished(row: Row) -> datetime | None:
    return time(row.finished) if row.status in FINISHED else None


async def fill(connection: "Connection", schema: str, rows: list[Row]) -> None:
    """Put these jobs, and no others, into the tables."""
    await connection.execute(f"delete from {schema}.job; delete from {schema}.history")
    await connection.executemany(
        f"insert into {schema}.job (id, status, name, queue, priority, tags, worker_id, dedup_label,"
        " error, args, headers, created_at, scheduled_at, started_at, held_by, attempt,"
        " max_attempts, serializer, keep) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,"
        " $12, $13, $14, case when $2 = 'held' then array['me'] end, 0, 5, 'json', 60)",
        [values(row) for row in rows if row.status not in FINISHED],
    )
    await connection.executemany(
        f"insert into {schema}.history (id, status, name, queue, priority, tags, worker_id,"
        " dedup_label, error, args, headers, created_at, scheduled_at, started_at, finished_at,"
        " forget_at, claim, attempt, max_attempts, serializer, keep) values ($1, $2, $3, $4, $5,"
        " $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,"
        " case when $2 = 'dead' then 'infinity' else now() + random() * interval '7 days' end,"
        " 1, 1, 5, 'json', 60)",
        [[*values(row), time(row.finished)] for row in rows if row.status in FINISHED],
    )


def values(row: Row) -> list[object]:
    error = row.error and json.dumps({"type": row.error, "message": f"text of {row.error}"})
    return [
        row.id, row.status, row.name, row.queue, row.priority, list(row.tags) or None, worker(row),
        row.label, error, json.dumps(arguments(row), separators=(",", ":")).encode(),
        json.dumps(headers(row)), time(row.created), time(row.scheduled), started(row),
    ]  # fmt: skip


async def all_pages(app: Soniq, search: Search, **options: Any) -> list[Page]:
    """The pages of a search, one behind the other."""
    pages = [await app.search(search, **options)]
    while (cursor := pages[-1].next) is not None:
        pages.append(await app.search(search, cursor=cursor, **options))
        assert len(pages) < 500
    return pages


async def all_pages_before(app: Soniq, search: Search, last: Page, **options: Any) -> list[Page]:
    """The pages of a search before one, in the order in which they are met on the way back."""
    pages: list[Page] = []
    while (cursor := (pages or [last])[-1].previous) is not None:
        pages.append(await app.search(search, cursor=cursor, **options))
        assert len(pages) < 500
    return pages


def by_column(rows: list[Row], found: list[str]) -> dict[str, dict[str, int]]:
    """How many of these jobs there are of each status, name and queue."""
    chosen = [row for row in rows if str(row.id) in found]
    return {
        each + ("es" if each == "status" else "s"): Counter(getattr(row, each) for row in chosen)
        for each in ("status", "name", "queue")
    }


def ids(pages: list[Page]) -> list[str]:
    return [job.job_id for page in pages for job in page.jobs]


# --- pages ---------------------------------------------------------------------------------------


@pytest.mark.timeout(600)  # what it tries is of chance, and so is its time
def test_all_pages_together_are_what_a_plain_filter_finds(
    app: Soniq, database_url: str, schema: str
) -> None:
    async def connected() -> "Connection":
        return await asyncpg.connect(database_url)

    connection = app.sync.run(connected())

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        rows=st.builds(some_rows, st.integers(0, 2**32), st.sampled_from([0, 1, 50, 50])),
        searches=st.lists(some_search(), min_size=12, max_size=12),
        limit=st.integers(1, 5),
        budget=st.sampled_from([1, 2, 3, 7, 50_000]),
    )
    def holds(rows: list[Row], searches: list[Search], limit: int, budget: int) -> None:
        app.sync.run(fill(connection, schema, rows))
        for number, search in enumerate(searches):
            pages = app.sync.run(all_pages(app, search, limit=limit, rows=budget))
            found = expected(rows, search)
            assert ids(pages) == found
            counted = app.sync.count(search, limit=limit, seconds=30)
            assert counted == Count(value=min(len(found), limit), exact=len(found) <= limit)
            for page in pages:
                assert len(page.jobs) <= limit
                assert page.complete == (len(page.jobs) == limit or page.next is None)
                assert (page.looked_back_to is None) == (page.next is None)
            assert pages[0].previous is None
            if number % 3:
                continue  # two of three are walked one way only, for time

            back = app.sync.run(all_pages_before(app, search, pages[-1], limit=limit, rows=budget))
            assert ids(back[::-1]) == ids(pages[:-1])
            for page in back:
                assert len(page.jobs) <= limit
                assert page.complete == (len(page.jobs) == limit or page.previous is None)
            if back:
                rest = app.sync.run(app.search(search, cursor=back[-1].next, limit=1_000))
                assert ids([rest]) == found[len(back[-1].jobs) :]

            told = app.sync.facets(search, seconds=60)
            assert told == Facets(**by_column(rows, found), exact=True)

    try:
        app.sync.start()
        holds()
    finally:
        app.sync.run(connection.close())
        app.sync.close()


SEARCHES = [
    Search(),
    Search(statuses=["dead"]),
    Search(statuses=["dead", "cancelled"], names=["nobody"]),
    Search(statuses=["done"], names=["rare"]),
    Search(statuses=["held"]),
    Search(names=["nobody"]),
    Search(name_prefix="no"),
    Search(tags=["seven"]),
    Search(tags=["unheard of"]),
    Search(queues=["nowhere"]),
    Search(args={"customer": 7}),
    Search(args_text="nothing"),
    Search(error_type="KeyError"),
    Search(created=(START, None)),
    Search(finished=(START, None)),
    Search(started=(None, START)),
    Search(order="finished"),
    Search(order="finished", names=["nobody"]),
    Search(order="due"),
    Search(order="due", queues=["queue 1"], names=["nobody"]),
    Search(order="started"),
]


async def test_no_search_scans_a_table(much: Soniq, plans: list[str]) -> None:
    for search in SEARCHES:
        await much.search(search, rows=1_000)
    assert len(plans) > 3 * len(SEARCHES)
    for plan in plans:
        assert "Seq Scan" not in plan, plan


async def test_no_search_scans_a_table_that_is_taken_for_empty(
    app: Soniq, connection: "Connection", schema: str, plans: list[str]
) -> None:
    await app.start()
    await connection.execute(f"vacuum analyze {schema}.history, {schema}.job")
    for search in SEARCHES:
        await app.search(search)
    for plan in plans:
        assert "Seq Scan" not in plan, plan
    await connection.execute(FINISHED_JOBS.format(schema=schema))
    plans.clear()
    for search in SEARCHES:
        await app.search(search)
    for plan in plans:
        assert "Seq Scan" not in plan, plan


async def test_failures_are_read_by_an_index_in_the_order_of_their_end(
    much: Soniq, plans: list[str]
) -> None:
    page = await much.search(Search(order="finished"), limit=5)
    ends = [job.finished_at for job in page.jobs]
    assert ends == sorted(ends, reverse=True)  # type: ignore[type-var]
    assert all("finished_at_id_idx" in plan for plan in plans)
    assert not any("> Sort " in plan for plan in plans)


async def test_those_of_a_status_that_ends_badly_are_read_by_an_index_of_it(
    much: Soniq, plans: list[str]
) -> None:
    await much.search(Search(statuses=["dead"]))
    assert all("status_id_queue_name_idx" in plan for plan in plans)


async def test_what_an_index_finds_is_found_beyond_the_rows_that_are_looked_at(
    much: Soniq,
) -> None:
    for search, count in (
        (Search(tags=["seven"]), 1),
        (Search(statuses=["done"], names=["rare"]), 10),
    ):
        page = await much.search(search, rows=100)
        assert (len(page.jobs), page.complete, page.next) == (count, True, None)
    page = await much.search(Search(args={"customer": 7}), rows=100)
    assert (page.jobs, page.complete) == ([], False)
    assert page.looked_back_to is not None


async def test_a_status_is_looked_for_where_it_can_be_only(much: Soniq, plans: list[str]) -> None:
    await much.search(Search(statuses=["dead"]))
    assert not any(" job" in plan.replace("_job", "") for plan in plans)
    plans.clear()
    await much.search(Search(statuses=["held"]))
    assert not any("history" in plan for plan in plans)
    plans.clear()
    await much.search(Search(statuses=["running"], finished=(START, None)))
    assert plans == []


async def test_what_is_found_is_short(much: Soniq) -> None:
    (job,) = (await much.search(Search(statuses=["dead"]), limit=1)).jobs
    assert job.error_type == "ValueError"
    assert job.error_message == "x" * 300
    assert not hasattr(job, "result")
    assert job.finished_at is not None


async def test_arguments_that_are_no_json_keep_nothing_from_being_found(
    app: Soniq, connection: "Connection", schema: str
) -> None:
    await app.start()
    rows = [b"{", b"\xff", b'{"a": "\\u0000"}', b'{"a": 1e999999}', b"", b'{"a": 1}']
    await connection.executemany(
        f"insert into {schema}.job (id, name, max_attempts, serializer, keep, args)"
        f" values ({schema}.new_id_1(), 'job', 5, 'json', 60, $1)",
        [(row,) for row in rows],
    )
    assert len((await app.search(Search(args={"a": 1}))).jobs) == 1


@pytest.mark.parametrize("minutes", [-50, 50])
async def test_a_time_of_creation_is_the_databases_where_clocks_differ_from_it(
    app: Soniq, connection: "Connection", schema: str, minutes: int
) -> None:
    await app.start()
    now = datetime.now(UTC)
    made = round((now + timedelta(minutes=minutes)).timestamp() * 1000) << 80 | 7 << 76 | 2 << 62
    await connection.execute(
        f"insert into {schema}.job (id, name, max_attempts, serializer, keep, args, created_at)"
        " values ($1, 'job', 5, 'json', 60, '', $2)",
        uuid.UUID(int=made),
        now,
    )
    step = timedelta(minutes=5)
    for times, count in (
        ((now - step, now + step), 1),
        ((now, None), 1),
        ((None, now), 0),
        ((now + step, None), 0),
    ):
        assert len((await app.search(Search(created=times))).jobs) == count


# --- bounds --------------------------------------------------------------------------------------


async def test_a_page_whose_time_is_over_says_so_and_leads_on(much: Soniq) -> None:
    search = Search(args={"customer": 7})
    page = await much.search(search, seconds=0)
    assert (page.jobs, page.complete) == ([], False)
    assert page.looked_back_to is not None

    cursor, found = page.next, list[str]()
    assert cursor is not None
    while cursor is not None:
        page = await much.search(search, cursor=cursor)
        cursor = page.next
        found += [job.job_id for job in page.jobs]
    assert len(found) == 1


async def test_a_statement_that_is_cut_off_costs_nothing_that_was_found_before(
    much: Soniq, connection: "Connection", schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "AS_JSON", f"{schema}.jsonb_1(args)")
    await connection.execute(
        f"create or replace function {schema}.jsonb_1(data bytea) returns jsonb language plpgsql"
        " volatile as $$ begin perform pg_sleep(0.0005); return convert_from(data,"
        " 'UTF8')::jsonb; end $$"
    )
    newest = (await much.search(Search(statuses=["done"]), limit=1)).jobs[0]
    args = await much.get_args(newest.job_id)
    page = await much.search(Search(statuses=["done"], args=args), seconds=0.3)
    assert [job.job_id for job in page.jobs] == [newest.job_id]
    assert not page.complete
    assert page.next is not None


async def test_a_search_that_does_not_come_past_its_first_jobs_is_an_error(
    much: Soniq, connection: "Connection", schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soniq.postgres.searching.PATIENCE", 0.05)
    monkeypatch.setattr(walking, "AS_JSON", f"{schema}.jsonb_1(args)")
    await connection.execute(
        f"create or replace function {schema}.jsonb_1(data bytea) returns jsonb language plpgsql"
        " volatile as $$ begin perform pg_sleep(0.1); return null; end $$"
    )
    with pytest.raises(DatabaseError, match="the first 100 jobs could not be looked at"):
        await much.search(Search(args={"a": 1}), seconds=0.05)
    assert (await much.search(Search())).jobs  # the connection is as good as before


async def test_a_page_of_what_runs_whose_time_is_over_has_what_was_found_and_leads_on(
    much: Soniq, connection: "Connection", schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "AS_JSON", f"{schema}.jsonb_1(args)")
    await connection.execute(
        f"update {schema}.job set status = 'running', started_at = now() - random() * interval '1 h'"
    )
    await connection.execute(
        f"create or replace function {schema}.jsonb_1(data bytea) returns jsonb language plpgsql"
        " volatile as $$ begin perform pg_sleep(0.001); return '{}'; end $$"
    )
    search = Search(order="started", args={})
    page = await much.search(search, seconds=0.4, limit=70)
    assert (len(page.jobs), page.complete) == (70, False)
    assert page.looked_back_to is not None

    pages = [page]
    while (cursor := pages[-1].next) is not None:
        pages.append(await much.search(search, cursor=cursor, seconds=2, limit=900))
    assert [page.complete for page in pages] == [False, False, False, True]
    assert pages[-1].looked_back_to is None
    for page in pages:
        starts = [job.started_at for job in page.jobs if job.started_at]
        assert starts == sorted(starts)
    found = await connection.fetch(f"select id::text from {schema}.job")
    assert sorted(ids(pages)) == sorted(row["id"] for row in found)


async def test_readers_leave_connections_to_those_who_enqueue(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    app = make_app(pool_size=3)

    @app.job(name="job")
    async def job() -> None: ...

    await app.enqueue(job)
    async with connection.transaction():
        await connection.execute(f"lock table {schema}.history in access exclusive mode")
        readers = [asyncio.create_task(app.search(Search())) for _ in range(20)]
        await eventually(lambda: _waits(connection))
        async with asyncio.timeout(5):
            for _ in range(10):
                await app.enqueue(job)
            assert (await app.backlog())["default"]["waiting"] == 11
    pages = await asyncio.gather(*readers)
    assert all(1 <= len(page.jobs) <= 11 for page in pages)  # a snapshot may be of before


async def _waits(connection: "Connection") -> bool:
    return bool(
        await connection.fetchval(
            "select exists (select from pg_locks where pg_backend_pid() ="
            " any(pg_blocking_pids(pid)))"
        )
    )


async def test_a_reading_that_others_keep_waiting_for_too_long_says_so(
    make_app: MakeApp, connection: "Connection", schema: str
) -> None:
    app = make_app(pool_size=1, connect_timeout=0.1)
    await app.start()
    async with connection.transaction():
        await connection.execute(f"lock table {schema}.history in access exclusive mode")
        first = asyncio.create_task(app.search(Search()))
        await eventually(lambda: _waits(connection))
        with pytest.raises(DatabaseUnavailable, match="other readings"):
            await app.search(Search())
    assert (await first).jobs == []


DEEP: list[object] = []
for _ in range(5_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"statuses": "dead"}, "statuses"),
        ({"statuses": ["gone"]}, "statuses"),
        ({"statuses": ["done"], "order": "finished"}, "statuses"),
        ({"statuses": ["held"], "order": "due"}, "statuses"),
        ({"order": "random"}, "order"),
        ({"names": [""]}, "names"),
        ({"names": "job"}, "names"),
        ({"tags": [7]}, "tags"),
        ({"priorities": [40_000]}, "priorities"),
        ({"error_text": "\0"}, "error_text"),
        ({"args": [1]}, "args"),
        ({"args": {"a": object()}}, "args"),
        ({"args": {"a": "\0"}}, "args"),
        ({"args": {"a": float("nan")}}, "args"),
        ({"args": {"a": [1, {"b": float("-inf")}]}}, "args"),
        ({"args": {"a": DEEP}}, "args"),
        ({"headers": 1}, "headers"),
        ({"headers": {"a": float("inf")}}, "headers"),
        ({"created": START}, "created"),
        ({"finished": (START, START.replace(tzinfo=None))}, "finished"),
        ({"started": (START, START - timedelta(seconds=1))}, "started"),
        ({"priorities": [None]}, "priorities"),
    ],
)
async def test_a_search_that_cannot_be_says_which_part_of_it(
    app: Soniq, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidOption) as info:
        await app.search(Search(**options))
    assert info.value.option == named


async def test_values_that_json_writes_as_others_are_searched_for(app: Soniq) -> None:
    @app.job(name="job")
    async def job(at: datetime, who: UUID, of: list[int]) -> None: ...

    job_id = await app.enqueue("job", args={"at": START, "who": UUID(int=7), "of": [2**70]})
    found = await app.search(Search(args={"at": START, "who": UUID(int=7), "of": (2**70,)}))
    assert [job.job_id for job in found.jobs] == [job_id]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"limit": None}, "limit"),
        ({"rows": None}, "rows"),
        ({"seconds": None}, "seconds"),
        ({"seconds": timedelta(seconds=-1)}, "seconds"),
    ],
)
async def test_a_bound_that_cannot_be_is_refused(
    app: Soniq, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidOption) as info:
        await app.search(Search(), **options)
    assert info.value.option == named
    if named != "rows":
        with pytest.raises(InvalidOption):
            await app.count(Search(), **options)


async def test_the_time_of_a_search_may_be_a_timedelta(app: Soniq) -> None:
    assert (await app.search(Search(), seconds=timedelta(seconds=1))).jobs == []
    assert (await app.count(Search(), seconds=timedelta(seconds=1))).exact


@pytest.mark.parametrize("cursor", ["", "x", "ééé", "bnVsbA", 7, "WyJkdWUiLDFd"])
async def test_a_cursor_that_is_none_is_refused(app: Soniq, cursor: Any) -> None:
    with pytest.raises(InvalidOption, match="cursor="):
        await app.search(Search(), cursor=cursor)


async def test_a_cursor_is_for_searches_of_its_order(much: Soniq) -> None:
    page = await much.search(Search(), limit=1)
    with pytest.raises(InvalidOption, match="cursor="):
        await much.search(Search(order="due"), cursor=page.next)
    with pytest.raises(InvalidJobId):
        await much.search(Search(worker_id="me"))


async def test_the_time_to_which_it_looked_is_that_of_its_order(much: Soniq) -> None:
    now = datetime.now(UTC)
    for search in (Search(), Search(order="due"), Search(order="finished")):
        page = await much.search(search, limit=2)
        assert page.complete
        assert page.looked_back_to is not None
        last = page.jobs[-1]
        at = {
            "newest": last.created_at, "due": last.scheduled_at, "finished": last.finished_at,
        }[search.order]  # fmt: skip
        assert at is not None
        assert abs(page.looked_back_to - at) < timedelta(seconds=60)
        assert page.looked_back_to < now + timedelta(seconds=60)
