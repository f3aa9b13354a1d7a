"""Charts: lines that are right, and pages of what was counted."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import pytest

from soniq import Soniq
from soniq_dashboard import Dashboard, Durations
from soniq_dashboard.figures import duration, number
from soniq_dashboard.reading import Gauge, Point, read_gauges, read_overview
from soniq_dashboard.web.charts import HEIGHT, WIDTH, Line, chart, ticks
from soniq_dashboard.web.pages.series import WINDOWS, _arrivals
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.conftest import Browse
from tests.plugins.dashboard.web.day import NAMES, write_day
from tests.plugins.dashboard.web.test_pages import checked

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
TIMES = [NOW + timedelta(minutes=n) for n in range(3)]


def paths(*values: float | None) -> str:
    (path,) = chart("t", TIMES, [Line("l", "good", values)], number).paths
    return path


def test_a_line_goes_through_its_numbers() -> None:
    assert paths(0, 5, 10) == f"M0 {HEIGHT}.0L{WIDTH // 2} {HEIGHT / 2}L{WIDTH} 0.0"


def test_a_number_that_is_missing_leaves_a_gap_and_one_by_itself_is_a_level() -> None:
    quarter = WIDTH // 4
    assert paths(10, None, 10) == f"M0 0.0H{quarter}M{WIDTH - quarter} 0.0H{WIDTH}"
    assert paths(None, 10, None) == f"M{quarter} 0.0H{WIDTH - quarter}"
    assert paths(None, None, None) == ""


@pytest.mark.parametrize(
    ("length", "texts"),
    [
        (timedelta(hours=1), ["15:30", "15:40", "15:50", "16:00", "16:10", "16:20"]),
        (timedelta(hours=6), ["16:00", "17:00", "18:00", "19:00", "20:00", "21:00"]),
        (timedelta(hours=24), ["20:00", "00:00", "04:00", "08:00", "12:00"]),
        (timedelta(days=7), [f"Feb {day}" for day in range(1, 8)]),
        (timedelta(days=90), ["Feb 15", "Mar 2", "Mar 17", "Apr 1", "Apr 16"]),
    ],
)
def test_round_times_are_written_below(length: timedelta, texts: list[str]) -> None:
    since = datetime(2030, 1, 31, 15, 23, tzinfo=UTC)
    found = ticks(since, since + length)
    assert [each.text for each in found] == texts
    assert all(since + each.place * length == each.at for each in found)


def test_about_how_many_jobs_came_is_told_of_samples_and_of_those_that_finished() -> None:
    def gauge(at: datetime, waiting: int, running: int) -> Gauge:
        return Gauge(
            at=at, waiting=waiting, running=running, oldest=0, scheduled=0, held=0, workers=0,
            slots=0, busy=0, deploy=None,
        )  # fmt: skip

    seen = {at: gauge(at, *many) for at, many in zip(TIMES, ((5, 1), (9, 2), (0, 0)), strict=True)}
    done = {
        TIMES[1]: Point(
            at=TIMES[1], queue=None, name=None, done=10, dead=1, cancelled=1, retry=5, snooze=0,
            lost=0, stopped=0, took=Durations(), waited=Durations(),
        )
    }  # fmt: skip
    (line,) = _arrivals(TIMES, done, seen)
    assert line.values == [None, 5 + 12, 0]
    assert _arrivals(TIMES, done, {}) == []


@pytest.mark.parametrize(
    ("most", "top"), [(0, 1), (1, 1), (3, 5), (10, 10), (11, 20), (0.04, 0.05), (7_000, 10_000)]
)
def test_the_upper_edge_is_a_round_number(most: float, top: float) -> None:
    made = chart("t", TIMES, [Line("l", "good", [0, most, 0])], lambda each: f"{each:g}")
    assert made.top == f"{top:g}"


def test_it_is_told_in_words() -> None:
    lines = [Line("p50", "calm", [0.1, 0.2, None]), Line("p95", "busy", [None] * 3)]
    told = chart("Wait", TIMES, lines, duration).told
    assert told == "Wait: p50 200 ms at last, p95 – at last, at most 200 ms"


def test_its_numbers_at_round_times_can_be_read() -> None:
    times = [NOW + timedelta(minutes=n) for n in range(60)]
    lines = [Line("a", "good", [*range(60)]), Line("b", "bad", [None] * 60)]
    made = chart("t", times, lines, number)
    assert made.numbers == [(NOW + timedelta(minutes=n), [str(n), "–"]) for n in range(10, 60, 10)]


def test_what_came_is_marked_and_told() -> None:
    came = {TIMES[1]: "workers of Soniq 2.0", NOW - timedelta(hours=1): "others"}
    made = chart("Jobs", TIMES, [Line("done", "good", [1, 2, 3])], number, came)
    assert [(each.place, each.text) for each in made.marks] == [(0.5, "workers of Soniq 2.0")]
    assert made.told.endswith("; workers of Soniq 2.0 came at 12:01")


def test_what_is_not_complete_is_dashed_and_told_apart() -> None:
    times = [NOW + timedelta(minutes=n) for n in range(5)]
    lines = [Line("done", "good", [4, 4, 4, 2, None]), Line("failed", "bad", [0, 0, 0, None, None])]
    made = chart("Jobs", times, lines, number, open_points=2)
    assert made.paths == ["M0 24.0L150 24.0L300 24.0", "M0 120.0L150 120.0L300 120.0"]
    assert made.open_paths == ["M300 24.0L450 72.0", ""]
    assert made.latest == ["4", "0"]
    assert made.open_numbers == [(times[3], ["2", "–"]), (times[4], ["–", "–"])]
    assert [at for at, _ in made.numbers] == times[1:3]
    assert made.told.endswith("; the dotted end is not complete yet")


def test_the_numbers_of_all_times_are_beside_the_lines() -> None:
    lines = [Line("a", "good", [1_200, None, 0]), Line("b", "bad", [None, None, 2.5])]
    made = chart("t", TIMES, lines, number)
    assert made.points == ["1,200||0", "||2.5"]
    assert made.ends - made.begins == 120_000
    assert datetime.fromtimestamp(made.begins / 1000, UTC) == TIMES[0]


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    return make_app(plugins=[Dashboard()])


@pytest.fixture
def dashboard(app: Soniq) -> Dashboard:
    return app.plugin(Dashboard)


@pytest.fixture
async def day(app: Soniq, connection: "asyncpg.Connection[Any]", schema: str) -> None:
    await app.start()
    await write_day(connection, schema)


async def test_ninety_days_are_drawn_by_half_days(
    app: Soniq,
    browse: Browse,
    dashboard: Dashboard,
    connection: "asyncpg.Connection[Any]",
    schema: str,
) -> None:
    await app.start()
    await connection.execute(
        f"insert into {schema}_dashboard.series (tier, at, queue, name, done, dead, cancelled, retry,"
        " snooze, lost, stopped, took, waited, took_buckets, waited_buckets)"
        " select 60, date_trunc('hour', now()) - n * interval '1 hour', 'mail', 'send', n, 0, 0, 1, 0,"
        " 0, 0, n * 1.7, 1.0, array_fill(n, array[n % 30 + 1]), array_fill(1, array[n % 20 + 1])"
        " from generate_series(1, 2160) as n"
    )
    page = await browse(app).get("/?window=90d")
    checked(page)
    assert "Jobs in half a day" in page.text
    assert len(page.text) < 60_000

    now = datetime.now(UTC)
    halves = await dashboard.series(now - timedelta(days=90), now, step=720)
    hours = await dashboard.series(halves[0].at, now, step=60)
    assert 180 <= len(halves) <= 181
    assert {each.at.hour for each in halves} == {0, 12}
    of_second = [each for each in hours if halves[1].at <= each.at < halves[2].at]
    assert halves[1].done == sum(each.done for each in of_second)
    assert halves[1].took.count == sum(each.took.count for each in of_second)


@pytest.mark.usefixtures("day")
async def test_a_day_is_drawn_as_a_whole_and_by_name_and_queue(app: Soniq, browse: Browse) -> None:
    client = browse(app)
    for window in WINDOWS:
        answer = await client.get("/", params={"window": window})
        checked(answer)
        assert answer.text.count('class="curve ') >= 8 or window in ("7d", "90d")
        assert len(answer.text) < 60_000

    page = checked(await client.get("/names", params={"window": "24h"}))
    assert all(name in page.text for name in NAMES)
    assert page.text.index("invoice.render") < page.text.index("search.index")  # takes more

    one = await client.get("/names/one", params={"name": "mail.send", "window": "24h"})
    queue = await client.get("/queues", params={"queue": "mail", "window": "24h"})
    assert (one.text.count("<b>Run time"), queue.text.count("<b>Backlog")) == (1, 1)
    assert one.text.count('class="curve ') >= 6


@pytest.mark.usefixtures("day")
async def test_six_hours_are_drawn_by_the_minute_and_durations_by_ten(
    app: Soniq, browse: Browse, dashboard: Dashboard
) -> None:
    until = datetime.now(UTC)
    since = until - timedelta(hours=6)
    read = await read_overview(app, since, until, 1, 10, 10)
    fine = await dashboard.series(read.slow[0].at, until, step=1)
    slow = await dashboard.series(since, until, step=10)
    assert [(each.at, each.done, each.dead) for each in read.points] == [
        (each.at, each.done, each.dead) for each in fine
    ]
    assert [(each.at, each.took, each.waited) for each in read.slow] == [
        (each.at, each.took, each.waited) for each in slow
    ]
    assert sum(each.done for each in read.points) == sum(each.done for each in read.names)

    for path in ("/", "/queues?queue=mail", "/names/one?name=mail.send"):
        page = checked(await browse(app).get(path, params={**_query(path), "window": "6h"}))
        lines = [_points(each) for each in page.attributes("d") if each.count("L") > 20]
        assert {points > 300 for points in lines} == {True, False}
        assert all(points > 300 or 30 < points < 40 for points in lines)
    await browse(app).get("/names", params={"window": "6h"})


def _points(path: str) -> int:
    return path.count("M") + path.count("L")


def _query(path: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(path).query))


async def test_new_workers_are_marked_in_the_charts(
    app: Soniq, browse: Browse, schema: str, connection: "asyncpg.Connection[Any]"
) -> None:
    await app.start()
    await connection.execute(
        f"insert into {schema}_dashboard.gauge"
        " (at, queue, waiting, scheduled, running, held, oldest, workers, slots, busy, deploy)"
        " select date_trunc('minute', now()) - n * interval '1 minute', '', 0, 0, 0, 0, 0, 0, 0, 0,"
        " case n when 30 then 'workers of <2.0>' end from generate_series(1, 50) as n"
    )
    await connection.execute(
        f"insert into {schema}_dashboard.gauge"
        " (at, queue, waiting, scheduled, running, held, oldest, workers, slots, busy)"
        " select date_trunc('minute', now()) - n * interval '1 minute', 'mail', 9, 0, 0, 0, 0, 0, 0, 0"
        " from generate_series(1, 5) as n"
    )
    for path in ("/", "/names/one?name=a", "/queues?queue=mail"):
        page = checked(await browse(app).get(path))
        assert "workers of <2.0>, " in page.text


async def test_a_queue_without_samples_was_empty(
    app: Soniq, dashboard: Dashboard, schema: str, connection: "asyncpg.Connection[Any]"
) -> None:
    """It held nothing, and no worker names it: all together have a sample, unless it is one of many."""
    await app.start()
    hour = datetime(2026, 1, 1, 12, tzinfo=UTC)
    for minute, queue in (
        (0, ""),
        (1, ""),
        (1, "mail"),
        (2, ""),
        (3, ""),
        (3, "(other)"),
        (4, "a"),
    ):
        await connection.execute(
            f"insert into {schema}_dashboard.gauge"
            " (at, queue, waiting, scheduled, running, held, oldest, workers, slots, busy)"
            " values ($1, $2, 7, 0, 0, 0, 0, 0, 0, 0)",
            hour + timedelta(minutes=minute), queue,
        )  # fmt: skip
    found = await read_gauges(app, hour, None, "mail", 1, empty=True)
    assert [(each.at.minute, each.waiting) for each in found] == [(0, 0), (1, 7), (2, 0)]
    assert [each.at.minute for each in await dashboard.gauges(hour, queue="mail")] == [1]


async def test_what_was_done_just_now_is_in_the_chart(app: Soniq, browse: Browse) -> None:
    @app.job(name="work", queue="quick")
    async def work() -> None:
        pass

    await app.start()
    await app.enqueue_many(work, [{} for _ in range(17)])
    await app.run_worker(run_once=True)
    page = checked(await browse(app).get("/names"))
    assert "work" in page.text
    assert "17" in page.text
    charts = await browse(app).get("/names/one?name=work")
    checked(charts)
    assert re.search(r"not complete yet</td><td class=\"num end\">17</td>", charts.text)


async def test_a_queue_that_grows_says_how_fast(
    app: Soniq, browse: Browse, schema: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    @app.job(name="work", queue="slow")
    async def work() -> None: ...

    await app.start()
    await app.enqueue_many(work, [{}] * 5)
    await connection.execute(
        f"insert into {schema}_dashboard.gauge"
        " (at, queue, waiting, scheduled, running, held, oldest, workers, slots, busy)"
        " select date_trunc('minute', now()) - n * interval '1 minute', 'slow', 800 - 100 * n,"
        " 0, 0, 0, 0, 0, 0, 0 from generate_series(1, 5) as n"
    )
    page = checked(await browse(app).get("/queues?queue=slow"))
    assert "100 more wait each minute" in page.text
    assert "more wait" not in checked(await browse(app).get("/queues")).text


async def test_without_the_collector_the_pages_say_why_there_are_no_charts(
    make_app: MakeApp, browse: Browse
) -> None:
    app = make_app()
    for path in ("/", "/names", "/names/one?name=a", "/queues?queue=a"):
        page = checked(await browse(app).get(path))
        assert "soniq-dashboard is installed" in page.text
