"""Who looks at the same time looks once, and nobody takes it from another."""

import asyncio

import pytest

from soniq_dashboard.web import shared
from soniq_dashboard.web.shared import Shared


class Read:
    """Something that is read, and how often it was."""

    def __init__(self) -> None:
        self.times = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.times += 1
        await self.go.wait()
        return self.times


async def test_all_who_ask_at_the_same_time_share_one_reading() -> None:
    read, readings = Read(), Shared()
    asking = [asyncio.create_task(readings.get("a", read)) for _ in range(20)]
    await asyncio.sleep(0)
    read.go.set()
    assert await asyncio.gather(*asking) == [1] * 20
    assert await readings.get("a", read) == 1


async def test_who_goes_away_takes_it_from_nobody_else() -> None:
    read, readings = Read(), Shared()
    one, other = (asyncio.create_task(readings.get("a", read)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.sleep(0)
    read.go.set()
    assert await other == 1


async def test_it_is_read_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    read, readings = Read(), Shared()
    read.go.set()
    monkeypatch.setattr(shared, "FRESH", -1.0)
    monkeypatch.setattr(shared, "LONGEST_FRESH", -1.0)
    assert [await readings.get("a", read) for _ in range(3)] == [1, 2, 3]
    assert len(readings._readings) == 1


async def test_a_slow_reading_is_waited_for_and_not_begun_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, readings = Read(), Shared()
    monkeypatch.setattr(shared, "FRESH", -1.0)
    asking = [asyncio.create_task(readings.get("a", read)) for _ in range(2)]
    await asyncio.sleep(0.01)
    asking.append(asyncio.create_task(readings.get("a", read)))
    await asyncio.sleep(0.01)
    read.go.set()
    assert await asyncio.gather(*asking) == [1] * 3


@pytest.mark.parametrize(("took", "shown"), [(0.001, 0.05), (0.01, 0.5), (0.2, 5.0)])
async def test_what_takes_long_to_read_is_shown_for_longer(
    took: float, shown: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings, now = Shared(), [1_000.0]
    monkeypatch.setattr(shared, "FRESH", 0.05)
    monkeypatch.setattr("soniq_dashboard.web.shared.monotonic", lambda: now[0])

    async def read() -> float:
        now[0] += took
        return now[0]

    first = await readings.get("a", read)
    now[0] = 1_000.0 + shown - 0.001
    assert await readings.get("a", read) == first
    now[0] = 1_000.0 + shown + 0.001
    assert await readings.get("a", read) > first


async def test_a_failure_is_not_kept() -> None:
    readings = Shared()

    async def fail() -> int:
        raise ValueError

    async def work() -> int:
        return 7

    with pytest.raises(ValueError):
        await readings.get("a", fail)
    assert await readings.get("a", work) == 7


async def test_different_readings_are_apart() -> None:
    readings = Shared()

    async def one() -> int:
        return 1

    async def two() -> int:
        return 2

    assert [await readings.get("one", one), await readings.get("two", two)] == [1, 2]
