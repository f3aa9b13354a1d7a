"""serializers: jobs name them, and rows keep the name."""

import base64
from typing import Any

import asyncpg
import msgspec
import pytest

from soniq import InvalidOption, Soniq
from soniq.errors import JobDefinitionError, PluginError
from soniq.plugin import Serializer
from tests.core.hooks.support import MakeApp, MakePlugin, Run


class Packed:
    """MessagePack, in Base64 so that no other serializer can read it."""

    name = "packed"

    def dumps(self, value: object) -> bytes:
        return base64.b64encode(msgspec.msgpack.encode(value))

    def loads(self, data: bytes, type: Any) -> Any:
        return msgspec.msgpack.decode(base64.b64decode(data, validate=True), type=type)


@pytest.fixture
def packed(make_plugin: MakePlugin) -> object:
    """A plugin with a serializer named packed."""

    def serializers() -> list[Serializer]:
        return [Packed()]

    return make_plugin("packs", serializers=serializers)


async def test_a_job_that_names_one_has_its_arguments_and_result_in_it(
    make_app: MakeApp,
    packed: object,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    run: Run,
) -> None:
    app = make_app(plugins=[packed])

    @app.job(serializer="packed")
    async def double(values: list[int]) -> list[int]:
        return [2 * value for value in values]

    assert (await run(app, double, values=[1, 2]))["result"] == [2, 4]
    row = await connection.fetchrow(f"select serializer, args, result from {schema}.history")
    assert row is not None
    assert tuple(row) == ("packed", Packed().dumps({"values": [1, 2]}), Packed().dumps([2, 4]))


async def test_the_call_may_name_another_and_the_result_follows_it(
    make_app: MakeApp, packed: object, connection: "asyncpg.Connection[asyncpg.Record]", schema: str
) -> None:
    app = make_app(plugins=[packed])

    @app.job()
    async def double(value: int) -> int:
        return 2 * value

    job_id = await app.enqueue(double, value=2, serializer="packed")
    await app.run_worker(run_once=True)
    assert await app.get_result(job_id) == 4
    assert await connection.fetchval(f"select result from {schema}.history") == Packed().dumps(4)


async def test_an_old_row_and_its_result_stay_readable_after_the_job_has_changed_its_serializer(
    make_app: MakeApp, packed: object
) -> None:
    before, after = make_app(plugins=[packed]), make_app(plugins=[packed])

    async def double(value: int) -> int:
        return 2 * value

    old = before.job(name="double", serializer="packed")(double)
    after.job(name="double")(double)
    done, waiting = await before.enqueue(old, value=1), await before.enqueue(old, value=2)
    await after.run_worker(run_once=True)
    assert [await after.get_result(done), await after.get_result(waiting)] == [2, 4]
    assert await after.get_args(waiting) == {"value": 2}


async def test_at_a_worker_without_it_the_attempt_fails_and_another_worker_can_run_it(
    make_app: MakeApp, packed: object
) -> None:
    with_it, without = make_app(plugins=[packed]), make_app()

    async def double(value: int) -> int:
        return 2 * value

    job_id = await with_it.enqueue(with_it.job(name="double", serializer="packed")(double), value=2)
    without.job(name="double", retry=0.2)(double)
    without.on_error(lambda: without.stop_workers())
    await without.run_worker()
    status = await without.get_job_status(job_id)
    assert status is not None
    assert (status["status"], status["attempt"]) == ("queued", 1)
    assert status["error"] is not None
    assert "no plugin of this worker provides the serializer 'packed'" in status["error"]["message"]
    with_it.after_job(lambda: with_it.stop_workers())
    await with_it.run_worker()
    assert await with_it.get_result(job_id) == 4


async def test_a_job_that_names_an_unknown_one_is_an_error_that_lists_them(
    make_app: MakeApp, packed: object
) -> None:
    app = make_app(plugins=[packed])

    @app.job(serializer="pakced")
    async def handler() -> None: ...

    with pytest.raises(
        JobDefinitionError, match=r"no serializer named 'pakced'; there are json, packed"
    ):
        await app.start()


async def test_a_call_that_names_an_unknown_one_is_an_error_and_nothing_is_enqueued(
    app: Soniq,
) -> None:
    @app.job()
    async def handler() -> None: ...

    with pytest.raises(InvalidOption, match="no serializer is named 'packed'; there are json"):
        await app.enqueue(handler, serializer="packed")
    assert await app.jobs() == []


async def test_two_of_one_name_end_the_start(
    make_app: MakeApp, packed: object, make_plugin: MakePlugin
) -> None:
    other = make_plugin("other", serializers=lambda: [Packed()])
    with pytest.raises(
        PluginError, match="serializers of other: 'packed' is provided by packs already"
    ):
        await make_app(plugins=[packed, other]).start()


async def test_an_error_ends_the_start_and_names_the_plugin(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    def serializers() -> list[Serializer]:
        raise OSError("no key")

    with pytest.raises(PluginError, match="serializers of breaks failed: OSError: no key"):
        await make_app(plugins=[make_plugin("breaks", serializers=serializers)]).start()
