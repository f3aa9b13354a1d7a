"""The page about the system, and what pages cost."""

import re
from typing import Any

import asyncpg
import pytest

from soniq import Soniq, hookimpl
from soniq.plugin import Migration
from soniq.postgres import counting, live
from soniq_dashboard import Dashboard, catalog
from soniq_dashboard.web import anyone
from soniq_doctor import DoctorPlugin
from soniq_limits import Limits
from soniq_schedules import Schedules
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.conftest import Browse
from tests.plugins.dashboard.web.statements import counted
from tests.plugins.dashboard.web.test_pages import LISTS, checked

BUDGET = 8
"""Statements of a page, also where nobody else has had the overview read within a second."""
OF_PLUGINS = ("_schedules", "_limits", "replication_slots")
"""What is in the statements of the plugins that add to a page: one of each at most."""


class Tables:
    """A plugin with tables."""

    name = "tables"

    @hookimpl
    def migrations(self) -> list[Migration]:
        return [
            Migration(version=1, sql="create table {schema}.one (id int primary key)"),
            Migration(version=2, sql="create table {schema}.two (id int primary key)"),
        ]


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    """An app with all plugins that add to the dashboard."""
    plugins = [Dashboard(), Schedules(), Limits(), DoctorPlugin()]
    return make_app(plugins=plugins, unknown_jobs="allow")


async def test_it_says_what_all_stands_on(
    make_app: MakeApp, browse: Browse, connection: "asyncpg.Connection[Any]", schema: str
) -> None:
    app = make_app(plugins=[Dashboard(), Tables()], concurrency=37)
    answer = await browse(app, anyone()).get("/system")
    page = checked(answer)
    version = await connection.fetchval("show server_version")
    core = await connection.fetchval(
        f"select max(version) from {schema}.migration where namespace = 'soniq'"
    )
    assert version in page.text
    cells = [
        re.sub(r"\s+", " ", each) for each in re.findall(r"<tr>.*?</tr>", answer.text, re.DOTALL)
    ]
    rows = [re.sub(r"<[^>]+>", "|", each) for each in cells]

    def row(first: str) -> list[str]:
        found, *_ = [each for each in rows if each.replace("|", " ").split()[0] == first]
        return [each for each in found.split("|") if each.strip()]

    assert row("soniq")[1] == str(core)
    assert row("tables")[1] == "2"
    assert row("dashboard")[-1] == "0"  # of migrations; it is a plugin, too
    assert row(f"{schema}_tables.one")[3] == "8.0 kB"
    assert row("concurrency")[1] == "37"
    assert "history_forever" in page.text
    assert "from (&#39;infinity&#39;) to (MAXVALUE)" in answer.text
    assert "where soniq-doctor is installed" in page.text
    assert "dashboard_" not in page.text.partition("Plugins")[2].partition("tables")[2]


async def test_no_address_of_the_database_is_shown(
    app: Soniq, browse: Browse, database_url: str
) -> None:
    answer = await browse(app).get("/system")
    assert "database_url" not in answer.text
    assert str(database_url) not in answer.text
    assert not re.search(r"postgres(ql)?://", answer.text)


async def test_plugins_are_listed_with_the_hooks_that_they_implement(
    app: Soniq, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = checked(await browse(app).get("/system"))
    for each in ("schedules", "limits", "doctor", "dashboard_pages, dashboard_queue_panels"):
        assert each in page.text
    assert "What holds back cleaning up" in page.text
    assert "Nothing has kept PostgreSQL from cleaning up" in page.text


async def test_tables_that_are_still_to_be_made_are_said(
    app: Soniq, browse: Browse, connection: "asyncpg.Connection[Any]", schema: str
) -> None:
    await app.start()
    await connection.execute(f"delete from {schema}.migration where namespace = 'limits'")
    page = checked(await browse(app).get("/system"))
    assert "The tables of the plugin limits are not there: soniq setup" in page.text


async def test_what_takes_too_long_is_said_and_the_rest_is_shown(
    app: Soniq,
    browse: Browse,
    connection: "asyncpg.Connection[Any]",
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalog, "LONGEST", 200)
    await app.start()
    await app.close()
    client = browse(app)
    await client.get("/")
    async with connection.transaction():
        await connection.execute(f"lock table {schema}_limits.limits in access exclusive mode")
        page = checked(await client.get("/system"))
    assert page.text.count("The catalog took longer than a second to answer.") == 1
    assert "PostgreSQL" in page.text
    assert "Settings" in page.text


async def test_tables_of_another_version_are_said(
    app: Soniq, browse: Browse, connection: "asyncpg.Connection[Any]", schema: str
) -> None:
    await app.start()
    await app.close()
    await connection.execute(
        f"insert into {schema}.migration (namespace, version, oldest) values ('soniq', 999, 999)"
    )
    page = checked(await browse(app).get("/system"), 503)
    assert "The tables are not those of this Soniq: soniq setup --check says more" in page.text


@pytest.mark.parametrize(
    "path",
    [*LISTS, "/jobs/{id}", "/queues?queue=money", "/names/one?name=pay", "/pages/schedules",
     "/pages/limits", "/pages/schedules?name=a", "/pages/limits?limit=a"],
)  # fmt: skip
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.new_schema  # what others left dead in a table may take one statement more
async def test_a_page_asks_the_database_few_things(
    app: Soniq,
    browse: Browse,
    connection: "asyncpg.Connection[Any]",
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    many: bool,
) -> None:
    job_id = await app.enqueue("pay", args={}, queue="money")
    if many:  # so many that not all are counted
        for module in (live, counting):
            monkeypatch.setattr(module, "FEW", 1)
        for each in await app.enqueue_many("pay", [{}] * 5, queue="money"):
            await app.cancel(str(each))
        await connection.execute(f"analyze {schema}.history")
    client = browse(app)
    with counted(monkeypatch) as seen:
        page = checked(await client.get(path.format(id=job_id)))
    assert "in the log" not in page.text
    of_plugins = [each for each in seen if any(word in each for word in OF_PLUGINS)]
    assert len(of_plugins) <= 2
    assert 0 < len(seen) <= BUDGET + len(of_plugins), seen
