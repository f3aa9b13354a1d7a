"""Charts: lines that are right, and pages of what was counted."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from soniq import Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.figures import duration, number
from soniq_dashboard.web.charts import HEIGHT, WIDTH, Line, chart
from soniq_dashboard.web.pages.series import WINDOWS
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


def test_a_number_that_is_missing_leaves_a_gap() -> None:
    assert paths(10, None, 10) == f"M0 0.0h2M{WIDTH} 0.0h2"
    assert paths(None, None, None) == ""


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


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    return make_app(plugins=[Dashboard()])


@pytest.fixture
async def day(app: Soniq, connection: "asyncpg.Connection[Any]", schema: str) -> None:
    await app.start()
    await write_day(connection, schema)


@pytest.mark.usefixtures("day")
async def test_a_day_is_drawn_as_a_whole_and_by_name_and_queue(app: Soniq, browse: Browse) -> None:
    client = browse(app)
    for window in WINDOWS:
        answer = await client.get("/", params={"window": window})
        checked(answer)
        assert answer.text.count('class="curve ') >= 8 or window in ("7d", "90d")
        assert len(answer.text) < 90_000

    page = checked(await client.get("/names", params={"window": "24h"}))
    assert all(name in page.text for name in NAMES)
    assert page.text.index("invoice.render") < page.text.index("search.index")  # takes more

    one = await client.get("/names/one", params={"name": "mail.send", "window": "24h"})
    queue = await client.get("/queues", params={"queue": "mail", "window": "24h"})
    assert (checked(one).text.count("Run time"), checked(queue).text.count("Backlog")) == (1, 1)
    assert one.text.count('class="curve ') >= 6


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
