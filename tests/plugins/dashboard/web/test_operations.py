"""All that match: shown first, asked for by who may, followed and stopped; and who did what."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from soniq import Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.operations import operations
from soniq_dashboard.running import run_batch
from soniq_dashboard.web import PERMISSIONS, Permission, anyone
from soniq_dashboard.web.query import parsed
from soniq_dashboard.web.words import words_of
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.conftest import Browse, send
from tests.plugins.dashboard.web.test_pages import HOSTILE, LISTS, Parts, checked
from tests.support.jobs import run_job, working

NEW = [f"/operations/new/{each}" for each in ("retry", "run", "cancel", "delete")]


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    """An app with the plugin, which keeps operations and who did what."""
    return make_app(unknown_jobs="allow", plugins=[Dashboard()])


async def dead(app: Soniq, jobs: int = 1) -> list[str]:
    """The ids of so many jobs that have died."""

    @app.job(name="pay", max_attempts=1)
    async def pay(customer: int, password: str = "hunter2") -> None:
        raise ValueError(f"no account of customer {customer}")

    await app.start()
    ids = await app.enqueue_many(pay, [{"customer": 7} for _ in range(jobs)])
    await app.run_worker(run_once=True)
    return [*map(str, ids)]


def form_of(page: Parts) -> dict[str, Any]:
    """What the form of a page sends, without what is typed."""
    return {
        str(each["name"]): each.get("value") or ""
        for tag, each in page.elements
        if tag == "input" and each.get("type") == "hidden"
    }


async def started(client: httpx.AsyncClient, action: str, q: str, **typed: Any) -> httpx.Response:
    """Look at the form, and send it."""
    page = checked(await client.get(f"/operations/new/{action}", params={"q": q}))
    return await send(client, "/operations/start", **form_of(page), **typed)


async def carried_out(app: Soniq) -> None:
    while await run_batch(app):
        pass


async def states(app: Soniq, ids: Sequence[str]) -> list[str | None]:
    found = [await app.get_job_status(each) for each in ids]
    return [each and each["status"] for each in found]


# --- asking for it -------------------------------------------------------------------------------


async def test_all_that_match_are_shown_first_and_then_retried(app: Soniq, browse: Browse) -> None:
    ids, client = await dead(app, 7), browse(app, anyone("bulk", "retry", name="eva"))
    listed = checked(await client.get("/jobs", params={"q": "name:pay"}))
    links = {each for each in listed.attributes("href") if "/operations/new/" in each}
    link = "/operations/new/retry?q=name%3Apay"
    assert links == {link, link.replace("retry", "run")}

    page = checked(await client.get(link))
    assert "This finds 7 jobs that can be retried: those that are dead." in page.text
    assert len([each for each in page.attributes("href") if each[6:] in ids]) == 5
    assert await states(app, ids) == ["dead"] * 7

    answer = await send(client, "/operations/start", **form_of(page))
    assert (answer.status_code, answer.headers["location"]) == (303, "/operations/1")
    page = checked(await client.get("/operations/1"))
    assert "0 of 7" in page.text
    assert "No live worker has soniq-dashboard" in page.text
    await carried_out(app)
    client = browse(app, anyone(name="bob"))
    page = checked(await client.get("/operations/1"))
    assert re.search(r"State\s*done", page.text)
    assert re.search(r"Retried\s*7", page.text)
    assert await states(app, ids) == ["queued"] * 7

    listed = checked(await client.get("/operations"))
    assert "status:dead name:pay" in listed.text
    assert "eva" in listed.text
    audit = checked(await client.get("/audit"))
    assert re.search(r"Retry\s*operation 1\s*7 jobs changed\s*eva", audit.text), audit.text


async def test_all_that_are_due_later_are_made_due_now(app: Soniq, browse: Browse) -> None:
    (lost,) = await dead(app)
    ids = [await app.enqueue("later", delay=600) for _ in range(3)]
    due, client = await app.enqueue("due"), browse(app, anyone("bulk", "retry", name="eva"))
    answer = await client.get("/operations/new/run", params={"q": "status:queued scheduled:..1d"})
    assert "all that match are due already" in checked(answer).text
    answer = await client.get("/operations/new/run", params={"q": "status:dead"})
    assert "to run now is possible for jobs that are queued" in checked(answer).text
    assert (
        await browse(app, anyone("bulk", "cancel")).get("/operations/new/run")
    ).status_code == 403

    page = checked(await client.get("/operations/new/run", params={"q": "name:later,due,pay"}))
    assert "This finds 3 jobs that can be made due now." in page.text
    await app.retry(ids[0])  # somebody is quicker
    await send(client, "/operations/start", **form_of(page))
    await carried_out(app)
    assert await states(app, [lost, due, *ids]) == ["dead", *["queued"] * 4]
    assert (await app.backlog())["default"]["waiting"] == 4

    page = checked(await client.get("/operations/1"))
    assert re.search(r"Made due now\s*2", page.text), page.text
    assert "Run now: all that match status:queued name:later,due,pay" in " ".join(page.text.split())
    audit = checked(await client.get("/audit?action=run"))
    assert re.search(r"Run now\s*operation 1\s*2 jobs changed\s*eva", audit.text), audit.text


async def test_above_a_hundred_their_number_is_to_be_typed(app: Soniq, browse: Browse) -> None:
    await app.start()
    ids = [*await app.enqueue_many("later", [{"n": n} for n in range(101)], delay=60)]
    client = browse(app)
    page = checked(await client.get("/operations/new/cancel", params={"q": "name:later"}))
    assert "Type 101 to go on" in page.text
    for typed in ({}, {"typed": "100"}, {"typed": "all"}, {"typed": "101", "shown": "100"}):
        answer = await send(client, "/operations/start", **{**form_of(page), **typed})
        again = checked(await client.get(answer.headers["location"]))
        assert "type the number of jobs as it is shown here" in again.text
    assert await operations(app) == []

    answer = await send(
        client, "/operations/start", **form_of(page), typed=" 101 ", reason="not needed"
    )
    assert answer.headers["location"] == "/operations/1"
    await carried_out(app)
    assert set(await states(app, ids)) == {"cancelled"}
    page = checked(await client.get("/operations/1"))
    assert "not needed" in page.text


async def test_all_failures_of_a_type_are_retried_from_their_page(
    app: Soniq, browse: Browse
) -> None:
    ids = await dead(app, 3)
    client = browse(app)
    page = checked(await client.get("/failures"))
    links = [each for each in page.attributes("href") if "/operations/new/" in each]
    assert len(links) == 2  # to retry, and to delete
    (link,) = [each for each in links if "/retry?" in each]
    form = form_of(checked(await client.get(link)))
    assert form["shown"] == "3"
    await send(client, "/operations/start", **form)
    await carried_out(app)
    assert await states(app, ids) == ["queued"] * 3
    page = checked(await browse(app, without("bulk")).get("/failures"))
    assert not [each for each in page.attributes("href") if "/operations/new/" in each]


async def test_one_hundred_need_no_typing(app: Soniq, browse: Browse) -> None:
    await app.start()
    await app.enqueue_many("later", [{"n": n} for n in range(100)], delay=60)
    answer = await started(browse(app), "delete", "name:later")
    assert answer.headers["location"] == "/operations/1"
    await carried_out(app)
    assert await app.jobs() == []


async def test_what_has_come_since_the_form_was_shown_is_not_touched(
    app: Soniq, browse: Browse
) -> None:
    await app.start()
    first, client = await app.enqueue("later", args={}, delay=60), browse(app)
    page = checked(await client.get("/operations/new/cancel", params={"q": "name:later"}))
    second = await app.enqueue("later", args={}, delay=60)
    await send(client, "/operations/start", **form_of(page))
    await carried_out(app)
    assert await states(app, [first, second]) == ["cancelled", "queued"]


async def test_a_form_that_is_sent_twice_is_one_operation(app: Soniq, browse: Browse) -> None:
    await dead(app)
    client = browse(app)
    page = checked(await client.get("/operations/new/retry", params={"q": "name:pay"}))
    for _ in range(2):
        answer = await send(client, "/operations/start", **form_of(page))
        assert answer.headers["location"] == "/operations/1"
    assert len(await operations(app)) == 1


async def test_a_form_of_long_ago_is_shown_again(app: Soniq, browse: Browse) -> None:
    await dead(app)
    client = browse(app)
    page = checked(await client.get("/operations/new/retry", params={"q": "name:pay"}))
    for hours in (-2, 2):
        at = (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
        answer = await send(client, "/operations/start", **{**form_of(page), "at": at})
        again = checked(await client.get(answer.headers["location"]))
        assert "more than an hour old" in again.text
    assert await operations(app) == []


@pytest.mark.parametrize(
    ("action", "q", "why"),
    [
        ("retry", "status:queued", "none of these matches"),
        ("delete", "", "say which"),
        ("cancel", "nonsense:1", "there is no nonsense:"),
        ("cancel", "status:lost", "none of these matches"),
        ("cancel", '"x', "is not closed"),
        ("cancel", "worker:me", "me"),
        ("cancel", "name:nobody", "No job matches"),
    ],
)
async def test_what_cannot_be_is_said_and_nothing_is_sent(
    app: Soniq, browse: Browse, action: str, q: str, why: str
) -> None:
    await app.enqueue("later", args={}, delay=60)
    client = browse(app)
    page = checked(await client.get(f"/operations/new/{action}", params={"q": q}))
    assert why in page.text
    assert "/operations/start" not in page.attributes("action")

    at = datetime.now(UTC).isoformat()
    answer = await send(client, "/operations/start", action=action, q=q, at=at, shown="0")
    if q != "name:nobody":
        assert answer.status_code in (303, 400)
        assert await operations(app) == []


async def test_a_whole_id_leads_to_its_job(app: Soniq, browse: Browse) -> None:
    (job_id,) = await dead(app)
    client = browse(app)
    answer = await client.get("/operations/new/retry", params={"q": job_id})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job_id}")
    form: dict[str, Any] = {
        "action": "retry",
        "q": job_id,
        "at": datetime.now(UTC).isoformat(),
        "shown": "0",
    }
    answer = await send(client, "/operations/start", **form)
    assert answer.headers["location"] == f"/jobs/{job_id}"
    assert await operations(app) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "drop"},
        {"action": ""},
        {"at": ""},
        {"at": "2030-01-31T12:00"},
        {"at": "soon"},
        {"shown": "x"},
        {"shown": ""},
        {"q": "a" * 2_001},
        {"q": "\x00"},
        {"reason": "r" * 501},
    ],
)
async def test_a_form_that_cannot_be_is_refused(
    app: Soniq, browse: Browse, wrong: dict[str, str]
) -> None:
    await dead(app)
    client = browse(app)
    page = checked(await client.get("/operations/new/retry", params={"q": "name:pay"}))
    answer = await send(client, "/operations/start", **{**form_of(page), **wrong})
    assert answer.status_code == 400
    assert await operations(app) == []


# --- who may -------------------------------------------------------------------------------------


def without(*permissions: Permission) -> Callable[..., Any]:
    return anyone(*(PERMISSIONS - {*permissions}))


@pytest.mark.parametrize("action", ["retry", "cancel", "delete"])
async def test_it_takes_the_permission_for_all_and_that_of_the_action(
    app: Soniq, browse: Browse, action: Permission
) -> None:
    ids = [*await dead(app), await app.enqueue("pay", customer=1, delay=60)]
    all_of_them = browse(app)
    form = form_of(
        checked(await all_of_them.get(f"/operations/new/{action}", params={"q": "name:pay"}))
    )
    for authorize in (anyone(), without("bulk"), without(action)):
        client = browse(app, authorize)
        listed = checked(await client.get("/jobs", params={"q": "name:pay"}))
        links = {each for each in listed.attributes("href") if "/operations/new/" in each}
        assert not [each for each in links if each.startswith(f"/operations/new/{action}")]
        answer = await client.get(f"/operations/new/{action}", params={"q": "name:pay"})
        assert answer.status_code == 403
        assert (await send(client, "/operations/start", **form)).status_code == 403
    assert await operations(app) == []

    await send(all_of_them, "/operations/start", **form)
    client = browse(app, without("bulk"))
    page = checked(await client.get("/operations/1"))
    assert not [each for tag, each in page.elements if tag == "form" and "method" in each]
    assert (await send(client, "/operations/1/stop")).status_code == 403
    assert (await operations(app))[0].state == "open"
    assert await states(app, ids) == ["dead", "queued"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.test"},
        {},
    ],
)
async def test_a_form_of_another_site_does_nothing(
    app: Soniq, browse: Browse, headers: dict[str, str]
) -> None:
    await dead(app)
    client = browse(app)
    page = checked(await client.get("/operations/new/retry", params={"q": "name:pay"}))
    answer = await send(client, "/operations/start", headers, **form_of(page))
    assert answer.status_code == 403
    await send(client, "/operations/start", **form_of(page))
    assert (await send(client, "/operations/1/stop", headers)).status_code == 403
    assert [each.state for each in await operations(app)] == ["open"]


SECRET = ["args.customer:7", '"no account"', "headers.tenant:acme", "args:customer"]


@pytest.mark.parametrize("q", SECRET)
async def test_who_sees_no_arguments_can_neither_search_in_them_nor_see_such_a_search(
    app: Soniq, browse: Browse, q: str
) -> None:
    await dead(app)
    await app.enqueue("pay", customer=7, headers={"tenant": "acme"}, delay=60)
    blind = without("see_arguments")
    form = form_of(checked(await browse(app).get("/operations/new/delete", params={"q": q})))
    page = checked(await browse(app, blind).get("/operations/new/delete", params={"q": q}))
    assert "You may not search in what belongs to jobs" in page.text
    assert "This finds" not in page.text
    assert (await send(browse(app, blind), "/operations/start", **form)).status_code == 403
    assert await operations(app) == []

    await send(browse(app), "/operations/start", **form)
    for path in ("/operations", "/operations/1", "/audit"):
        page = checked(await browse(app, blind).get(path))
        assert not re.search("customer|account|acme", page.text), path
        assert not [each for each in page.attributes("href") if "acme" in each or "%3A7" in each]
    page = checked(await browse(app).get("/operations/1"))
    assert re.search("customer|account|acme", page.text)


async def test_a_secret_that_somebody_searched_for_is_masked(app: Soniq, browse: Browse) -> None:
    await dead(app)
    await started(browse(app), "retry", "args.password:hunter2 args.customer:7")
    for path in ("/operations", "/operations/1"):
        page = checked(await browse(app).get(path))
        assert "hunter2" not in page.text
        assert "args.customer:7" in page.text


@pytest.mark.parametrize(
    ("q", "says"),
    [
        ("worker:abc", "worker: takes the whole id of a worker"),
        ("finished:1h..2h", "finished: ends before it begins"),
    ],
)
async def test_what_cannot_be_searched_for_is_said_in_the_words_of_the_search_box(
    app: Soniq, browse: Browse, q: str, says: str
) -> None:
    await app.start()
    page = checked(await browse(app).get("/operations/new/retry", params={"q": q}))
    assert says in page.text
    assert "=" not in page.text


async def test_examples_say_no_more_than_may_be_seen(app: Soniq, browse: Browse) -> None:
    await dead(app)
    page = checked(await browse(app).get("/operations/new/retry", params={"q": "name:pay"}))
    assert "no account of customer 7" in page.text
    page = checked(
        await browse(app, without("see_arguments")).get("/operations/new/retry?q=name:pay")
    )
    assert "customer" not in page.text


async def test_the_reason_of_a_cancel_is_for_those_who_see_what_belongs_to_jobs(
    app: Soniq, browse: Browse
) -> None:
    """It is the message of the job's error, as its page has it."""
    first, second = [await app.enqueue("later", args={}, delay=60) for _ in range(2)]
    await send(browse(app), f"/jobs/{first}/cancel", reason="eva has left")
    await send(browse(app), "/queues/pause", queue="mail", reason="smtp is down")
    page = checked(await browse(app).get("/operations/new/cancel", params={"q": "name:later"}))
    await send(browse(app), "/operations/start", **form_of(page), reason="eva has left")
    await carried_out(app)
    paths = [f"/jobs/{second}", "/operations/1", "/audit"]
    for path in paths:
        assert "eva has left" in checked(await browse(app).get(path)).text, path
        blind = checked(await browse(app, without("see_arguments")).get(path))
        assert "eva has left" not in blind.text, path
    assert "smtp is down" in blind.text


# --- following it --------------------------------------------------------------------------------


async def test_it_is_stopped_and_said_by_whom(app: Soniq, browse: Browse) -> None:
    ids = await dead(app, 2)
    await started(browse(app), "retry", "name:pay")
    client = browse(app, anyone("bulk", name="bob"))
    answer = await send(client, "/operations/1/stop")
    assert (answer.status_code, answer.headers["location"]) == (303, "/operations/1")
    page = checked(await client.get("/operations/1"))
    assert re.search(r"stopped by bob", page.text)
    await carried_out(app)
    assert await states(app, ids) == ["dead", "dead"]
    assert (await send(client, "/operations/1/stop")).status_code == 303
    assert re.search(r"Stop\s*operation 1", checked(await client.get("/audit?action=stop")).text)


async def test_what_was_left_and_why_is_told(app: Soniq, browse: Browse) -> None:
    @app.job(name="pay", max_attempts=1)
    async def pay(n: int) -> None:
        raise ValueError(n)

    ids = []
    for n in range(2):
        ids.append((await run_job(app, pay, n, dedup_key=f"k{n}"))["job_id"])
        await app.enqueue(pay, n, dedup_key=f"k{n}", delay=60)
    await started(browse(app), "retry", "name:pay")
    await carried_out(app)
    page = checked(await browse(app).get("/operations/1"))
    assert re.search(r"another job holds its dedup key and is not finished\s*2", page.text)
    assert {f"/jobs/{each}" for each in ids} <= page.attributes("href")


async def test_that_a_worker_has_the_plugin_is_seen(app: Soniq, browse: Browse) -> None:
    await dead(app)
    client = browse(app)
    await started(client, "retry", "name:pay")
    assert "No live worker has soniq-dashboard" in checked(await client.get("/operations")).text
    async with working(app):
        page = checked(await browse(app).get("/operations"))
    assert "No live worker has soniq-dashboard" not in page.text


@pytest.mark.parametrize(
    "path",
    [
        "/operations/2",
        "/operations/x",
        "/operations/-1",
        "/operations/" + "9" * 18,
        "/operations/new/drop",
    ],
)
async def test_an_operation_that_is_not_there_is_said(
    app: Soniq, browse: Browse, path: str
) -> None:
    checked(await browse(app).get(path), 404)
    assert (await send(browse(app), path + "/stop")).status_code in (303, 404)


async def test_there_is_a_page_after_the_first(
    app: Soniq, browse: Browse, connection: "asyncpg.Connection[Any]", schema: str
) -> None:
    await app.start()
    for n in range(120):
        await app.pause("mail", reason=str(n), by="eva")
    await connection.execute(
        f"""insert into {schema}_dashboard.operation
            (action, by, search, secret, frozen_at, found, exact, state)
            select 'retry', 'eva', '{{}}', false, now() - n * interval '1 second', n, true, 'done'
            from generate_series(1, 120) as n"""
    )
    client = browse(app)
    for first, pattern in (
        ("/operations", r'href="/operations/(\d+)"'),
        ("/audit?action=pause&by=eva", r'data-label="Reason" class="text long">(\d+)<'),
    ):
        path, seen = first, list[str]()
        while path:
            answer = await client.get(path)
            seen += re.findall(pattern, answer.text)
            more = [each for each in checked(answer).elements if each[1].get("rel") == "next"]
            path = more[0][1]["href"] or "" if more else ""
        assert [int(each) for each in seen] == sorted(map(int, seen), reverse=True)
        assert len({*seen}) == 120


async def test_the_audit_is_of_a_user_and_an_action(app: Soniq, browse: Browse) -> None:
    (job_id,) = await dead(app)
    eva, bob = (browse(app, anyone(*PERMISSIONS, name=each)) for each in ("eva", "bob"))
    await send(eva, f"/jobs/{job_id}/retry")
    await send(bob, "/queues/pause", queue="mail", reason="smtp is down")
    await send(eva, "/jobs/cancel", id=[job_id])
    await send(bob, f"/jobs/{job_id}/delete")
    text = checked(await eva.get("/audit")).text
    found = re.findall(r"(Delete|Cancel|Pause|Retry)\s+(\w+)(?: mail)?\s+(?:bob|eva)", text)
    assert [each for each, _ in found] == ["Delete", "Cancel", "Pause", "Retry"], text
    assert "smtp is down" in text

    text = checked(await eva.get("/audit?by=eva&action=cancel")).text
    assert job_id[-8:] in text
    assert "smtp is down" not in text
    assert "No job and no queue was changed so" in checked(await eva.get("/audit?by=zoe")).text
    assert (await eva.get("/audit?action=drop")).status_code == 400


# --- whatever they write -------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
async def test_whatever_users_write_is_text(
    app: Soniq, browse: Browse, connection: "asyncpg.Connection[Any]", schema: str, text: str
) -> None:
    await app.start()
    word = text.replace("\\", "\\\\").replace('"', '\\"')
    name = re.sub(r"[\n\x1b]", " ", text)
    await app.enqueue("pay", args={"a": text}, queue=name, delay=60)
    client = browse(app, anyone(*PERMISSIONS, name=text))
    q = f'args.a:"{word}"'
    page = checked(await client.get("/operations/new/cancel", params={"q": q}))
    form = form_of(page)
    answer = await send(client, "/operations/start", **form, reason=text)
    assert answer.headers["location"] == "/operations/1", checked(
        await client.get(answer.headers["location"])
    ).text
    await send(client, "/queues/pause", queue=name, reason=text)
    await connection.execute(
        f"""update {schema}_dashboard.operation set error = $1, why = jsonb_build_object($1::text, 1),
            examples = jsonb_build_array(jsonb_build_array($1::text, $1::text))""",
        text,
    )
    await send(client, "/operations/1/stop")
    shown = ""
    for path in ("/operations", "/operations/1", "/audit", "/audit?action=stop"):
        shown += checked(await client.get(path)).text
    shown += checked(await client.get("/audit", params={"by": text})).text
    if text.isprintable():
        assert shown.count(text) >= 10
    else:
        assert not {"\u202e", "\x1b"} & set(shown + page.text)


@pytest.mark.parametrize(
    "q",
    [
        "args.n:1e400",
        "args.n:9223372036854775808",
        "args.n:" + "9" * 400,
        'args.s:"\\\\ud800"',
        "args" + ".a" * 200 + ":1",
        "priority:99999999",
        "created:9999999d",
    ],
)
async def test_values_that_hardly_can_be_fail_no_page(app: Soniq, browse: Browse, q: str) -> None:
    await app.enqueue("pay", args={"n": 1}, delay=60)
    client = browse(app)
    checked(await client.get("/operations/new/cancel", params={"q": q}))
    form: dict[str, Any] = {
        "action": "cancel",
        "q": q,
        "at": datetime.now(UTC).isoformat(),
        "shown": "0",
    }
    answer = await send(client, "/operations/start", **form)
    assert answer.status_code in (303, 400)
    checked(await client.get("/operations"))


@pytest.mark.parametrize(
    "text",
    [
        "status:dead name:mail.*",
        "status:dead,done queue:a,b tag:eu,us priority:0,7",
        'name:"a b" key:"k:1" error:ValueError',
        'args.customer:7 args.a.b:"x y" args.t:"7x" args.n:null args.l:[1] headers.tenant:acme',
        'args.s:"\\"7\\""',
        '"no address" created:2030-01-31T00:00:00Z..2030-02-01T00:00:00Z',
        "finished:..2030-02-01T00:00:00Z order:finished status:dead",
        "args:text worker:01a22b36-af8b-70ef-abb4-2accb21d721e",
        "",
    ],
)
def test_the_words_of_a_search_find_the_same(text: str) -> None:
    search = parsed(text).search()
    assert parsed(words_of(search)).search() == search


# --- what they cost ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*LISTS, *NEW, "/operations/1"])
async def test_a_page_is_there_before_anything_else_was_asked(
    app: Soniq, browse: Browse, make_app: MakeApp, path: str
) -> None:
    await dead(app)
    await started(browse(app), "retry", "name:pay")
    fresh = make_app(unknown_jobs="allow", plugins=[Dashboard()])
    checked(await browse(fresh).get(path, params={"q": "name:pay"}))


@pytest.mark.parametrize("path", LISTS)
async def test_without_the_plugin_pages_say_so(
    make_app: MakeApp, browse: Browse, path: str
) -> None:
    app = make_app(unknown_jobs="allow")
    checked(await browse(app).get(path))
    for action in ("retry", "cancel", "delete"):
        page = checked(await browse(app).get(f"/operations/new/{action}?q=name:a"))
        assert "This app has no plugin Dashboard" in page.text
    form: dict[str, Any] = {
        "action": "retry",
        "q": "",
        "at": datetime.now(UTC).isoformat(),
        "shown": "0",
    }
    assert (await send(browse(app), "/operations/start", **form)).status_code == 400
    assert (await send(browse(app), "/operations/1/stop")).status_code == 404


MOST_STATEMENTS = 8


@pytest.mark.parametrize("path", ["/operations", "/operations/1", "/audit", *NEW])
async def test_a_page_asks_the_database_few_times(
    app: Soniq, browse: Browse, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await dead(app, 3)
    await app.enqueue("pay", customer=1, delay=60)
    client, asked = browse(app), list[str]()
    await started(client, "retry", "name:pay")
    await carried_out(app)
    execute = getattr(asyncpg.Connection, "_do_execute")  # noqa: B009

    async def counted(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
        asked.append(query)
        return await execute(self, query, *arguments, **options)

    monkeypatch.setattr(asyncpg.Connection, "_do_execute", counted)
    checked(await client.get(path, params={"q": "name:pay"} if path in NEW else {}))
    assert 1 <= len(asked) <= MOST_STATEMENTS, asked
