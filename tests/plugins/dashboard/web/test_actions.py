"""What users do is done, where they may and where it can be, and said where not."""

from collections.abc import Callable
from typing import Any

import pytest

from soniq import JobContext, Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.web import PERMISSIONS, Permission, anyone
from soniq_dashboard.web.actions import ACTIONS
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.conftest import Browse, send
from tests.plugins.dashboard.web.test_pages import checked
from tests.support.jobs import run_job, status_of

NOWHERE = "01a22b36-af8b-70ef-abb4-2accb21d721e"


async def dead(app: Soniq) -> str:
    @app.job(name="fail", max_attempts=1)
    async def fail() -> None:
        raise ValueError

    return (await run_job(app, fail))["job_id"]


async def test_a_dead_job_is_retried(app: Soniq, browse: Browse) -> None:
    job_id = await dead(app)
    answer = await send(browse(app), f"/jobs/{job_id}/retry")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job_id}")
    assert (await status_of(app, job_id))["status"] == "queued"


async def test_a_job_is_cancelled_for_a_reason(app: Soniq, browse: Browse) -> None:
    job_id = await app.enqueue("later", args={})
    await send(browse(app), f"/jobs/{job_id}/cancel", reason="not needed")
    status = await status_of(app, job_id)
    assert status["status"] == "cancelled"
    assert status["error"] is not None
    assert status["error"]["message"] == "not needed"


async def test_a_job_is_deleted(app: Soniq, browse: Browse) -> None:
    job_id = await app.enqueue("later", args={})
    answer = await send(browse(app), f"/jobs/{job_id}/delete")
    assert answer.headers["location"] == "/jobs"
    assert await app.get_job_status(job_id) is None


async def test_a_job_that_somebody_retried_meanwhile_is_not_deleted(
    app: Soniq, browse: Browse
) -> None:
    job_id, client = await dead(app), browse(app)
    page = checked(await client.get(f"/jobs/{job_id}"))
    assert ("input", {"type": "hidden", "name": "seen", "value": "dead"}) in page.elements
    await app.retry(job_id)
    answer = await send(client, f"/jobs/{job_id}/delete", seen="dead")
    page = checked(await client.get(answer.headers["location"]))
    assert "Nothing was done: the job is not as this page had shown it any more" in page.text
    assert (await status_of(app, job_id))["status"] == "queued"

    ticked = f"{job_id} dead", f"{await app.enqueue('later')} queued"
    answer = await send(client, "/jobs/delete", id=[*ticked])
    assert answer.headers["location"] == "/jobs?did=delete&jobs=1&left=1"
    assert (await status_of(app, job_id))["status"] == "queued"
    for seen in ("gone", "<b>"):
        assert (await send(client, f"/jobs/{job_id}/delete", seen=seen)).status_code == 400
        assert (await send(client, "/jobs/delete", id=[f"{job_id} {seen}"])).status_code == 400

    answer = await send(client, f"/jobs/{job_id}/delete", seen="queued")
    assert answer.headers["location"] == "/jobs"
    assert await app.get_job_status(job_id) is None


async def test_what_is_due_later_runs_now_and_nothing_else(app: Soniq, browse: Browse) -> None:
    lost, later, due = (
        await dead(app),
        await app.enqueue("later", delay=600),
        await app.enqueue("due"),
    )
    client = browse(app, anyone("retry"))
    for job_id, offered in ((later, True), (due, False), (lost, False)):
        page = checked(await client.get(f"/jobs/{job_id}"))
        assert (f"/jobs/{job_id}/run" in page.attributes("action")) is offered

    answer = await send(client, f"/jobs/{later}/run")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{later}")
    assert (await app.backlog())["default"]["waiting"] == 2

    answer = await send(client, f"/jobs/{lost}/run")
    page = checked(await client.get(answer.headers["location"]))
    assert "Nothing was done: the job is not as this page had shown it any more" in page.text
    async with app.connection() as connection:
        await connection.execute(
            f"update {app.settings.schema}.job set status = 'held', held_by = array['x'] where name = 'due'"
        )
    answer = await send(client, f"/jobs/{due}/run")
    page = checked(await client.get(answer.headers["location"]))
    assert "The job is held by a plugin: it runs once it is released" in page.text

    again = await app.enqueue("later", delay=600)
    answer = await send(client, "/jobs/run", id=[f"{again} queued", f"{lost} dead", due], q="a")
    assert answer.headers["location"] == "/jobs?q=a&did=run&jobs=1&left=2"
    page = checked(await client.get(answer.headers["location"]))
    assert "1 job was made due now; 2 could not be" in page.text
    assert (await status_of(app, lost))["status"] == "dead"
    for path in (f"/jobs/{again}/run", "/jobs/run"):
        assert (await send(browse(app, without("retry")), path, id=[again])).status_code == 403


async def test_what_is_not_possible_is_shown_with_the_reason(app: Soniq, browse: Browse) -> None:
    @app.job(name="work")
    async def work() -> None:
        pass

    @app.job(name="look")
    async def look(ctx: JobContext) -> None:
        pages["running"] = await offers(ctx.job_id)

    async def offers(job_id: str, *may: Permission) -> tuple[dict[str, bool], str]:
        page = checked(await browse(app, anyone(*(may or PERMISSIONS))).get(f"/jobs/{job_id}"))
        buttons = [attributes for _, attributes in page.elements if "data-action" in attributes]
        return {each["data-action"] or "": "disabled" not in each for each in buttons}, page.text

    pages: dict[str, tuple[dict[str, bool], str]] = {}
    lost, done = await dead(app), (await run_job(app, work))["job_id"]
    await run_job(app, look)
    due, later = await app.enqueue("work"), await app.enqueue("work", delay=600)
    for name, job_id in {"dead": lost, "done": done, "due": due, "later": later}.items():
        pages[name] = await offers(job_id)

    no = dict.fromkeys(("retry", "run", "cancel", "delete"), False)
    assert {name: shown for name, (shown, _) in pages.items()} == {
        "running": {**no, "cancel": True},
        "dead": {**no, "retry": True, "delete": True},
        "done": {**no, "delete": True},
        "due": {**no, "cancel": True, "delete": True},
        "later": {**no, "run": True, "cancel": True, "delete": True},
    }
    for name, reasons in {
        "running": ["Retry, Delete: it runs, cancel it first", "Run now: it runs already"],
        "dead": ["Run now, Cancel: the job has ended"],
        "done": ["Retry: it is done", "Run now, Cancel: the job has ended"],
        "due": ["Retry: it has yet to run", "Run now: it is due already"],
        "later": ["Retry: it has yet to run"],
    }.items():
        for reason in reasons:
            assert reason in pages[name][1]

    assert (await offers(due, "retry"))[0] == {"retry": False, "run": False}
    shown, text = await offers(due, "see_arguments")
    assert shown == {}
    assert "yet to run" not in text


async def test_a_queue_is_paused_and_resumed(app: Soniq, browse: Browse) -> None:
    await send(browse(app), "/queues/pause", queue="mail & more")
    assert [*(await app.overview())["paused"]] == ["mail & more"]
    await send(browse(app), "/queues/resume", queue="mail & more")
    assert [*(await app.overview())["paused"]] == []


@pytest.mark.parametrize("action", ["retry", "cancel", "delete"])
async def test_a_job_that_is_gone_is_said(app: Soniq, browse: Browse, action: str) -> None:
    answer = await send(browse(app), f"/jobs/{NOWHERE}/{action}")
    page = await browse(app).get(answer.headers["location"])
    assert page.status_code in (200, 404)


async def test_what_cannot_be_retried_is_said(app: Soniq, browse: Browse) -> None:
    @app.job(name="work")
    async def work() -> None:
        pass

    job_id = (await run_job(app, work))["job_id"]
    client = browse(app)
    answer = await send(client, f"/jobs/{job_id}/retry")
    page = await client.get(answer.headers["location"])
    assert "This job cannot be retried as it is now" in page.text


async def test_the_reason_on_the_page_is_no_text_of_an_address(app: Soniq, browse: Browse) -> None:
    job_id = await app.enqueue("later", args={})
    page = await browse(app).get(f"/jobs/{job_id}", params={"refused": "Call 555-1234"})
    assert "555" not in page.text


@pytest.mark.parametrize("queue", ["", "q" * 501, "\x00"])
async def test_a_queue_that_cannot_be_is_refused(app: Soniq, browse: Browse, queue: str) -> None:
    answer = await send(browse(app), "/queues/pause", queue=queue)
    assert answer.status_code == 400
    assert [*(await app.overview())["paused"]] == []


def without(permission: Permission) -> Callable[..., Any]:
    return anyone(*(PERMISSIONS - {permission}))


@pytest.mark.parametrize("permission", ["retry", "cancel", "delete", "pause"])
async def test_who_may_not_do_it_changes_nothing(
    app: Soniq, browse: Browse, permission: Permission
) -> None:
    waiting, lost = await app.enqueue("later", args={}), await dead(app)
    jobs = {"retry": lost, "cancel": waiting, "delete": waiting}
    path = f"/jobs/{jobs[permission]}/{permission}" if permission in jobs else "/queues/pause"
    before = await app.jobs(), [*(await app.overview())["paused"]]

    for authorize in (anyone(), without(permission)):
        for each in {path, path.replace(f"/{waiting}", "").replace(f"/{lost}", "")}:
            answer = await send(browse(app, authorize), each, queue="mail", id=[waiting, lost])
            assert answer.status_code == 403
    assert (await app.jobs(), [*(await app.overview())["paused"]]) == before


@pytest.mark.parametrize("path", [each.path for each in ACTIONS])
async def test_looking_at_the_address_of_an_action_does_nothing(
    app: Soniq, browse: Browse, path: str
) -> None:
    assert (await browse(app).get(path.replace("{id}", NOWHERE))).status_code in (404, 405)


async def test_those_that_are_ticked_are_retried_cancelled_and_deleted(
    app: Soniq, browse: Browse
) -> None:
    first = await dead(app)
    second = (await run_job(app, "fail"))["job_id"]
    ids = [first, second, await app.enqueue("later", args={}, delay=600)]
    client = browse(app)
    answer = await send(client, "/jobs/retry", id=[*ids[:2], NOWHERE], q="name:fail")
    location = answer.headers["location"]
    assert location == "/jobs?q=name%3Afail&did=retry&jobs=2&left=1"
    assert "2 jobs were retried; 1 could not be" in (await client.get(location)).text
    assert [(await status_of(app, each))["status"] for each in ids] == ["queued"] * 3

    answer = await send(client, "/jobs/cancel", id=ids)
    assert "3 jobs were cancelled" in (await client.get(answer.headers["location"])).text
    answer = await send(client, "/jobs/delete", id=ids)
    assert "3 jobs were deleted" in (await client.get(answer.headers["location"])).text
    assert await app.jobs() == []


async def test_those_that_are_ticked_are_cancelled_for_a_reason(
    make_app: MakeApp, browse: Browse
) -> None:
    app = make_app(plugins=[Dashboard()], unknown_jobs="allow")
    ids = [await app.enqueue("later", args={}, delay=600) for _ in range(2)]
    client = browse(app, anyone(*PERMISSIONS, name="eva"))
    await send(client, "/jobs/cancel", id=ids, reason="the order was withdrawn")
    for each in ids:
        status = await status_of(app, each)
        assert (status["status"], status["error"] and status["error"]["message"]) == (
            "cancelled",
            "the order was withdrawn",
        )
    (row,) = (await client.get("/audit")).text.split("<tr data-row>")[1:]
    for part in ("Cancel", "eva", "the order was withdrawn", *(each[-8:] for each in ids)):
        assert part in row

    without = await app.enqueue("later", args={}, delay=600)
    await send(client, "/jobs/cancel", id=without, reason="")
    status = await status_of(app, without)
    assert status["error"] is None or status["error"]["message"] == "cancelled"
    answer = await send(client, "/jobs/cancel", id=without, reason="x" * 501)
    assert answer.status_code == 400


@pytest.mark.parametrize(("permission", "asked"), [("cancel", 1), ("retry", 0)])
async def test_the_reason_is_asked_for_beside_a_cancel_and_enter_in_it_does_nothing(
    app: Soniq, browse: Browse, permission: Permission, asked: int
) -> None:
    await app.enqueue("later", args={}, delay=600)
    page = checked(await browse(app, anyone(permission)).get("/jobs"))
    elements = [each for each in page.elements if each[0] in ("input", "button")]
    reasons = [n for n, (_, given) in enumerate(elements) if given.get("name") == "reason"]
    assert len(reasons) == asked
    for n in reasons:
        assert elements[n + 1][1]["data-action"] == "cancel"
    (form,) = [n for n, (_, given) in enumerate(page.elements) if given.get("method") == "post"]
    first = next(given for tag, given in page.elements[form:] if tag == "button")
    assert "disabled" in first


@pytest.mark.parametrize("ids", [["no-id"], [NOWHERE, "\x00"], [NOWHERE] * 1_001])
async def test_ids_that_cannot_be_change_nothing(
    app: Soniq, browse: Browse, ids: list[str]
) -> None:
    job_id = await app.enqueue("later", args={})
    answer = await send(browse(app), "/jobs/delete", id=[job_id, *ids])
    assert answer.status_code == 400
    assert await app.get_job_status(job_id)


async def test_ticking_nothing_does_nothing(app: Soniq, browse: Browse) -> None:
    await app.enqueue("later", args={})
    answer = await send(browse(app), "/jobs/delete", q="")
    assert answer.headers["location"] == "/jobs?did=delete&jobs=0&left=0"
    assert len(await app.jobs()) == 1


@pytest.mark.parametrize(
    "query", ["did=drop", "did=retry&jobs=x", "did=retry&jobs=-1", "jobs=\u0664"]
)
async def test_what_an_address_says_was_done_is_a_number(
    app: Soniq, browse: Browse, query: str
) -> None:
    assert (await browse(app).get(f"/jobs?{query}")).status_code == 400


async def test_who_paused_a_queue_and_why_is_kept(app: Soniq, browse: Browse) -> None:
    await send(browse(app), "/queues/pause", queue="mail", reason="smtp is down")
    async with app.connection() as connection:
        row = await connection.fetchrow(f"select * from {app.settings.schema}.paused_queue")
    assert row is not None
    assert {"anyone", "smtp is down"} <= {*map(str, row.values())}
