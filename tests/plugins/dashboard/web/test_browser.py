"""The dashboard in a real browser."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Dialog

from soniq import Search, Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.operations import ACTS, begin, frozen, time_of
from soniq_dashboard.running import run_batch
from soniq_dashboard.web import anyone, shared
from soniq_dashboard.web.serve import listening
from tests.conftest import MakeApp, apps
from tests.plugins.dashboard.web.browser import AXE, examine, opened, served, window
from tests.plugins.dashboard.web.test_pages import LISTS
from tests.support.jobs import lose_a_worker, status_of, working

# In one event loop, and so in one browser, which takes longer to start than most tests do
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with opened() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def make_app(database_url: str, schema: str) -> AsyncIterator[MakeApp]:
    async with apps(database_url, schema) as make:
        yield make


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    return make_app(unknown_jobs="allow", plugins=[Dashboard()])


@pytest_asyncio.fixture(loop_scope="module")
async def paths(app: Soniq) -> list[str]:
    """The pages, with something on each."""

    @app.job(name="mail.send", queue="mail", max_attempts=1, tags=["a-long-tag-of-a-customer"])
    async def send(to: str) -> str:
        if to == "nobody":
            raise ValueError(f"no address of {to}: " + "a-word-that-is-long" * 20)
        return to

    await app.start()
    ids = [await app.enqueue(send, to=each) for each in ("eva", "nobody", "nobody")]
    await app.run_worker(run_once=True)
    ids.append(await app.enqueue(send, to="later" * 30, delay=600))
    await app.enqueue("unheard-of.name-" + "x" * 100, args={}, queue="a-queue-" + "q" * 80)
    await app.pause("mail")
    await app.retry(ids[1], by="eva-" + "e" * 80)
    await app.run_worker(run_once=True)
    at = await time_of(app)
    for action in ACTS:
        search = frozen(action, Search(queues=["mail"]), at)
        made = await begin(
            app, action, search, at, secret=False, by="eva", reason="r" * 80, found=9, exact=True
        )
    await run_batch(app)
    running = await app.enqueue(send, to="who waits")
    async with app.connection() as connection:
        schema = app.settings.schema
        lost = await lose_a_worker(connection, schema, "host-" + "h" * 60, **{running: "mail.send"})
        await connection.execute(
            f"update {schema}.job set status = 'running', started_at = now() - interval '1 hour',"
            " worker_id = $2::text::uuid, progress = $3::text::jsonb where id = $1::text::uuid",
            running,
            lost,
            '{"fraction": 0.4, "step": "' + "s" * 150 + '"}',
        )
    return [
        *LISTS,
        "/names/one?name=mail.send",
        f"/operations/{made}",
        *(f"/operations/new/{each}?q=queue:mail" for each in ACTS),
        "/operations/new/retry?q=nonsense:1",
        "/jobs?q=status:dead+nonsense:1",
        "/nowhere",
        f"/workers/{lost}",
        *(f"/jobs/{each}" for each in ids),
    ]


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
async def test_each_page_is_quiet_fits_and_can_be_read_by_everybody(
    app: Soniq, browser: Browser, paths: list[str], width: int, scheme: str
) -> None:
    async with served(app) as base:
        await examine(browser, base, paths, width=width, scheme=scheme)


async def test_a_page_shows_what_is_new_by_itself(app: Soniq, browser: Browser) -> None:
    async with served(app) as base, window(browser, base) as seen:
        await seen.go("/queues")
        await seen.page.focus(".find input")
        await app.enqueue("later", args={}, queue="brand-new")
        await seen.page.wait_for_selector("text=brand-new")
        assert await seen.page.evaluate("document.activeElement.name") == "q"


async def test_what_has_not_changed_is_not_sent_again(app: Soniq, browser: Browser) -> None:
    await app.enqueue("there-already")
    async with served(app) as base, window(browser, base) as seen:
        await seen.go("/jobs")
        ago = seen.page.locator("time[data-ago]").first
        first = await ago.text_content()
        async with seen.page.expect_response(lambda answer: answer.status == 304):
            pass
        await seen.page.wait_for_function(
            "(first) => document.querySelector('time[data-ago]').textContent !== first", arg=first
        )
        assert re.fullmatch(r"\d+ s ago", await ago.text_content() or "")
        await app.enqueue("brand-new")
        await seen.page.wait_for_selector("text=brand-new")


async def test_a_job_that_ends_while_it_is_looked_at_says_so_everywhere(
    app: Soniq, browser: Browser
) -> None:
    @app.job(name="work", max_attempts=1)
    async def work() -> None:
        raise ValueError("once more")

    await app.start()
    job_id = await app.enqueue(work)
    async with served(app) as base, window(browser, base) as seen:
        await seen.go(f"/jobs/{job_id}")
        assert await seen.page.text_content(".job-head .status") == "queued"
        await app.run_worker(run_once=True)
        await seen.page.wait_for_selector("text=Finished")
        assert await seen.page.text_content(".job-head .status") == "dead"
        assert await seen.page.is_visible("[data-copy]")


async def test_what_was_opened_and_what_ticks_all_stay_when_a_page_looks_again(
    app: Soniq, browser: Browser
) -> None:
    await app.enqueue("first", delay=600)
    async with served(app) as base, window(browser, base) as seen:
        await seen.go("/jobs")
        await app.enqueue("brand-new", delay=600)
        await seen.page.wait_for_selector("text=brand-new")
        assert await seen.page.is_visible("[data-all]")
        await seen.page.click("[data-action=retry]")  # asks nothing, and sends nothing
        assert await seen.page.text_content(".said") == "Nothing is ticked"

        async with working(app):
            await seen.go("/workers")
            await seen.page.click("[data-region=workers] .main-link")
            await seen.page.click("summary >> text=It knows")
            await asyncio.sleep(4)  # longer than between two looks
            assert await seen.page.is_visible("details[open]")


async def test_on_a_phone_the_menu_shows_where_one_is(app: Soniq, browser: Browser) -> None:
    async with served(app) as base, window(browser, base, width=390) as seen:
        await seen.go("/audit")
        box = await seen.page.locator("nav a[aria-current]").first.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


async def test_what_somebody_writes_into_is_not_replaced(app: Soniq, browser: Browser) -> None:
    job_id = await app.enqueue("later", args={}, delay=600)
    async with served(app) as base, window(browser, base) as seen:
        await seen.go(f"/jobs/{job_id}")
        await seen.page.fill("input[name=reason]", "not need")
        await app.retry(job_id, queue="another")
        await asyncio.sleep(3)  # longer than between two looks
        assert await seen.page.input_value("input[name=reason]") == "not need"
        await seen.page.evaluate("document.activeElement.blur()")
        await seen.page.wait_for_selector("text=another")


async def test_what_cannot_be_undone_is_asked_for(app: Soniq, browser: Browser) -> None:
    job_id = await app.enqueue("later", args={}, delay=600)
    asked: list[str] = []

    async def refuse(dialog: Dialog) -> None:
        asked.append(dialog.message)
        await dialog.dismiss()

    async def accept(dialog: Dialog) -> None:
        await dialog.accept()

    async with served(app) as base, window(browser, base) as seen:
        await seen.go(f"/jobs/{job_id}")
        seen.page.once("dialog", refuse)
        await seen.page.click("[data-action=delete]")
        assert asked == ["Delete this job for good?"]
        assert (await status_of(app, job_id))["status"] == "queued"

        seen.page.once("dialog", accept)
        await seen.page.click("[data-action=delete]")
        await seen.page.wait_for_url("**/jobs")
        assert await app.get_job_status(job_id) is None


async def test_those_that_are_ticked_stay_and_are_acted_on(app: Soniq, browser: Browser) -> None:
    await app.start()
    ids = await app.enqueue_many("later", [{"n": n} for n in range(3)], delay=600)

    async def accept(dialog: Dialog) -> None:
        assert dialog.message == "Cancel all that are ticked?"
        await dialog.accept()

    async with served(app) as base, window(browser, base) as seen:
        await seen.go("/jobs")
        await seen.page.check(f"[value^='{ids[0]}']")
        await app.enqueue("later", args={}, queue="meanwhile")
        await asyncio.sleep(6)  # longer than between two looks
        assert await seen.page.is_checked(f"[value^='{ids[0]}']")
        await seen.page.check("[data-all]")
        await seen.page.uncheck(f"[value^='{ids[1]}']")
        seen.page.once("dialog", accept)
        await seen.page.click("[data-action=cancel]")
        await seen.page.wait_for_selector("text=2 jobs were cancelled")
        await seen.page.click("aside >> text=cancelled")  # counted once the page was there
        await seen.page.wait_for_url("**/jobs?q=status%3Acancelled")
        assert await seen.page.locator("[data-row]").count() == 2
    found = [(await status_of(app, each))["status"] for each in ids]
    assert found == ["cancelled", "queued", "cancelled"]


async def test_a_reason_that_is_written_stays_and_is_that_of_those_that_are_ticked(
    app: Soniq, browser: Browser
) -> None:
    await app.start()
    (job_id,) = await app.enqueue_many("later", [{"n": 1}], delay=600)
    async with served(app) as base, window(browser, base) as seen:
        await seen.go("/jobs")
        await seen.page.fill("[name=reason]", "not needed")
        await seen.page.click("h1")
        await app.enqueue("later", delay=600)
        await seen.page.wait_for_selector("text=1 new")
        assert await seen.page.input_value("[name=reason]") == "not needed"
        await seen.page.check(f"[value^='{job_id}']")
        await seen.page.press("[name=reason]", "Enter")
        assert (await status_of(app, job_id))["status"] == "queued"
        seen.page.once("dialog", lambda dialog: dialog.accept())
        await seen.page.click("[data-action=cancel]")
        await seen.page.wait_for_selector("text=1 job was cancelled")
    status = await status_of(app, job_id)
    assert status["error"] is not None
    assert (status["status"], status["error"]["message"]) == ("cancelled", "not needed")


async def test_what_is_new_is_offered_where_something_is_ticked(
    app: Soniq, browser: Browser
) -> None:
    await app.start()
    (ticked,) = await app.enqueue_many("later", [{"n": 1}], delay=600)
    async with served(app) as base, window(browser, base) as seen:
        await seen.go("/jobs")
        await seen.page.check(f"[value^='{ticked}']")
        await app.enqueue_many("later", [{"n": n} for n in range(2)], delay=600)
        await seen.page.wait_for_selector("text=2 new")
        await app.enqueue("later", delay=600)
        await seen.page.wait_for_selector("text=3 new")
        assert await seen.page.locator("[data-row]").count() == 1
        await seen.page.click("text=3 new")
        await seen.page.wait_for_selector("[data-row] >> nth=3")
        assert await seen.page.locator(".fresh, [name=id]:checked").count() == 0


async def test_without_a_script_links_and_forms_work(app: Soniq, browser: Browser) -> None:
    job_id = await app.enqueue("later", args={}, queue="mail", delay=600)
    async with served(app) as base, window(browser, base, java_script_enabled=False) as seen:
        await seen.go("/queues")
        await seen.page.click("text=Pause mail")
        await seen.page.wait_for_selector("text=Resume mail")
        assert [*(await app.overview())["paused"]] == ["mail"]
        await seen.go("/jobs")
        await seen.page.click("text=Counts by status, job and queue")
        await seen.page.click("main >> text=queued")
        await seen.page.wait_for_url("**/jobs?q=status%3Aqueued")
        await seen.page.click("text=Filters")
        assert await seen.page.input_value("[name=status]") == "queued"
        await seen.page.select_option("[name=created]", "1h")
        await seen.page.fill(".filters [name=queue]", "mail, other")
        await seen.page.click(".filters button")
        await seen.page.wait_for_url("**/jobs?q=status%3Aqueued+queue%3Amail%2Cother+created%3A1h")
        assert await seen.page.locator("tbody tr").count() == 1
        await seen.page.fill(".find input", job_id)
        await seen.page.press(".find input", "Enter")
        await seen.page.wait_for_url(f"**/jobs/{job_id}")
        await seen.page.click("[data-action=run]")
        await seen.page.wait_for_url(f"**/jobs/{job_id}")
        assert (await app.backlog())["mail"]["waiting"] == 1
        await seen.page.click("[data-action=cancel]")
        await seen.page.wait_for_selector(".status-cancelled")


async def test_keys_lead_to_pages_and_through_rows(app: Soniq, browser: Browser) -> None:
    await app.start()
    ids = await app.enqueue_many("later", [{"n": n} for n in range(3)])
    async with served(app) as base, window(browser, base) as seen:
        await seen.go("/")
        await seen.page.keyboard.type("gj")
        await seen.page.wait_for_url("**/jobs")
        await seen.page.keyboard.type("jj")
        await seen.page.keyboard.press("Enter")
        await seen.page.wait_for_url(f"**/jobs/{ids[1]}")
        await seen.page.keyboard.type("/gq")
        assert await seen.page.input_value("input[name=q]") == "gq"


async def test_keys_are_listed_and_can_be_switched_off_and_on_again(
    app: Soniq, browser: Browser
) -> None:
    async with served(app) as base, window(browser, base, bypass_csp=True, width=390) as seen:
        await seen.go("/jobs")
        await seen.page.keyboard.type("?")
        await seen.page.wait_for_selector("dialog[open] >> text=Overview")
        await seen.page.evaluate(AXE)
        found = await seen.page.evaluate("axe.run().then(each => each.violations)")
        assert [each["id"] for each in found] == []
        await seen.page.keyboard.type("gq")  # what lies over the page has the keys
        await seen.page.uncheck("input[data-keys]")
        await seen.page.keyboard.press("Escape")

        await seen.go("/workers")
        await seen.page.keyboard.type("gj/?")
        assert await seen.page.evaluate("document.activeElement.tagName") == "BODY"
        assert await seen.page.locator("dialog[open]").count() == 0
        await seen.page.click("[data-switch=help]")
        assert not await seen.page.is_checked("input[data-keys]")
        assert not await seen.scrolls_sideways()
        await seen.page.check("input[data-keys]")
        await seen.page.click("[data-switch=close]")
        await seen.page.keyboard.type("gj")
        await seen.page.wait_for_url("**/jobs")


async def test_keys_retry_and_cancel_the_job_that_is_shown(app: Soniq, browser: Browser) -> None:
    job_id = await app.enqueue("later", delay=600)
    async with served(app) as base, window(browser, base) as seen:
        await seen.go(f"/jobs/{job_id}")
        seen.page.on("dialog", lambda dialog: dialog.accept())
        await seen.page.keyboard.press("r")
        assert await seen.page.inner_text(".said") == "Retry: it has yet to run"
        await seen.page.keyboard.press("c")
        await seen.page.keyboard.type("not needed")
        await seen.page.keyboard.press("Enter")
        await seen.page.wait_for_selector(".job-head .status-cancelled")
        await seen.page.keyboard.press("r")
        await seen.page.wait_for_selector(".job-head .status-queued")


async def test_the_numbers_of_a_chart_fit_a_phone(app: Soniq, browser: Browser) -> None:
    @app.job(name="work")
    async def work() -> None: ...

    await app.start()
    await app.enqueue(work)
    await app.run_worker(run_once=True)
    async with served(app) as base, window(browser, base, width=390) as seen:
        await seen.go("/")
        summaries = seen.page.locator(".numbers summary")
        for each in await summaries.all():
            await each.click()
        assert await seen.page.locator(".numbers tbody tr").count() >= 5
        assert await seen.page.evaluate("document.documentElement.scrollWidth") <= 390


async def test_how_it_looks_is_remembered(app: Soniq, browser: Browser) -> None:
    async with served(app) as base, window(browser, base, color_scheme="light") as seen:
        await seen.go("/")
        await seen.page.click("[data-switch=theme]")
        await seen.page.click("[data-switch=zone]")
        await seen.go("/jobs")
        assert await seen.page.get_attribute("html", "data-theme") == "dark"
        assert await seen.page.inner_text("[data-switch=zone]") == "Local"


async def test_lists_are_roomy_or_compact_as_one_has_chosen(app: Soniq, browser: Browser) -> None:
    await app.start()
    await app.enqueue_many("work", [{}] * 5, delay=60)
    async with served(app) as base, window(browser, base) as seen:
        await seen.go("/jobs")
        height = "document.querySelector('tbody tr').offsetHeight"
        roomy = await seen.page.evaluate(height)
        await seen.page.click("[data-switch=density]")
        assert await seen.page.evaluate(height) < roomy * 0.8
        await seen.go("/jobs")
        assert await seen.page.evaluate(height) < roomy * 0.8
        await seen.page.click("[data-switch=density]")
        assert await seen.page.evaluate(height) == roomy


async def test_the_search_box_offers_the_words_that_it_knows(app: Soniq, browser: Browser) -> None:
    await app.enqueue("mail.send", queue="mail", delay=60)
    async with served(app) as base, window(browser, base) as seen:
        await seen.go("/jobs")
        await seen.page.type(".find input", "status:dead qu")
        offered = (
            "[...document.querySelector('.find').querySelectorAll('option')].map((o) => o.value)"
        )
        await seen.page.wait_for_function(f"() => {offered}.length == 2")
        assert await seen.page.evaluate(offered) == ["status:dead queue:", "status:dead queue:mail"]


async def test_attempts_are_a_dense_list_on_a_phone(app: Soniq, browser: Browser) -> None:
    @app.job(name="work", max_attempts=8, retry=[0])
    async def work() -> None:
        raise ValueError("once more")

    await app.start()
    job_id = await app.enqueue(work)
    await app.run_worker(run_once=True)
    async with served(app) as base, window(browser, base, width=390) as seen:
        await seen.go(f"/jobs/{job_id}")
        rows = seen.page.locator(".dense tbody tr")
        assert await rows.count() == 8
        assert (
            max([box["height"] for each in await rows.all() if (box := await each.bounding_box())])
            < 90
        )


async def test_times_below_a_chart_are_round_and_in_the_zone_of_who_looks(
    app: Soniq, browser: Browser
) -> None:
    @app.job(name="work")
    async def work() -> None: ...

    await app.start()
    await app.enqueue(work)
    await app.run_worker(run_once=True)
    async with served(app) as base, window(browser, base) as seen:
        await seen.go("/")
        times = "[...document.querySelectorAll('.axis')[0].querySelectorAll('text')].map((t) => t.textContent)"
        utc = await seen.page.evaluate(times)
        assert len(utc) >= 5
        assert all(re.fullmatch(r"\d\d:\d0", each) for each in utc)
        await seen.page.click("[data-switch=zone]")
        local = await seen.page.evaluate(times)
        assert all(re.fullmatch(r"\d\d:\d\d", each) for each in local)
        await seen.page.click("[data-switch=zone]")
        assert await seen.page.evaluate(times) == utc


async def test_a_chart_that_is_pointed_at_tells_the_numbers_of_that_time(
    app: Soniq, browser: Browser
) -> None:
    @app.job(name="work")
    async def work() -> None: ...

    await app.start()
    await app.enqueue(work)
    await app.run_worker(run_once=True)
    async with served(app) as base, window(browser, base) as seen:
        await seen.go("/")
        plot, done = seen.page.locator(".plot").first, seen.page.locator("[data-points]").first
        title = seen.page.locator("figcaption b").first
        points = (await done.get_attribute("data-points") or "").split("|")
        latest = await done.inner_text()
        assert "1" in points[-3:]
        box = await plot.bounding_box()
        assert box is not None
        for place in (0, points.index("1")):
            x = box["x"] + box["width"] * place / (len(points) - 1)
            await seen.page.mouse.move(min(x, box["x"] + box["width"] - 1), box["y"] + 60)
            assert await done.inner_text() == points[place]
            assert re.fullmatch(r"\w{3} \d+, \d\d:\d\d UTC", await title.inner_text())
        await seen.page.mouse.move(0, 0)
        assert await title.inner_text() == "Jobs a minute"
        assert await done.inner_text() == latest


async def test_a_page_that_nobody_sees_asks_for_nothing_until_it_is_seen_again(
    app: Soniq, browser: Browser
) -> None:
    await app.start()
    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    async with served(app) as base, window(browser, base) as seen:
        asked: list[str] = []
        await seen.page.clock.install()
        await seen.go("/queues")
        await seen.page.evaluate(hide, True)
        seen.page.on("request", lambda request: asked.append(request.url))
        for _ in range(10):
            await seen.page.clock.run_for(10_000)
        assert asked == []
        async with seen.page.expect_request("**/queues"):
            await seen.page.evaluate(hide, False)


async def test_a_server_that_goes_away_is_said_and_found_again(
    app: Soniq, browser: Browser
) -> None:
    async with served(app) as base, window(browser, base) as seen:
        await seen.go("/workers")
        await seen.page.route("**/workers", lambda route: route.abort())
        await seen.page.wait_for_selector("text=Not reached since")
        await seen.page.unroute("**/workers")
        await seen.page.wait_for_selector("text=Live")
        seen.complaints.clear()  # the browser says what it could not reach


async def test_all_that_match_are_changed_while_somebody_looks(
    app: Soniq, browser: Browser
) -> None:
    await app.start()
    await app.enqueue_many("later", [{"n": n} for n in range(120)], queue="idle", delay=600)
    async with served(app) as base, window(browser, base, width=390) as seen:
        await seen.go("/jobs?q=queue:idle")
        await seen.page.click("text=Cancel…")
        await seen.page.fill("input[name=reason]", "not needed")
        await seen.page.click("[data-action=start]")  # the browser asks for the number
        assert "/operations/new/cancel" in seen.page.url
        await seen.page.fill("input[name=typed]", "120")
        await seen.page.click("[data-action=start]")
        await seen.page.wait_for_url("**/operations/1")
        await seen.page.wait_for_selector("text=0 of 120")
        assert not await seen.scrolls_sideways()
        async with working(app, queues=["default"]):
            await seen.page.wait_for_selector(".status-done")  # by itself
        assert await seen.page.locator("[data-action=stop]").count() == 0

        await seen.go("/audit")
        await seen.page.click("text=operation 1")
        await seen.page.wait_for_selector("text=120 of 120")


async def test_an_operation_is_stopped_without_a_script(app: Soniq, browser: Browser) -> None:
    job_id = await app.enqueue("later", args={}, queue="idle", delay=600)
    async with served(app) as base, window(browser, base, java_script_enabled=False) as seen:
        await seen.go("/jobs?q=queue:idle")
        await seen.page.click("text=Delete…")
        await seen.page.click("[data-action=start]")
        await seen.page.wait_for_url("**/operations/1")
        await seen.page.click("[data-action=stop]")
        await seen.page.wait_for_selector("text=stopped by anyone")
    await run_batch(app)
    assert (await status_of(app, job_id))["status"] == "queued"


FOREIGN = """<form method=post action="{target}/queues/pause"><input name=queue value=mail></form>
<script>document.forms[0].submit()</script>"""


@pytest.mark.parametrize("host", ["evil.test", "other.localhost"])
async def test_a_page_of_another_site_can_do_nothing(
    app: Soniq, browser: Browser, host: str
) -> None:
    async with served(app) as base:

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            page = FOREIGN.format(target=base).encode()
            head = (
                f"HTTP/1.1 200 OK\r\nContent-Length: {len(page)}\r\nContent-Type: text/html\r\n\r\n"
            )
            writer.write(head.encode() + page)
            await writer.drain()
            writer.close()

        with listening("127.0.0.1", 0) as listens:
            server = await asyncio.start_server(answer, sock=listens)
            async with server, window(browser, base) as seen:
                port = listens.getsockname()[1]
                await seen.page.goto(f"http://{host}:{port}/")
                await seen.page.wait_for_selector("text=this form was not sent by the dashboard")
                seen.complaints.clear()
    assert [*(await app.overview())["paused"]] == []


async def test_who_may_only_look_sees_nothing_to_press(
    app: Soniq, browser: Browser, paths: list[str]
) -> None:
    async with served(app, anyone()) as base, window(browser, base) as seen:
        for path in [*LISTS, paths[-2]]:
            await seen.go(path)
            assert await seen.page.locator("main form[method]").count() == 0


async def test_windows_that_look_all_the_time_ask_the_database_once(
    app: Soniq, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, overview = 0, app.overview

    async def counted() -> object:
        nonlocal asked
        asked += 1
        return await overview()

    monkeypatch.setattr(app, "overview", counted)
    monkeypatch.setattr(shared, "SHARE", 1.0)  # also where a reading takes long
    async with served(app) as base:
        contexts = [await browser.new_context() for _ in range(6)]
        pages = [await each.new_page() for each in contexts]
        await asyncio.gather(*(each.goto(base + "/queues") for each in pages))
        before, began = asked, asyncio.get_running_loop().time()
        await asyncio.sleep(4)
        seconds = asyncio.get_running_loop().time() - began
        assert 1 <= asked - before <= seconds + 1
        for each in contexts:
            await each.close()
