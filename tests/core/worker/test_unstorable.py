"""A handler that has done its work and returns what cannot be stored does not do it again."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from soniq import Soniq, hookimpl
from soniq.job import JobContext
from tests.conftest import MakeApp
from tests.support.jobs import status_of

Connection = asyncpg.Connection  # the class itself: that is how a handler asks for one


class Response:
    """What a client of some service returns: nothing that could be stored."""


async def run(app: Soniq, job: Any) -> Any:
    job_id = await app.enqueue(job)
    await app.run_worker(run_once=True)
    return await status_of(app, job_id)


@pytest.mark.parametrize(
    "value", [Response(), "x" * 5_000, {1: object()}], ids=["odd", "long", "nested"]
)
async def test_without_an_annotation_the_job_is_done_without_a_result(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, value: object
) -> None:
    app = make_app(max_payload=1_000)
    runs: list[int] = []

    @app.job(retry=0)
    async def one():  # type: ignore[no-untyped-def]
        runs.append(1)
        return value

    with caplog.at_level(logging.WARNING, "soniq.worker"):
        ids = [await app.enqueue(one), await app.enqueue(one)]
        await app.run_worker(run_once=True)
    first, second = [await status_of(app, each) for each in ids]
    assert (first["status"], first["result"], first["attempt"]) == ("done", None, 1)
    assert second["status"] == "done"
    assert len(runs) == 2
    told = [record for record in caplog.records if "without its result" in record.getMessage()]
    assert len(told) == 1


@pytest.mark.parametrize("value", [None, Response(), "text"], ids=["none", "odd", "text"])
async def test_what_does_not_fit_the_annotation_ends_the_job_at_once(
    make_app: MakeApp, value: Any
) -> None:
    app = make_app(max_payload=1_000)
    runs: list[int] = []
    told: list[BaseException] = []

    @app.on_error
    def note(ctx: JobContext, error: BaseException) -> None:
        told.append(error)

    @app.job(retry=0)
    async def one() -> int:
        runs.append(1)
        return value  # type: ignore[no-any-return]

    status = await run(app, one)
    assert (status["status"], status["attempt"], len(runs), len(told)) == ("dead", 1, 1, 1)


async def test_a_result_too_large_for_what_is_declared_ends_the_job_at_once(
    make_app: MakeApp,
) -> None:
    app = make_app(max_payload=1_000)
    runs: list[int] = []

    @app.job(retry=0)
    async def one() -> str:
        runs.append(1)
        return "x" * 5_000

    status = await run(app, one)
    assert (status["status"], len(runs)) == ("dead", 1)
    assert status["error"]["type"].endswith("PayloadTooLarge")


async def test_a_coroutine_that_nobody_awaited_ends_the_job_at_once(app: Soniq) -> None:
    runs: list[int] = []

    @app.job(retry=0)
    async def one():  # type: ignore[no-untyped-def]
        runs.append(1)
        return asyncio.sleep(0)

    status = await run(app, one)
    assert (status["status"], len(runs)) == ("dead", 1)
    assert "awaited" in status["error"]["message"]


async def test_a_stream_that_cannot_be_stored_ends_the_job_at_once(make_app: MakeApp) -> None:
    app = make_app(max_payload=1_000)
    runs: list[int] = []

    @app.job(retry=0)
    async def one() -> AsyncIterator[bytes]:
        runs.append(1)
        for _ in range(100):
            yield b"x" * 5_000

    status = await run(app, one)
    assert (status["status"], len(runs)) == ("dead", 1)


async def test_children_come_with_a_job_whose_result_is_left_out(app: Soniq) -> None:
    @app.job()
    async def child() -> None: ...

    @app.job()
    async def one(ctx: JobContext):  # type: ignore[no-untyped-def]
        await ctx.enqueue(child)
        return Response()

    assert (await run(app, one))["status"] == "done"
    assert len([job for job in await app.jobs() if job["job_name"] == child.name]) == 1


@pytest.mark.parametrize("declared", [False, True])
async def test_effects_in_an_injected_transaction_go_with_how_the_job_ended(
    app: Soniq, schema: str, declared: bool
) -> None:
    runs: list[int] = []

    async def work(connection: Connection) -> Any:
        runs.append(1)
        await connection.execute(f"insert into {schema}.effect values (1)")
        return Response()

    if declared:

        @app.job(name="one", retry=0)
        async def one(connection: Connection) -> int:
            return await work(connection)  # type: ignore[no-any-return]

    else:

        @app.job(name="one", retry=0)
        async def one(connection: Connection):  # type: ignore[no-untyped-def]
            return await work(connection)

    await app.start()
    async with app.connection() as own:
        await own.execute(f"create table {schema}.effect (n int)")
        status = await run(app, one)
        assert (status["status"], len(runs)) == ("dead" if declared else "done", 1)
        assert await own.fetchval(f"select count(*) from {schema}.effect") == (0 if declared else 1)


async def test_a_store_that_fails_is_tried_again(make_app: MakeApp) -> None:
    class Store:
        name = "flaky"
        puts = 0

        async def put(self, ctx: JobContext, data: bytes) -> bytes | None:
            self.puts += 1
            if self.puts == 1:
                raise ConnectionError("the store is away")
            return data

        async def get(self, reference: bytes) -> bytes:
            return reference

        async def delete(self, references: Sequence[bytes]) -> None: ...

    class Storing:
        name = "storing"

        @hookimpl
        def result_stores(self) -> list[Store]:
            return [Store()]

    app = make_app(plugins=[Storing()])

    @app.job(retry=0)
    async def one() -> int:
        return 7

    status = await run(app, one)
    assert (status["status"], status["attempt"], status["result"]) == ("done", 2, 7)


async def test_a_child_that_is_too_large_fails_the_attempt_as_any_error(make_app: MakeApp) -> None:
    app = make_app(max_payload=1_000)
    runs: list[int] = []

    @app.job()
    async def child(text: str) -> None: ...

    @app.job(retry=0, max_attempts=2)
    async def one(ctx: JobContext) -> None:
        runs.append(1)
        await ctx.enqueue(child, text="x" * 5_000)

    assert (await run(app, one))["status"] == "dead"
    assert len(runs) == 2


async def test_an_error_whose_text_ends_the_process_is_judged_as_any_other(app: Soniq) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise SystemExit(3)

        __repr__ = __str__

    @app.job(retry=0, max_attempts=2)
    async def one() -> None:
        raise Odd

    @app.on_error
    def note(ctx: JobContext, error: BaseException) -> None:
        raise Odd

    status = await run(app, one)
    assert (status["status"], status["attempt"]) == ("dead", 2)
    assert "Odd" in status["error"]["type"]
    assert "cannot be made" in status["error"]["message"]
