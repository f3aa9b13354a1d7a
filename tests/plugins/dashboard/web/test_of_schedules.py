"""What soniq-schedules adds to the dashboard."""

from typing import Any

import asyncpg
import pytest

from soniq import Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.web import anyone
from soniq_schedules import Cron, Every, Schedules, Several
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.conftest import Browse, rows
from tests.plugins.dashboard.web.test_pages import HOSTILE, checked
from tests.plugins.schedules.conftest import plugin_of, ticker_of

PAGE = "/pages/schedules"


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    """An app with both plugins, and schedules."""
    app = make_app(plugins=[Schedules(), Dashboard()])

    @app.job(Cron("30 2 * * *", tz="Europe/Berlin"), name="nightly", queue="slow")
    async def nightly() -> None: ...

    @app.job(Several(often=Every(hours=1), seldom=Every(weeks=1)), name="poll")
    async def poll() -> None: ...

    return app


async def registered(app: Soniq) -> None:
    await app.start()
    await ticker_of(app).register()


async def test_schedules_are_listed_with_when_and_what_became_of_them(
    app: Soniq,
    browse: Browse,
) -> None:
    await registered(app)
    await plugin_of(app).pause("poll:seldom")
    job_id = await plugin_of(app).run_now("nightly")
    client = browse(app, anyone())
    page = checked(await client.get("/pages/schedules"))
    assert "Schedules" in page.text
    nightly, often, seldom = await rows(client, PAGE)
    assert nightly.startswith("nightly nightly 30 2 * * * Europe/Berlin in ")
    assert nightly.endswith("active")
    assert " every 1:00:00 in 59 m" in often
    assert seldom == "poll:seldom poll every 7 days, 0:00:00 – – paused"

    one = checked(await client.get("/pages/schedules", params={"name": "nightly"}))
    assert f"/jobs/{job_id}" in one.attributes("href")
    assert "/pages/schedules?name=nightly" in page.attributes("href")
    assert one.text.count("02:30:00+") == 10
    paused = checked(await client.get("/pages/schedules", params={"name": "poll:seldom"}))
    assert "It is paused." in paused.text
    none = checked(await client.get("/pages/schedules", params={"name": "none"}))
    assert "No schedule has this name." in none.text


async def test_many_schedules_are_on_several_pages(app: Soniq, browse: Browse) -> None:
    await registered(app)
    for n in range(60):
        await plugin_of(app).add(f"z{n:02}", "poll", Every(hours=1))
    client, path, seen = browse(app), "/pages/schedules", []
    while path:
        seen += [each.split()[0] for each in await rows(client, path)]
        page = checked(await client.get(path))
        path = next((each for each in page.attributes("href") if "after=" in each), "")
        assert len(seen) <= 63
    assert seen == ["nightly", "poll:often", "poll:seldom", *(f"z{n:02}" for n in range(60))]


async def test_why_a_tick_fails_is_told_to_who_may_see_what_belongs_to_jobs(
    app: Soniq,
    browse: Browse,
    connection: "asyncpg.Connection[Any]",
    schema: str,
) -> None:
    await registered(app)
    await connection.execute(
        f"update {schema}_schedules.schedule set error = 'no customer 7', error_at = now()"
        " where name = 'nightly'"
    )
    path = "/pages/schedules?name=nightly"
    assert "no customer 7" in checked(await browse(app, anyone("see_arguments")).get(path)).text
    for each in (path, "/pages/schedules", "/"):
        text = checked(await browse(app, anyone()).get(each)).text
        assert "no customer 7" not in text
    assert "Ticks fail of the schedule nightly" in text


async def test_what_no_worker_has_is_an_alert(
    app: Soniq,
    browse: Browse,
    connection: "asyncpg.Connection[Any]",
    schema: str,
) -> None:
    await registered(app)
    for n in range(4):
        await plugin_of(app).add(f"z{n}", "poll", Every(hours=1))
    assert "No live worker has" not in checked(await browse(app).get("/")).text
    await connection.execute(
        f"update {schema}_schedules.version set seen_at = now() - interval '1 h'"
    )
    page = checked(await browse(app).get("/"))
    assert (
        "No live worker has the schedules nightly, poll:often, poll:seldom and 4 more" in page.text
    )
    assert "no live worker has it" in (await rows(browse(app), PAGE))[0]


async def test_a_job_says_which_schedule_made_it_and_a_queue_which_schedules_fill_it(
    app: Soniq,
    browse: Browse,
) -> None:
    await registered(app)
    job_id = await plugin_of(app).run_now("nightly")
    page = checked(await browse(app, anyone("see_arguments")).get(f"/jobs/{job_id}"))
    assert "/pages/schedules?name=nightly" in page.attributes("href")
    page = checked(await browse(app, anyone()).get(f"/jobs/{job_id}"))  # it is in the headers
    assert "/pages/schedules?name=nightly" not in page.attributes("href")

    other = await app.enqueue("poll")
    page = checked(await browse(app).get(f"/jobs/{other}"))
    assert "Made by" not in page.text
    slow = checked(await browse(app).get("/queues", params={"queue": "slow"}))
    assert "/pages/schedules?name=nightly" in slow.attributes("href")
    default = checked(await browse(app).get("/queues", params={"queue": "default"}))
    assert "/pages/schedules?name=poll%3Aoften" in default.attributes("href")
    assert "/pages/schedules?name=nightly" not in default.attributes("href")


@pytest.mark.parametrize("text", HOSTILE)
async def test_the_name_of_a_schedule_is_text(
    app: Soniq,
    browse: Browse,
    connection: "asyncpg.Connection[Any]",
    schema: str,
    text: str,
) -> None:
    await registered(app)
    await connection.execute(
        f"update {schema}_schedules.schedule set name = name || $1, error = $1", text
    )
    client = browse(app)
    shown = ""
    for params in ({}, {"name": "nightly" + text}, {"after": text}):
        shown += checked(await client.get("/pages/schedules", params=params)).text
    shown += checked(await client.get("/")).text
    if text.isprintable():
        assert shown.count(text) >= 5
    assert not {"\u202e", "\x1b"} & set(shown)


async def test_a_schedule_of_another_version_is_shown(
    app: Soniq,
    browse: Browse,
    connection: "asyncpg.Connection[Any]",
    schema: str,
) -> None:
    await registered(app)
    await connection.execute(
        f"""update {schema}_schedules.schedule set spec = '{{"type": "moon"}}'"""
    )
    assert "(of another version)" in (await rows(browse(app), PAGE))[0]
    checked(await browse(app).get("/pages/schedules", params={"name": "nightly"}))


async def test_without_the_dashboard_it_works(make_app: MakeApp) -> None:
    app = make_app(plugins=[Schedules()])
    await app.start()
    assert await plugin_of(app).list() == []


async def test_a_schedule_leads_to_its_jobs_whatever_their_name(
    make_app: MakeApp, browse: Browse
) -> None:
    app = make_app(plugins=[Schedules(), Dashboard()])

    @app.job(Every(hours=1), name='odd "name\\ of: a,job')
    async def odd() -> None: ...

    await registered(app)
    job_id = await app.enqueue(odd)
    client = browse(app)
    page = checked(await client.get(PAGE, params={"name": odd.name}))
    (link,) = [each for each in page.attributes("href") if each.startswith("/jobs?q=name")]
    found = (await client.get(link)).text
    assert f'href="/jobs/{job_id}"' in found
