"""Pictures of the pages for the docs: `python -m tests.plugins.dashboard.web.screens FOLDER`.

A day of load is behind them, and a real browser takes them.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import asyncpg

from soniq import Soniq
from soniq_dashboard import Dashboard
from soniq_doctor import DoctorPlugin
from soniq_embedded import EmbeddedServer
from soniq_limits import Limit, Limits
from soniq_schedules import Cron, Every, Schedules
from tests.plugins.dashboard.web.browser import opened, served, window
from tests.plugins.dashboard.web.day import write_day, write_jobs, write_operations
from tests.support.jobs import working

PAGES = {
    "overview": "/?window=24h",
    "queues": "/queues",
    "jobs": "/jobs",
    "failures": "/failures",
    "names": "/names?window=24h",
    "name": "/names/one?name=mail.send&window=24h",
    "running": "/running",
    "workers": "/workers",
    "system": "/system",
    "operations": "/operations",
    "audit": "/audit",
    "schedules": "/pages/schedules",
    "limits": "/pages/limits",
}
LOOKS = {"light": (1440, "light"), "dark": (1440, "dark"), "phone": (390, "light")}


async def main(folder: Path, url: str) -> None:
    """Write a picture of each page in each look."""
    plugins = [Dashboard(), Schedules(), Limits(), DoctorPlugin()]
    app = Soniq(url, discover=False, plugins=plugins, grace=0)
    await app.start()
    connection = await asyncpg.connect(url)
    await write_day(connection, "soniq")
    await write_jobs(app)
    await connection.close()
    await write_operations(app)

    @app.job(name="search.index", queue="default")
    async def index(part: int) -> None:
        await asyncio.sleep(600)

    @app.job(Cron("0 7 * * mon-fri", tz="Europe/Berlin"), name="report.daily", queue="reports")
    async def report() -> None: ...

    @app.job(Every(minutes=5), name="stock.poll", queue="reports")
    async def poll() -> None: ...

    @app.job(Limit(2, by="tenant"), name="import.file", queue="default")
    async def load(tenant: str) -> None:
        await asyncio.sleep(600)

    await app.enqueue_many(index, [{"part": n} for n in range(3)])
    await app.enqueue_many(load, [{"tenant": each} for each in ("acme", "acme", "acme", "birch")])
    async with (
        working(app, queues=["default"]),
        served(app) as base,
        opened() as browser,
    ):
        await asyncio.sleep(3)  # what waits for a limit was let go, and schedules are known
        for look, (width, scheme) in LOOKS.items():
            async with window(browser, base, width=width, color_scheme=scheme) as seen:
                for name, path in PAGES.items():
                    await seen.go(path)
                    await seen.page.screenshot(path=folder / f"{name}-{look}.png")
                await seen.go("/jobs?q=status:dead")
                await seen.page.click("tbody a.main-link")
                await seen.page.wait_for_selector("h1.job-head")
                await seen.page.screenshot(path=folder / f"job-{look}.png")
    await app.close()


if __name__ == "__main__":
    to = Path(sys.argv[1])
    to.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="soniq-screens-") as data,
        EmbeddedServer(Path(data)) as server,
    ):
        asyncio.run(main(to, server.start()))
