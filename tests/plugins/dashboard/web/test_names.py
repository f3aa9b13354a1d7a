"""What is told of each name: on its own page, and on the overview those with the most."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus, urlencode

import asyncpg
import pytest

from soniq import Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.web import anyone
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.conftest import Browse
from tests.plugins.dashboard.web.test_pages import HOSTILE, checked
from tests.support.jobs import working
from tests.support.waiting import eventually

SERIES = """insert into {schema}_dashboard.series (tier, at, queue, name, done, dead, cancelled,
    retry, snooze, lost, stopped, took, waited, took_buckets, waited_buckets)
    select tier, date_trunc('hour', now()), 'mail', $1, $2, $3, 0, 0, 0, 0, 0, $4, 1.0, $5, $5
    from unnest(array[1, 10, 60]) as tier"""


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    return make_app(plugins=[Dashboard()], unknown_jobs="allow")


async def test_the_overview_names_those_that_take_the_most_time_and_fail_most_often(
    app: Soniq, browse: Browse, connection: "asyncpg.Connection[Any]", schema: str
) -> None:
    await app.start()
    statement = SERIES.format(schema=schema)
    for n in range(14):
        await connection.execute(statement, f"job-{n:02}", 100, n, 3600.0 * n, [1])
    for text in HOSTILE:
        await connection.execute(statement, text.replace("\n", " "), 10, 500, 1e9, [1])

    client = browse(app)
    page = checked(await client.get("/?window=24h"))
    lists = page.text.partition("Most time")[2].partition("Most failures")
    assert lists[0].count("11574 d 1 h") == 10
    rows = [each for each in page.attributes("href") if "/names/one" in each]
    assert len(rows) == 10  # the same in both lists
    assert "98.0 %" in lists[2]

    await connection.execute(f"delete from {schema}_dashboard.series where dead = 500")
    now = datetime.now(UTC)
    answer = await browse(app).get("/?window=24h")
    page = checked(answer)
    slow, _, failing = page.text.partition("Most time")[2].partition("Most failures")
    names = [f"job-{n:02}" for n in range(13, 3, -1)]
    assert re.findall(r"job-\d\d", slow) == re.findall(r"job-\d\d", failing) == names
    assert "13 h 0 m" in slow
    assert "11.5 %" in failing  # 13 of 113
    told = {
        f"since {each - timedelta(days=1):%Y-%m-%d %H:00:00}" for each in (now, datetime.now(UTC))
    }
    assert any(each in slow for each in told)
    assert "/names/one?name=job-13&window=24h" in page.attributes("href")
    assert len(answer.text) < 60_000

    await connection.execute(f"update {schema}_dashboard.series set dead = 0")
    page = checked(await browse(app).get("/?window=7d"))
    assert "No attempt has failed in this time" in page.text


async def test_a_name_has_its_figures_options_and_newest_jobs(app: Soniq, browse: Browse) -> None:
    @app.job(name="mail.send", queue="mail", max_attempts=1, timeout=90)
    async def send(n: int) -> None:
        if n % 4 == 0:
            raise ValueError(f"no account {n}")

    await app.start()
    ids = await app.enqueue_many(send, [{"n": n} for n in range(12)])
    await app.run_worker(run_once=True)
    await app.enqueue("another")
    client = browse(app)
    answer = await client.get("/names/one?name=mail.send")
    page = checked(answer)
    for text in ("25.0 %", "3 attempts", "within 1h", "1 m 30 s", "no worker is alive"):
        assert text in page.text
    columns = re.findall(r"(?:up|m?s) to [\d.]+ m?s</td><td class=.num end.>(\d+)<", answer.text)
    assert sum(map(int, columns)) == 12  # of the histogram
    assert "Run times of 12 attempts" in " ".join(page.attributes("aria-label"))
    links = [each for each in page.attributes("href") if each.startswith("/jobs/")]
    assert sorted(links) == sorted(f"/jobs/{each}" for each in ids[2:])
    assert "ValueError: no account 8" in page.text

    viewer = checked(await browse(app, anyone()).get("/names/one?name=mail.send"))
    assert "no account" not in viewer.text
    assert "ValueError" in viewer.text

    async def known() -> bool:
        text = (await browse(app).get("/names/one?name=mail.send")).text
        return "1 of 1 live worker<" in text

    async with working(app):
        await eventually(known)


async def test_of_a_name_that_this_process_does_not_know_that_is_said(
    app: Soniq, browse: Browse, connection: "asyncpg.Connection[Any]", schema: str
) -> None:
    await app.enqueue("elsewhere")
    client = browse(app)
    page = checked(await client.get("/names/one?name=elsewhere"))
    assert "does not have the code of this job, and so does not know its options" in page.text
    assert len([each for each in page.attributes("href") if each.startswith("/jobs/")]) == 1

    for text in [*HOSTILE, "é" * 300, "nobody's"]:
        await connection.execute(SERIES.format(schema=schema), text, 10, 1, 3.0, [0, 7, 3])
        page = checked(await client.get("/names/one?" + urlencode({"name": text})))
        assert "There is no job of this name" in page.text
        assert "7.5 ms" in page.text
        assert quote_plus(text[:3]) in " ".join(page.attributes("href"))


async def test_a_page_of_no_name_leads_to_the_names(app: Soniq, browse: Browse) -> None:
    for path in ("/names/one", "/names/one?name=", "/names/one?window=24h"):
        answer = await browse(app).get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/names")
