"""lifespan: a context manager around the app's life, from first use to close."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from soniq import DatabaseError, Soniq, SoniqError
from soniq.errors import PluginError
from soniq.plugin import JobDefinition
from tests.core.hooks.support import MakeApp, MakePlugin, Run


@pytest.fixture
def living(make_plugin: MakePlugin, calls: list[str]) -> Callable[[str], ModuleType]:
    """A plugin that notes when its lifespan begins and ends."""

    def living(name: str) -> ModuleType:
        async def lifespan(app: Soniq) -> AsyncIterator[None]:
            calls.append(f"enter {name}")
            try:
                yield
            finally:
                await asyncio.sleep(0)
                calls.append(f"leave {name}")

        return make_plugin(name, lifespan=lifespan)

    return living


Living = Callable[[str], ModuleType]


async def test_it_is_entered_at_first_use_and_left_in_reverse_at_the_close(
    make_app: MakeApp, living: Living, calls: list[str]
) -> None:
    app = make_app(plugins=[living("one"), living("two")])
    assert calls == []
    assert await app.jobs() == []
    await app.jobs()
    assert calls == ["enter one", "enter two"]
    await app.close()
    assert calls == ["enter one", "enter two", "leave two", "leave one"]
    await app.close()
    assert len(calls) == 4


async def test_it_is_entered_once_whoever_uses_the_app_first(
    make_app: MakeApp, living: Living, calls: list[str]
) -> None:
    app = make_app(plugins=[living("one")])
    await asyncio.gather(*(app.jobs() for _ in range(10)))
    assert calls == ["enter one"]


async def test_it_is_entered_again_where_the_app_is_used_again_after_its_close(
    make_app: MakeApp, living: Living, calls: list[str]
) -> None:
    app = make_app(plugins=[living("one")])
    for _ in range(2):
        async with app:
            await app.jobs()
    assert calls == ["enter one", "leave one"] * 2


async def test_it_surrounds_the_work(
    make_app: MakeApp, living: Living, calls: list[str], run: Run
) -> None:
    app = make_app(plugins=[living("one")])

    @app.job()
    async def handler() -> None:
        calls.append("handler")

    await run(app, handler)
    await app.close()
    assert calls == ["enter one", "handler", "leave one"]


async def test_a_plain_generator_will_do_and_it_gets_the_app(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    seen: list[Soniq] = []

    def lifespan(app: Soniq) -> Iterator[None]:
        seen.append(app)
        yield

    app = make_app(plugins=[make_plugin("plain", lifespan=lifespan)])
    await app.start()
    assert seen == [app]


async def test_an_error_while_entering_ends_the_start_names_the_plugin_and_leaves_those_entered(
    make_app: MakeApp, make_plugin: MakePlugin, living: Living, calls: list[str]
) -> None:
    failures = [OSError("no network"), OSError("no network")]

    async def lifespan() -> AsyncIterator[None]:
        if failures:
            raise failures.pop()
        calls.append("enter broken")
        yield

    app = make_app(
        plugins=[living("one"), make_plugin("broken", lifespan=lifespan), living("three")]
    )
    for _ in range(2):
        with pytest.raises(PluginError, match="lifespan of broken failed: no network") as caught:
            await app.jobs()
        assert caught.value.plugin == "broken"
        assert isinstance(caught.value.__cause__, OSError)
        assert calls == ["enter one", "leave one"]
        calls.clear()
    await app.jobs()
    assert calls == ["enter one", "enter broken", "enter three"]


async def test_what_fails_after_it_leaves_it_again(
    make_app: MakeApp, make_plugin: MakePlugin, living: Living, calls: list[str]
) -> None:
    with pytest.raises(DatabaseError):
        await make_app(
            plugins=[living("one")], database_url="postgresql://127.0.0.1:1/none"
        ).start()
    assert calls == ["enter one", "leave one"]

    def configure_job(job: JobDefinition) -> None:
        raise ValueError("refused")

    calls.clear()
    app = make_app(plugins=[living("two"), make_plugin("refuses", configure_job=configure_job)])

    @app.job()
    async def handler() -> None: ...

    with pytest.raises(PluginError, match="refused"):
        await app.start()
    assert calls == ["enter two", "leave two"]


@pytest.mark.parametrize("error", [ValueError("boom"), asyncio.CancelledError("own")])
async def test_an_error_while_leaving_is_logged_and_the_others_still_leave(
    make_app: MakeApp,
    make_plugin: MakePlugin,
    living: Living,
    calls: list[str],
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    async def lifespan() -> AsyncIterator[None]:
        yield
        raise error

    app = make_app(
        plugins=[living("one"), make_plugin("broken", lifespan=lifespan), living("three")]
    )
    await app.start()
    await app.close()
    assert calls == ["enter one", "enter three", "leave three", "leave one"]
    assert "lifespan of broken failed while leaving" in caplog.text
    assert await app.jobs() == []


async def test_it_cannot_swallow_why_the_start_failed(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    async def lifespan() -> AsyncIterator[None]:
        try:
            yield
        except Exception:
            return

    app = make_app(
        plugins=[make_plugin("swallows", lifespan=lifespan)],
        database_url="postgresql://127.0.0.1:1/none",
    )
    with pytest.raises(DatabaseError):
        await app.start()


async def test_it_may_want_no_part_in_an_app(make_app: MakeApp, make_plugin: MakePlugin) -> None:
    def lifespan(app: Soniq) -> Any:
        return None

    await make_app(plugins=[make_plugin("absent", lifespan=lifespan)]).start()


async def test_the_app_cannot_be_used_before_it_has_started(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    async def lifespan(app: Soniq) -> AsyncIterator[None]:
        await app.jobs()
        yield

    app = make_app(plugins=[make_plugin("early", lifespan=lifespan)])
    with pytest.raises(SoniqError, match="is being started"):
        await asyncio.wait_for(app.start(), 10)


async def test_it_may_close_the_app_as_it_is_left_and_cannot_use_it_any_more(
    make_app: MakeApp, make_plugin: MakePlugin, calls: list[str]
) -> None:
    async def lifespan(app: Soniq) -> AsyncIterator[None]:
        yield
        with pytest.raises(SoniqError, match="is being closed"):
            await app.jobs()
        await app.close()
        calls.append("left")

    app = make_app(plugins=[make_plugin("closes", lifespan=lifespan)])
    await app.start()
    await asyncio.wait_for(app.close(), 10)
    assert calls == ["left"]
    assert app.closed
    assert await app.jobs() == []
