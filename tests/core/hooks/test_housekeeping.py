"""The hook `housekeeping`: context managers around what Soniq does for itself, and around nothing
else.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import asyncpg
import pytest

from soniq import Soniq, hookimpl
from soniq.plugin import Task
from tests.conftest import MakeApp
from tests.support.jobs import finished, working
from tests.support.waiting import eventually

inside: ContextVar[bool] = ContextVar("inside", default=False)
Where = list[tuple[str, bool]]


class Kept:
    """A plugin whose context manager says that one is inside."""

    name = "kept"

    def __init__(self) -> None:
        self.open = 0
        self.task: list[bool] = []

    @hookimpl
    def housekeeping(self, app: Soniq) -> Sequence[Callable[[], AbstractContextManager[None]]]:
        return [self.keep]

    @contextmanager
    def keep(self) -> Iterator[None]:
        token = inside.set(True)
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
            inside.reset(token)

    @hookimpl
    def background_tasks(self, app: Soniq) -> Sequence[Task]:
        async def note() -> None:
            self.task.append(inside.get())
            await asyncio.Event().wait()

        return [Task(name="note", run=note)]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Where:
    """Each statement by its name, and whether it was sent from inside."""
    seen: Where = []

    def noted(method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(self: object, query: str, *args: Any, **options: Any) -> Any:
            name = (
                query.rpartition("/* soniq: ")[2].removesuffix(" */")
                if "/* soniq: " in query
                else ""
            )
            seen.append((name, inside.get()))
            return await method(self, query, *args, **options)

        return call

    for method in ("fetch", "fetchrow", "fetchval", "execute"):
        monkeypatch.setattr(asyncpg.Connection, method, noted(getattr(asyncpg.Connection, method)))
    return seen


async def test_what_a_worker_does_for_itself_is_inside_and_attempts_and_callers_are_not(
    make_app: MakeApp, statements: Where
) -> None:
    plugin = Kept()
    app = make_app(plugins=[plugin], lease=1)
    ran: list[bool] = []

    @app.job(name="awaits")
    async def awaits() -> None:
        ran.append(inside.get())
        async with app.connection() as connection:
            await connection.execute("select 1")

    @app.job(name="blocks")
    def blocks() -> None:
        ran.append(inside.get())

    async with working(app):
        for name in ("awaits", "blocks"):
            await finished(app, await app.enqueue(name))
        await eventually(lambda: _has(statements, "heartbeat"))
        assert plugin.open

    assert ran == [False, False]
    assert plugin.task == [True]
    assert plugin.open == 0
    own = {name for name, inside_ in statements if inside_ and name}
    assert own >= {
        "register_worker",
        "settle_and_claim",
        "heartbeat",
        "unregister_worker",
        "notify",
    }
    assert {name for name, inside_ in statements if not inside_} >= {"insert_one", "job", ""}
    assert not own & {"insert_one", "job"}


async def _has(statements: Where, name: str) -> bool:
    return (name, True) in statements


class Failing:
    """A plugin whose context managers fail."""

    name = "failing"

    def __init__(self, where: str) -> None:
        self.where = where

    @hookimpl
    def housekeeping(self, app: Soniq) -> Sequence[Callable[[], AbstractContextManager[None]]]:
        return [self.keep]

    @contextmanager
    def keep(self) -> Iterator[None]:
        if self.where == "entering":
            raise LookupError("no broom")
        yield
        if self.where == "leaving":
            raise LookupError("no broom")


@pytest.mark.parametrize("where", ["entering", "leaving"])
async def test_one_that_fails_is_logged_and_harms_nothing(
    make_app: MakeApp, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept()
    app = make_app(plugins=[Failing(where), kept])

    @app.job(name="work")
    async def work() -> int:
        return 5

    with caplog.at_level(logging.ERROR):
        job_id = await app.enqueue(work)
        assert await app.run_worker(run_once=True) == 1
    assert await app.get_result(job_id) == 5
    assert kept.open == 0
    assert "housekeeping of failing failed" in caplog.text
    assert "LookupError('no broom')" in caplog.text


async def test_the_context_of_whoever_runs_a_worker_is_as_it_was(make_app: MakeApp) -> None:
    app = make_app(plugins=[Kept()])
    await app.run_worker(run_once=True)
    assert not inside.get()
    assert not [thread for thread in threading.enumerate() if thread.name == "soniq heartbeat"]


async def test_statements_begin_with_what_they_do_and_end_with_their_name(app: Soniq) -> None:
    await app.start()
    sql = app._database.sql
    for name in ("insert", "settle_and_claim", "heartbeat", "notify", "job"):
        assert not sql[name].startswith(("--", "/*", "\n"))
        assert sql[name].endswith(f"/* soniq: {name} */")
