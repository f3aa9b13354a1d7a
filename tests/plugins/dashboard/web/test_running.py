"""What runs, and the workers: those that are alive, those that fell silent, and each by itself."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg
import pytest

from soniq import JobContext, Soniq
from soniq_dashboard import Dashboard
from soniq_dashboard.durations import BOUNDS
from soniq_dashboard.web import anyone
from tests.conftest import MakeApp
from tests.plugins.dashboard.web.conftest import Browse, send
from tests.plugins.dashboard.web.statements import counted
from tests.plugins.dashboard.web.test_pages import HOSTILE, checked
from tests.support.jobs import finished, lose_a_worker, status_of, working
from tests.support.waiting import eventually

JOB = "01a22b36-af8b-70ef-abb4-2accb21d721e"

Connection = asyncpg.Connection


@pytest.fixture
def app(make_app: MakeApp) -> Soniq:
    return make_app(plugins=[Dashboard()], lease=1)


@dataclass
class Runs:
    """Jobs that run until they are let go, by name."""

    over: asyncio.Event = field(default_factory=asyncio.Event)
    ids: dict[str, str] = field(default_factory=dict)


@pytest.fixture
async def runs(
    app: Soniq, schema: str, connection: "Connection[asyncpg.Record]"
) -> AsyncIterator[Runs]:
    """Three jobs that run; of one it is usual to take 8 ms, of one to take ten minutes."""
    runs = Runs()
    for name in ("quick", "slow", "rare"):

        @app.job(name=name)
        async def job(ctx: JobContext) -> None:
            await ctx.progress(0.4, step=HOSTILE[0])
            await runs.over.wait()

        runs.ids[name] = await app.enqueue(job)
    for name, seconds, times in (("quick", 0.008, 12), ("slow", 600.0, 12), ("rare", 0.008, 9)):
        place = next(n for n, bound in enumerate(BOUNDS, 1) if bound >= seconds)
        await connection.execute(
            f"insert into {schema}_dashboard.series (tier, at, queue, name, done, dead, cancelled,"
            " retry, snooze, lost, stopped, took, waited, took_buckets, waited_buckets) values (60,"
            " date_trunc('hour', now()), 'default', $1, $2, 0, 0, 0, 0, 0, 0, 1, 1, $3, '{}')",
            name, times, [0] * (place - 1) + [times],
        )  # fmt: skip
    async with working(app):

        async def all_said_how_far_they_are() -> bool:
            of = f"select count(progress) from {schema}.job where status = 'running'"
            return await connection.fetchval(of) == 3  # type: ignore[no-any-return]

        await eventually(all_said_how_far_they_are)
        yield runs
        runs.over.set()


async def test_what_runs_is_compared_with_what_is_usual_and_can_be_cancelled(
    app: Soniq, browse: Browse, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = browse(app)
    with counted(monkeypatch) as asked:
        page = await client.get("/running")
        await client.get("/running")
    assert sum("sum(took_packed)" in each for each in asked) == 1
    rows = dict(zip(re.findall(r'main-link" href="/jobs/[^"]+">(\w+)<', page.text),
                    page.text.split("<tr data-row>")[1:], strict=True))  # fmt: skip
    assert {name for name, row in rows.items() if "longer than usual" in row} == {"quick"}
    usual = {
        name: re.findall(r'p95 ≈" class="num end">([^<]+)<', row) for name, row in rows.items()
    }
    assert usual["rare"] == ["–"]
    assert usual["slow"][0].endswith(" s")
    text = checked(page).text
    assert (text.count("40\xa0%"), text.count(f"step: {HOSTILE[0]}")) == (3, 3)

    ids = [*runs.ids.values()]
    answer = await send(client, "/running/cancel", id=ids[:2], one=ids[2])
    assert answer.headers["location"] == "/running?asked=1&left=0"
    page = await client.get("/running?asked=1&left=0")
    assert "1 job is asked to end" in checked(page).text
    assert (await finished(app, ids[2]))["status"] == "cancelled"
    assert [(await status_of(app, each))["status"] for each in ids[:2]] == ["running"] * 2
    answer = await send(client, "/running/cancel", id=ids, cursor="c", reason="the disk is full")
    assert answer.headers["location"] == "/running?cursor=c&asked=2&left=1"
    for each in ids[:2]:
        error = (await finished(app, each))["error"]
        assert error
        assert error["message"] == "the disk is full"
    said = await client.get("/running?asked=2&left=1")
    assert "2 jobs are asked to end; 1 could not be, as they have ended" in checked(said).text


async def test_who_may_only_look_can_cancel_nothing_that_runs_and_sees_no_progress(
    app: Soniq, browse: Browse, runs: Runs
) -> None:
    client = browse(app, anyone("retry"))
    page = await client.get("/running")
    assert "longer than usual" in checked(page).text
    assert not re.findall(r"Progress|40.%|>Cancel|name=\"(?:id|reason)\"", page.text)
    answer = await send(client, "/running/cancel", one=runs.ids["slow"])
    assert answer.status_code == 403
    (job,) = await app.jobs(name="slow")
    assert job["status"] == "running"


@pytest.mark.parametrize("text", HOSTILE[:2])
async def test_workers_that_fell_silent_are_told_of_and_those_that_ended_in_order_are_not(
    app: Soniq, browse: Browse, schema: str, connection: "Connection[asyncpg.Record]", text: str
) -> None:
    await app.start()
    client = browse(app)
    async with working(app):
        pass
    lost = await lose_a_worker(connection, schema, text, **{JOB: text})
    await connection.execute(
        f"insert into {schema}_dashboard.process (id, since, at, memory, pid, hostname)"
        " values (gen_random_uuid(), '-infinity', now(), 129394278, 4711, $1)", text
    )  # fmt: skip
    for found_by_another in (False, True):
        if found_by_another:

            async def is_removed() -> bool:
                of = f"select count(*) from {schema}_dashboard.silent"
                return await connection.fetchval(of) == 1  # type: ignore[no-any-return]

            async with working(app):
                await eventually(is_removed)
        overview = checked(await client.get("/"))
        assert "1 worker fell silent within the last hour" in overview.text
        list_ = checked(await client.get("/workers"))
        assert "Fell silent within the last hour" in list_.text
        assert list_.text.count("4711") == 1
        assert list_.attributes("href") & {f"/workers/{lost}"}
        assert "123.4 MB" in list_.text
        page = checked(await client.get(f"/workers/{lost}"))
        assert "Memory at last123.4 MB" in page.text
        assert page.text.count(text) >= 3
        assert "What it ran" in page.text
        assert page.attributes("href") >= {f"/jobs/{JOB}", "/names/one?name=fetch"}


async def test_a_live_worker_has_a_page_of_its_own(app: Soniq, browse: Browse, runs: Runs) -> None:
    client = browse(app)

    async def says_what_it_runs() -> str:
        (worker,) = (await app.overview())["workers"]
        return worker["worker_id"] if worker["running"] == 3 else ""

    worker = await eventually(says_what_it_runs)
    assert f"/workers/{worker}" in checked(await client.get("/running")).attributes("href")
    page = checked(await client.get(f"/workers/{worker}"))
    for of in (page, checked(await client.get("/workers"))):
        assert re.search(r"Memory.*?\d+\.\d [MG]B", of.text, re.DOTALL)
    assert page.attributes("href") >= {f"/jobs/{each}" for each in runs.ids.values()}
    assert page.text.count("longer than usual") == 1
    assert "3 of 20" in page.text
    assert "silent" not in page.text
    for none in ("no-id", JOB):
        checked(await client.get(f"/workers/{none}"), 404)


async def test_where_nothing_is_counted_what_runs_is_shown_without(
    make_app: MakeApp, browse: Browse, schema: str, connection: "Connection[asyncpg.Record]"
) -> None:
    app, over = make_app(), asyncio.Event()

    @app.job(name="work")
    async def work() -> None:
        await over.wait()

    await app.enqueue(work)
    async with working(app):

        async def is_shown() -> bool:
            return "work" in checked(await browse(app).get("/running")).text

        await eventually(is_shown)
        over.set()
    checked(await browse(app).get("/workers"))
    behind = make_app(plugins=[Dashboard()])
    await behind.start()
    await connection.execute(f"drop function {schema}_dashboard.overdue()")
    page = checked(await browse(behind).get("/workers"))
    assert "soniq setup makes them" in page.text
