"""The contract carries workflows: the plugin of workflow.py, with workers that die, that lack it, and
that end parents at the same moment. A step starts when its parents are done, and once.
"""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from soniq import Job, JobContext, Soniq, hookimpl
from soniq.plugin import Holds, JobDefinition, Outcome, OwedEvent, TransactionConnection
from soniq_limits import Limit, Limits
from soniq_testing import check_plugin
from tests.conftest import MakeApp
from tests.core.hooks.workflow import AFTER, NAME, Step, Workflow
from tests.support.forks import Forks
from tests.support.jobs import finished, status_of, working
from tests.support.processes import Process
from tests.support.waiting import eventually, in_time

Connection = asyncpg.Connection

ROOT = Path(__file__).parents[3]


class Seen:
    """What handlers wrote down of themselves, in a table: `+ name` as they start, `- name` as they
    end.
    """

    def __init__(self, connection: "Connection[asyncpg.Record]", schema: str) -> None:
        self._connection = connection
        self._schema = schema

    async def make(self) -> None:
        await self._connection.execute(f"create schema {self._schema}_seen")
        columns = "place bigint generated always as identity, what text"
        await self._connection.execute(f"create table {self._schema}_seen.seen ({columns})")

    async def all(self) -> list[str]:
        sql = f"select what from {self._schema}_seen.seen order by place"
        return [row["what"] for row in await self._connection.fetch(sql)]

    async def has(self, what: str) -> bool:
        return what in await self.all()

    async def nothing_waits(self) -> bool:
        """Whether the plugin keeps nothing any more, and is owed nothing."""
        tables = (f"{self._schema}_workflow.step", f"{self._schema}_workflow.waits")
        counts = [
            await self._connection.fetchval(f"select count(*) from {table}")
            for table in (*tables, f"{self._schema}.owed")
        ]
        return counts == [0, 0, 0]


@pytest.fixture
async def seen(connection: "Connection[asyncpg.Record]", schema: str) -> Seen:
    seen = Seen(connection, schema)
    await seen.make()
    return seen


class Unread:
    """Reads the option in an app that does not have the plugin."""

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        job.option(Step)


class Handlers:
    """What the handlers of a test wait for, and which of them fail."""

    def __init__(self) -> None:
        self.wait_for: dict[str, asyncio.Event] = {}
        self.failing: set[str] = set()


def define(app: Soniq, handlers: Handlers | None = None) -> Job[..., Any]:
    """A step that writes down when it runs."""

    async def write(what: str) -> None:
        async with app.connection() as connection:
            sql = f"insert into {app.settings.schema}_seen.seen (what) values ($1)"
            await connection.execute(sql, what)

    @app.job(Step(), name="step", max_attempts=5, retry=0)
    async def step(name: str) -> None:
        await write(f"+ {name}")
        if handlers is not None:
            if name in handlers.wait_for:
                await handlers.wait_for[name].wait()
            if name in handlers.failing:
                raise ValueError("not today")
        await write(f"- {name}")

    return step


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
def app(make_app: MakeApp, seen: Seen, handlers: Handlers) -> Soniq:
    """An app with the plugin that looks for nothing by itself within the time of a test."""
    app = make_app(plugins=[Workflow()], poll_interval=60)
    define(app, handlers)
    return app


async def steps(app: Soniq, names: Sequence[str], after: Sequence[str] = ()) -> list[str]:
    workflow = app.plugin(Workflow)
    return [await workflow.enqueue("step", name=name, after=after) for name in names]


# --- steps, one after the other ------------------------------------------------------------------


async def test_a_workflow_of_three_steps_fans_out_and_in(app: Soniq, seen: Seen) -> None:
    async with app, working(app):
        first = await steps(app, ["first"])
        middle = await steps(app, ["a", "b", "c"], after=first)
        (last,) = await steps(app, ["last"], after=middle)
        assert (await finished(app, last))["status"] == "done"
        await eventually(seen.nothing_waits)

    order = await seen.all()
    assert order[:2] == ["+ first", "- first"]
    assert sorted(order[2:-2]) == ["+ a", "+ b", "+ c", "- a", "- b", "- c"]
    assert order[-2:] == ["+ last", "- last"]


async def test_steps_whose_parents_are_done_already_run_at_once(app: Soniq, seen: Seen) -> None:
    async with app, working(app):
        (first,) = await steps(app, ["first"])
        await finished(app, first)
        (last,) = await steps(app, ["last"], after=[first])
        assert (await finished(app, last))["status"] == "done"
        await eventually(seen.nothing_waits)


async def test_a_chain_of_ten_needs_no_poll(app: Soniq, seen: Seen) -> None:
    """tests.benchmarks.workflows says how long it takes."""
    names = [str(n) for n in range(10)]
    async with app:
        last: list[str] = []
        for name in names:
            last = await steps(app, [name], after=last)
        began = time.monotonic()
        async with working(app):
            assert (await finished(app, last[0]))["status"] == "done"
            assert time.monotonic() - began < 5
            await eventually(seen.nothing_waits)
    assert await seen.all() == [f"{sign} {name}" for name in names for sign in "+-"]


async def test_three_hundred_parents_on_two_workers_let_their_child_go_once(
    make_app: MakeApp, seen: Seen
) -> None:
    apps = [make_app(plugins=[Workflow()], poll_interval=60) for _ in range(2)]
    for each in apps:
        define(each)
        await each.start()
    async with working(apps[0]), working(apps[1]):
        for time_ in range(3):
            parents = await apps[0].enqueue_many(
                "step", [{"name": f"parent {time_}"}] * 300, headers={AFTER: []}
            )
            (child,) = await steps(apps[1], [f"child {time_}"], after=parents)
            assert (await finished(apps[0], child))["status"] == "done"
        await eventually(seen.nothing_waits)

    order = await seen.all()
    for time_ in range(3):
        assert order.count(f"+ child {time_}") == 1
        ends = [place for place, what in enumerate(order) if what == f"- parent {time_}"]
        assert len(ends) == 300
        assert order.index(f"+ child {time_}") > ends[-1]


# --- each way in ---------------------------------------------------------------------------------


async def in_theirs(app: Soniq, connection: "Connection[asyncpg.Record]") -> None:
    """In one transaction, which is committed when the worker has long looked for work."""
    workflow = app.plugin(Workflow)
    async with connection.transaction():
        first = await workflow.enqueue("step", name="first", connection=connection)
        await workflow.enqueue("step", name="last", after=[first], connection=connection)


async def from_sql(app: Soniq, connection: "Connection[asyncpg.Record]") -> None:
    schema = app.settings.schema
    sql = f"select {schema}.enqueue('step', $1::jsonb, $2::jsonb)"
    first = await connection.fetchval(sql, '{"name": "first"}', "{}")
    after = json.dumps({"headers": {AFTER: [str(first)]}})
    await connection.fetchval(sql, '{"name": "last"}', after)


async def by_a_program_without(app: Soniq, _: "Connection[asyncpg.Record]") -> None:
    url, schema = app.settings.database_url, app.settings.schema
    async with Soniq(url, schema=schema, discover=False, unknown_jobs="allow") as other:
        first = await other.enqueue("step", name="first")
        await other.enqueue("step", name="last", headers={AFTER: [first]})


async def as_children(app: Soniq, _: "Connection[asyncpg.Record]") -> None:
    await app.enqueue("plan")


WAYS = (in_theirs, from_sql, by_a_program_without, as_children)


@pytest.mark.parametrize("enqueue", WAYS, ids=lambda way: way.__name__)
async def test_steps_wait_whichever_way_they_came_in(
    app: Soniq,
    seen: Seen,
    connection: "Connection[asyncpg.Record]",
    enqueue: Callable[[Soniq, "Connection[asyncpg.Record]"], Awaitable[None]],
) -> None:
    @app.job(name="plan")
    async def plan(ctx: JobContext) -> None:
        first = await ctx.enqueue("step", name="first")
        await ctx.enqueue("step", args={"name": "last"}, headers={AFTER: [first]})

    async with app, working(app):
        await enqueue(app, connection)
        await eventually(lambda: seen.has("- last"))
        await eventually(seen.nothing_waits)
    assert await seen.all() == ["+ first", "- first", "+ last", "- last"]


# --- parents that do not get done ----------------------------------------------------------------


async def test_a_step_stays_held_where_a_parent_is_dead_and_goes_on_when_it_was_retried(
    app: Soniq, seen: Seen, handlers: Handlers
) -> None:
    handlers.failing = {"bad"}
    async with app, working(app):
        good, bad = await steps(app, ["good", "bad"])
        (last,) = await steps(app, ["last"], after=[good, bad])
        assert (await finished(app, bad))["status"] == "dead"
        await eventually(lambda: waits_for(app, last, {bad: "dead"}))
        status = await status_of(app, last)
        assert (status["status"], status["held_by"]) == ("held", [NAME])

        handlers.failing = set()
        await app.retry(bad)
        assert (await finished(app, last))["status"] == "done"
        await eventually(seen.nothing_waits)
    assert (await seen.all()).count("+ last") == 1


async def test_a_step_stays_held_where_a_parent_was_cancelled_until_a_person_says_otherwise(
    app: Soniq, seen: Seen, handlers: Handlers
) -> None:
    handlers.wait_for = {"first": asyncio.Event()}
    async with app, working(app):
        (first,) = await steps(app, ["first"])
        cancelled, released = await steps(app, ["cancelled", "released"], after=[first])
        (behind,) = await steps(app, ["behind"], after=[cancelled])
        await eventually(lambda: waits_for(app, cancelled, {first: "running"}))
        assert await app.cancel(first)
        await eventually(lambda: waits_for(app, released, {first: "cancelled"}))

        assert await app.cancel(cancelled)
        await eventually(lambda: waits_for(app, behind, {cancelled: "cancelled"}))
        assert await app.release(released, holder=NAME) == 1
        assert (await finished(app, released))["status"] == "done"
        assert await app.cancel(behind)
        await eventually(seen.nothing_waits)
    assert await seen.all() == ["+ first", "+ released", "- released"]


async def test_a_step_that_was_cancelled_and_is_retried_waits_again(
    app: Soniq, seen: Seen, handlers: Handlers
) -> None:
    handlers.wait_for = {"first": asyncio.Event()}
    async with app, working(app):
        (first,) = await steps(app, ["first"])
        (last,) = await steps(app, ["last"], after=[first])
        await eventually(lambda: seen.has("+ first"))
        for _ in range(5):
            assert await app.cancel(last)
            await app.retry(last)
        await eventually(lambda: waits_for(app, last, {first: "running"}))
        handlers.wait_for["first"].set()
        assert (await finished(app, last))["status"] == "done"
        await eventually(seen.nothing_waits)
    assert await seen.all() == ["+ first", "- first", "+ last", "- last"]


async def waits_for(app: Soniq, step: str, parents: dict[str, str]) -> bool:
    return await app.plugin(Workflow).inspect_fields(app, await status_of(app, step)) == parents


async def test_a_step_with_a_limit_takes_its_slot_when_its_parents_are_done(
    make_app: MakeApp, seen: Seen
) -> None:
    """The workflow is the first to hold it, so that a step which waits keeps no other from
    running.
    """
    app = make_app(plugins=[Limits(), Workflow()], poll_interval=60)
    running, most = 0, 0

    @app.job(Step(), Limit(2), name="limited")
    async def limited() -> None:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0.001)
        running -= 1

    async with app:
        chains: list[str] = []
        for _ in range(10):
            step = await app.plugin(Workflow).enqueue(limited)
            for _ in range(2):
                step = await app.plugin(Workflow).enqueue(limited, after=[step])
            chains.append(step)
        assert (await status_of(app, step))["held_by"] == [NAME, "limits"]
        async with working(app):
            for last in chains:
                assert (await finished(app, last))["status"] == "done"
            await eventually(seen.nothing_waits)
    assert most == 2


# --- workers that die, and workers without the plugin --------------------------------------------

DYING = """
import asyncio
import os
import signal

from soniq import Soniq, hookimpl
from tests.core.hooks.test_workflows import define
from tests.core.hooks.workflow import Workflow


def die(where):
    if os.environ["DIES_IN"] == where:
        os.kill(os.getpid(), signal.SIGKILL)


class Dying(Workflow):
    @hookimpl(marked=True)
    async def settle_tx(self, tx, outcomes, holds):
        await super().settle_tx(tx, outcomes, holds)
        die("settle_tx")

    @hookimpl
    async def owed_tx(self, tx, events, holds):
        await super().owed_tx(tx, events, holds)
        if any("ended" in each.what for each in events):
            die("owed_tx")


app = Soniq(plugins=[Dying()], discover=False, lease=1)
define(app)
app.before_job(lambda ctx: die("handler"))
asyncio.run(app.run_worker())
"""


@pytest.mark.parametrize("where", ["handler", "settle_tx", "owed_tx"])
async def test_a_step_runs_once_where_the_worker_of_its_parents_is_killed(
    make_app: MakeApp,
    seen: Seen,
    tmp_path: Path,
    database_url: str,
    schema: str,
    forks: Forks,
    where: str,
) -> None:
    """While parents run, before their end is committed, and after that, before it was told."""
    app = make_app(plugins=[Workflow()], lease=1)
    define(app)
    async with app:
        parents = await steps(app, [f"parent {n}" for n in range(20)])
        (child,) = await steps(app, ["child"], after=parents)
        script = tmp_path / "worker.py"
        script.write_text(DYING)
        environment = {
            "SONIQ_DATABASE_URL": database_url,
            "SONIQ_SCHEMA": schema,
            "PYTHONPATH": str(ROOT),
            "DIES_IN": where,
        }
        process = Process(forks, script, environment)
        try:
            assert await process.ended() == -signal.SIGKILL
        finally:
            process.close()
        assert (await status_of(app, child))["status"] == "held"

        async with working(app):
            assert (await finished(app, child))["status"] == "done"
            await eventually(seen.nothing_waits)
    order = await seen.all()
    assert order.count("+ child") == 1
    assert {f"- parent {n}" for n in range(20)} < {*order[: order.index("+ child")]}


async def test_a_step_runs_where_its_parents_were_settled_by_a_worker_without_the_plugin(
    app: Soniq, make_app: MakeApp, seen: Seen
) -> None:
    without = make_app(plugins=[Unread()], poll_interval=60)
    define(without)
    async with app, without:
        parents = await steps(app, ["a", "b"])
        (child,) = await steps(app, ["child"], after=parents)
        await app.run_worker(run_once=True, queues=["none"])  # lets the parents go
        assert await without.run_worker(run_once=True) == 2
        assert (await status_of(app, child))["status"] == "held"

        async with working(app, queues=["none"]), working(without):
            assert (await finished(app, child))["status"] == "done"
            await eventually(seen.nothing_waits)
    assert (await seen.all()).count("+ child") == 1


# --- what happens at the same moment -------------------------------------------------------------


async def test_two_parents_in_open_settlements_at_once_let_their_child_go(
    make_app: MakeApp, seen: Seen
) -> None:
    """Neither transaction sees the other parent as done."""
    both = asyncio.Barrier(2)

    class Together(Workflow):
        met = False

        @hookimpl(marked=True)
        async def settle_tx(
            self, tx: TransactionConnection, outcomes: Sequence[Outcome], holds: Holds
        ) -> None:
            await super().settle_tx(tx, outcomes, holds)
            if not self.met:
                self.met = True
                await both.wait()

    apps = [make_app(plugins=[Together()], poll_interval=60) for _ in range(2)]
    jobs = [define(each) for each in apps]
    for each in apps:
        await each.start()
    async with working(apps[0], queues=["a"]), working(apps[1], queues=["b"]):
        workflow = apps[0].plugin(Together)
        parents = [await workflow.enqueue(jobs[0], name=queue, queue=queue) for queue in ("a", "b")]
        child = await workflow.enqueue(jobs[0], name="child", queue="a", after=parents)
        assert (await finished(apps[0], child))["status"] == "done"
        assert all(each.plugin(Together).met for each in apps)
        await eventually(seen.nothing_waits)
    order = await seen.all()
    assert order[-2:] == ["+ child", "- child"]
    assert order.count("+ child") == 1


class Pause:
    """Keeps open the first transaction of `owed_tx` that tells of something, until it is let go."""

    def __init__(self, tells: Callable[[OwedEvent], bool]) -> None:
        self.tells = tells
        self.begun = asyncio.Event()
        self.over = asyncio.Event()

    def workflow(self) -> Workflow:
        pause = self

        class Paused(Workflow):
            @hookimpl
            async def owed_tx(
                self, tx: TransactionConnection, events: Sequence[OwedEvent], holds: Holds
            ) -> None:
                await super().owed_tx(tx, events, holds)
                if not pause.begun.is_set() and any(map(pause.tells, events)):
                    pause.begun.set()
                    await pause.over.wait()

        return Paused()


@pytest.fixture
async def two(make_app: MakeApp, seen: Seen, handlers: Handlers) -> AsyncIterator[Any]:
    """Makes two apps with workers, of which one pauses, and the other goes on."""
    begun: list[Any] = []

    async def make(pause: Pause) -> Soniq:
        apps = [make_app(plugins=[pause.workflow()], poll_interval=60) for _ in range(2)]
        for app in apps:
            define(app, handlers)
            begun.append(working(app))
            await begun[-1].__aenter__()
        return apps[0]

    yield make
    for each in begun:
        await each.__aexit__(None, None, None)


async def test_a_second_look_at_a_step_waits_for_the_first_and_counts_after_it(
    two: Callable[[Pause], Awaitable[Soniq]],
    seen: Seen,
    handlers: Handlers,
    connection: "Connection[asyncpg.Record]",
    schema: str,
) -> None:
    """Each of two parents is told of in a transaction of its own, the second while the first is
    open.
    """
    handlers.wait_for = {"a": asyncio.Event(), "b": asyncio.Event()}
    pause = Pause(lambda event: "ended" in event.what)
    app = await two(pause)
    parents = await steps(app, ["a", "b"])
    (child,) = await steps(app, ["child"], after=parents)
    await eventually(lambda: waits_for(app, child, dict.fromkeys(parents, "running")))

    handlers.wait_for["a"].set()
    await in_time(pause.begun.wait())
    handlers.wait_for["b"].set()
    await eventually(
        lambda: connection.fetchval(
            "select exists (select from pg_stat_activity where wait_event_type = 'Lock'"
            f" and query like '%{schema}_workflow%for update')"
        )
    )
    assert (await status_of(app, child))["status"] == "held"
    pause.over.set()
    assert (await finished(app, child))["status"] == "done"
    await eventually(seen.nothing_waits)
    assert (await seen.all()).count("+ child") == 1


async def test_a_step_that_comes_in_while_its_parent_ends_is_let_go(
    two: Callable[[Pause], Awaitable[Soniq]], seen: Seen, handlers: Handlers
) -> None:
    """The parent's end is told before it is committed that somebody waits for it."""
    handlers.wait_for = {"parent": asyncio.Event()}
    pause = Pause(lambda event: bool(event.headers.get(AFTER)))
    app = await two(pause)
    (parent,) = await steps(app, ["parent"])
    await eventually(lambda: seen.has("+ parent"))
    (child,) = await steps(app, ["child"], after=[parent])
    await in_time(pause.begun.wait())

    handlers.wait_for["parent"].set()
    await finished(app, parent)
    await eventually(lambda: only_the_step_is_owed(app))
    assert (await status_of(app, child))["status"] == "held"
    pause.over.set()
    assert (await finished(app, child))["status"] == "done"
    await eventually(seen.nothing_waits)
    assert (await seen.all()).count("+ child") == 1


async def test_a_step_that_is_retried_while_its_cancel_is_told_is_not_let_go(
    make_app: MakeApp, seen: Seen, handlers: Handlers
) -> None:
    """Between the look at what became of it and the release."""
    looked, retried = asyncio.Event(), asyncio.Event()

    class Slow(Workflow):
        async def free(
            self, tx: TransactionConnection, looked_at: Collection[str], ended: Mapping[str, str]
        ) -> list[str]:
            found = await super().free(tx, looked_at, ended)
            if "cancelled" in ended.values():
                looked.set()
                await retried.wait()
            return found

    handlers.wait_for = {"first": asyncio.Event()}
    app = make_app(plugins=[Slow()], poll_interval=60)
    define(app, handlers)
    async with app, working(app):
        (first,) = await steps(app, ["first"])
        (last,) = await steps(app, ["last"], after=[first])
        await eventually(lambda: waits_for(app, last, {first: "running"}))
        assert await app.cancel(last)
        await in_time(looked.wait())
        await app.retry(last)
        retried.set()
        await eventually(lambda: nothing_is_owed(app))
        assert await waits_for(app, last, {first: "running"})
        assert (await status_of(app, last))["status"] == "held"
        handlers.wait_for["first"].set()
        assert (await finished(app, last))["status"] == "done"
        await eventually(seen.nothing_waits)


async def nothing_is_owed(app: Soniq) -> bool:
    return not (await app.overview())["owed"]


async def only_the_step_is_owed(app: Soniq) -> bool:
    return (await app.overview())["owed"][NAME]["events"] == 1


async def test_it_keeps_to_the_contract(database_url: str) -> None:
    await check_plugin(Workflow(), options=[Step()], database_url=database_url)
