"""What plugins add to the dashboard, in a real browser."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from soniq import JobDetail, Soniq, hookimpl
from soniq_dashboard import (
    Alert,
    Block,
    Dashboard,
    Facts,
    Link,
    Page,
    Panel,
    Size,
    Table,
    Text,
    Visit,
)
from soniq_doctor import DoctorPlugin
from soniq_limits import Limit, Limits
from soniq_schedules import Cron, Every, Schedules
from tests.conftest import MakeApp, apps
from tests.plugins.dashboard.web.browser import examine, opened, served, window
from tests.plugins.schedules.conftest import plugin_of, ticker_of
from tests.support.jobs import working

# In one event loop, and so in one browser, which takes longer to start than most tests do
pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = "a-value-that-is-long-" + "x" * 200


class Everything:
    """A plugin with a page of all kinds of values, long ones among them."""

    name = "everything"

    def __init__(self) -> None:
        self.rung = 0

    @hookimpl(optionalhook=True)
    def dashboard_pages(self) -> Sequence[Page]:
        return [
            Page(
                title="A page whose title is as long as titles may be, and no more",
                render=self.render,
            ),
            Page(title="Broken", path="broken", render=self.fail),
        ]

    def render(self, visit: Visit) -> Sequence[Block]:
        at = datetime.now(UTC) - timedelta(hours=3)
        row = (
            Link(LONG, "/jobs"),
            LONG,
            1_234_567,
            0.5,
            at,
            timedelta(minutes=3),
            Size(9_999),
            None,
            True,
        )
        columns = ["Name", "Text", "Number", "Share", "At", "Took", "Size", "Nothing", "Whether"]
        return [
            Text(f"Rung {self.rung} times. {LONG}"),
            Text("{\n" + f'  "a": "{LONG}"' + "\n}", code=True),
            Facts({"Short": 1, LONG: LONG, "Where": Link("elsewhere", "https://traces.example/")}),
            Table(columns, [row, row], "All kinds"),
            Table(["Empty"], [], "None"),
            Link("To a job", "/jobs"),
        ]

    def fail(self, visit: Visit) -> Sequence[Block]:
        raise LookupError(LONG)

    @hookimpl(optionalhook=True)
    def dashboard_job_panels(self, job: JobDetail) -> Sequence[Panel]:
        return [Panel("Of the job", [Facts({"Id": job["job_id"], LONG: LONG})])]

    @hookimpl(optionalhook=True)
    def dashboard_links(self, job: JobDetail) -> Sequence[Link]:
        return [Link("Its trace", "https://traces.example/"), Link(LONG, "/jobs")]

    @hookimpl(optionalhook=True)
    def dashboard_queue_panels(self, queue: str) -> Sequence[Panel]:
        raise LookupError

    @hookimpl(optionalhook=True)
    def dashboard_system_panels(self) -> Sequence[Panel]:
        return [Panel("Of the system", [Text(LONG), Table(["Row"], [(LONG,)])])]

    @hookimpl(optionalhook=True)
    def dashboard_alerts(self) -> Sequence[Alert]:
        return [Alert(f"It burns {LONG}", "/pages/everything", level="bad")]


@pytest.fixture
def everything() -> Everything:
    return Everything()


@pytest.fixture
def app(make_app: MakeApp, everything: Everything) -> Soniq:
    plugins = [Dashboard(), Schedules(), Limits(), DoctorPlugin(), everything]
    return make_app(plugins=plugins)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with opened() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def make_app(database_url: str, schema: str) -> AsyncIterator[MakeApp]:
    async with apps(database_url, schema) as make:
        yield make


@pytest_asyncio.fixture(loop_scope="module")
async def paths(app: Soniq) -> list[str]:
    """Pages with something of a plugin on each."""

    @app.job(Cron("30 2 * * *", tz="Europe/Berlin"), name="nightly", queue="slow")
    async def nightly() -> None: ...

    @app.job(Limit(1, by="customer"), name="send." + "x" * 80)
    async def send(customer: str) -> None: ...

    await app.start()
    await ticker_of(app).register()
    for n in range(60):
        await plugin_of(app).add(f"report-{n:02}-{LONG[:120]}", "nightly", Every(hours=1))
    job_id = await plugin_of(app).run_now("nightly")
    held = await app.enqueue_many(send, [{"customer": LONG} for _ in range(3)])
    async with working(app, queues=["elsewhere"]):
        await asyncio.sleep(1)
    return [
        "/", "/system", "/pages/everything", "/pages/everything/broken", "/pages/schedules",
        "/pages/schedules?name=nightly", "/pages/schedules?name=none", "/pages/limits",
        f"/pages/limits?limit={send.name}/customer", f"/jobs/{job_id}", f"/jobs/{held[2]}",
        "/queues?queue=slow",
    ]  # fmt: skip


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
async def test_each_page_is_quiet_fits_and_can_be_read_by_everybody(
    app: Soniq, browser: Browser, paths: list[str], width: int, scheme: str
) -> None:
    async with served(app) as base:
        await examine(browser, base, paths, width=width, scheme=scheme)


async def test_a_page_of_a_plugin_is_in_the_menu_and_shows_what_is_new_by_itself(
    app: Soniq, browser: Browser, everything: Everything
) -> None:
    async with served(app) as base, window(browser, base) as seen:
        await seen.go("/")
        await seen.page.click("nav >> text=as long as titles may be")
        await seen.page.wait_for_url("**/pages/everything")
        await seen.page.wait_for_selector("text=Rung 0 times")
        everything.rung = 7
        await seen.page.wait_for_selector("text=Rung 7 times")
        await seen.page.keyboard.type("gs")
        await seen.page.wait_for_url("**/system")


async def test_a_schedule_leads_to_its_job_and_back(
    app: Soniq, browser: Browser, paths: list[str]
) -> None:
    async with served(app) as base, window(browser, base, java_script_enabled=False) as seen:
        await seen.go("/pages/schedules")
        await seen.page.click("main a:text-is('nightly')")
        await seen.page.click("main dd a")
        await seen.page.wait_for_selector("h1.job-head")
        await seen.page.click("main dd a:text-is('nightly')")
        await seen.page.wait_for_url("**/pages/schedules?name=nightly")
