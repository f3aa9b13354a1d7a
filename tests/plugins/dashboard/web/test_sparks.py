"""Sparklines: bars that are right, and told in words; of queues and of failures."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from soniq import Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.web.pages.failures import Group, sparks
from soniq_dashboard.web.sparks import spark
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.conftest import Browse
from tests.plugins.dashboard.web.test_pages import checked

NOW = datetime(2030, 1, 31, 12, 0, 30, tzinfo=UTC)


def test_each_time_has_a_bar_as_high_as_its_share_of_the_most() -> None:
    made = spark([10, 0, 5, 0], "died", "a minute")
    assert made.bars == [("bad", "M1 20V0M7 20V10")]
    assert (made.total, made.width, made.ground) == (15, 12, "M0 20H12")
    assert made.told == "15 died, at most 10 in a minute, 0 so far in the last"


def test_few_beside_many_are_seen_and_failures_stand_at_the_foot_of_all() -> None:
    made = spark([1_000, 1], "jobs finished", "an hour", bad=[500, 0])
    assert made.bars == [("calm", "M1 20V0M4 20V18"), ("bad", "M1 20V10")]
    assert (
        made.told
        == "1,001 jobs finished, at most 1,000 in an hour, 1 so far in the last; 500 of them died"
    )


def test_nothing_is_a_line_without_bars() -> None:
    made = spark([0, 0], "jobs finished", "an hour", bad=[0, 0])
    assert (made.bars, made.told) == ([], "0 jobs finished")


def _group(name: str, *ago: timedelta) -> Group:
    times = [NOW - each for each in ago]
    return Group(name, "ValueError", "", len(times), times[-1], times[0], "an-id", times)


def test_failures_are_in_the_bar_of_their_time_and_what_was_not_read_is_not_drawn() -> None:
    old, new = timedelta(minutes=59, seconds=40), timedelta(seconds=1)
    a, b = _group("a", new, new, timedelta(minutes=5)), _group("b", timedelta(minutes=10), old)
    made = sparks([a, b], "1h", complete=True, now=NOW)
    assert made[a].bars == [("bad", "M79 20V10M88 20V0")]
    assert made[a].told == "3 died, at most 2 in 2 minutes, 2 so far in the last"
    assert made[b].bars == [("bad", "M1 20V0M73 20V0")]
    assert made[b].ground == "M0 20H90"

    half = sparks([a, _group("b", timedelta(minutes=10))], "1h", complete=False, now=NOW)
    assert {each.ground for each in half.values()} == {"M72 20H90"}


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    return make_app(plugins=[Dashboard()])


async def test_pages_have_them_by_queue_and_by_kind_of_failure(
    app: Soniq, browse: Browse, connection: "asyncpg.Connection[Any]", schema: str
) -> None:
    @app.job(name="fetch", queue="<b>", max_attempts=1)
    async def fetch(n: int) -> None:
        if n % 2:
            raise ValueError("odd")

    await app.start()
    await app.enqueue_many(fetch, [{"n": n} for n in range(6)])
    await app.pause("idle")
    await app.run_worker(run_once=True)
    client = browse(app)
    failures = checked(await client.get("/failures"))
    assert "3 died, at most 3 in half an hour" in failures.text

    await connection.execute(  # what is not complete yet is not shown
        f"update {schema}_dashboard.series set at = at - 2 * tier * interval '1 minute'"
    )
    for window, long in (("1h", "a minute"), ("6h", "10 minutes"), ("24h", "an hour")):
        page = checked(await client.get("/queues", params={"window": window}))
        assert re.search(
            rf"6 jobs finished, at most \d in {long}, 0 so far in the last; 3 ", page.text
        )
        titles = [tag for tag, _ in page.elements if tag == "title"]
        assert len(titles) == 2  # the page's and one
    for window in ("7d", "90d"):
        checked(await client.get("/queues", params={"window": window}))


async def test_without_the_collector_queues_say_why_there_are_none(
    make_app: MakeApp, browse: Browse
) -> None:
    app = make_app(unknown_jobs="allow")
    await app.enqueue("later")
    page = checked(await browse(app).get("/queues"))
    assert "is counted where soniq-dashboard is installed beside the workers" in page.text
