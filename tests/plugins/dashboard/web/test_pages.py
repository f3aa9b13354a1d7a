"""What the pages show, to whom, and that whatever they show is text."""

import asyncio
import json
import re
from collections.abc import Sequence
from functools import partialmethod
from html.parser import HTMLParser
from typing import Any

import asyncpg
import httpx
import pytest

from soniq import JobContext, Soniq, hookimpl
from soniq.plugin import ResultStore
from soniq_dashboard.web import anyone
from soniq_dashboard.web.app import PAGES
from soniq_dashboard.web.pages.names import ONE as ONE_NAME
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.conftest import Browse, send
from tests.support.jobs import run_job, working
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

LISTS = [each.path for each in PAGES if "{" not in each.path and each is not ONE_NAME]

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "{{7*7}}{% raw %}",
    "javascript:alert(1)",
    "</pre></title><b>bold",
    "turned \u202e around",
    "&lt;script&gt;&amp;",
    "two\nlines\x1b[31m",
    "${alert(1)}`",
]


class Parts(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, *names: str) -> set[str]:
        return {
            value
            for _, attributes in self.elements
            for name, value in attributes.items()
            if name in names and value is not None
        }


ELEMENTS = {
    "html", "head", "meta", "title", "link", "script", "body", "a", "header", "img", "nav", "form",
    "input", "div", "button", "svg", "path", "circle", "main", "h1", "h2", "section", "p", "dl",
    "dt", "dd", "table", "thead", "tr", "th", "tbody", "td", "span", "time", "footer", "ol", "li",
    "b", "aside", "text", "datalist", "option", "figure", "figcaption", "pre", "code", "details", "summary", "rect", "progress", "label", "dialog",
    "kbd", "select",
}  # fmt: skip
"""All that a page is made of."""


def checked(answer: httpx.Response, status: int = 200) -> Parts:
    """A page, whose every element and address is one of the dashboard's own."""
    assert answer.status_code == status, answer.text
    page = Parts(answer.text)
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    assert not {
        name
        for _, attributes in page.elements
        for name in attributes
        if name.startswith("on") or name == "style"
    }
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert len(scripts) == 1
    addresses = page.attributes("href", "src", "action") - {"#main"}
    assert {
        each for each in addresses if not each.startswith("/") or each.startswith("//")
    } == set()
    return page


@pytest.fixture
async def jobs(app: Soniq) -> dict[str, str]:
    """Jobs of several kinds; their ids by status."""

    @app.job(name="pay", queue="money", max_attempts=1)
    async def pay(customer: int, password: str = "hunter2") -> int:
        if customer == 7:
            raise ValueError(f"no account of customer {customer}")
        return customer

    return {
        "done": (await run_job(app, pay, 1))["job_id"],
        "dead": (await run_job(app, pay, 7))["job_id"],
        "queued": await app.enqueue(pay, 2, tags=["eu"], delay=3600),
    }


@pytest.mark.parametrize("path", LISTS)
async def test_a_page_without_jobs_says_so(app: Soniq, browse: Browse, path: str) -> None:
    page = checked(await browse(app).get(path))
    assert re.search(
        r"No job|There are no charts|There is no queue yet|No worker is alive|Nothing needs"
        r"|This app has no plugin",
        page.text,
    ), page.text


async def test_the_overview_says_what_needs_a_person(
    app: Soniq, browse: Browse, jobs: dict[str, str]
) -> None:
    await app.enqueue("unheard-of", args={}, queue="money")
    await app.pause("mail")
    page = checked(await browse(app).get("/"))
    assert "1 job has died within the last hour" in page.text
    assert "The queue mail is paused" in page.text
    assert "Jobs wait, and no worker is alive" in page.text


async def test_the_jobs_are_listed_the_newest_first(
    app: Soniq, browse: Browse, jobs: dict[str, str]
) -> None:
    page = checked(await browse(app).get("/jobs"))
    links = re.findall(r'href="/jobs/([0-9a-f-]{36})"', (await browse(app).get("/jobs")).text)
    assert links == [jobs["queued"], jobs["dead"], jobs["done"]]
    assert "ValueError: no account of customer 7" in page.text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("status:dead", ["dead"]),
        ("status:dead,done", ["dead", "done"]),
        ("tag:eu", ["queued"]),
        ("queue:money status:queued", ["queued"]),
        ("name:pa* args.customer:7", ["dead"]),
        ("error:ValueError", ["dead"]),
        ('"no account"', ["dead"]),
        ("finished:1h", ["dead", "done"]),
        ("finished:..1h", []),
        ("status:dead order:finished", ["dead"]),
    ],
)
async def test_it_is_searched_by_words(
    app: Soniq, browse: Browse, jobs: dict[str, str], text: str, found: list[str]
) -> None:
    answer = await browse(app).get("/jobs", params={"q": text})
    links = re.findall(r'href="/jobs/([0-9a-f-]{36})"', answer.text)
    assert links == [jobs[each] for each in found], checked(answer).text


async def test_a_whole_id_leads_to_its_job(
    app: Soniq, browse: Browse, jobs: dict[str, str]
) -> None:
    answer = await browse(app).get("/jobs", params={"q": f" {jobs['done'].upper()} "})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{jobs['done']}")


async def test_pages_of_a_list_lead_to_each_other_both_ways(app: Soniq, browse: Browse) -> None:
    await app.start()
    ids = await app.enqueue_many("later", [{"n": n} for n in range(120)])
    client, path, last, seen = browse(app), "/jobs", "", list[str]()
    while path:
        answer = await client.get(path)
        seen += re.findall(r'href="/jobs/([0-9a-f-]{36})"', answer.text)
        last, path = path, address_of("next", answer)
    assert seen == ids[::-1]

    seen, path = [], last
    while path:
        answer = await client.get(path)
        if answer.status_code == 303:
            assert (
                answer.headers["location"] == "/jobs"
            )  # the first page, which looks again by itself
            break
        seen = [*re.findall(r'href="/jobs/([0-9a-f-]{36})"', answer.text), *seen]
        path = address_of("prev", answer)
    assert seen == ids[69::-1]


def address_of(rel: str, answer: httpx.Response) -> str:
    """Where a page leads to the next or the previous."""
    links = [each for _, each in checked(answer).elements if each.get("rel") == rel]
    return (links[0]["href"] or "") if links else ""


async def test_a_job_shows_its_arguments_without_what_is_secret(
    app: Soniq, browse: Browse, jobs: dict[str, str]
) -> None:
    page = checked(await browse(app).get(f"/jobs/{jobs['dead']}"))
    assert '"customer": 7' in page.text
    assert "no account of customer 7" in page.text
    assert "Traceback" in page.text
    assert "hunter2" not in page.text


@pytest.mark.parametrize("path", [*LISTS, "/jobs/{dead}", "/jobs/{queued}", "/jobs/{done}"])
async def test_who_may_only_look_sees_nothing_that_belongs_to_a_job(
    app: Soniq, browse: Browse, jobs: dict[str, str], path: str
) -> None:
    answer = await browse(app, anyone()).get(path.format(**jobs))
    page = checked(answer)
    assert "customer" not in page.text
    assert "no account" not in page.text
    assert "Traceback" not in page.text
    assert not [each for tag, each in page.elements if tag == "form" and "method" in each]


@pytest.mark.parametrize("text", ['"no account"', "args.customer:7", "headers.a:1", "args:7"])
async def test_who_may_only_look_cannot_search_in_what_belongs_to_jobs(
    app: Soniq, browse: Browse, jobs: dict[str, str], text: str
) -> None:
    page = checked(await browse(app, anyone()).get("/jobs", params={"q": text}))
    assert "You may not search in what belongs to jobs" in page.text
    assert not [each for each in page.attributes("href") if jobs["dead"] in each]


async def test_a_list_of_jobs_is_narrowed_down_by_what_it_has(app: Soniq, browse: Browse) -> None:
    @app.job(name="pay", queue="<b>", max_attempts=1)
    async def pay(customer: int) -> None:
        raise ValueError

    await app.start()
    await app.enqueue_many(pay, [{"customer": 7}] * 3)
    await app.run_worker(run_once=True)
    await app.enqueue('tell all, "now"', args={})
    client = browse(app)
    listed = checked(await client.get("/jobs", params={"q": "args.customer:7 status:dead,done"}))
    (path,) = {each for each in listed.attributes("href") if each.startswith("/jobs/facets")}
    page = checked(await client.get(path))
    assert re.search(r"Status\s*dead\s*3\s*Job\s*pay\s*3\s*Queue\s*<b>\s*3\s", page.text), page.text
    dead = {each for each in page.attributes("href") if each.endswith("+status%3Adead")}
    assert dead == {"/jobs?q=args.customer%3A7+status%3Adead"}
    assert (await client.get(dead.pop())).text.count("data-row") == 3

    page = checked(await client.get("/jobs/facets"))
    (told,) = {each for each in page.attributes("href") if "tell" in each}
    assert (await client.get(told)).text.count("data-row") == 1
    assert "+" not in page.text.partition("Status")[2].partition("Counted")[0]

    assert "You may not search" in checked(await browse(app, anyone()).get(path)).text
    assert "status: is queued, held" in checked(await client.get("/jobs/facets?q=status:foo")).text


async def test_the_fields_of_the_form_are_those_of_the_search(
    app: Soniq, browse: Browse, jobs: dict[str, str]
) -> None:
    client = browse(app)
    page = checked(
        await client.get("/jobs", params={"q": 'status:dead,done name:"p&y" order:newest'})
    )
    chosen = [each for tag, each in page.elements if tag == "option" and "selected" in each]
    assert [each["value"] for each in chosen] == ["dead,done"]
    given = {
        each["name"]: each["value"]
        for tag, each in page.elements
        if tag == "input" and "name" in each and "value" in each
    }
    assert (given["name"], given["args"], given["fields"]) == ('"p&y"', "", "1")

    form = {
        "fields": "1",
        "q": "tag:us order:newest",
        "status": "dead",
        "args": "customer:7",
        "tag": "",
    }
    answer = await client.get("/jobs", params=form)
    assert answer.status_code == 303
    found = await client.get(answer.headers["location"])
    assert '<code class="query">order:newest status:dead args.customer:7</code>' in found.text
    assert checked(found).attributes("href") & {f"/jobs/{each}" for each in jobs.values()} == {
        f"/jobs/{jobs['dead']}"
    }

    page = checked(await browse(app, anyone()).get("/jobs"))
    names = {each.get("name") for tag, each in page.elements if tag in ("input", "select")}
    assert names >= {"status", "name", "queue", "tag", "error", "created", "finished"}
    assert not names & {"args", "says"}


async def test_counts_that_are_bounded_say_so(
    app: Soniq, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await app.start()
    await app.enqueue_many("later", [{"n": n} for n in range(30)])
    client = browse(app)
    assert re.search(r"queued\s*30\s", checked(await client.get("/jobs/facets")).text)
    monkeypatch.setattr(Soniq, "facets", partialmethod(Soniq.facets, limit=20))
    page = checked(await client.get("/jobs/facets?q=name:later"))
    assert re.search(r"queued\s*21\+\s", page.text), page.text
    assert "there are at least so many" in page.text


async def test_frames_of_libraries_are_folded_and_of_none_but_who_may_see_them(
    app: Soniq, browse: Browse
) -> None:
    @app.job(name="read", max_attempts=1)
    async def read() -> None:
        json.loads("{")

    job_id = (await run_job(app, read))["job_id"]
    html = (await browse(app).get(f"/jobs/{job_id}")).text
    folded = re.findall(
        r"<summary>(\d+) frames? of libraries</summary><pre>(.*?)</pre>", html, re.S
    )
    (own,) = re.findall(r'<pre class="own">(.*?)</pre>', html, re.S)
    assert "json.loads(" in own
    assert "json/decoder.py" in folded[-1][1]
    assert "JSONDecodeError" in html.partition(folded[-1][1])[2]
    assert "frames of libraries" not in (await browse(app, anyone()).get(f"/jobs/{job_id}")).text


async def test_failures_of_the_same_kind_are_one_line(app: Soniq, browse: Browse) -> None:
    @app.job(name="fetch", max_attempts=1)
    async def fetch(n: int) -> None:
        raise ConnectionError(f"host {n} answered 503" if n else "no host")

    await app.start()
    await app.enqueue_many(fetch, [{"n": n} for n in range(4)])
    await app.run_worker(run_once=True)
    page = checked(await browse(app).get("/failures"))
    assert "4 dead jobs, in 2 kinds" in page.text
    assert "ConnectionError: host … answered …" in page.text

    found = {each for each in page.attributes("href") if "error%3A%22ConnectionError" in each}
    links = {each for each in found if each.startswith("/jobs?")}
    pages = [(await browse(app).get(each)).text for each in links]
    assert sorted(each.count("data-row") for each in pages) == [1, 3]
    assert len({each for each in found if "/new/retry" in each and "answered" in each}) == 1

    of_types = checked(await browse(app, anyone("retry", "bulk")).get("/failures"))
    (link,) = {each for each in of_types.attributes("href") if each.startswith("/jobs?q=status")}
    assert (await browse(app).get(link)).text.count("data-row") == 4


async def test_the_failures_of_a_job_with_a_long_name_can_be_listed(
    app: Soniq, browse: Browse
) -> None:
    @app.job(name='"' * 500, max_attempts=1)
    async def long() -> None:
        raise ValueError

    await run_job(app, long)
    page = checked(await browse(app).get("/failures"))
    links = {each for each in page.attributes("href") if "status%3Adead" in each}
    (jobs,) = {each for each in links if each.startswith("/jobs?")}
    assert len(re.findall(r"data-row", (await browse(app).get(jobs)).text)) == 1
    for operation in links - {jobs}:
        checked(await browse(app).get(operation))


async def test_what_may_not_be_shown_of_an_error_is_in_no_list_of_failures(
    make_app: MakeApp, browse: Browse
) -> None:
    class NoCards:
        @hookimpl
        def present(self, job_name: str, what: str, value: object) -> object:
            return re.sub(r"card \S+", "card ***", value) if isinstance(value, str) else None

    app = make_app(plugins=[NoCards()])

    @app.job(name="charge", max_attempts=1)
    async def charge() -> None:
        raise ValueError("card secret-number was refused")

    await run_job(app, charge)
    for path in ("/failures", "/jobs?q=status:dead"):
        page = checked(await browse(app).get(path))
        assert "card *** was refused" in page.text
        assert "secret-number" not in page.text


async def test_a_page_that_is_shown_already_is_not_sent_again(app: Soniq, browse: Browse) -> None:
    await app.enqueue("old")
    client = browse(app)
    shown = (await client.get("/jobs")).headers["etag"]
    await asyncio.sleep(1.1)  # how long ago something was is no news
    again = await client.get("/jobs", headers={"If-None-Match": shown})
    assert (again.status_code, again.content) == (304, b"")
    assert "default-src 'none'" in again.headers["content-security-policy"]

    await app.enqueue("new")
    changed = await client.get("/jobs", headers={"If-None-Match": shown})
    assert "new" in checked(changed).text
    assert changed.headers["etag"] != shown


@pytest.mark.parametrize(
    ("q", "says"),
    [
        ("status:foo", "status: is queued, held, running, done, dead or cancelled"),
        ("status:queued order:finished", "order:finished is of those that are dead or cancelled"),
        ("order:foo", "order: is newest, finished, due or started"),
        ("worker:abc", "worker: takes the whole id of a worker"),
        ("created:1h..2h", "created:"),
        ("send_mail", "name:send_mail finds jobs by their name"),
    ],
)
async def test_what_cannot_be_found_is_said_in_the_words_of_the_search_box(
    app: Soniq, browse: Browse, q: str, says: str
) -> None:
    page = checked(await browse(app).get("/jobs", params={"q": q}))
    assert says in page.text
    assert "=" not in page.text


@pytest.mark.parametrize(("q", "tab"), [("status:dead", "Dead"), ("", "All"), ("name:a", None)])
async def test_the_tab_of_a_search_is_marked(
    app: Soniq, browse: Browse, q: str, tab: str | None
) -> None:
    text = (await browse(app).get("/jobs", params={"q": q})).text
    tabs = text.partition('aria-label="Searches"')[2].partition("</nav>")[0]
    assert re.findall(r'aria-current="page">(\w+)', tabs) == ([tab] if tab else [])


async def test_all_jobs_there_are_cannot_be_deleted_at_once(app: Soniq, browse: Browse) -> None:
    await app.enqueue("later", delay=600)
    links = checked(await browse(app).get("/jobs")).attributes("href")
    offered = {each.rpartition("/")[2] for each in links if "/operations/new/" in each}
    assert offered == {"retry", "run", "cancel"}


async def test_a_worker_and_what_it_runs_are_shown(app: Soniq, browse: Browse) -> None:
    async def is_there() -> bool:
        return "pid" in checked(await browse(app).get("/workers")).text

    async with working(app):
        await eventually(is_there)


@pytest.mark.parametrize("path", ["/jobs/not-an-id", "/jobs/01a22b36-af8b-70ef-abb4-2accb21d721e"])
async def test_a_job_that_is_not_there_is_said(app: Soniq, browse: Browse, path: str) -> None:
    page = checked(await browse(app).get(path), 404)
    assert "no such job" in page.text


@pytest.mark.parametrize(
    "path",
    [
        "/jobs?q=" + "a" * 2_001,
        "/jobs?q=%00",
        "/jobs?q=%ED%A0%80",
        "/failures?period=2h",
        "/queues?queue=" + "q" * 501,
    ],
)
async def test_a_parameter_that_cannot_be_is_refused(app: Soniq, browse: Browse, path: str) -> None:
    answer = await browse(app).get(path)
    assert answer.status_code in (200, 400)
    page = checked(answer, answer.status_code)
    assert "aaaaaaaaaa" not in page.text.replace("a" * 2_001, "") or answer.status_code == 400


@pytest.mark.parametrize(
    "path",
    ["/jobs?cursor=nonsense", "/jobs?q=status:lost", "/jobs?q=worker:me", "/jobs?q=created:soon"],
)
async def test_a_search_that_cannot_be_is_explained(app: Soniq, browse: Browse, path: str) -> None:
    page = checked(await browse(app).get(path))
    assert [each for _, each in page.elements if each.get("role") == "alert"]


@pytest.mark.parametrize("text", HOSTILE)
async def test_whatever_users_write_is_text(
    app: Soniq, browse: Browse, connection: "asyncpg.Connection[Any]", schema: str, text: str
) -> None:
    await app.start()
    name = re.sub(r"[\n\x1b]", " ", text)
    await app.enqueue("pay", args={text: text}, headers={"h": text}, tags=[name], queue=name)
    dead = await app.enqueue("pay", args={"a": text}, queue=name, dedup_key=name)
    await app.cancel(dead, text)
    await connection.execute(f"update {schema}.job set name = $1", name)
    await connection.execute(
        f"""update {schema}.history set name = $1, status = 'dead',
            error = jsonb_build_object('type', $1::text, 'message', $2::text, 'traceback', $2::text)""",
        name,
        text,
    )
    await connection.execute(
        f"""insert into {schema}.worker (id, lease, concurrency, pid, hostname, version, queues, names)
            values (gen_random_uuid(), 60, 1, 1, $1, $1, array[$1], array[$1])""",
        name,
    )
    await app.pause(name)

    browser = browse(app, anyone("see_arguments", "pause", "retry", "cancel", "delete", name=text))
    shown = ""
    for path in [*LISTS, f"/jobs/{dead}"]:
        shown += checked(await browser.get(path)).text
    page = checked(await browser.get("/jobs", params={"q": f'"{text}"'}))
    if text.isprintable():
        assert shown.count(text) >= 10
    else:
        assert not {"\u202e", "\x1b"} & set(shown + page.text)


async def test_a_long_value_is_cut(app: Soniq, browse: Browse) -> None:
    job_id = await app.enqueue("pay", args={"a": "x" * 20_000}, tags=[f"t{n}" for n in range(20)])
    answer = await browse(app).get(f"/jobs/{job_id}")
    assert "more characters" in checked(answer).text
    assert len(answer.text) < 60_000


async def test_numbers_beyond_what_browsers_can_count_are_exact(app: Soniq, browse: Browse) -> None:
    job_id = await app.enqueue("pay", args={"a": 2**63 - 1, "b": 2**53 + 1})
    page = checked(await browse(app).get(f"/jobs/{job_id}"))
    assert str(2**63 - 1) in page.text
    assert str(2**53 + 1) in page.text


@pytest.mark.parametrize("prefix", ["", "/ops/jobs", "/a b"])
async def test_all_addresses_begin_with_where_it_is(
    app: Soniq, browse: Browse, jobs: dict[str, str], prefix: str
) -> None:
    client = browse(app, root_path=prefix)
    for path in [*LISTS, f"/jobs/{jobs['dead']}"]:
        page = checked(await client.get(path))
        addresses = page.attributes("href", "src", "action") - {"#main"}
        assert {each for each in addresses if not each.startswith(prefix + "/")} == set()


async def test_a_page_that_fails_says_where_it_is_told(
    app: Soniq, browse: Browse, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails() -> None:
        raise RuntimeError("postgresql://me:secret@host")

    monkeypatch.setattr(app, "overview", fails)
    page = checked(await browse(app).get("/"), 500)
    (number,) = re.findall(r"\(([0-9a-f]{8}) in the log\)", page.text)
    assert "secret" not in page.text
    assert number in caplog.text


async def test_a_database_that_is_away_is_said(
    make_app: MakeApp, browse: Browse, proxy: Proxy, database_url: str
) -> None:
    app = make_app(database_url=proxy.url(database_url))
    client = browse(app)
    checked(await client.get("/"))
    proxy.refuse()
    page = checked(await client.get("/running"), 503)
    assert "The database cannot be asked" in page.text


async def test_the_attempts_of_a_job_are_listed_with_who_ran_it_again(
    app: Soniq, browse: Browse, jobs: dict[str, str]
) -> None:
    client = browse(app, anyone("retry", "see_arguments", name="eva"))
    await send(client, f"/jobs/{jobs['dead']}/retry")
    await app.run_worker(run_once=True)
    page = checked(await client.get(f"/jobs/{jobs['dead']}"))
    assert "retried by hand (eva)" in page.text
    assert page.text.count("ValueError: no account of customer 7") >= 3


async def test_a_result_and_headers_are_shown_and_masked(app: Soniq, browse: Browse) -> None:
    @app.job(name="login")
    async def login() -> dict[str, str]:
        return {"user": "eva", "token": "t0ps3cret"}

    job_id = await app.enqueue(login, headers={"tenant": "acme", "authorization": "b34rer"})
    await app.run_worker(run_once=True)
    page = checked(await browse(app).get(f"/jobs/{job_id}"))
    assert '"user": "eva"' in page.text
    assert '"tenant": "acme"' in page.text
    assert not [each for each in ("t0ps3cret", "b34rer") if each in page.text]
    page = checked(await browse(app, anyone()).get(f"/jobs/{job_id}"))
    assert not [each for each in ("acme", "user", "***") if each in page.text]


async def test_a_job_of_an_unknown_serializer_and_of_before_attempts_were_kept_is_shown(
    app: Soniq,
    browse: Browse,
    jobs: dict[str, str],
    schema: str,
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    await connection.execute(
        f"update {schema}.history set serializer = 'unheard-of', attempts = null"
    )
    client = browse(app)
    for status in ("done", "dead"):
        page = checked(await client.get(f"/jobs/{jobs[status]}"))
        assert "bytes, which are not shown here" in page.text
        assert "hunter2" not in page.text
    checked(await client.get("/jobs"))
    checked(await client.get("/jobs", params={"q": "args.customer:7"}))


async def test_a_large_result_is_not_read_for_a_page_but_can_be_had_as_a_file(
    app: Soniq, browse: Browse
) -> None:
    @app.job(name="export")
    async def export(note: str) -> dict[str, str]:
        return {"text": "x" * 300_000 + "<script>", "token": "t0ps3cret"}

    job_id = (await run_job(app, export, note="short"))["job_id"]
    answer = await browse(app).get(f"/jobs/{job_id}")
    page = checked(answer)
    assert "293.0 kB, which are not shown here" in page.text
    assert len(answer.text) < 20_000
    assert [each for each in page.attributes("href") if each.endswith("/args")] == []

    (link,) = [each for each in page.attributes("href") if each.endswith("/result")]
    file = await browse(app).get(link)
    assert file.json() == {"text": "x" * 300_000 + "<script>", "token": "***"}
    assert file.headers["content-type"] == "application/octet-stream"
    assert file.headers["content-disposition"] == f'attachment; filename="{job_id}-result.json"'
    assert (await browse(app).get(f"/jobs/{job_id}/args")).json() == {"note": "short"}


async def test_a_result_that_is_kept_elsewhere_is_not_fetched_for_a_page(
    make_app: MakeApp, browse: Browse
) -> None:
    class Elsewhere:
        name = "elsewhere"
        asked = 0

        async def put(self, ctx: JobContext, data: bytes) -> bytes:
            return b"a-reference"

        async def get(self, reference: bytes) -> bytes:
            self.asked += 1
            return b'"fetched"'

        async def delete(self, references: Sequence[bytes]) -> None: ...

    store = Elsewhere()

    class Stores:
        @hookimpl
        def result_stores(self) -> Sequence[ResultStore]:
            return [store]

    app = make_app(plugins=[Stores()])

    @app.job(name="export")
    async def export() -> str:
        return "large"

    job_id = (await run_job(app, export))["job_id"]
    before, client = store.asked, browse(app)
    for path in ("/jobs", f"/jobs/{job_id}"):
        page = checked(await client.get(path))
        assert not [each for each in ("fetched", "a-reference") if each in page.text]
    assert (await client.get(f"/jobs/{job_id}/result")).status_code == 404
    assert store.asked == before


async def test_who_may_not_see_arguments_has_them_in_no_file(app: Soniq, browse: Browse) -> None:
    job_id = await app.enqueue("later", args={"customer": "eva"})
    for what in ("args", "result"):
        answer = await browse(app, anyone("retry", "delete")).get(f"/jobs/{job_id}/{what}")
        assert "eva" not in checked(answer, 403).text


@pytest.mark.parametrize(
    "path", ["{id}/result", "01a22b36-af8b-70ef-abb4-2accb21d721e/args", "no-id/args"]
)
async def test_a_file_that_is_not_there_is_said(app: Soniq, browse: Browse, path: str) -> None:
    job_id = await app.enqueue("later", args={}, delay=600)
    answer = await browse(app).get("/jobs/" + path.format(id=job_id))
    checked(answer, 400 if path.startswith("no-id") else 404)
