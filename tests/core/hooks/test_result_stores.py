"""result_stores: asked in order whether they take a result; the row keeps the store's name and its
reference.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from soniq import JobContext, SerializationError, Soniq
from soniq.errors import HookTimeout, PluginError
from soniq.plugin import ResultStore
from tests.core.hooks.support import MakeApp, MakePlugin, Run
from tests.support.waiting import in_time


class Shelf:
    """A store that takes results from a certain size. `hangs`: the call that never answers."""

    hangs = ""

    def __init__(self, name: str, smallest: int = 0) -> None:
        self.name = name
        self.smallest = smallest
        self.asked = 0
        self.kept: dict[bytes, bytes] = {}
        self.failures = 0

    async def put(self, ctx: JobContext, data: bytes) -> bytes | None:
        await self._answer("put")
        self.asked += 1
        if self.failures:
            self.failures -= 1
            raise OSError(f"{self.name} is full")
        if len(data) < self.smallest:
            return None
        reference = f"{self.name}/{ctx.job_id}".encode()
        self.kept[reference] = data
        return reference

    async def get(self, reference: bytes) -> bytes:
        await self._answer("get")
        return self.kept[reference]

    async def delete(self, references: Sequence[bytes]) -> None:
        await self._answer("delete")
        for reference in references:
            del self.kept[reference]

    async def _answer(self, call: str) -> None:
        if call == self.hangs:
            await asyncio.Event().wait()


@pytest.fixture
def app_with(make_app: MakeApp, make_plugin: MakePlugin) -> Any:
    """An app with a plugin for each of these stores."""

    def app_with(*stores: ResultStore, **settings: Any) -> Soniq:
        def offering(store: ResultStore) -> Any:
            def result_stores() -> list[ResultStore]:
                return [store]

            return make_plugin(f"plugin-{store.name}", result_stores=result_stores)

        return make_app(plugins=[offering(store) for store in stores], **settings)

    return app_with


def text_job(app: Soniq, **options: Any) -> Any:
    """A job whose result is a text of the length asked for."""

    @app.job(name="text", **options)
    async def text(length: int) -> str:
        return "x" * length

    return text


async def test_they_are_asked_in_order_until_one_takes_it_the_row_last(
    app_with: Any, connection: "asyncpg.Connection[asyncpg.Record]", schema: str, run: Run
) -> None:
    large, middle, never = Shelf("large", 1000), Shelf("middle", 100), Shelf("never", 10**9)
    app = app_with(large, middle, never)
    text = text_job(app)
    for length in (2000, 200, 20):
        assert (await run(app, text, length=length))["result"] == "x" * length
    assert (large.asked, middle.asked, never.asked) == (3, 2, 1)
    rows = await connection.fetch(
        f"select result_store, result, id from {schema}.history order by id"
    )
    assert [(row["result_store"], row["result"]) for row in rows] == [
        ("large", f"large/{rows[0]['id']}".encode()),
        ("middle", f"middle/{rows[1]['id']}".encode()),
        ("row", b'"' + b"x" * 20 + b'"'),
    ]


async def test_a_result_over_the_limit_of_the_row_may_go_to_a_store(
    app_with: Any, run: Run
) -> None:
    shelf = Shelf("shelf", 1000)
    app = app_with(shelf, max_payload=2000)
    assert (await run(app, text_job(app), length=5000))["result"] == "x" * 5000


async def test_an_error_in_put_fails_the_attempt_and_the_next_one_stores_it(
    app_with: Any, calls: list[str], run: Run
) -> None:
    shelf = Shelf("shelf")
    shelf.failures = 1
    app = app_with(shelf)
    app.on_error(lambda ctx, error: calls.append(str(error)))
    app.after_job(lambda ctx, result: calls.append(result))
    status = await run(app, text_job(app, retry=0), length=3)
    assert (status["status"], status["attempt"], status["result"]) == ("done", 2, "xxx")
    assert calls == ["shelf is full", "xxx"]


async def test_an_error_in_get_goes_to_whoever_asked(app_with: Any) -> None:
    shelf = Shelf("shelf")
    app = app_with(shelf)
    job_id = await app.enqueue(text_job(app), length=3)
    await app.run_worker(run_once=True)
    shelf.kept.clear()
    with pytest.raises(KeyError):
        await app.get_result(job_id)


async def test_a_store_that_hangs_is_given_up_in_each_call_and_named(
    app_with: Any, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setattr("soniq.hooks.dispatch.HANGS_AFTER", 0.05)
    shelf = Shelf("shelf")
    app: Soniq = app_with(shelf)
    text = text_job(app, max_attempts=1)

    shelf.hangs = "put"
    failed = await in_time(run(app, text, length=3))
    assert failed["error"] is not None
    assert failed["error"]["message"] == (
        "it waited longer than 0.05 s: put of the result store 'shelf'"
    )

    shelf.hangs = ""
    job_id = (await run(app, text, length=3))["job_id"]
    for call, asked in (("get", app.get_result), ("delete", app.delete)):
        shelf.hangs = call
        with pytest.raises(HookTimeout, match=f"{call} of the result store 'shelf'"):
            await in_time(asked(job_id))

    shelf.hangs = ""
    assert await app.get_result(job_id) == "xxx"
    await app.delete(job_id)
    assert shelf.kept == {}


async def test_pruning_deletes_what_is_in_the_store(app_with: Any, run: Run) -> None:
    shelf = Shelf("shelf", 100)
    app = app_with(shelf)
    text = text_job(app)
    for length in (200, 300, 3):
        await run(app, text, length=length)
    assert len(shelf.kept) == 2
    assert await app.prune(older_than=0) == 3
    assert shelf.kept == {}


async def test_pruning_without_the_store_keeps_what_is_in_it(
    app_with: Any, make_app: MakeApp, run: Run
) -> None:
    shelf = Shelf("shelf", 100)
    app, without = app_with(shelf), make_app()
    text = text_job(app)
    for length in (200, 3):
        await run(app, text, length=length)
    assert await without.prune(older_than=0) == 1
    assert len(shelf.kept) == 1
    assert await app.prune(older_than=0) == 1
    assert shelf.kept == {}


async def test_a_store_that_is_missing_is_a_clear_error(app_with: Any, make_app: MakeApp) -> None:
    app, without = app_with(Shelf("shelf")), make_app()
    job_id = await app.enqueue(text_job(app), length=3)
    await app.run_worker(run_once=True)
    with pytest.raises(
        SerializationError, match="the result of text is in the store 'shelf', which no plugin here"
    ):
        await without.get_result(job_id)


async def test_no_result_asks_no_store(app_with: Any, run: Run) -> None:
    shelf = Shelf("shelf")
    app: Soniq = app_with(shelf)

    @app.job()
    async def handler() -> None: ...

    assert (await run(app, handler))["status"] == "done"
    assert shelf.asked == 0


async def test_two_of_one_name_end_the_start(app_with: Any) -> None:
    with pytest.raises(
        PluginError,
        match="result_stores of results-in-row: 'row' is provided by plugin-row already",
    ):
        await app_with(Shelf("row")).start()
