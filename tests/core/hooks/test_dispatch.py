"""What a call of an observer costs: no timer unless it waits, and never another task or context."""

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from typing import Any

import pytest

from soniq.errors import HookTimeout
from soniq.hooks.dispatch import within_limit


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times for which a timer was armed on the running loop."""
    loop = asyncio.get_running_loop()
    armed: list[float] = []
    call_at = loop.call_at

    def counted(when: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        armed.append(when - loop.time())
        return call_at(when, *args, **kwargs)

    monkeypatch.setattr(loop, "call_at", counted)  # call_later and asyncio.timeout go through it
    return armed


async def test_one_that_does_not_wait_arms_no_timer(timers: list[float]) -> None:
    async def quick() -> str:
        return "result"

    async def nested() -> str:
        return await quick()

    assert await within_limit(nested(), 60) == "result"
    assert timers == []


async def test_one_that_raises_without_waiting_arms_no_timer(timers: list[float]) -> None:
    async def quick() -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        await within_limit(quick(), 60)
    assert timers == []


async def test_one_that_waits_arms_one_timer_and_disarms_it(timers: list[float]) -> None:
    async def slow() -> str:
        for _ in range(3):
            await asyncio.sleep(0)
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, "result")
        return str(await future)

    assert await within_limit(slow(), 60) == "result"
    assert len(timers) == 1
    assert 59 < timers[0] < 61


async def test_one_that_waits_too_long_is_cancelled_and_may_clean_up() -> None:
    cleaned = []

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    with pytest.raises(HookTimeout, match=r"longer than 0\.01 s"):
        await within_limit(hangs(), 0.01)
    assert cleaned == [True]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_it_stays_in_the_same_task_and_context() -> None:
    variable: ContextVar[str] = ContextVar("variable")
    tasks = [asyncio.current_task()]

    async def waits() -> None:
        tasks.append(asyncio.current_task())
        variable.set("before it waits")
        await asyncio.sleep(0)
        tasks.append(asyncio.current_task())
        variable.set(variable.get() + ", and after")

    await within_limit(waits(), 60)
    assert variable.get() == "before it waits, and after"
    assert len(set(tasks)) == 1


async def test_an_error_that_comes_from_what_it_awaits_can_be_caught_in_it() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("boom")

    async def catches() -> str:
        try:
            await asyncio.create_task(fails())
        except ValueError as error:
            return str(error)
        return "nothing"

    assert await within_limit(catches(), 60) == "boom"


async def test_a_cancellation_of_the_task_reaches_it_and_goes_on() -> None:
    reached, seen = asyncio.Event(), []

    async def waits() -> None:
        reached.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = asyncio.create_task(_awaited(waits()))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]


async def test_any_awaitable_will_do() -> None:
    class Awaitable_:
        def __await__(self) -> Generator[Any, None, str]:
            yield from asyncio.sleep(0).__await__()
            return "result"

    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    future.set_result("result")
    assert await within_limit(Awaitable_(), 60) == "result"
    assert await within_limit(future, 60) == "result"
    assert await within_limit(asyncio.create_task(asyncio.sleep(0, "result")), 60) == "result"


async def _awaited(waiting: Coroutine[Any, Any, object]) -> object:
    return await within_limit(waiting, 60)
