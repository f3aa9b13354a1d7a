"""What soniq-doctor adds to the dashboard."""

import asyncpg
import pytest

from soniq import Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.web import anyone
from soniq_doctor import DoctorPlugin, on_dashboard
from tests.core.postgres.support import own_database
from tests.plugins.dashboard.web.conftest import Browse, rows
from tests.plugins.dashboard.web.test_pages import checked


async def test_what_holds_back_cleaning_up_is_on_the_system_page_and_an_alert(
    database_url: str, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_dashboard, "SHOWN", 0.0)
    async with own_database(database_url) as url:
        plugins = [DoctorPlugin(horizon_alarm=0.001), Dashboard()]
        app = Soniq(url, plugins=plugins, discover=False)
        client = browse(app, anyone())
        page = checked(await client.get("/"))
        assert "Vacuum is held back" not in page.text
        old = await asyncpg.connect(url, server_settings={"application_name": "the <b>report"})
        await old.execute("begin isolation level repeatable read")
        await old.execute("select 'a secret'")
        pid = old.get_server_pid()

        client = browse(app, anyone())
        page = checked(await client.get("/"))
        said = f"Vacuum is held back, and claims get slower: transaction pid {pid}"
        assert said in page.text
        (row,) = [each for each in await rows(client, "/system") if f"pid {pid} " in each]
        assert "the <b>report idle in transaction" in row
        assert "secret" not in (await client.get("/system")).text
        await old.close()
        await app.close()


async def test_without_an_alarm_there_is_no_alert(database_url: str, browse: Browse) -> None:
    async with own_database(database_url) as url:
        plugins = [DoctorPlugin(horizon_alarm=0), Dashboard()]
        app = Soniq(url, plugins=plugins, discover=False)
        old = await asyncpg.connect(url)
        await old.execute("begin isolation level repeatable read")
        await old.execute("select 1")
        assert "Vacuum" not in checked(await browse(app).get("/")).text
        page = checked(await browse(app).get("/system"))
        assert "Nothing has kept PostgreSQL from cleaning up" in page.text
        await old.close()
        await app.close()
