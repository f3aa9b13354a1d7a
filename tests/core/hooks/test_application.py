"""The application's own hooks: @app.before_job, @app.after_job, @app.on_error and
@app.around_job.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from soniq import JobContext, Soniq, SoniqError
from soniq.errors import PluginError
from tests.core.hooks.support import Run, Work


async def test_arguments_are_by_position_whatever_they_are_called(app: Soniq, run: Run) -> None:
    seen: list[object] = []
    app.before_job(lambda what: seen.append(what.job_name))
    app.after_job(lambda one, two: seen.append((one.job_name, two)))
    app.after_job(lambda *everything: seen.append(len(everything)))

    @app.job(name="five")
    async def handler() -> int:
        return 5

    await run(app, handler)
    assert seen == ["five", ("five", 5), 2]


async def test_it_may_take_fewer_arguments(app: Soniq, calls: list[str], run: Run) -> None:
    app.after_job(lambda: calls.append("none"))
    app.after_job(lambda ctx: calls.append("one"))
    app.on_error(lambda: calls.append("error, none"))

    @app.job(max_attempts=1)
    async def handler(fail: bool) -> None:
        if fail:
            raise ValueError

    await run(app, handler, fail=False)
    await run(app, handler, fail=True)
    assert calls == ["none", "one", "error, none"]


async def test_a_method_may_be_one(app: Soniq, calls: list[str], run: Run) -> None:
    class Service:
        async def before(self, ctx: JobContext) -> None:
            calls.append(ctx.job_name)

    app.before_job(Service().before)

    @app.job(name="job")
    async def handler() -> None: ...

    await run(app, handler)
    assert calls == ["job"]


@pytest.mark.parametrize(
    ("hook", "function", "said"),
    [
        ("before_job", lambda ctx, other: None, "ctx"),
        ("after_job", lambda ctx, result, other: None, "ctx, result"),
        ("on_error", lambda ctx, error, other: None, "ctx, error"),
        ("around_job", lambda ctx, other: None, "ctx"),
        ("before_job", lambda *, ctx: None, "ctx"),
    ],
)
def test_one_that_needs_more_is_refused_where_it_is_defined(
    app: Soniq, hook: str, function: Callable[..., Any], said: str
) -> None:
    with pytest.raises(
        PluginError, match=rf"{hook} calls its functions with {said}; .* needs more"
    ):
        getattr(app, hook)(function)


def test_the_decorated_function_stays_what_it_is(app: Soniq) -> None:
    def before(ctx: JobContext) -> None: ...

    assert app.before_job(before) is before


async def test_none_can_be_added_while_a_worker_runs(app: Soniq, work: Work) -> None:
    running = asyncio.Event()

    @app.job()
    async def handler() -> None:
        running.set()

    await app.enqueue(handler)
    async with work(app):
        await asyncio.wait_for(running.wait(), 10)
        with pytest.raises(SoniqError, match="while a worker"):
            app.before_job(lambda: None)
