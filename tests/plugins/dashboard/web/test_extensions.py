"""What plugins add to the dashboard: pages, panels, links, alerts; and that none of it does harm."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from markupsafe import Markup
from starlette.exceptions import HTTPException

from soniq import InvalidOption, JobDetail, Retry, Soniq, hookimpl
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
    dashboard_pages,
)
from soniq_dashboard.web import PERMISSIONS, anyone, extensions
from soniq_dashboard.web.view import BadRequest
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.conftest import Browse
from tests.plugins.dashboard.web.test_pages import HOSTILE, LISTS, checked
from tests.support.jobs import run_job

Content = Callable[[Visit], Any]


class Tower:
    """A plugin that adds something everywhere; what its page shows is given."""

    name = "tower"

    def __init__(self, content: Content | None = None, text: str = "bells", **page: Any) -> None:
        self.content = content or (lambda visit: [Text(text)])
        self.page = {"title": text[:60], **page}
        self.text = text
        self.jobs: list[JobDetail] = []

    @hookimpl(optionalhook=True)
    def dashboard_pages(self) -> Sequence[Page]:
        return [Page(render=self.content, **self.page)]

    @hookimpl(optionalhook=True)
    def dashboard_job_panels(self, job: JobDetail) -> Sequence[Panel]:
        self.jobs.append(job)
        return [self.panel(), Panel("Inside", [Text("the clapper")], "see_arguments")]

    @hookimpl(optionalhook=True)
    async def dashboard_queue_panels(self, queue: str) -> Sequence[Panel]:
        await asyncio.sleep(0)
        return [Panel(f"At {queue}"[:60], [Text(self.text)])]

    @hookimpl(optionalhook=True)
    def dashboard_system_panels(self) -> Sequence[Panel]:
        return [self.panel()]

    @hookimpl(optionalhook=True)
    def dashboard_links(self, job: JobDetail) -> Sequence[Link]:
        return [
            Link(self.text, "https://traces.example/t", {"job": job["job_id"], "q": self.text}),
            Link(self.text, "/jobs", {"q": self.text}),
        ]

    @hookimpl(optionalhook=True)
    async def dashboard_alerts(self, app: Soniq) -> Sequence[Alert]:
        return [Alert(self.text, "/pages/tower"), Alert("It burns", "/system", level="bad")]

    def panel(self) -> Panel:
        return Panel(self.text[:60], [Facts({self.text: self.text}), Text(self.text, code=True)])


@pytest.fixture
def make(make_app: MakeApp) -> Callable[..., Soniq]:
    """Makes an app with the dashboard and these plugins."""
    return lambda *plugins: make_app(plugins=[Dashboard(), *plugins], unknown_jobs="allow")


# --- pages ---------------------------------------------------------------------------------------


async def test_a_plugin_brings_a_page_that_is_in_the_menu(
    make: Callable[..., Soniq], browse: Browse
) -> None:
    def content(visit: Visit) -> Sequence[Block]:
        at = datetime.now(UTC) + timedelta(minutes=10)
        return [
            Text("North and south."),
            Facts({"Bells": 12_345, "Oiled": True, "Weight": Size(2_000_000), "Rope": None}),
            Table(
                ["Bell", "Rings", "Takes", "Share"],
                [(Link("big", "/jobs", {"q": "tag:big"}), at, timedelta(minutes=3), 0.125)],
                "The bells",
            ),
            Table(["Bell"], [], empty="None is cracked."),
            Text('{"a": 1}', code=True),
            Link("More", "/pages/tower", {"after": "big"}),
        ]

    client = browse(make(Tower(content, title="Bells & ropes")))
    answer = await client.get("/pages/tower")
    page = checked(answer)
    for text in (
        "Bells & ropes", "North and south.", "12,345", "yes", "1.9 MB", "3 m 0 s", "0.125",
        "The bells", "None is cracked.", '{"a": 1}', "This page is of the plugin tower.",
    ):  # fmt: skip
        assert text in page.text, text
    assert re.search(r"in 9 m 5\d s", page.text)
    assert {"/jobs?q=tag%3Abig", "/pages/tower?after=big"} <= page.attributes("href")
    current = [each["href"] for tag, each in page.elements if each.get("aria-current") == "page"]
    assert current == ["/pages/tower"]
    for path in LISTS:
        assert "/pages/tower" in checked(await client.get(path)).attributes("href")


async def test_what_a_page_is_asked_with_is_in_its_address(
    make: Callable[..., Soniq], browse: Browse
) -> None:
    async def content(visit: Visit) -> Sequence[Block]:
        assert visit.app is app
        return [Text(f"{dict(visit.parameters)} {sorted(visit.may)}")]

    app = make(Tower(content))
    client = browse(app, anyone("retry"))
    page = checked(await client.get("/pages/tower", params={"after": "<b>", "n": "2"}))
    assert "{'after': '<b>', 'n': '2'} ['retry']" in page.text
    for given in ({"a": "x" * 501}, {"a": "\x00"}, {f"p{n}": "" for n in range(21)}):
        checked(await client.get("/pages/tower", params=given), 400)


async def test_a_plugin_has_several_pages_and_so_has_the_application(
    make: Callable[..., Soniq], browse: Browse
) -> None:
    class Many:
        name = "my plugin"

        @hookimpl(optionalhook=True)
        def dashboard_pages(self) -> Sequence[Page]:
            return [
                Page(title=f"Page {each}", path=each, render=lambda visit: [])
                for each in ("", "a", "a/b")
            ]

    app = make(Many())

    @app.hook(dashboard_pages)
    def ours() -> Sequence[Page]:
        return [Page(title="Ours", render=lambda visit: [Text("of the shop")])]

    client = browse(app, root_path="/ops")
    for path, text in (("", "Page"), ("/a", "Page a"), ("/a/b", "Page a/b")):
        page = checked(await client.get(f"/pages/my%20plugin{path}"))
        assert text in page.text
        current = [each["href"] for _, each in page.elements if each.get("aria-current")]
        assert current[-1] == f"/ops/pages/my%20plugin{path}"
    assert "of the shop" in checked(await client.get("/pages/application")).text
    checked(await client.get("/pages/my%20plugin/c"), 404)
    checked(await client.get("/pages/nobody"), 404)


async def test_a_page_is_hidden_from_who_may_not_see_it_and_not_made_for_them(
    make: Callable[..., Soniq], browse: Browse
) -> None:
    asked: list[Visit] = []

    def content(visit: Visit) -> Sequence[Block]:
        asked.append(visit)
        return []

    app = make(Tower(content, permission="see_arguments"))
    for may in (anyone(), anyone("retry", "cancel", "delete", "pause", "bulk")):
        client = browse(app, may)
        checked(await client.get("/pages/tower"), 403)
        assert "/pages/tower" not in checked(await client.get("/jobs")).attributes("href")
    assert asked == []
    checked(await browse(app, anyone("see_arguments")).get("/pages/tower"))
    assert (await browse(app, lambda request: None).get("/pages/tower")).status_code == 403
    assert len(asked) == 1


async def test_many_who_look_have_a_page_made_once(
    make: Callable[..., Soniq], browse: Browse
) -> None:
    made = 0

    async def content(visit: Visit) -> Sequence[Block]:
        nonlocal made
        made += 1
        await asyncio.sleep(0.05)
        return []

    client = browse(make(Tower(content)))
    await client.get("/")
    await asyncio.gather(*(client.get("/pages/tower") for _ in range(10)))
    assert made == 1


@pytest.mark.parametrize(
    "given",
    [
        {"title": ""}, {"title": " "}, {"title": "x" * 61}, {"title": 7}, {"path": "/a"}, {"path": "A"},
        {"path": "a//b"}, {"path": "../a"}, {"path": None}, {"permission": "view"},
    ],
)  # fmt: skip
def test_a_page_that_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        Page(**{"title": "Bells", "render": lambda visit: [], **given})


@pytest.mark.parametrize(
    "to", ["javascript:alert(1)", "//evil.test", "jobs", "", "data:text/html,x", "https:///a", "http:b", 7]
)  # fmt: skip
def test_a_link_leads_to_pages_and_web_sites_only(to: str) -> None:
    with pytest.raises(InvalidOption):
        Link("here", to)
    with pytest.raises(InvalidOption):
        Alert("here", to)


def test_an_alert_is_bad_or_a_warning() -> None:
    with pytest.raises(InvalidOption):
        Alert("here", "/", level="awful")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption):
        Panel("Bells", [], "view")  # type: ignore[arg-type]


# --- parts of other pages ------------------------------------------------------------------------


async def test_a_plugin_adds_to_the_pages_of_the_dashboard(
    make: Callable[..., Soniq], browse: Browse
) -> None:
    app = make(Tower())
    job_id = await app.enqueue("pay", args={}, queue="money")
    client = browse(app, root_path="/ops")
    job = (await client.get(f"/jobs/{job_id}")).text
    assert "the clapper" in job
    assert f'href="https://traces.example/t?job={job_id}&amp;q=bells" rel="external' in job
    assert 'href="/ops/jobs?q=bells"' in job
    assert "At money" in checked(await client.get("/queues", params={"queue": "money"})).text
    assert "At money" not in checked(await client.get("/queues")).text
    assert "bells" in checked(await client.get("/system")).text

    overview = (await client.get("/")).text
    alerts = re.findall(r'class="alert alert-(\w+)" href="([^"]+)"', overview)
    assert [level for level, _ in alerts] == sorted(level for level, _ in alerts)
    assert {("bad", "/ops/system"), ("warn", "/ops/pages/tower")} <= set(alerts)


async def test_a_panel_is_hidden_from_who_may_not_see_it(
    make: Callable[..., Soniq], browse: Browse
) -> None:
    app = make(Tower())
    job_id = await app.enqueue("pay", args={})
    page = (await browse(app, anyone()).get(f"/jobs/{job_id}")).text
    assert "bells" in page
    assert "the clapper" not in page


async def test_plugins_get_of_a_job_what_its_user_may_see(
    make: Callable[..., Soniq], browse: Browse
) -> None:
    app = make(tower := Tower())

    @app.job(name="pay", max_attempts=1)
    async def pay(customer: int, password: str) -> None:
        raise ValueError(f"no account of customer {customer}")

    job_id = (await run_job(app, pay, 7, password="hunter2", headers={"tenant": "acme"}))["job_id"]
    for may, sees in ((anyone("see_arguments"), True), (anyone(), False)):
        await browse(app, may).get(f"/jobs/{job_id}")
        job = tower.jobs[-1]
        assert job["error"]["type"] == "ValueError"  # type: ignore[index]
        assert ("no account of customer 7" in repr(job), "acme" in repr(job)) == (sees, sees)
        assert "hunter2" not in repr(job)
        assert (job["args"] is not None) is sees


async def test_without_the_dashboard_such_a_plugin_works(make_app: MakeApp, browse: Browse) -> None:
    app = make_app(plugins=[Tower()])
    page = checked(await browse(app).get("/"))  # served, but not a plugin of the app
    assert "/pages/tower" not in page.attributes("href")
    checked(await browse(app).get("/pages/tower"), 404)
    checked(await browse(app).get("/system"))


# --- what goes wrong -----------------------------------------------------------------------------


def raises(error: BaseException) -> Content:
    def content(visit: Visit) -> Any:
        raise error

    return content


def raises_later(error: BaseException) -> Content:
    async def content(visit: Visit) -> Any:
        await asyncio.sleep(0)
        raise error

    return content


class Unwritable:
    def __str__(self) -> str:
        raise LookupError("postgresql://me:secret@host")


SECRET = "postgresql://me:secret@host"
WRONG: list[Content] = [
    *(
        how(error)
        for how in (raises, raises_later)
        for error in (
            RuntimeError(SECRET), HTTPException(302, headers={"Location": "https://evil.test"}),
            BadRequest(SECRET), SystemExit(3), asyncio.CancelledError(SECRET), GeneratorExit(),
            TimeoutError(SECRET), RecursionError(SECRET), Retry(1),
            ExceptionGroup("two", [ValueError(SECRET), OSError(SECRET)]),
        )
    ),
    raises(StopIteration(SECRET)),
    *(
        lambda visit, given=given: given
        for given in (
            None, 7, "text", b"bytes", {"a": 1}, [7], ["text"], [[Text("a")]], [Page],
            [Text(Unwritable())], [Facts({"a": Unwritable()})], [Facts({"": 1})], [Facts([1])],  # type: ignore[arg-type, dict-item]
            [Table([], [])], [Table(["a"], [("b", "c")])], [Table(["a"], [7])], [Table(["a"], 7)],  # type: ignore[arg-type, list-item]
            [Table([""], [])], [Table(["c"] * 21, [])], [Table(["a"], [(datetime.now(),)])],
            [Facts({"a": 10**5_000})], [Facts({"a": Size("x")})], [Link("a", "/" + "x" * 3_000)],  # type: ignore[arg-type]
            [Link("a", "/a", 7)],  # type: ignore[arg-type]
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("content", WRONG)
async def test_a_page_that_fails_is_a_box_with_the_name_of_its_plugin(
    make: Callable[..., Soniq],
    browse: Browse,
    caplog: pytest.LogCaptureFixture,
    content: Content,
) -> None:
    client = browse(make(Tower(content)))
    page = checked(await client.get("/pages/tower"))
    (number,) = re.findall(
        r"The plugin tower: page /pages/tower failed \(([0-9a-f]{8}) in the log\)", page.text
    )
    assert "secret" not in page.text
    assert caplog.text.count(number) == 1

    again = checked(await client.get("/pages/tower", params={"again": "1"}))
    assert number in again.text  # as it is in the log, which is not told again
    assert caplog.text.count("page /pages/tower of tower failed") == 1
    checked(await client.get("/"))


async def hangs(visit: Visit) -> Any:
    await asyncio.Event().wait()


async def hangs_on(visit: Visit) -> Any:
    for _ in range(20):
        try:
            await asyncio.sleep(0.2)
        except asyncio.CancelledError:
            continue


def blocks_the_loop(visit: Visit) -> Any:
    time.sleep(0.2)
    return [Text("at last")]


@pytest.mark.parametrize("content", [hangs, hangs_on, blocks_the_loop])
async def test_a_page_that_takes_too_long_is_a_box(
    make: Callable[..., Soniq],
    browse: Browse,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    content: Content,
) -> None:
    monkeypatch.setattr(extensions, "LIMIT_OF_PAGE", 0.1)
    client = browse(make(Tower(content)))
    await client.get("/")
    began = time.monotonic()
    page = checked(await client.get("/pages/tower"))
    assert time.monotonic() - began < 1
    assert "The plugin tower: page /pages/tower took longer than 0.1 s" in page.text
    assert caplog.text.count("page /pages/tower of tower took longer than 0.1 s") == 1


def everywhere(work: Callable[[], Any]) -> object:
    """A plugin that does this in each of its hooks."""

    class Broken:
        name = "broken"

        @hookimpl(optionalhook=True)
        def dashboard_pages(self) -> Any:
            return work()

        dashboard_job_panels = dashboard_queue_panels = dashboard_pages
        dashboard_system_panels = dashboard_links = dashboard_alerts = dashboard_pages

    return Broken()


async def waits() -> None:
    await asyncio.Event().wait()


def fails() -> None:
    raise SystemExit(SECRET)


@pytest.mark.parametrize(
    "work",
    [
        fails, waits, lambda: 7, lambda: [7], lambda: ["text"], lambda: [Text("a")],
        lambda: [Panel("a", [7])] * 50, lambda: [Page(title="a", render=hangs)] * 2,  # type: ignore[list-item]
    ],
)  # fmt: skip
async def test_what_fails_is_a_box_beside_what_others_add(
    make: Callable[..., Soniq],
    browse: Browse,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[], Any],
) -> None:
    monkeypatch.setattr(extensions, "LIMIT", 0.5)
    app = make(everywhere(work), Tower())
    job_id = await app.enqueue("pay", args={}, queue="money")
    client = browse(app)
    for path, hook, theirs in (
        ("/", "dashboard_pages", "/pages/tower"),
        ("/", "dashboard_alerts", "It burns"),
        (f"/jobs/{job_id}", "dashboard_job_panels", "the clapper"),
        (f"/jobs/{job_id}", "dashboard_links", "traces.example"),
        ("/queues?queue=money", "dashboard_queue_panels", "At money"),
        ("/system", "dashboard_system_panels", "bells"),
    ):
        answer = await client.get(path)
        assert answer.status_code == 200
        told = rf"The plugin broken: {hook} (failed|took longer than 0.5 s) \([0-9a-f]{{8}} in"
        assert re.search(told, answer.text), (path, hook)
        assert theirs in answer.text
        assert "secret" not in answer.text
        assert len(re.findall(rf"WARNING .*{hook} of broken ", caplog.text)) == 1


async def test_the_log_is_told_again_after_an_hour(
    make: Callable[..., Soniq],
    browse: Browse,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = browse(make(Tower(raises(RuntimeError("cracked")))))
    monkeypatch.setattr(extensions, "AGAIN", 0.0)
    for n in range(3):
        await client.get("/pages/tower", params={"n": n})
    assert caplog.text.count("page /pages/tower of tower failed") == 3
    assert "cracked" in caplog.text


async def test_what_is_endless_is_cut(make: Callable[..., Soniq], browse: Browse) -> None:
    def rows() -> Iterator[tuple[str]]:
        while True:
            yield ("row",)

    def content(visit: Visit) -> Iterator[Block]:
        yield Table(["Row"], rows())
        while True:
            yield Text("x" * 9_000)

    answer = await browse(make(Tower(content))).get("/pages/tower")
    assert "There are more than these 500." in checked(answer).text
    assert answer.text.count("<p>xxx") == 49
    assert len(answer.text) < 300_000


# --- hostile values ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
async def test_whatever_plugins_give_is_text(
    make: Callable[..., Soniq], browse: Browse, text: str
) -> None:
    def content(visit: Visit) -> Sequence[Block]:
        kinds: list[str] = [text, Markup(text)]
        return [
            each
            for given in kinds
            for each in (
                Text(given),
                Text(given, code=True),
                Facts({given: given, f"{given}!": Link(given, "/jobs", {given: given})}),
                Table([given, "b"], [(given, Link(given, "/" + given))], title=given),
                Table(["a"], [], title=given, empty=given),
                Link(given, "https://traces.example/" + given),
            )
        ]

    app = make(tower := Tower(content, text))
    tower.page["title"] = Markup(text)
    job_id = await app.enqueue("pay", args={})
    client = browse(app, anyone(*PERMISSIONS))
    shown = ""
    for path in ("/", "/pages/tower", f"/jobs/{job_id}", "/queues?queue=default", "/system"):
        answer = await client.get(path)
        own = re.sub(
            r'href="https://traces\.example/[^"<>]*" rel="external', 'href="/" rel="', answer.text
        )
        answer._content = own.encode()
        answer._text = own
        shown += checked(answer).text
    if text.isprintable():
        assert shown.count(text) >= 30
    assert not {"\u202e", "\x1b"} & set(shown)


async def test_lone_surrogates_are_shown(make: Callable[..., Soniq], browse: Browse) -> None:
    page = checked(await browse(make(Tower(lambda visit: [Text("a\ud800b")]))).get("/pages/tower"))
    assert r"a\ud800b" in page.text
