"""SONIQ_TRACE_HOOKS=1: each call of a hook in a line on stderr, with its plugin and its time."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator

import pytest

from soniq import JobContext, Soniq
from soniq.plugin import load_plugins
from tests.core.hooks.support import MakeApp, MakePlugin, Run


def lines(err: str, plugin: str) -> list[str]:
    """What was written about a plugin, without the times."""
    found = [line for line in err.splitlines() if line.startswith("soniq hook ")]
    timed = [re.fullmatch(r"soniq hook (.*?): \d+\.\d{3} ms(.*)", line) for line in found]
    assert all(timed)
    return [each[1] + each[2] for each in timed if each and f"of {plugin}" in each[1]]


async def before(ctx: JobContext) -> None:
    await asyncio.sleep(0)


def after(ctx: JobContext) -> None: ...


def failing(ctx: JobContext, error: BaseException) -> None:
    raise LookupError


async def late(ctx: JobContext, error: BaseException) -> None:
    await asyncio.sleep(0)
    raise LookupError


def around(ctx: JobContext) -> Iterator[None]:
    yield


async def living(app: Soniq) -> AsyncIterator[None]:
    yield


def no_part(ctx: JobContext) -> None: ...


async def test_each_call_is_told_with_its_plugin(
    make_app: MakeApp,
    make_plugin: MakePlugin,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SONIQ_TRACE_HOOKS", "1")
    plugin = make_plugin(
        "seen", lifespan=living, around_job=around, before_job=before, after_job=after,
        on_error=failing,
    )  # fmt: skip
    app = make_app(plugins=[plugin, make_plugin("late", on_error=late, around_job=no_part)])

    @app.job(name="works")
    async def works() -> None: ...

    @app.job(name="fails", max_attempts=1)
    async def fails() -> None:
        raise ValueError

    assert (await run(app, works))["status"] == "done"
    assert (await run(app, fails))["status"] == "dead"
    await app.close()

    err = capsys.readouterr().err
    assert lines(err, "seen") == [
        "lifespan of seen, entering",
        "around_job of seen, entering", "before_job of seen", "after_job of seen",
        "around_job of seen, leaving",
        "around_job of seen, entering", "before_job of seen",
        "on_error of seen, raised LookupError",
        "around_job of seen, leaving",
        "lifespan of seen, leaving",
    ]  # fmt: skip
    assert lines(err, "late") == [
        "around_job of late, entering", "around_job of late, entering",
        "on_error of late, raised LookupError",
    ]  # fmt: skip
    assert "serializers of json" in err


@pytest.mark.parametrize("value", ["", "0"])
async def test_where_it_is_off_a_call_is_the_function_itself(
    value: str,
    make_app: MakeApp,
    make_plugin: MakePlugin,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SONIQ_TRACE_HOOKS", value)
    app = make_app(plugins=[make_plugin("seen", before_job=before, lifespan=living)])
    await app.start()
    await app.close()
    assert capsys.readouterr().err == ""
    (each,) = load_plugins(app).implementations("before_job")
    assert each.call is before


async def test_the_list_of_plugins_tells_the_function_also_where_it_is_on(
    make_app: MakeApp, make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONIQ_TRACE_HOOKS", "1")
    app = make_app(plugins=[make_plugin("seen", around_job=around)])
    (each,) = load_plugins(app).implementations("around_job")
    assert (each.plugin, each.function.__qualname__) == ("seen", "around")
